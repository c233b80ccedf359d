"""What can go wrong with a bucket or an object of it, grouped by what the caller does next.

::

    TallystickError
    ├── RequestError
    │   └── SourceRefused         a person changes the source or its permissions; others go on
    │       ├── AccessDenied      the credentials are missing, wrong, revoked, or may not do this
    │       ├── BucketNotFound    nothing is where the URL points
    │       └── MissingExtra      a package is to be installed where the server runs
    ├── TryLater
    │   └── BucketUnavailable     go on later, from the same place: throttled, failing, absent
    └── ObjectError               about one object; the others go on
        ├── ObjectChanged         list again and begin with the new version
        ├── ObjectGone            leave it: there is nothing to read any more
        ├── ObjectRefused         leave it: its name leads out of the folder
        └── DamagedObject         mark it for a person: reading it again gives the same

Messages say what happened, to which object of which bucket, and what to do. They never hold what a
bucket answered word for word, nor a secret: answers of S3 quote the request that was signed.
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import RequestError, TallystickError, TryLater


class SourceRefused(RequestError):
    """Nothing of this bucket can be had until a person changes the source or its permissions."""

    default_code = "BucketRefused"


class AccessDenied(SourceRefused):
    """The credentials are missing, wrong, revoked, or do not allow what was asked.

    ``permission`` names what to grant, ``s3:GetObject`` for one; None where no grant would help.
    """

    default_code = "BucketAccessDenied"

    def __init__(self, message: str, *, permission: str | None = None) -> None:
        super().__init__(message)
        self.permission = permission


class BucketNotFound(SourceRefused):
    """No bucket or folder is where the URL points."""

    default_code = "BucketNotFound"


class MissingExtra(SourceRefused):
    """A package that reading this needs is not installed; ``message`` names the extra that has it.

    About one source, not the server: whoever reads no buckets goes on without it.
    """

    default_code = "ExtraNotInstalled"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}, which is not installed here: pip install 'tallystick[objects]'")


class BucketUnavailable(TryLater):
    """The bucket is throttling, failing or unreachable, and stayed so over a few attempts."""

    default_code = "BucketUnavailable"


class ObjectError(TallystickError):
    """About one object: it cannot be read as it was listed. Never an answer over HTTP."""

    status: ClassVar[int] = 500
    default_code = "ObjectUnreadable"


class ObjectChanged(ObjectError):
    """Another version has taken the place of the one that was listed."""

    default_code = "ObjectChanged"


class ObjectGone(ObjectError):
    """The object was deleted or renamed since it was listed."""

    default_code = "ObjectGone"


class ObjectRefused(ObjectError):
    """The name leads out of the folder, or to something that is no file."""

    default_code = "ObjectRefused"


class DamagedObject(ObjectError):
    """The bytes are not what the name promises: cut short, damaged, or a decompression bomb."""

    default_code = "DamagedObject"
