"""Idempotency keys of usage reports: claimed in the report's own transaction.

Owns: the rows of ``usage_keys``. A key belongs to (environment, customer, resource, feature). It is
remembered for the whole window and forgotten at most an eighth later: within it, whoever repeats
the key gets the first measurement; a key older than the window counts anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tallystick.clock import Instant
from tallystick.keys.hashing import key_hash
from tallystick.store import Transaction
from tallystick.store.many_rows import for_many, run_rows

# A claim that left the window is taken over, as the youngest: those that leave next stay in front.
WRITE_CLAIMS: Final = for_many(
    """
    INSERT INTO usage_keys (hash, id, value, claimed_at, created_at) VALUES {rows}
    ON CONFLICT (hash) DO UPDATE
    SET seq = excluded.seq, id = excluded.id, value = excluded.value,
        claimed_at = excluded.claimed_at, created_at = excluded.created_at
    """,
    "(?, ?, ?, ?, ?)",
)

# Of the oldest claims those that left the window. Were the clock set back between two claims, the
# one behind may wait for the one before it: it is free again all the same.
DELETE_EXPIRED: Final = """
DELETE FROM usage_keys WHERE seq IN (
    SELECT seq FROM (SELECT seq, claimed_at FROM usage_keys ORDER BY seq LIMIT ?) AS oldest
    WHERE claimed_at < ?
)
"""


class Claim(NamedTuple):
    """What the first report under a key recorded; the rest of its answer is today's.

    ``value`` is the recorded delta as decimal text; the other two are instants.
    """

    id: str
    value: str
    received_at: Instant
    created_at: Instant


def hash_of(environment: str, customer: str, resource: str, feature: str, key: str) -> bytes:
    """The 128-bit name of a key within its scope; ``resource`` is '' for the customer itself."""
    return key_hash(environment, customer, resource, feature, key)


def write_claims(transaction: Transaction, claims: Iterable[tuple[bytes, Claim]]) -> None:
    """Claim keys, each at the instant its report was received."""
    run_rows(transaction, WRITE_CLAIMS, [(key, *claim) for key, claim in claims])


def forget_claims(transaction: Transaction, first_live: Instant | int, rows_max: int) -> int:
    """Delete up to ``rows_max`` claims made before ``first_live``; returns how many went."""
    return transaction.run(DELETE_EXPIRED, rows_max, first_live)
