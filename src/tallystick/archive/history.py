"""Usage history: a feature's running totals over time, split by dimensions when asked.

Owns: reading the archive for one customer and feature, and joining what it finds into series
(``series`` says what those look like). Promises: it is worked out from the record under the rules
that hold now, from one snapshot of the state; the events it counts are those that the feature's
meter counts (the same SQL); memory is bounded by the engine and by ``HISTORY_POINTS_MAX``.

Where events are many, they are added up per cell and tag combination inside DuckDB; Python sees
only those sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from tallystick import limits
from tallystick.archive.manifest import ManifestFile, Way, live_files
from tallystick.archive.query import QueryEngine, Session
from tallystick.archive.relation import events_sql, paths_of
from tallystick.archive.reports import load_waiting_of, usage_sql
from tallystick.archive.series import (
    BEFORE,
    Frame,
    Marker,
    Point,
    buckets_of,
    check_points,
    frame_of,
    points_of,
)
from tallystick.clock import Instant
from tallystick.core.parts import Function, Part
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.errors import BadInput, NotFound
from tallystick.metering.compile import compile_meter, pointer
from tallystick.store import Transaction
from tallystick.usage.totals import in_units

Tags = tuple[tuple[str, str], ...]
"""(dimension, value) pairs in the order asked for; a missing dimension has none."""


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one tag combination; without tags, of everything."""

    tags: Tags
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class History:
    """Resets, and a series for each tag combination."""

    markers: Sequence[Marker]
    series: Sequence[Series]


class Subject(NamedTuple):
    """Whose usage; ``resource`` is '' for the customer itself."""

    environment: str
    customer: str
    resource: str


# The events of one customer (of one resource) whose cells are asked for. A meter passes the column
# ``environment`` through untouched; in here, where all rows are of one environment, it carries the
# tags.
MINE: Final = """
events AS NOT MATERIALIZED (
    SELECT * REPLACE (
        json_extract_string(coalesce(dimensions, '{{}}'), CAST(? AS VARCHAR[])) AS environment
    )
    FROM (
        SELECT * FROM ({relation})
        WHERE environment = ? AND customer = ? AND {resource}
          AND event_time >= make_timestamp(?) AND event_time < make_timestamp(?)
    )
)
"""

# Reports in the form in which a meter gives events.
REPORTED: Final = """
SELECT environment, event_time, value AS number, CAST(NULL AS VARCHAR) AS text
FROM events WHERE feature = ?
"""

# Each matched event with its cell. A bucket has few cells, so this is a hash join that streams.
PLACED: Final = """
placed AS NOT MATERIALIZED (
    SELECT sought.tags, cells.cell, cells.total, sought.number, sought.text
    FROM (
        SELECT environment AS tags, epoch_us(event_time) AS at, number, text,
               CASE WHEN epoch_us(event_time) < ? THEN {before}
                    ELSE (epoch_us(event_time) - ?) // ? END AS bucket
        FROM ({matched})
    ) AS sought
    JOIN cells ON sought.bucket = cells.bucket
     AND sought.at >= cells.start AND sought.at < cells.stop
)
"""

ADDED_UP: Final = """
SELECT tags, cell, count(*), sum(number), min(number), max(number) FROM placed GROUP BY tags, cell
"""

# A value of UNIQUE counts in the cell of its first occurrence in the period.
FIRST_SEEN: Final = """
SELECT tags, cell, count(*), CAST(0 AS DECIMAL(38, 9)), NULL, NULL
FROM (SELECT tags, min(cell) AS cell FROM placed GROUP BY tags, total, text)
GROUP BY tags, cell
"""


class UsageHistory:
    """Reads histories from one data folder. Safe to use from several threads."""

    def __init__(self, engine: QueryEngine, data_folder: Path) -> None:
        self._engine = engine
        self._data_folder = data_folder

    def read(
        self,
        transaction: Transaction,
        rules: Rules,
        environment: str,
        customer: str,
        resource: str,
        feature: str,
        start: Instant,
        end: Instant | None,
        group_by: tuple[str, ...],
        now: Instant,
    ) -> History:
        """The history of [start, end); ``end`` None is just after ``now``.

        ``rules`` are as of ``transaction``, a snapshot. Raises ``NotFound`` for an unknown customer
        or feature, ``BadInput`` for an empty range or too many points or series, and what
        ``QueryEngine.session`` raises.
        """
        known = _feature(transaction, rules, environment, customer, feature)
        check_groups(group_by)
        subject = Subject(environment, customer, resource)
        buckets = buckets_of(start, end, now)
        segments = rules.segments(transaction, environment, customer, resource, feature)
        frame = frame_of(segments, buckets, uncovered_counts=known.meter is None)
        found = self._add_up(transaction, subject, known, frame, group_by)
        if not group_by:
            found.setdefault((), {})
        function = _function(known)
        return History(
            frame.markers,
            [
                Series(tags, _shown(points_of(frame, parts, function), known))
                for tags, parts in sorted(found.items())
            ],
        )

    def _add_up(
        self,
        transaction: Transaction,
        subject: Subject,
        feature: FeatureRules,
        frame: Frame,
        group_by: tuple[str, ...],
    ) -> dict[Tags, dict[int, Part]]:
        """What each cell adds up to, by tag combination."""
        if not frame.cells:
            return {}
        with self._engine.session() as session:
            relation = self._relation(session, transaction, subject, feature, frame)
            _load_cells(session, frame)
            sql, values = _query(relation, subject, feature, frame, group_by)
            return _collect(session.rows(sql, values), group_by, len(frame.slots))

    def _relation(
        self,
        session: Session,
        transaction: Transaction,
        subject: Subject,
        feature: FeatureRules,
        frame: Frame,
    ) -> str:
        """The record that may hold what counts."""
        if feature.meter is not None:
            return events_sql(self._paths(transaction, "event", frame))
        environment, customer, _ = subject
        load_waiting_of(session, transaction, environment, customer, [feature.id])
        return usage_sql(self._paths(transaction, "usage", frame))

    def _paths(self, transaction: Transaction, way: Way, frame: Frame) -> list[Path]:
        files = live_files(transaction, "archive", way)
        return paths_of(self._data_folder, [file for file in files if _overlaps(file, frame)])


def check_groups(group_by: Sequence[str]) -> None:
    """Raise ``BadInput`` unless these are dimensions that a history can be split by."""
    if len(group_by) > limits.HISTORY_GROUP_KEYS_MAX:
        raise BadInput(f"groupBy: at most {limits.HISTORY_GROUP_KEYS_MAX} dimensions")
    if len(set(group_by)) < len(group_by):
        raise BadInput("groupBy: names a dimension twice")
    if not all(0 < len(name) <= limits.ID_CHARS_MAX for name in group_by):
        raise BadInput(f"groupBy: a dimension's name has 1 to {limits.ID_CHARS_MAX} characters")


def _feature(
    transaction: Transaction, rules: Rules, environment: str, customer: str, feature: str
) -> FeatureRules:
    if rules.customer(transaction, environment, customer) is None:
        raise NotFound(f"customer {customer!r} does not exist", code="CustomerNotFound")
    known = rules.features(transaction, environment).get(feature)
    if known is None:
        raise NotFound(f"feature {feature!r} does not exist", code="FeatureNotFound")
    return known


def _function(feature: FeatureRules) -> Function:
    return "SUM" if feature.meter is None else feature.meter.aggregation.function


def _shown(points: list[Point], feature: FeatureRules) -> list[Point]:
    """The points in the feature's units."""
    if feature.unit_transformation is None:
        return points
    return [
        Point(point.timestamp, in_units(feature, point.value), point.is_reset_point)
        for point in points
    ]


def _overlaps(file: ManifestFile, frame: Frame) -> bool:
    return file.time_last >= frame.cells[0].start and file.time_first < frame.cells[-1].stop


def _load_cells(session: Session, frame: Frame) -> None:
    columns = np.array(frame.cells, dtype=np.int64)
    names = ("bucket", "start", "stop", "total")
    table = {name: np.ascontiguousarray(columns[:, n]) for n, name in enumerate(names)}
    session.table("cells", table | {"cell": np.arange(len(columns))})


def _query(
    relation: str,
    subject: Subject,
    feature: FeatureRules,
    frame: Frame,
    group_by: Sequence[str],
) -> tuple[str, list[Any]]:
    """The statement that adds up (tags, cell), and its values."""
    mine = MINE.format(
        relation=relation, resource="resource = ?" if subject.resource else "resource IS NULL"
    )
    values: list[Any] = [[pointer(name) for name in group_by], *subject[:2]]
    values += [subject.resource] if subject.resource else []
    values += [frame.cells[0].start, frame.cells[-1].stop]
    values += [frame.buckets.start, frame.buckets.origin, frame.buckets.width]
    if feature.meter is None:
        matched, params = REPORTED, (feature.id,)
    else:
        compiled = compile_meter(feature.meter)
        matched, params = compiled.sql, compiled.params
    placed = PLACED.format(before=BEFORE, matched=matched)
    added = FIRST_SEEN if _function(feature) == "UNIQUE" else ADDED_UP
    return f"WITH {mine}, {placed} {added}", [*values, *params]


def _collect(
    rows: Iterable[tuple[Any, ...]], group_by: Sequence[str], points_each: int
) -> dict[Tags, dict[int, Part]]:
    """The parts of each series; raises ``BadInput`` as soon as there are too many."""
    found: dict[Tags, dict[int, Part]] = {}
    for texts, cell, count, total, minimum, maximum in rows:
        tags = tuple(
            (name, text) for name, text in zip(group_by, texts, strict=True) if text is not None
        )
        parts = found.get(tags)
        if parts is None:
            parts = found[tags] = {}
            _check_series(len(found), points_each)
        parts[cell] = Part(count, Decimal(0) if total is None else total, minimum, maximum)
    return found


def _check_series(count: int, points_each: int) -> None:
    if count > limits.HISTORY_SERIES_MAX:
        raise BadInput(
            f"groupBy: there are more than {limits.HISTORY_SERIES_MAX} combinations of values; "
            "split by fewer dimensions or ask for a shorter range"
        )
    check_points(count * points_each)
