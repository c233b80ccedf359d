"""Objects in S3 and GCS, through ``obstore``. Owns: conditions on versions, and what answers mean.

Each range is asked for on condition of the version (``If-Match``) and the entity tag of the answer
is compared as well, for not every store heeds the condition. Both travel with the bytes, so that no
range of another version is ever taken. What a bucket answers is never passed on word for word: S3
quotes the request that was signed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from tallystick import limits
from tallystick.clock import from_datetime
from tallystick.errors import BadInput, TallystickError
from tallystick.objects.access import Access, with_environment
from tallystick.objects.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnavailable,
    DamagedObject,
    MissingExtra,
    ObjectChanged,
    ObjectGone,
    ObjectRefused,
    SourceRefused,
)
from tallystick.objects.info import ObjectInfo, Refused

if TYPE_CHECKING:
    from obstore import GetOptions, ListResult, ObjectMeta
    from obstore.store import (
        ClientConfig,
        GCSStore,
        RetryConfig,
        S3Credential,
        S3CredentialProvider,
        S3Store,
    )

_LIST_CHUNK: Final = 1_000
_AFTER_SLASH: Final = b"0"
"""The character behind the slash: whatever lies in a folder sorts before its name and this one."""
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_REGION: Final = re.compile(r"expecting '([a-z0-9-]{1,32})'")
_REDIRECT: Final = "incorrectly configured region"
"""S3 answers 301 and no address to who asks in the wrong region; these are the library's words."""
_METADATA_SERVICES: Final = ("169.254.169.254", "169.254.170.", "metadata.google.internal")
_TOKEN: Final = "performing token request"
_EXPIRED: Final = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}


class _Words(NamedTuple):
    """What a cloud calls things."""

    list_permission: str
    get_permission: str
    put_permission: str


_WORDS: Final = {
    "s3": _Words("s3:ListBucket", "s3:GetObject", "s3:PutObject"),
    "gs": _Words("storage.objects.list", "storage.objects.get", "storage.objects.create"),
}


class _Unlistable(SourceRefused):
    """There is a name in the list that the library cannot spell."""


class Cloud:
    """A prefix of a bucket of S3 or GCS, or one object of it (``only``)."""

    def __init__(
        self, scheme: str, bucket: str, prefix: str, access: Access, *, only: str | None
    ) -> None:
        """Open it; nothing is asked yet. Raises ``BadInput`` for credentials that cannot be."""
        self.where = f"{scheme}://{bucket}" + (f"/{prefix}" if prefix else "")
        self.words = _WORDS[scheme]
        self._only = only
        resolved = with_environment(access, scheme, os.environ)
        opened = _open_s3 if scheme == "s3" else _open_gcs
        self._store = opened(bucket, prefix, resolved)

    def entries(self, refused: Refused) -> Iterator[ObjectInfo]:
        """Every object below the prefix, a page at a time."""
        if self._only is not None:
            with self._meaning(self._only, self.words.get_permission):
                found = self._store.head(self._only)
            yield _info(found)
            return
        yield from self._below(None, b"", refused)

    def _below(self, prefix: str | None, behind: bytes, refused: Refused) -> Iterator[ObjectInfo]:
        """What lies below a prefix and comes after ``behind``.

        The library gives up a whole list for one name that it cannot spell. Then the rest is listed
        folder by folder, so that only the folder with that name is passed over.
        """
        level = None
        try:
            for info in self._pages(prefix):
                if info.key.encode() > behind:
                    behind = info.key.encode()
                    yield info
        except _Unlistable:
            level = self._level(prefix, refused)
        if level is None:
            return
        for meta in level["objects"]:
            if meta["path"].encode() > behind:
                yield _info(meta)
        for inner in level["common_prefixes"]:
            if inner.encode() + _AFTER_SLASH > behind:  # else all of it came before
                yield from self._below(inner, behind, refused)

    def _pages(self, prefix: str | None) -> Iterator[ObjectInfo]:
        pages = self._store.list(prefix, chunk_size=_LIST_CHUNK)
        while True:
            with self._meaning("", self.words.list_permission):
                page = next(pages, None)
            if page is None:
                return
            yield from map(_info, page)

    def _level(self, prefix: str | None, refused: Refused) -> ListResult[Sequence[ObjectMeta]]:
        """One level of folders; an empty one in place of what cannot be listed."""
        try:
            with self._meaning("", self.words.list_permission):
                return self._store.list_with_delimiter(prefix)
        except _Unlistable as error:
            if prefix is None:
                raise
            refused(f"{prefix}/", error.message)
            return {"objects": [], "common_prefixes": []}

    def range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end`` of that version, and of no other."""
        options: GetOptions = {"range": (start, end)}
        if not info.version.startswith(("W/", _UNTAGGED)):  # neither can be a condition
            options["if_match"] = f'"{info.version}"'
        with self._meaning(info.key, self.words.get_permission):
            answer = self._store.get(info.key, options=options)
            if _version(answer.meta) != info.version or answer.meta["size"] != info.size:
                raise self._changed(info.key)
            return bytes(answer.bytes())

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        with self._meaning(name, self.words.put_permission):
            self._store.put(name, data, use_multipart=False)

    @contextmanager
    def _meaning(self, key: str, permission: str) -> Iterator[None]:
        """Say what an error means for the caller; nothing of its text is kept, see the module."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise self._meant(error, key, permission) from None

    def _meant(self, error: Exception, key: str, permission: str) -> TallystickError:
        text, name = str(error), type(error).__name__
        status, code = _found(_STATUS, text), _found(_CODE, text)
        if name in ("InvalidPathError", "ValueError"):
            return self._unaddressable(key)
        if any(service in text for service in _METADATA_SERVICES):
            return self._no_credentials()
        if status == "404":
            return self._absent(key, code)
        if status in ("412", "416"):
            return self._changed(key)
        if _REDIRECT in text or _REGION.search(text):
            return self._elsewhere(text)
        if status in ("401", "403") or code in _EXPIRED or _TOKEN in text:
            return self._denied(key, permission, code)
        if status == "400":
            return SourceRefused(f"{self.where}: the store does not take the request ({code})")
        return self._failing(key, text, status)

    def _absent(self, key: str, code: str) -> TallystickError:
        if key and code != "NoSuchBucket":
            return ObjectGone(
                f"{key} is not in {self.where} any more; if it was renamed, it is found by its"
                " new name"
            )
        return BucketNotFound(f"{self.where}: there is no such bucket; correct the URL")

    def _changed(self, key: str) -> ObjectChanged:
        return ObjectChanged(
            f"{key} in {self.where} was overwritten since it was listed; it is read again as the"
            " new version"
        )

    def _denied(self, key: str, permission: str, code: str) -> AccessDenied:
        what = f"{key} in {self.where}" if key else self.where
        if code in _EXPIRED:
            return AccessDenied(f"{what}: the credentials have expired ({code}); renew them")
        if code == "RequestTimeTooSkewed":
            return AccessDenied(f"{what}: the clock of this machine is wrong ({code}); set it")
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return AccessDenied(f"{what}: the key id or the secret is wrong ({code})")
        answer = f" ({code})" if code else ""
        return AccessDenied(
            f"{what}: access was denied{answer}; grant {permission} to the credentials of this"
            " source",
            permission=permission,
        )

    def _no_credentials(self) -> AccessDenied:
        return AccessDenied(
            f"{self.where}: no credentials were found, neither in the source nor in the"
            " environment, and this machine has no role; give the source credentials"
        )

    def _elsewhere(self, text: str) -> SourceRefused:
        region = _found(_REGION, text)
        hint = f"set region to {region}" if region else "set region to the bucket's"
        return SourceRefused(f"{self.where}: the bucket is in another region; {hint}")

    def _unaddressable(self, key: str) -> TallystickError:
        if key:
            return ObjectRefused(
                f"{key!r} in {self.where} cannot be read: a part of its name is empty, . or ..;"
                " rename the object"
            )
        return _Unlistable(
            f"{self.where}: an object has a name with an empty part, . or .. (a//b for one), with"
            " which the bucket cannot be listed; rename it, or name a prefix beside it"
        )

    def _failing(self, key: str, text: str, status: str) -> TallystickError:
        what = f"{key} in {self.where}" if key else self.where
        lowered = text.lower()
        if "builder error" in lowered:
            return SourceRefused(f"{what}: the endpoint cannot be asked; correct its address")
        if "range request not supported" in lowered or "notpartial" in lowered:
            return DamagedObject(
                f"{what} cannot be read in parts: the store decompresses it on the way; store it"
                " without Content-Encoding, its name ending in .gz"
            )
        if status in ("429", "503"):
            reason = f"asks to be left in peace ({status})"
        else:
            reason = f"fails with {status}" if status else "cannot be reached"
        return BucketUnavailable(
            f"{what}: the store {reason}; it is tried again later",
            retry_after_seconds=limits.RETRY_AFTER_SECONDS_MAX,
        )


# --- opening ------------------------------------------------------------------------------------


def _open_s3(bucket: str, prefix: str, access: Access) -> S3Store:
    store = _stores().S3Store
    # The environment's address for S3 would take precedence over what the source says.
    given = {
        "endpoint": access.endpoint,
        "aws_endpoint_url_s3": access.endpoint,
        "region": access.region,
    }
    with _opening(f"s3://{bucket}"):
        return store(
            bucket,
            prefix=prefix or None,
            config=cast("dict[str, str]", {k: v for k, v in given.items() if v is not None}),  # type: ignore[arg-type]
            client_options=_client(access),
            retry_config=_retries(),
            credential_provider=_provider(access),
        )


def _provider(access: Access) -> S3CredentialProvider | None:
    """The explicit credentials; given as settings, the environment's session token joined them."""
    if access.key_id is None or access.secret is None:
        return None
    explicit: S3Credential = {
        "access_key_id": access.key_id,
        "secret_access_key": access.secret,
        "token": access.session_token,
        "expires_at": None,
    }
    return lambda: explicit


def _open_gcs(bucket: str, prefix: str, access: Access) -> GCSStore:
    store = _stores().GCSStore
    client = _client(access)
    # Else GCS decompresses what was stored with a Content-Encoding, and then knows no ranges.
    client["default_headers"] = {"accept-encoding": "gzip"}
    config: dict[str, str] = {}
    if access.endpoint is not None:
        config["service_account_key"] = json.dumps(
            {"gcs_base_url": access.endpoint, "disable_oauth": True, "client_email": "",
             "private_key": "", "private_key_id": ""}
        )  # fmt: skip
    elif access.service_account_file is not None:
        config["service_account"] = access.service_account_file
    with _opening(f"gs://{bucket}"):
        return store(
            bucket,
            prefix=prefix or None,
            config=config,  # type: ignore[arg-type]
            client_options=client,
            retry_config=_retries(),
        )


class _Stores(NamedTuple):
    """The library's stores, brought in when a bucket is opened for the first time."""

    S3Store: type[S3Store]
    GCSStore: type[GCSStore]


def _stores() -> _Stores:
    try:
        from obstore import store
    except ImportError:
        raise MissingExtra("s3:// and gs:// need the package obstore") from None
    return _Stores(store.S3Store, store.GCSStore)


@contextmanager
def _opening(where: str) -> Iterator[None]:
    """The library names what of a key file is wrong, and quotes parts of it: said anew instead."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, ValueError, FileNotFoundError):
        raise BadInput(
            f"access: the credentials for {where} cannot be used: the key file cannot be read, or"
            " is not the JSON of a service account"
        ) from None


def _client(access: Access) -> ClientConfig:
    return {
        "allow_http": access.over_http,
        "connect_timeout": timedelta(seconds=limits.OBJECT_CONNECT_SECONDS_MAX),
        "timeout": timedelta(seconds=limits.OBJECT_REQUEST_SECONDS_MAX),
    }


def _retries() -> RetryConfig:
    return {
        "max_retries": limits.OBJECT_RETRIES_MAX,
        "retry_timeout": timedelta(seconds=limits.OBJECT_REQUEST_SECONDS_MAX),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }


# --- versions -----------------------------------------------------------------------------------

_UNTAGGED: Final = "untagged-"


def _info(meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(
        meta["path"], _version(meta), meta["size"], from_datetime(meta["last_modified"])
    )


def _version(meta: ObjectMeta) -> str:
    """The entity tag without the quotes that some lists leave out; what else is known without one.

    An object overwritten with the same bytes may keep its tag: there is nothing new to read then.
    """
    tag = meta["e_tag"]
    if tag:
        return tag if tag.startswith("W/") else tag.strip('"')
    # Lists know fractions of the second that answers do not.
    return f"{_UNTAGGED}{int(meta['last_modified'].timestamp())}-{meta['size']}"


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""
