"""Idempotency keys of usage reports: claimed in the report's own transaction.

Owns: the rows of ``usage_keys``. A key belongs to (environment, customer, resource, feature). It is
remembered for the whole window and forgotten at most an eighth later: within it, whoever repeats
the key gets the first measurement; a key older than the window counts anew.
"""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import msgspec

from tallystick.clock import Instant
from tallystick.keys.hashing import key_hash
from tallystick.store import Transaction

# Does nothing when the key was claimed before, however long ago.
INSERT_CLAIM: Final = """
INSERT INTO usage_keys (hash, environment, claimed_at, measurement) VALUES (?, ?, ?, ?)
ON CONFLICT (hash) DO NOTHING
"""

SELECT_CLAIM: Final = "SELECT claimed_at, measurement FROM usage_keys WHERE hash = ?"

RENEW_CLAIM: Final = "UPDATE usage_keys SET claimed_at = ?, measurement = ? WHERE hash = ?"

# Some of the claims that left the window, oldest first.
DELETE_EXPIRED: Final = """
DELETE FROM usage_keys WHERE hash IN
    (SELECT hash FROM usage_keys WHERE claimed_at < ? ORDER BY claimed_at LIMIT ?)
"""


class Claim(NamedTuple):
    """What the first report under a key recorded; the rest of its answer is today's.

    ``value`` is the recorded delta as decimal text; the other two are instants.
    """

    id: str
    value: str
    received_at: Instant
    created_at: Instant


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Claim).decode


def hash_of(environment: str, customer: str, resource: str, feature: str, key: str) -> bytes:
    """The 128-bit name of a key within its scope; ``resource`` is '' for the customer itself."""
    return key_hash(environment, customer, resource, feature, key)


def claim_key(
    transaction: Transaction,
    environment: str,
    key: bytes,
    claim: Claim,
    first_live: Instant | int,
) -> Claim | None:
    """Claim a key; None when it was free, or claimed before ``first_live``.

    Otherwise this is a repetition, and the claim that stands is returned.
    """
    measurement = _encode(claim).decode()
    values = (key, environment, claim.received_at, measurement)
    if transaction.run(INSERT_CLAIM, *values) == 1:
        return None
    row = cast("tuple[int, str] | None", transaction.one(SELECT_CLAIM, key))
    assert row is not None, "a key that is not free has a claim"
    if row[0] >= first_live:
        return _decode(row[1])
    transaction.run(RENEW_CLAIM, claim.received_at, measurement, key)
    return None


def forget_claims(transaction: Transaction, first_live: Instant | int, rows_max: int) -> int:
    """Delete up to ``rows_max`` claims made before ``first_live``; returns how many went."""
    return transaction.run(DELETE_EXPIRED, first_live, rows_max)
