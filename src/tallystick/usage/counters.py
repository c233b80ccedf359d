"""The counters: a cache of what the record adds up to.

A counter per (environment, customer, resource, feature, generation, period): a row for its name,
and one for what it holds. The fold writes those of
features fed by events, the report transaction those of features fed by reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple, cast

from tallystick.core.parts import Part
from tallystick.errors import DamagedData
from tallystick.store import Rewrite, Row, Transaction, Value
from tallystick.store.many_rows import for_many, run_rows


class CounterKey(NamedTuple):
    """Which counter. ``resource`` is '' for the customer itself; ``period_start`` is where
    counting began in the period, in microseconds (``periods.LIFETIME`` where it never resets)."""

    environment: str
    customer: str
    resource: str
    feature: str
    generation: int
    period_start: int


READ_COUNTER = """
SELECT id, count, sum, minimum, maximum FROM counters JOIN counter_parts USING (id)
WHERE environment = ? AND customer = ? AND resource = ? AND feature = ? AND generation = ?
  AND period_start = ?
"""

NAME_COUNTERS = for_many(
    """
    INSERT INTO counters (environment, customer, resource, feature, generation, period_start)
    VALUES {rows}
    ON CONFLICT (environment, customer, resource, feature, generation, period_start) DO NOTHING
    """,
    "(?, ?, ?, ?, ?, ?)",
)

# The names were given by ``NAME_COUNTERS``.
WRITE_NAMED = for_many(
    """
    WITH wanted (environment, customer, resource, feature, generation, period_start,
                 count, sum, minimum, maximum)
      AS (VALUES {rows})
    INSERT INTO counter_parts (id, count, sum, minimum, maximum)
    SELECT counters.id, wanted.count, wanted.sum, wanted.minimum, wanted.maximum
    FROM wanted
    JOIN counters ON counters.environment = wanted.environment
      AND counters.customer = wanted.customer AND counters.resource = wanted.resource
      AND counters.feature = wanted.feature AND counters.generation = wanted.generation
      AND counters.period_start = wanted.period_start
    WHERE true
    ON CONFLICT (id) DO UPDATE SET count = excluded.count, sum = excluded.sum,
                                   minimum = excluded.minimum, maximum = excluded.maximum
    """,
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
)

# Of counters that were just read: nobody can have deleted them.
WRITE_READ = for_many(
    """
    INSERT INTO counter_parts (count, sum, minimum, maximum, id) VALUES {rows}
    ON CONFLICT (id) DO UPDATE SET count = excluded.count, sum = excluded.sum,
                                   minimum = excluded.minimum, maximum = excluded.maximum
    """,
    "(?, ?, ?, ?, ?)",
)

INSERT_COUNTER = """
INSERT INTO counters (environment, customer, resource, feature, generation, period_start)
VALUES (?, ?, ?, ?, ?, ?)
"""

INSERT_PART = """
INSERT INTO counter_parts (id, count, sum, minimum, maximum) VALUES (?, ?, ?, ?, ?)
"""

REWRITE_COUNTERS = Rewrite("counter_parts", ("count", "sum", "minimum", "maximum"), "id")


class StoredCounter(NamedTuple):
    """A counter's row: its number, by which it is rewritten, and what it holds."""

    id: int
    part: Part


def read_counter(transaction: Transaction, key: CounterKey) -> Part | None:
    """What a counter holds, or None when nothing was counted yet."""
    found = find_counter(transaction, key)
    return None if found is None else found.part


def find_counter(transaction: Transaction, key: CounterKey) -> StoredCounter | None:
    """A counter's row, or None when nothing was counted yet."""
    row = transaction.one(READ_COUNTER, *key)
    return None if row is None else StoredCounter(cast("int", row[0]), part_of_row(row[1:]))


def write_counters(transaction: Transaction, parts: Sequence[tuple[CounterKey, Part]]) -> None:
    """Set counters to what they hold from now on, by name; each at most once."""
    run_rows(transaction, NAME_COUNTERS, [key for key, _ in parts])
    run_rows(transaction, WRITE_NAMED, [key + row_of_part(part) for key, part in parts])


def write_read_counters(transaction: Transaction, parts: Iterable[tuple[int, Part]]) -> None:
    """Set counters to what they hold from now on, by the numbers that this transaction read."""
    run_rows(transaction, WRITE_READ, [(*row_of_part(part), row_id) for row_id, part in parts])


def insert_counter(transaction: Transaction, key: CounterKey, part: Part) -> int:
    """A new counter; returns its number."""
    row_id = transaction.insert(INSERT_COUNTER, *key)
    transaction.run(INSERT_PART, row_id, *row_of_part(part))
    return row_id


def rewrite_counters(transaction: Transaction, parts: Iterable[tuple[int, Part]]) -> None:
    """Set counters that have a row to what they hold from now on, by its number."""
    rewrite_rows(transaction, [(*row_of_part(part), row_id) for row_id, part in parts])


def rewrite_rows(transaction: Transaction, rows: Sequence[Row]) -> None:
    """``rewrite_counters`` of rows of values, the counter's number last.

    Raises ``DamagedData`` when one of them is gone: whoever remembers it, as the fold does, must
    begin anew with what is stored.
    """
    changed = transaction.rewrite(REWRITE_COUNTERS, rows)
    if changed != len(rows):
        raise DamagedData(f"{len(rows) - changed} of {len(rows)} counters to be written are gone")


def part_of_row(row: Row) -> Part:
    """The part of (count, sum, minimum, maximum) as stored."""
    count, total, minimum, maximum = cast("tuple[int, str, str | None, str | None]", row)
    return Part(
        count,
        Decimal(total),
        None if minimum is None else Decimal(minimum),
        None if maximum is None else Decimal(maximum),
    )


def row_of_part(part: Part) -> tuple[Value, ...]:
    """(count, sum, minimum, maximum) as stored: decimal text, never a float."""
    return (
        part.count,
        str(part.sum),
        None if part.minimum is None else str(part.minimum),
        None if part.maximum is None else str(part.maximum),
    )
