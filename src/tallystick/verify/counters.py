"""The counters, added up anew from the record and compared with what stands.

Owns: promise 5 as a check: for every counter of the valid generation, what the meters make of the
archive (of reports: what was reported, archived or waiting) equals the stored part. It works on
ranges of customers, so that memory does not grow with the archive.

The meters are the same SQL that the fold runs; placing in periods and comparing is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, cast

import numpy as np

from tallystick import limits
from tallystick.archive.manifest import Way
from tallystick.archive.query import Session
from tallystick.archive.reports import load_waiting, with_waiting
from tallystick.clock import format_instant
from tallystick.core.parts import Part
from tallystick.core.periods import LIFETIME, Period
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.metering.aggregate import DISTINCT_SQL, GROUPED_SQL
from tallystick.metering.compile import compile_meter, union_of
from tallystick.metering.placing import CELLS, Range, periods_of_keys
from tallystick.store import Store, Transaction
from tallystick.usage.counters import part_of_row
from tallystick.verify.record import Record
from tallystick.verify.report import EnvironmentReport

# Where the range of customers after this one ends.
RANGE_END = """
SELECT customer FROM archived_customers WHERE environment = ? AND customer > ?
ORDER BY customer LIMIT 1 OFFSET ?
"""

COUNTERS = """
SELECT customer, resource, feature, generation, period_start, count, sum, minimum, maximum
FROM counters JOIN counter_parts USING (id) WHERE environment = ? AND {range}
"""

# The part of a relation that is of an environment's range of customers.
CREATE_EVENTS = """
CREATE OR REPLACE TEMP TABLE events AS
SELECT environment, customer, resource, event_name, event_time, dimensions, feature, value
FROM ({relation}) WHERE environment = ? AND {range}
"""

# Reports in the form of what meters give; their features are numbered.
CREATE_REPORTED = """
CREATE OR REPLACE TEMP TABLE measured AS
SELECT features.meter_no, customer, coalesce(resource, '') AS resource, event_time,
       value AS number, CAST(NULL AS VARCHAR) AS text
FROM events JOIN features ON events.feature = features.feature
"""

CREATE_MEASURED = "CREATE OR REPLACE TEMP TABLE measured AS {union}"

# Each (feature, customer, resource) with a match, numbered, with the range of its times.
CREATE_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched AS
SELECT CAST(row_number() OVER () - 1 AS INTEGER) AS key_no, *
FROM (
    SELECT meter_no, customer, resource,
           min(epoch_us(event_time)) AS first_us, max(epoch_us(event_time)) AS last_us,
           count(*) AS matches
    FROM measured GROUP BY meter_no, customer, resource
)
"""

TOUCHED = """
SELECT key_no, meter_no, customer, resource, first_us, last_us, matches FROM touched
ORDER BY key_no
"""

CREATE_MATCHED = """
CREATE OR REPLACE TEMP TABLE matched AS
SELECT key_no, event_time, number, text
FROM measured JOIN touched USING (meter_no, customer, resource)
"""

CREATE_PERIODS = """
CREATE OR REPLACE TEMP TABLE periods AS
SELECT key_no, make_timestamp(start) AS period_start, make_timestamp(stop) AS period_stop
FROM stretches
"""

ADDED_UP = f"""
SELECT key_no, epoch_us(period_start), count, sum, minimum, maximum FROM ({GROUPED_SQL})
UNION ALL
SELECT key_no, epoch_us(period_start), count(*), NULL, NULL, NULL FROM ({DISTINCT_SQL})
GROUP BY key_no, period_start
"""


class Place(NamedTuple):
    """A counter of an environment, whichever generation is valid."""

    customer: str
    resource: str
    feature: str
    period_start: int


@dataclass(frozen=True, slots=True)
class CustomerRange:
    """Customers from ``first`` on, and before ``stop`` where there is one."""

    first: str
    stop: str | None

    @property
    def condition(self) -> str:
        """Whether a row's customer is in it, in the SQL of either engine."""
        return "customer >= ?" if self.stop is None else "customer >= ? AND customer < ?"

    @property
    def values(self) -> tuple[str, ...]:
        """What goes to the placeholders of ``condition``."""
        return (self.first,) if self.stop is None else (self.first, self.stop)


class _Key(NamedTuple):
    """A row of ``touched``: whose matches, and which."""

    customer: str
    resource: str
    feature: str
    range: Range


Stretches = Callable[[Iterable[Period], int, int], Iterator[tuple[int, int, int]]]
"""(periods, first, last) → (start, stop, the counter that it goes to)."""


def verify_counters(
    session: Session,
    state: Store,
    transaction: Transaction,
    record: Record,
    reports: Mapping[str, EnvironmentReport],
) -> None:
    """Note in ``reports`` every counter that is not what the record adds up to."""
    rules = Rules()
    rules.refresh(transaction)
    load_waiting(session, transaction)
    checker = _Checker(session, transaction, rules, record)
    for environment, report in sorted(reports.items()):
        for customers in ranges(transaction, environment):
            checker.check(report, environment, customers)


def ranges(transaction: Transaction, environment: str) -> Iterator[CustomerRange]:
    """Ranges that hold every customer once, each with a bounded number of them."""
    first, stop = "", None
    while True:
        values = (environment, first, limits.VERIFY_RANGE_CUSTOMERS)
        row = transaction.one(RANGE_END, *values)
        stop = None if row is None else cast("str", row[0])
        yield CustomerRange(first, stop)
        if stop is None:
            return
        first = stop


class _Checker:
    """Adds up one range after another."""

    def __init__(
        self, session: Session, transaction: Transaction, rules: Rules, record: Record
    ) -> None:
        self._session = session
        self._transaction = transaction
        self._rules = rules
        self._relations = {
            "event": record.events_sql("event"),
            "usage": with_waiting(record.events_sql("usage")),
        }

    def check(self, report: EnvironmentReport, environment: str, customers: CustomerRange) -> None:
        """Compare the counters of a range of customers."""
        features = self._rules.features(self._transaction, environment)
        metered = [feature for feature in features.values() if feature.meter is not None]
        reported = [feature for feature in features.values() if feature.meter is None]
        expected: dict[Place, Part] = {}
        if metered and self._load("event", environment, customers):
            self._match(metered)
            expected |= self._add_up(environment, metered, _covered)
        if reported and self._load("usage", environment, customers):
            self._take_reports(reported)
            expected |= self._add_up(environment, reported, _everything)
        self._compare(report, environment, features, expected, customers)

    def _load(self, way: Way, environment: str, customers: CustomerRange) -> bool:
        """Make ``events`` of the range; False when there are none."""
        create = CREATE_EVENTS.format(relation=self._relations[way], range=customers.condition)
        self._session.run(create, [environment, *customers.values])
        ((found,),) = self._session.rows("SELECT EXISTS (FROM events)")
        return cast("bool", found)

    def _match(self, metered: list[FeatureRules]) -> None:
        numbered = [
            (number, compile_meter(feature.meter))
            for number, feature in enumerate(metered)
            if feature.meter is not None
        ]
        union, values = union_of(numbered)
        self._session.run(CREATE_MEASURED.format(union=union), values)

    def _take_reports(self, reported: list[FeatureRules]) -> None:
        names = np.array([feature.id for feature in reported], dtype=object)
        numbers = np.arange(len(reported), dtype=np.int32)
        self._session.table("features", {"feature": names, "meter_no": numbers})
        self._session.run(CREATE_REPORTED)

    def _add_up(
        self, environment: str, features: list[FeatureRules], stretches: Stretches
    ) -> dict[Place, Part]:
        """What ``measured`` adds up to, by counter."""
        self._session.run(CREATE_TOUCHED)
        places: dict[tuple[int, int], Place] = {}
        rows: list[tuple[int, int, int]] = []
        keys = self._keys(environment, features)
        ranges = {number: key.range for number, key in keys.items()}
        for number, periods in periods_of_keys(ranges, self._cells):
            customer, resource, feature, (_, first, last, _) = keys[number]
            for start, stop, counter in stretches(periods, first, last):
                rows.append((number, start, stop))
                places[number, start] = Place(customer, resource, feature, counter)
        self._load_stretches(rows)
        parts: dict[Place, Part] = {}
        for key_no, start, count, total, minimum, maximum in self._session.rows(ADDED_UP):
            place = places[key_no, start]
            part = Part(count, Decimal(0) if total is None else total, minimum, maximum)
            parts[place] = parts.get(place, Part()).merge(part)
        return parts

    def _keys(self, environment: str, features: list[FeatureRules]) -> dict[int, _Key]:
        keys = {}
        for number, meter_no, customer, resource, *range_ in self._session.rows(TOUCHED):
            place = (customer, resource, features[meter_no].id)
            segments = self._rules.segments(self._transaction, environment, *place)
            keys[number] = _Key(*place, Range(segments, *range_))
        return keys

    def _cells(self, keys: list[int]) -> Iterator[tuple[int, ...]]:
        """In which hours the matches of keys happened."""
        numbers = np.array(keys, dtype=np.int32)
        self._session.table("scattered", {"key_no": numbers})
        yield from self._session.rows(CELLS)

    def _load_stretches(self, rows: list[tuple[int, int, int]]) -> None:
        columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
        self._session.table(
            "stretches",
            {
                "key_no": columns[:, 0].astype(np.int32),
                "start": np.ascontiguousarray(columns[:, 1]),
                "stop": np.ascontiguousarray(columns[:, 2]),
            },
        )
        self._session.run(CREATE_MATCHED)
        self._session.run(CREATE_PERIODS)

    def _compare(
        self,
        report: EnvironmentReport,
        environment: str,
        features: Mapping[str, FeatureRules],
        expected: dict[Place, Part],
        customers: CustomerRange,
    ) -> None:
        stored = self._valid(environment, customers)
        for place in sorted(expected.keys() | stored.keys()):
            pending = self._rules.pending(
                self._transaction, environment, place.customer, place.feature
            )
            if pending is not None:
                report.unchecked_counters += 1
                continue
            report.counters += 1
            feature = features.get(place.feature)
            wanted = _comparable(feature, expected.get(place, Part()))
            found = _comparable(feature, stored.get(place, Part()))
            if wanted != found:
                report.expect(_name(place), _described(wanted), _described(found))

    def _valid(self, environment: str, customers: CustomerRange) -> dict[Place, Part]:
        """The stored counters of the generation that is valid."""
        found = {}
        sql = COUNTERS.format(range=customers.condition)
        for row in self._transaction.all(sql, environment, *customers.values):
            customer, resource, feature, generation, start = cast(
                "tuple[str, str, str, int, int]", row[:5]
            )
            if generation == self._rules.generation(
                self._transaction, environment, customer, feature
            ):
                found[Place(customer, resource, feature, start)] = part_of_row(row[5:])
        return found


def _covered(periods: Iterable[Period], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Where events count: the periods."""
    for period in periods:
        yield period.counted_from, period.counted_until, period.counted_from


def _everything(periods: Iterable[Period], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Where reports count: the periods, and the rest together where a lifetime would. Periods that
    are not listed hold no report, so that they may be taken for the rest."""
    covered_until = first
    for start, stop, counter in _covered(periods, first, last):
        if covered_until < start:
            yield covered_until, start, LIFETIME
        yield start, stop, counter
        covered_until = stop
    if covered_until <= last:
        yield covered_until, last + 1, LIFETIME


def _comparable(feature: FeatureRules | None, part: Part) -> Part:
    """What must be equal: of reports the sum; of meters all, since it is merged further."""
    return Part(0, part.sum) if feature is not None and feature.meter is None else part


def _described(part: Part) -> str:
    extremes = (("minimum", part.minimum), ("maximum", part.maximum))
    told = [f", {name} {value:f}" for name, value in extremes if value is not None]
    return f"count {part.count}, sum {part.sum:f}{''.join(told)}"


def _name(place: Place) -> str:
    resource = f" resource {place.resource!r}" if place.resource else ""
    return (
        f"counter of customer {place.customer!r}{resource} feature {place.feature!r} "
        f"period from {format_instant(place.period_start)}"
    )
