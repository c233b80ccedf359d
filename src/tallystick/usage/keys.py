"""Idempotency keys of usage reports: claimed in the report's own transaction.

Owns: the rows of ``usage_keys``. A key belongs to (environment, customer, resource, feature). It is
remembered for the whole window and forgotten at most an eighth later: within it, whoever repeats
the key gets the first measurement; a key older than the window counts anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, cast

import msgspec

from tallystick.clock import Instant
from tallystick.keys.hashing import key_hash
from tallystick.store import Transaction
from tallystick.store.many_rows import all_rows, for_many, run_rows

# The claims of some keys, however old.
SELECT_CLAIMS: Final = for_many(
    "SELECT hash, claimed_at, measurement FROM usage_keys WHERE hash IN ({rows})", "?"
)

# A claim that left the window is taken over.
WRITE_CLAIMS: Final = for_many(
    """
    INSERT INTO usage_keys (hash, environment, claimed_at, measurement) VALUES {rows}
    ON CONFLICT (hash) DO UPDATE SET claimed_at = excluded.claimed_at,
                                     measurement = excluded.measurement
    """,
    "(?, ?, ?, ?)",
)

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


def find_claims(
    transaction: Transaction, keys: Iterable[bytes], first_live: Instant | int
) -> dict[bytes, Claim]:
    """The claims of those keys that were claimed at ``first_live`` or later."""
    rows = all_rows(transaction, SELECT_CLAIMS, [(key,) for key in keys])
    return {
        key: _decode(measurement)
        for key, claimed_at, measurement in cast("Iterable[tuple[bytes, int, str]]", rows)
        if claimed_at >= first_live
    }


def write_claims(transaction: Transaction, claims: Iterable[tuple[str, bytes, Claim]]) -> None:
    """Claim keys, each for an environment, at the instant its report was received."""
    run_rows(transaction, WRITE_CLAIMS, [
        (key, environment, claim.received_at, _encode(claim).decode())
        for environment, key, claim in claims
    ])  # fmt: skip


def forget_claims(transaction: Transaction, first_live: Instant | int, rows_max: int) -> int:
    """Delete up to ``rows_max`` claims made before ``first_live``; returns how many went."""
    return transaction.run(DELETE_EXPIRED, first_live, rows_max)
