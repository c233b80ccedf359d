"""Whose call it is.

Owns: finding the key in a request's headers, and a cache of keys. A key made or revoked by another
process counts from the next request on: an unknown key is always looked up, a known one is looked
up again whenever anything was committed since. Leaves to ``access.py``: how keys are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tallystick.access import Access, find_access
from tallystick.api.http import AccessKind
from tallystick.errors import Forbidden, Unauthenticated
from tallystick.store import Store, Transaction

_CACHED_MAX: Final = 10_000


class KeyRing:
    """What keys allow. Used by one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[int, Access]] = {}

    def authenticate(
        self, transaction: Transaction, headers: Mapping[bytes, bytes], needed: AccessKind
    ) -> Access:
        """What the request's key allows; ``transaction`` reads this ring's store.

        Raises ``Unauthenticated`` without a valid key and ``Forbidden`` when it may not do this.
        """
        access = self._access(transaction, _key_of(headers))
        if access.kind != "server" and needed != "client":
            raise Forbidden(f"this needs a server key; the key is a {access.kind} key")
        return access

    def _access(self, transaction: Transaction, key: str) -> Access:
        version = self._store.version()
        known = self._known.get(key)
        if known is not None and known[0] == version:
            return known[1]
        found = find_access(transaction, key)
        if found is None:
            self._known.pop(key, None)
            raise Unauthenticated("the API key is unknown or revoked")
        if len(self._known) >= _CACHED_MAX:
            self._known.clear()
        self._known[key] = (version, found)
        return found


def _key_of(headers: Mapping[bytes, bytes]) -> str:
    key = headers.get(b"x-api-key")
    if key:
        return key.decode("latin-1")
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and token:
        return token.strip().decode("latin-1")
    raise Unauthenticated("send an API key in the header X-API-KEY")
