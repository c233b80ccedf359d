"""Reported usage, counted anew when a rule changed: in the transaction of the change.

Owns: which totals a change of rules can have moved, and rebuilding them from the record (the
archive's reports and those that wait, one snapshot). Promises: when the change commits, every
counter fed by reports is what the new rules make of the record; a change that moved nothing costs
one look at the counters of whom it concerns; however many customers it concerns, the record is read
once, because the write lock is held meanwhile.

Use it in three steps, inside one write transaction::

    before = placed_reports(transaction, rules, environment, customers)
    ...                                                     # change the rules
    recalculate_moved(queries, folder, transaction, environment, before, changed_rules)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.archive.manifest import live_files
from tallystick.archive.query import QueryEngine, Session
from tallystick.archive.relation import paths_of
from tallystick.archive.reports import load_waiting, load_waiting_of, usage_sql
from tallystick.clock import HOUR
from tallystick.core.numbers import canonical_text
from tallystick.core.parts import Part
from tallystick.core.periods import LIFETIME, Period, Segment
from tallystick.entitlements.rules import Rules
from tallystick.metering.placing import Range, periods_of_keys
from tallystick.store import Transaction
from tallystick.usage.counters import CounterKey, write_counters
from tallystick.usage.totals import Account, open_account


class Scope(NamedTuple):
    """Whose usage of what; the resource is '' for the customer itself."""

    customer: str
    resource: str
    feature: str


Placed: TypeAlias = Mapping[Scope, tuple[Segment, ...]]
"""By scope that has counted reports: the segments they are counted by."""

# What was ever counted for a customer; fed by events or by reports.
COUNTED_SCOPES: Final = """
SELECT DISTINCT customer, resource, feature FROM counters WHERE environment = ? AND customer = ?
"""

OF_SCOPE: Final = "environment = ? AND customer = ? AND resource = ? AND feature = ?"
DELETE_PARTS: Final = f"""
DELETE FROM counter_parts WHERE id IN (SELECT id FROM counters WHERE {OF_SCOPE})
"""
DELETE_COUNTERS: Final = f"DELETE FROM counters WHERE {OF_SCOPE}"

# The reports of the scopes in ``moving``; formatted with the relation of all reports. That names
# lie between the first and the last is said beside, because files can be left out by it.
CREATE_MINE: Final = """
CREATE OR REPLACE TEMP TABLE mine AS
SELECT moving.scope, epoch_us(reports.event_time) AS happened, reports.value
FROM ({usage}) AS reports JOIN moving
  ON moving.customer = reports.customer AND moving.resource = coalesce(reports.resource, '')
 AND moving.feature = reports.feature
WHERE reports.environment = ? AND reports.customer BETWEEN ? AND ?
"""

RANGES: Final = """
SELECT scope, min(happened), max(happened), count(*) FROM mine
WHERE scope >= ? AND scope < ? GROUP BY scope
"""

# The first and last of the reports in each hour that has some, in order of scope and time.
HOURS: Final = f"""
SELECT mine.scope, min(happened), max(happened)
FROM mine JOIN sought ON mine.scope = sought.scope
GROUP BY mine.scope, happened // {HOUR} ORDER BY 1, 2
"""

# Totals by counter: each report belongs to the last start at or before it.
TOTALS: Final = """
SELECT starts.scope, starts.counter, count(*), sum(these.value)
FROM (SELECT * FROM mine WHERE scope >= ? AND scope < ?) AS these ASOF JOIN starts
  ON these.scope = starts.scope AND these.happened >= starts.since
GROUP BY ALL
"""


def counted_scopes(
    transaction: Transaction, rules: Rules, environment: str, customers: Iterable[str]
) -> Iterator[Scope]:
    """What was reported and counted for these customers."""
    features = rules.features(transaction, environment)
    for customer in customers:
        rows = transaction.all(COUNTED_SCOPES, environment, customer)
        for scope in (Scope(*row) for row in cast("list[tuple[str, str, str]]", rows)):
            if scope.feature in features and features[scope.feature].fed_by == "reports":
                yield scope


def placed_reports(
    transaction: Transaction, rules: Rules, environment: str, customers: Iterable[str]
) -> Placed:
    """By what segments the reports of customers are counted, as ``rules`` knows them now."""
    return {
        scope: rules.segments(transaction, environment, *scope)
        for scope in counted_scopes(transaction, rules, environment, customers)
    }


def recalculate_moved(
    queries: QueryEngine,
    folder: Path,
    transaction: Transaction,
    environment: str,
    before: Placed,
    rules: Rules,
) -> None:
    """Recalculate what other segments count now than ``before``; see ``recalculate``."""
    moved = [
        scope
        for scope, segments in before.items()
        if rules.segments(transaction, environment, *scope) != segments
    ]
    recalculate(queries, folder, transaction, environment, moved, rules)


def recalculate(
    queries: QueryEngine,
    folder: Path,
    transaction: Transaction,
    environment: str,
    scopes: Sequence[Scope],
    rules: Rules,
) -> None:
    """Make the counters of scopes fed by reports what the changed rules make of the record.

    ``folder`` is the data folder. ``rules`` know the change (and are thrown away: it is not
    committed yet). Raises what ``QueryEngine.session`` raises; the change cannot be made then, try
    again later.
    """
    if not scopes:
        return
    with queries.session() as session:
        _load(session, folder, transaction, environment, scopes)
        for first in range(0, len(scopes), limits.RECALCULATED_TOGETHER_MAX):
            part = scopes[first : first + limits.RECALCULATED_TOGETHER_MAX]
            accounts = _accounts(transaction, rules, environment, part, first)
            counted = list(_count(session, accounts))
            for delete in (DELETE_PARTS, DELETE_COUNTERS):
                transaction.run_many(delete, ((environment, *scope) for scope in part))
            write_counters(transaction, counted)


def _load(
    session: Session,
    folder: Path,
    transaction: Transaction,
    environment: str,
    scopes: Sequence[Scope],
) -> None:
    """Make the table ``mine``: every report that may have moved, by the number of its scope."""
    customers = {scope.customer for scope in scopes}
    if len(customers) == 1:
        names = {scope.feature for scope in scopes}
        load_waiting_of(session, transaction, environment, scopes[0].customer, names)
    else:
        load_waiting(session, transaction)
    session.table("moving", {
        "scope": np.arange(len(scopes), dtype=np.int64),
        **{name: np.array([getattr(scope, name) for scope in scopes], object)
           for name in Scope._fields},
    })  # fmt: skip
    paths = paths_of(folder, live_files(transaction, "archive", "usage"))
    values = [environment, min(customers), max(customers)]
    session.run(CREATE_MINE.format(usage=usage_sql(paths)), values)


def _accounts(
    transaction: Transaction,
    rules: Rules,
    environment: str,
    scopes: Sequence[Scope],
    first: int,
) -> dict[int, Account]:
    """By the number of their scope; ``first`` is that of the first."""
    features = rules.features(transaction, environment)
    return {
        number: open_account(
            transaction, rules, environment, scope.customer, scope.resource, features[scope.feature]
        )
        for number, scope in enumerate(scopes, first)
    }


def _count(session: Session, accounts: Mapping[int, Account]) -> Iterator[tuple[CounterKey, Part]]:
    """What the reports of some scopes add up to, by counter; their numbers have no gap."""
    between = [min(accounts), max(accounts) + 1]
    ranges = {
        number: Range(accounts[number].segments, *found)
        for number, *found in session.rows(RANGES, between)
    }

    def look(numbers: list[int]) -> Iterator[tuple[int, ...]]:
        session.table("sought", {"scope": np.array(numbers, np.int64)})
        yield from session.rows(HOURS)

    starts = [
        (number, since, counter)
        for number, periods in periods_of_keys(ranges, look)
        for since, counter in _starts(accounts[number], ranges[number], periods)
    ]
    if not starts:
        return
    session.table("starts", _columns(starts))
    for number, counter, count, total in session.rows(TOTALS, between):
        key = accounts[number].counter(None)._replace(period_start=counter)
        yield key, Part(count, Decimal(canonical_text(total)))


def _columns(starts: Sequence[tuple[int, int, int]]) -> dict[str, NDArray[Any]]:
    """Starts of periods as a relation."""
    names = ("scope", "since", "counter")
    return {
        name: np.array(column, np.int64)
        for name, column in zip(names, zip(*starts, strict=True), strict=True)
    }


def _starts(
    account: Account, range_: Range, periods: Iterable[Period]
) -> Iterator[tuple[int, int]]:
    """(from when on, which counter) for all of a range; ``periods`` are those with reports."""
    covered_until = range_.first
    for period in periods:
        if period.counted_from > covered_until:
            yield covered_until, LIFETIME
        yield period.counted_from, account.counter(period).period_start
        covered_until = period.counted_until
    if covered_until <= range_.last:
        yield covered_until, LIFETIME
