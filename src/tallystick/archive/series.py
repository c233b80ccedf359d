"""What a usage history looks like: buckets, resets, and running totals in both.

Owns: the pure half of the history (DESIGN 4.13). A bucket is an hour of UTC where the range is
short and a day where it is long; the first begins where the range does. A point is the running
total at its bucket's end: of the period that holds there; of the last that held in the bucket,
where none holds at its end (a subscription just cancelled shows what was used); else of the time
that no rule covers, which is the same total that a rule without resets counts in
(``usage.totals``). Leaves to others: reading the events (``history``), what a period is
(``core.periods``).

A reset is a point of 0 at its instant. One inside a bucket comes after that bucket's own point,
which has the total reached after it: of a bucket that is over, the next point goes on from there.
Nothing follows the last bucket, so there the total is told once more, at the instant of the reset:
a series ends with what is used at its end, in the order told as in the order of time.

The range is cut into cells, each within one bucket and one total. What the cells add up to gives
every point.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from tallystick import limits
from tallystick.clock import DAY, HOUR, Instant
from tallystick.core.parts import ZERO, Function, Part
from tallystick.core.periods import LIFETIME, Period, Segment, period_at, periods_between
from tallystick.errors import BadInput
from tallystick.metering.placing import SHORTEST_PERIOD

MarkerType = Literal["PERIODIC_RESET", "SUBSCRIPTION_CHANGE_RESET"]

BEFORE: Final = -1
"""The bucket of everything before the range."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A reset."""

    timestamp: Instant
    type: MarkerType


@dataclass(frozen=True, slots=True)
class Point:
    """A running total at the end of the bucket that begins at ``timestamp``, or a reset to 0."""

    timestamp: Instant
    value: Decimal
    is_reset_point: bool


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets of [start, end); ``width`` in microseconds."""

    start: Instant
    end: Instant
    width: int

    @property
    def origin(self) -> int:
        """Where the first bucket would begin if the range did not cut it."""
        return self.start - self.start % self.width

    def __len__(self) -> int:
        return (self.end - 1 - self.origin) // self.width + 1

    def starts(self) -> list[Instant]:
        """Where each bucket begins."""
        later = range(self.origin + self.width, self.end, self.width)
        return [self.start, *map(Instant, later)]


class Cell(NamedTuple):
    """Where an event in [start, stop) goes: ``total`` is the start of its counter."""

    bucket: int
    start: int
    stop: int
    total: int


class _Stretch(NamedTuple):
    """All of [start, stop) goes to one total."""

    start: int
    stop: int
    total: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What all series of a history share.

    ``cells`` are in order of time; ``shown`` is the total that each bucket shows; ``slots`` are the
    points in order: when, and the bucket of a running total or None of a reset.
    """

    buckets: Buckets
    cells: Sequence[Cell]
    shown: Sequence[int]
    markers: Sequence[Marker]
    slots: Sequence[tuple[Instant, int | None]]


def buckets_of(start: Instant, end: Instant | None, now: Instant) -> Buckets:
    """The buckets of a range; ``end`` None is just after ``now``.

    Raises ``BadInput`` when the range is empty or has too many points.
    """
    stop = Instant(now + 1) if end is None else end
    if stop <= start:
        raise BadInput("endDate: must be after startDate (without it, the end is now)")
    length = (now if end is None else end) - start
    width = HOUR if length <= limits.HOURLY_HISTORY_DAYS_MAX * DAY else DAY
    buckets = Buckets(start, stop, width)
    check_points(len(buckets))
    return buckets


def frame_of(segments: Sequence[Segment], buckets: Buckets, *, uncovered_counts: bool) -> Frame:
    """Cells, resets and what each bucket shows. Raises ``BadInput`` when there are too many points.

    ``uncovered_counts``: whether what happened while no rule held counts, as reports do and events
    do not.
    """
    check_points(len(buckets) + _resets_at_most(segments, buckets))
    periods = periods_between(tuple(segments), buckets.start, Instant(buckets.end - 1))
    starts = buckets.starts()
    shown = _shown(periods, starts, buckets.end)
    stretches = [
        _Stretch(period.counted_from, period.counted_until, period.counted_from)
        for period in periods
    ]
    if LIFETIME in shown:
        stretches = [stretch for stretch in stretches if stretch.total != LIFETIME]
        stretches += _never_reset(segments, buckets.end, uncovered_counts)
    markers = _markers(segments, periods, buckets.start)
    slots: list[tuple[Instant, int | None]] = [(marker.timestamp, None) for marker in markers]
    slots += [(begin, bucket) for bucket, begin in enumerate(starts)]
    slots.sort(key=lambda slot: (slot[0], slot[1] is not None))
    if slots[-1][1] is None:
        slots.append((slots[-1][0], len(starts) - 1))
    check_points(len(slots))
    return Frame(buckets, _cells(stretches, starts, buckets.end), shown, markers, slots)


def points_of(frame: Frame, parts: Mapping[int, Part], function: Function) -> list[Point]:
    """The points of one series, a reset first where both stand at one instant.

    ``parts`` are what cells add up to, by the number of the cell.
    """
    totals = _running(frame, parts, function)
    return [
        Point(at, ZERO if bucket is None else totals[bucket], bucket is None)
        for at, bucket in frame.slots
    ]


def _shown(periods: Sequence[Period], starts: Sequence[Instant], end: Instant) -> list[int]:
    """The total that each bucket shows: of the last period that holds in it."""
    begins = [period.counted_from for period in periods]
    shown: list[int] = []
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        last = bisect_right(begins, stop - 1) - 1
        holds = last >= 0 and periods[last].counted_until > start
        shown.append(begins[last] if holds else LIFETIME)
    return shown


def _never_reset(
    segments: Sequence[Segment], end: Instant, uncovered_counts: bool
) -> list[_Stretch]:
    """All time before ``end`` whose total never resets."""
    stretches, covered_until = [], int(LIFETIME)
    for segment in sorted(segments, key=lambda segment: segment.start):
        if uncovered_counts and covered_until < segment.start:
            stretches.append(_Stretch(covered_until, segment.start, LIFETIME))
        if segment.rule.unit is None:
            stretches.append(_Stretch(segment.start, segment.stop, LIFETIME))
        covered_until = segment.stop
    if uncovered_counts and covered_until < end:
        stretches.append(_Stretch(covered_until, end, LIFETIME))
    return stretches


def _cells(stretches: Sequence[_Stretch], starts: Sequence[Instant], end: Instant) -> list[Cell]:
    """The stretches cut where buckets begin, in order of time."""
    bounds = [*starts, end]
    cells: list[Cell] = []
    for start, stop, total in sorted(stretches):
        if start < bounds[0]:
            cells.append(Cell(BEFORE, start, min(stop, bounds[0]), total))
        bucket = max(bisect_right(bounds, start) - 1, 0)
        while bucket < len(starts) and bounds[bucket] < stop:
            inside = (max(start, bounds[bucket]), min(stop, bounds[bucket + 1]))
            cells.append(Cell(bucket, *inside, total))
            bucket += 1
    return cells


def _running(frame: Frame, parts: Mapping[int, Part], function: Function) -> list[Decimal]:
    """What each bucket shows at its end."""
    left: dict[int, list[tuple[int, Part]]] = {}
    for number in sorted(parts, reverse=True):
        cell = frame.cells[number]
        left.setdefault(cell.total, []).append((cell.bucket, parts[number]))
    running: dict[int, Part] = {}
    values: dict[int, Decimal] = {}
    shown: list[Decimal] = []
    for bucket, total in enumerate(frame.shown):
        coming = left.get(total, [])
        while coming and coming[-1][0] <= bucket:
            running[total] = running.get(total, Part()).merge(coming.pop()[1])
            values[total] = running[total].value(function)
        shown.append(values.get(total, ZERO))
    return shown


def check_points(count: int) -> None:
    """Raise ``BadInput`` when an answer would have more points than are given at once."""
    if count > limits.HISTORY_POINTS_MAX:
        raise BadInput(
            f"startDate, endDate, groupBy: this history has more than {limits.HISTORY_POINTS_MAX} "
            "points; ask for a shorter range or fewer groups"
        )


def _resets_at_most(segments: Sequence[Segment], buckets: Buckets) -> int:
    """An upper bound that costs nothing: hourly resets of a century are not worked out."""
    count = len(segments)
    for segment in segments:
        unit = segment.rule.unit
        overlap = min(segment.stop, buckets.end) - max(segment.start, buckets.start)
        if unit is not None and overlap > 0:
            count += overlap // SHORTEST_PERIOD[unit]
    return count


def _markers(
    segments: Sequence[Segment], periods: Sequence[Period], start: Instant
) -> list[Marker]:
    """A reset is where a period begins that another came before."""
    if not periods:
        return []
    first = min(segment.start for segment in segments)
    begun = {segment.start: segment for segment in segments}
    previous = period_at(tuple(segments), Instant(start - 1))
    markers = []
    for period in periods:
        at = period.counted_from
        if at >= start and at > first:
            markers.append(Marker(at, _marker_type(begun.get(at), previous, at)))
        previous = period
    return markers


def _marker_type(begun: Segment | None, previous: Period | None, at: Instant) -> MarkerType:
    if begun is None:
        return "PERIODIC_RESET"
    if not begun.restart and previous is not None and previous.end == at:
        return "PERIODIC_RESET"
    return "SUBSCRIPTION_CHANGE_RESET"
