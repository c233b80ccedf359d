"""What a group of reports asks of the state: what counters hold, who claimed keys, how much waits.

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

# How many reports wait: rows are added at the end and removed from the front, so the two ends tell.
WAITING: Final = (
    "coalesce((SELECT max(seq) FROM reports_waiting) "
    "- (SELECT min(seq) FROM reports_waiting) + 1, 0)"
)

# A row for each that was asked for, with nulls where nothing was found; each tells how many wait.
LOOK_UP: Final = for_many(
    f"""
    WITH wanted (place, environment, customer, resource, feature, generation, period_start, hash)
      AS (VALUES {{rows}})
    SELECT {WAITING}, place,
           counter_parts.id, counter_parts.count, counter_parts.sum, counter_parts.minimum,
           counter_parts.maximum,
           usage_keys.id, usage_keys.value, usage_keys.claimed_at, usage_keys.created_at
    FROM wanted
    LEFT JOIN counters ON counters.environment = wanted.environment
      AND counters.customer = wanted.customer AND counters.resource = wanted.resource
      AND counters.feature = wanted.feature AND counters.generation = wanted.generation
      AND counters.period_start = wanted.period_start
    LEFT JOIN counter_parts ON counter_parts.id = counters.id
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
    numbers: dict[CounterKey, int]
    claims: dict[bytes, Claim]
    waiting: int


def look_up(
    transaction: Transaction, asked: Sequence[Asked], first_live: Instant | int
) -> LookedUp:
    """The counters asked for, the claims of the keys made at ``first_live`` or later, and how many
    reports wait to be archived."""
    # A key that is not there is no hash; a NULL would have no type to compare.
    rows = [(place, *each.counter, each.key or b"") for place, each in enumerate(asked)]
    parts: dict[CounterKey, Part] = {}
    numbers: dict[CounterKey, int] = {}
    claims: dict[bytes, Claim] = {}
    waiting = 0
    for row in cast("Iterable[tuple[Any, ...]]", all_rows(transaction, LOOK_UP, rows)):
        waiting, (counter, key) = row[0], asked[row[1]]
        number, part, claim = row[2], row[3:7], row[7:]
        if number is not None:
            parts[counter], numbers[counter] = part_of_row(part), number
        if key is not None and claim[0] is not None:
            claims[key] = Claim(*claim)
    live = {key: claim for key, claim in claims.items() if claim.received_at >= first_live}
    return LookedUp(parts, numbers, live, waiting)
