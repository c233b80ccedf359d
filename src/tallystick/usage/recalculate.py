"""Reported usage, counted anew when a rule changed: in the transaction of the change.

Owns: which totals of a customer a change of rules can have moved, and rebuilding them from the
record (the archive's reports and those that wait, one snapshot). Promises: when the change commits,
every counter fed by reports is what the new rules make of the record; a change that moved nothing
costs one look at the customer's counters.

Use it in three steps, inside one write transaction::

    before = placed_reports(transaction, rules, environment, customer)
    ...                                                     # change the rules
    recalculate_reports(services, transaction, environment, customer, before)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tallystick.archive.manifest import live_files
from tallystick.archive.query import Session
from tallystick.archive.relation import paths_of
from tallystick.archive.reports import load_waiting_of, usage_sql
from tallystick.clock import HOUR
from tallystick.core.numbers import canonical_text
from tallystick.core.parts import Part
from tallystick.core.periods import LIFETIME, Period, Segment
from tallystick.entitlements.rules import Rules
from tallystick.metering.placing import Range, periods_of_keys
from tallystick.store import Transaction
from tallystick.usage.counters import CounterKey, write_counters
from tallystick.usage.totals import Account, open_account

if TYPE_CHECKING:
    from tallystick.app import Services

Scope: TypeAlias = tuple[str, str]
"""(resource, feature) of a customer; the resource is '' for the customer itself."""

Placed: TypeAlias = Mapping[Scope, tuple[Segment, ...]]
"""By scope that has counted reports: the segments they are counted by."""

# What was ever counted for a customer; fed by events or by reports.
COUNTED_SCOPES: Final = """
SELECT DISTINCT resource, feature FROM counters WHERE environment = ? AND customer = ?
"""

DELETE_COUNTERS: Final = """
DELETE FROM counters WHERE environment = ? AND customer = ? AND resource = ? AND feature = ?
"""

# A customer's reports on some features; formatted with the relation of all reports.
CREATE_MINE: Final = """
CREATE OR REPLACE TEMP TABLE mine AS
SELECT coalesce(resource, '') AS resource, feature, epoch_us(event_time) AS happened, value
FROM ({usage}) WHERE environment = ? AND customer = ? AND list_contains(?, feature)
"""

RANGES: Final = """
SELECT resource, feature, min(happened), max(happened), count(*) FROM mine GROUP BY ALL
"""

# The first and last of the reports in each hour that has some, in order of scope and time.
HOURS: Final = f"""
SELECT sought.scope, min(happened), max(happened)
FROM mine JOIN sought ON mine.resource = sought.resource AND mine.feature = sought.feature
GROUP BY sought.scope, happened // {HOUR} ORDER BY 1, 2
"""

# Totals by counter: each report belongs to the last start at or before it.
TOTALS: Final = """
SELECT starts.scope, starts.counter, count(*), sum(mine.value)
FROM mine ASOF JOIN starts
  ON mine.resource = starts.resource AND mine.feature = starts.feature
 AND mine.happened >= starts.since
GROUP BY ALL
"""


def placed_reports(
    transaction: Transaction, rules: Rules, environment: str, customer: str
) -> Placed:
    """By what segments a customer's reports are counted, as ``rules`` knows them now."""
    features = rules.features(transaction, environment)
    rows = cast("list[Scope]", transaction.all(COUNTED_SCOPES, environment, customer))
    return {
        (resource, feature): rules.segments(transaction, environment, customer, resource, feature)
        for resource, feature in rows
        if feature in features and features[feature].fed_by == "reports"
    }


def recalculate_reports(
    services: Services,
    transaction: Transaction,
    environment: str,
    customer: str,
    before: Placed,
    rules: Rules | None = None,
) -> None:
    """Make the counters fed by reports what the changed rules make of the record.

    ``rules`` know the change (and are thrown away: it is not committed yet); they are loaded where
    none are given. Raises what ``QueryEngine.session`` raises; the change cannot be made then, try
    again later.
    """
    if not before:
        return
    rules = rules or Rules(services.state)
    after = placed_reports(transaction, rules, environment, customer)
    moved = [scope for scope, segments in after.items() if before.get(scope) != segments]
    if not moved:
        return
    features = rules.features(transaction, environment)
    accounts = {
        scope: open_account(transaction, rules, environment, customer, scope[0], features[scope[1]])
        for scope in moved
    }
    with services.queries.session() as session:
        _load(session, services, transaction, environment, customer, moved)
        counted = list(_count(session, accounts))
    for resource, feature in moved:
        transaction.run(DELETE_COUNTERS, environment, customer, resource, feature)
    write_counters(transaction, counted)


def _load(
    session: Session,
    services: Services,
    transaction: Transaction,
    environment: str,
    customer: str,
    scopes: Sequence[Scope],
) -> None:
    """Make the table ``mine``: every report that may have moved."""
    names = sorted({feature for _, feature in scopes})
    load_waiting_of(session, transaction, environment, customer, names)
    paths = paths_of(services.folder.path, live_files(transaction, "archive", "usage"))
    session.run(CREATE_MINE.format(usage=usage_sql(paths)), [environment, customer, names])


def _count(
    session: Session, accounts: Mapping[Scope, Account]
) -> Iterator[tuple[CounterKey, Part]]:
    """What the reports add up to, by counter."""
    scopes = list(accounts)
    ranges = _ranges(session, accounts, scopes)

    def look(numbers: list[int]) -> Iterator[tuple[int, ...]]:
        session.table("sought", _columns(numbers, [scopes[number] for number in numbers]))
        yield from session.rows(HOURS)

    starts = [
        (number, since, counter)
        for number, periods in periods_of_keys(ranges, look)
        for since, counter in _starts(accounts[scopes[number]], ranges[number], periods)
    ]
    if not starts:
        return
    numbers, since, counters = zip(*starts, strict=True)
    session.table("starts", _columns(numbers, [scopes[number] for number in numbers]) | {
        "since": np.array(since, np.int64), "counter": np.array(counters, np.int64),
    })  # fmt: skip
    for number, counter, count, total in session.rows(TOTALS):
        key = accounts[scopes[number]].counter(None)._replace(period_start=counter)
        yield key, Part(count, Decimal(canonical_text(total)))


def _ranges(
    session: Session, accounts: Mapping[Scope, Account], scopes: Sequence[Scope]
) -> dict[int, Range]:
    """The reports of each scope that has some, by its number."""
    found = {(resource, feature): range_ for resource, feature, *range_ in session.rows(RANGES)}
    return {
        number: Range(accounts[scope].segments, *found[scope])
        for number, scope in enumerate(scopes)
        if scope in found
    }


def _columns(numbers: Sequence[int], scopes: Sequence[Scope]) -> dict[str, NDArray[Any]]:
    """Scopes as a relation."""
    return {
        "scope": np.array(numbers, np.int64),
        "resource": np.array([resource for resource, _ in scopes], object),
        "feature": np.array([feature for _, feature in scopes], object),
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
