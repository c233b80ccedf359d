"""What a group of reports asks of the state: what counters hold, and who claimed keys.

Owns: that one statement asks all of it, however many reports there are (of very many, a few).
Promises: the answer is what the transaction sees. Leaves to others whose rows these are
(``usage.counters``, ``usage.keys``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from tallystick.clock import Instant
from tallystick.core.parts import Part
from tallystick.store import Transaction
from tallystick.store.many_rows import all_rows, for_many
from tallystick.usage.counters import CounterKey, part_of_row
from tallystick.usage.keys import Claim

# A row for each that was asked for, with nulls where nothing was found.
LOOK_UP: Final = for_many(
    """
    WITH wanted (place, environment, customer, resource, feature, generation, period_start, hash)
      AS (VALUES {rows})
    SELECT place,
           counters.count, counters.sum, counters.minimum, counters.maximum,
           usage_keys.id, usage_keys.value, usage_keys.claimed_at, usage_keys.created_at
    FROM wanted
    LEFT JOIN counters ON counters.environment = wanted.environment
      AND counters.customer = wanted.customer AND counters.resource = wanted.resource
      AND counters.feature = wanted.feature AND counters.generation = wanted.generation
      AND counters.period_start = wanted.period_start
    LEFT JOIN usage_keys ON usage_keys.hash = wanted.hash
    """,
    "(?, ?, ?, ?, ?, ?, ?, ?)",
)


class Asked(NamedTuple):
    """A counter that is asked for, and the key of a report on it, if it has one."""

    counter: CounterKey
    key: bytes | None


class LookedUp(NamedTuple):
    """What was found: a counter that is missing counts nothing yet, a missing key is free."""

    parts: dict[CounterKey, Part]
    claims: dict[bytes, Claim]


def look_up(
    transaction: Transaction, asked: Sequence[Asked], first_live: Instant | int
) -> LookedUp:
    """The counters asked for, and the claims of the keys made at ``first_live`` or later."""
    rows = [(place, *each.counter, each.key) for place, each in enumerate(asked)]
    parts: dict[CounterKey, Part] = {}
    claims: dict[bytes, Claim] = {}
    for row in cast("Iterable[tuple[Any, ...]]", all_rows(transaction, LOOK_UP, rows)):
        counter, key = asked[row[0]]
        part, claim = row[1:5], row[5:]
        if part[0] is not None:
            parts[counter] = part_of_row(part)
        if key is not None and claim[0] is not None:
            claims[key] = Claim(*claim)
    live = {key: claim for key, claim in claims.items() if claim.received_at >= first_live}
    return LookedUp(parts, live)
