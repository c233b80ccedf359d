"""A bucket: where objects are, whatever kind of store it is. One contract for S3, GCS and folders.

Owns: what URLs mean, reading in bounded ranges, and the check that runs before anything else.
Leaves to others: what is in an object (``reading``), and which objects were read already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeAlias
from urllib.parse import quote, unquote

from tallystick import limits
from tallystick.clock import Clock
from tallystick.errors import BadInput, TallystickError, TryLater
from tallystick.objects.access import ENVIRONMENT, Access
from tallystick.objects.cloud import Cloud
from tallystick.objects.errors import AccessDenied, ObjectError, SourceRefused
from tallystick.objects.folders import Folder, is_data_folder
from tallystick.objects.formats import format_of
from tallystick.objects.info import Finding, ObjectInfo, Refused, Step, ignore
from tallystick.threads import begin

__all__ = ["Bucket", "Finding", "ObjectInfo"]

Findings: TypeAlias = list[Finding]

_SCHEMES: Final = ("s3", "gs", "file")


CHECKED: Final = "tallystick-check.txt"
"""What a check writes; no name that is read as events."""


class ObjectStore(Protocol):
    """What stands behind a bucket. Each method raises the errors of ``objects.errors``."""

    def entries(self, refused: Refused) -> Iterator[ObjectInfo]:
        """Every object, with bounded memory; ``refused`` is told of names that are not read."""
        ...

    def range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        """The bytes ``[start, end)`` of exactly that version; fewer only at the object's end."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all; when it returns, it is durable."""
        ...


class Bucket:
    """A place with objects. Safe to use from several threads.

    ``url`` is the place in its own spelling, without credentials; two spellings of one place have
    the same.
    """

    def __init__(self, url: str, store: ObjectStore, *, ahead: int) -> None:
        """``ahead``: ranges that a read asks for before it needs them."""
        self.url = url
        self._store = store
        self._ahead = ahead

    def __repr__(self) -> str:
        return f"Bucket({self.url!r})"

    @classmethod
    def open(cls, url: str, clock: Clock, access: Access = ENVIRONMENT) -> Bucket:
        """The bucket of a URL: ``s3://bucket/prefix``, ``gs://…``, ``file:///folder``, or a path.

        A URL or path whose last part is named like a readable object (and, in a folder, is a file)
        means that object alone. ``clock`` is real time: a file below a ``file://`` URL counts once
        it has been unchanged for some seconds, one below a plain path at once, for then a person
        named it. Raises ``BadInput``; nothing is asked of the bucket yet.
        """
        if not url or "\0" in url:
            raise BadInput("url: must name a bucket, a folder or a file")
        scheme, separator, rest = url.partition("://")
        if not separator:
            return cls._folder(Path(url), clock, settled_seconds=0)
        if scheme not in _SCHEMES:
            raise BadInput("url: must begin with s3://, gs:// or file://, or be a path")
        if scheme == "file":
            if not rest.startswith("/"):
                raise BadInput("url: file:// must be followed by an absolute path")
            path = Path(unquote(rest))
            return cls._folder(path, clock, settled_seconds=limits.OBJECT_SETTLED_SECONDS)
        return cls._cloud(scheme, rest, access)

    @classmethod
    def _folder(cls, path: Path, clock: Clock, *, settled_seconds: int) -> Bucket:
        path = path.absolute()
        real = path.resolve()
        if any(is_data_folder(each) for each in (real, *real.parents)):
            raise BadInput("url: lies within the data folder of a server, which holds no objects")
        only = path.name if path.is_file() else None
        root = path.parent if only else path
        folder = Folder(root, clock, only=only, settled_seconds=settled_seconds)
        return cls(f"file://{quote(str(path))}", folder, ahead=0)

    @classmethod
    def _cloud(cls, scheme: str, rest: str, access: Access) -> Bucket:
        bucket, _, path = rest.partition("/")
        if not bucket or "@" in bucket or ":" in bucket:
            raise BadInput("url: must name a bucket, and no user, password or port")
        parts = path.removesuffix("/").split("/") if path else []
        if any(part in ("", ".", "..") for part in parts):
            raise BadInput("url: no part of the prefix may be empty, . or ..")
        single = bool(parts) and not path.endswith("/") and format_of(parts[-1]) is not None
        only = parts.pop() if single else None
        store = Cloud(scheme, bucket, "/".join(parts), access, only=only)
        url = "/".join([f"{scheme}://{bucket}", *parts, *([only] if only else [])])
        return cls(url, store, ahead=limits.OBJECT_RANGES_AHEAD)

    @property
    def folder(self) -> Folder | None:
        """The folder that it is, None for a bucket of a cloud."""
        return self._store if isinstance(self._store, Folder) else None

    def list(self, refused: Refused = ignore, *, is_patient: bool = False) -> Iterator[ObjectInfo]:
        """Every object under the URL, as a stream; ``refused`` is told of names never read.

        ``is_patient``: wait at the end for files that changed a moment ago. Raises
        ``AccessDenied``, ``BucketNotFound`` or ``BucketUnavailable``, in mid-list too.
        """
        yield from self._store.entries(refused)
        if is_patient and isinstance(self._store, Folder):
            yield from self._store.settling()

    def read(self, info: ObjectInfo, offset: int = 0) -> Iterator[bytes]:
        """The bytes of an object from ``offset`` on, as long as it is the version that was listed.

        Raises ``ObjectChanged``, ``ObjectGone``, ``AccessDenied`` or ``BucketUnavailable``, between
        any two chunks too; what was yielded before is of the right version.
        """
        size = limits.OBJECT_RANGE_BYTES
        ranges = ((at, min(at + size, info.size)) for at in range(offset, info.size, size))
        if not self._ahead:
            for start, end in ranges:
                yield self._store.range(info, start, end)
            return
        yield from self._read_ahead(info, ranges)

    def _read_ahead(self, info: ObjectInfo, ranges: Iterator[tuple[int, int]]) -> Iterator[bytes]:
        """In order, while the next ranges are already under way."""
        coming: deque[Future[bytes]] = deque()
        for start, end in ranges:
            coming.append(begin(partial(self._store.range, info, start, end), "object"))
            if len(coming) > self._ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()

    def write(self, name: str, data: bytes) -> None:
        """Write an object below the URL, replacing one of that name, whole or not at all.

        Raises ``AccessDenied``, ``BucketNotFound`` or ``BucketUnavailable``.
        """
        self._store.put(name, data)

    def check(self) -> Findings:
        """Whether it can be listed and an object of it read, and what is missing if not."""
        try:
            first = next(iter(self.list()), None)
        except (SourceRefused, ObjectError, TryLater) as error:
            return [
                _bad("list", error),
                Finding("read", False, "not tried: without a list there is no object to read"),
            ]
        if first is None:
            return [
                Finding("list", True, f"{self.url} can be listed; nothing is there yet"),
                Finding("read", True, "not tried: there is no object yet"),
            ]
        return [Finding("list", True, f"{self.url} can be listed"), self._check_read(first)]

    def check_write(self) -> Finding:
        """Whether an object can be written, as rejects are; it leaves a small one there."""
        try:
            self.write(CHECKED, b"Tallystick may write here.\n")
        except (SourceRefused, ObjectError, TryLater) as error:
            return _bad("write", error)
        return Finding("write", True, f"{self.url} can be written")

    def _check_read(self, info: ObjectInfo) -> Finding:
        try:
            # An empty object has no byte to ask for, and a store answers 416 to whoever may read.
            self._store.range(info, 0, 1)
        except (SourceRefused, ObjectError, TryLater) as error:
            if info.size or isinstance(error, SourceRefused):
                return _bad("read", error)
        return Finding("read", True, f"{info.key} can be read")


def _bad(step: Step, error: TallystickError) -> Finding:
    permission = error.permission if isinstance(error, AccessDenied) else None
    return Finding(step, False, error.message, permission)
