"""Whose call it is.

Owns: finding the key in a request's headers, and a cache of keys. A key made or revoked by another
process counts from the next request on: an unknown key is always looked up, a known one is looked
up again whenever anything was committed since; only requests that come within two milliseconds of
the last such look, sooner than a command can end, are spared it. Leaves to ``access.py``: how keys
are stored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from tallystick import limits
from tallystick.access import Access, find_access
from tallystick.api.http import AccessKind
from tallystick.errors import Forbidden, Unauthenticated
from tallystick.store import Store, Transaction


class _Known(NamedTuple):
    version: int
    """Of the store when the key was looked up."""
    looked_at: float
    access: Access


class KeyRing:
    """What keys allow. Several threads may use it: what is known of a key is replaced whole."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Known] = {}

    def authenticate(
        self,
        transaction: Transaction,
        headers: Mapping[bytes, bytes],
        needed: AccessKind,
        asked_at: float,
    ) -> Access:
        """What the request's key allows; ``transaction`` reads this ring's store and was begun
        after ``asked_at``, by the monotonic clock.

        Raises ``Unauthenticated`` without a valid key and ``Forbidden`` when it may not do this.
        """
        return _allowed(self._access(transaction, _key_of(headers), asked_at), needed)

    def recent(self, headers: Mapping[bytes, bytes], needed: AccessKind) -> Access | None:
        """What ``authenticate`` said a moment ago; None when that has to be asked."""
        known = self._known.get(_key_of(headers))
        if known is None or time.monotonic() - known.looked_at > limits.API_KEY_RECENT_SECONDS:
            return None
        return _allowed(known.access, needed)

    def _access(self, transaction: Transaction, key: str, asked_at: float) -> Access:
        version = self._store.version()
        known = self._known.get(key)
        if known is not None and known.version == version:
            self._known[key] = known._replace(looked_at=asked_at)
            return known.access
        found = find_access(transaction, key)
        if found is None:
            self._known.pop(key, None)
            raise Unauthenticated("the API key is unknown or revoked")
        if len(self._known) >= limits.API_KEYS_CACHED_MAX:
            self._known.clear()
        self._known[key] = _Known(version, asked_at, found)
        return found


def _allowed(access: Access, needed: AccessKind) -> Access:
    if access.kind != "server" and needed == "server":
        raise Forbidden(f"this needs a server key; the key is a {access.kind} key")
    return access


def carries_key(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request has a key at all, valid or not."""
    return _sent_key(headers) is not None


def _key_of(headers: Mapping[bytes, bytes]) -> str:
    key = _sent_key(headers)
    if key is None:
        raise Unauthenticated("send an API key in the header X-API-KEY")
    return key


def _sent_key(headers: Mapping[bytes, bytes]) -> str | None:
    key = headers.get(b"x-api-key")
    if key:
        return key.decode("latin-1")
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and token:
        return token.strip().decode("latin-1")
    return None
