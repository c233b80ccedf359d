"""Who may call: environments and their API keys.

Owns the tables ``environments`` and ``api_keys``. A key is stored as its SHA-256 alone, so the
store never tells one; whoever made it was told once. A key belongs to one environment and is of
one kind: ``server`` may do everything in it, ``client`` may only read.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple, cast

from tallystick import ids
from tallystick.clock import Instant
from tallystick.errors import OperatorError
from tallystick.store.contract import Row, Transaction

DEFAULT_ENVIRONMENT: Final = "default"
KINDS: Final = ("server", "client")
KEY_ID_CHARS: Final = 12

_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Access(NamedTuple):
    """What a valid key allows."""

    environment: str
    kind: str


class KeyInfo(NamedTuple):
    """One key as people may see it; ``id`` is enough to revoke it."""

    id: str
    environment: str
    kind: str
    hint: str
    created_at: Instant
    revoked_at: Instant | None


def hash_of(key: str) -> bytes:
    """What the store keeps of a key."""
    return hashlib.sha256(key.encode()).digest()


_VALID_KEY = "SELECT environment, kind FROM api_keys WHERE hash = ? AND revoked_at IS NULL"


def find_access(tx: Transaction, key: str) -> Access | None:
    """What ``key`` allows; None when it is unknown or revoked."""
    row = tx.one(_VALID_KEY, hash_of(key))
    return None if row is None else Access(str(row[0]), str(row[1]))


_ADD_ENVIRONMENT = (
    "INSERT INTO environments (environment, created_at) VALUES (?, ?) "
    "ON CONFLICT (environment) DO NOTHING"
)


def add_environment(tx: Transaction, environment: str, now: Instant) -> bool:
    """Make sure that the environment exists; returns whether it did not. Raises ``OperatorError``
    for a bad name."""
    if not _ENVIRONMENT.fullmatch(environment):
        raise OperatorError(
            f"--environment {environment!r}: must begin with a letter or digit and have at most "
            "100 letters, digits, '_', '.' and '-'"
        )
    return tx.run(_ADD_ENVIRONMENT, environment, now) == 1


_ADD_KEY = "INSERT INTO api_keys (hash, environment, kind, hint, created_at) VALUES (?, ?, ?, ?, ?)"


def create_key(tx: Transaction, environment: str, kind: str, now: Instant) -> str:
    """A new key of ``environment``, which is created too; the only time it can be seen."""
    add_environment(tx, environment, now)
    key = ids.new_api_key(kind)
    tx.run(_ADD_KEY, hash_of(key), environment, kind, key[-4:], now)
    return key


_ANY_KEY = "SELECT environment, kind, revoked_at FROM api_keys WHERE hash = ?"


def ensure_server_key(tx: Transaction, key: str, now: Instant) -> bool:
    """Make ``key`` a server key of the default environment unless it is one already.

    False when it was revoked: a variable left in a start script must not bring a key back.
    Raises ``OperatorError`` when it is another environment's or kind's key.
    """
    add_environment(tx, DEFAULT_ENVIRONMENT, now)
    row = tx.one(_ANY_KEY, hash_of(key))
    if row is None:
        tx.run(_ADD_KEY, hash_of(key), DEFAULT_ENVIRONMENT, "server", key[-4:], now)
        return True
    environment, kind, revoked_at = row
    if (environment, kind) != (DEFAULT_ENVIRONMENT, "server"):
        raise OperatorError(
            f"TALLYSTICK_API_KEY: this is a {kind!s} key of environment {environment!s}"
        )
    return revoked_at is None


_HAS_SERVER_KEY = "SELECT 1 FROM api_keys WHERE environment = ? AND kind = 'server' LIMIT 1"


def has_server_key(tx: Transaction, environment: str) -> bool:
    """Whether a server key of ``environment`` was ever made, revoked ones included."""
    return tx.one(_HAS_SERVER_KEY, environment) is not None


_LIST = (
    "SELECT hash, environment, kind, hint, created_at, revoked_at FROM api_keys "
    "ORDER BY environment, created_at, hash"
)


def list_keys(tx: Transaction) -> list[KeyInfo]:
    """Every key, revoked ones included."""
    return [_key_info(row) for row in tx.all(_LIST)]


_REVOKE = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE hash = ?"


def revoke_key(tx: Transaction, key_or_id: str, now: Instant) -> KeyInfo:
    """Revoke the key given itself or by its id; raises ``OperatorError`` when there is none."""
    wanted = hash_of(key_or_id)
    hashes = [cast("bytes", row[0]) for row in tx.all(_LIST)]
    for found in hashes:
        if found == wanted or found.hex()[:KEY_ID_CHARS] == key_or_id:
            tx.run(_REVOKE, now, found)
            return next(each for each in list_keys(tx) if each.id == found.hex()[:KEY_ID_CHARS])
    raise OperatorError("no such key; `tallystick keys list` shows the ids")


def _key_info(row: Row) -> KeyInfo:
    digest, environment, kind, hint, created_at, revoked_at = row
    return KeyInfo(
        cast("bytes", digest).hex()[:KEY_ID_CHARS],
        str(environment),
        str(kind),
        str(hint),
        Instant(cast("int", created_at)),
        None if revoked_at is None else Instant(cast("int", revoked_at)),
    )
