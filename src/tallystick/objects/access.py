"""With which credentials a bucket is opened. Owns: what may be said, and that secrets stay secret.

Nothing given means the standard chain of the cloud: for S3 the variables ``AWS_…``, a web identity,
the role of a container or of the machine; for GCS ``GOOGLE_APPLICATION_CREDENTIALS``, the login of
``gcloud``, or the machine's service account. Profiles in ``~/.aws`` are not part of it: the library
does not read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from tallystick.errors import BadInput

_NAMES: Final = {
    "endpoint": "endpoint",
    "region": "region",
    "keyId": "key_id",
    "secret": "secret",
    "sessionToken": "session_token",
    "serviceAccountFile": "service_account_file",
}
_S3_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_GCS_EMULATOR: Final = "STORAGE_EMULATOR_HOST"


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials by reference, or explicit ones; what is None comes from the standard chain.

    ``endpoint`` is the address of an S3-compatible store, or of an emulator of GCS (which is asked
    without credentials). ``service_account_file`` is the path of a key file of GCS.
    """

    endpoint: str | None = None
    region: str | None = None
    key_id: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    service_account_file: str | None = None

    def __post_init__(self) -> None:
        """Raise ``BadInput`` for what cannot be meant."""
        if self.endpoint is not None and not _is_address(self.endpoint):
            raise BadInput(
                "endpoint: must be http:// or https:// and a host, without a user or password"
            )
        if (self.key_id is None) != (self.secret is None):
            raise BadInput("keyId, secret: give both, or neither for the standard chain")

    @property
    def over_http(self) -> bool:
        """Whether the endpoint is reached without TLS."""
        return self.endpoint is not None and self.endpoint.startswith("http://")


ENVIRONMENT: Final = Access()
"""Everything from the standard chain."""


def access_of(value: object, name: str = "access") -> Access:
    """The access that JSON says: ``"environment"`` or an object; ``BadInput`` names the field."""
    if value is None or value == "environment":
        return ENVIRONMENT
    if not isinstance(value, Mapping):
        raise BadInput(f'{name}: must be "environment" or an object')
    for given, said in value.items():
        if given not in _NAMES:
            raise BadInput(f"{name}.{given}: unknown; known are {', '.join(_NAMES)}")
        if not isinstance(said, str) or not said:
            raise BadInput(f"{name}.{given}: must be a text that is not empty")
    try:
        return Access(**{_NAMES[given]: said for given, said in value.items()})
    except BadInput as bad:
        raise BadInput(f"{name}.{bad.message}") from None


def with_environment(access: Access, scheme: str, environ: Mapping[str, str]) -> Access:
    """The same with the endpoint that the environment names, for it decides about TLS.

    ``STORAGE_EMULATOR_HOST`` is what Google's own libraries read; the one used here does not.
    """
    if access.endpoint is not None:
        return access
    names = _S3_ENDPOINTS if scheme == "s3" else (_GCS_EMULATOR,)
    found = next((environ[name] for name in names if environ.get(name)), None)
    if found is None or (scheme == "gs" and access.service_account_file is not None):
        return access
    return replace(access, endpoint=found if "://" in found else f"http://{found}")


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
