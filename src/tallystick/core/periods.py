"""Usage periods: from changes of rules to the period that contains an instant.

Owns: the arithmetic of periods (DESIGN 4.8). A rule is a grid of windows; changes of rules over
time become segments, each with one rule; a period is a window clipped to its segment. Promises:
periods are [start, end), never overlap, leave no gap while a rule holds, and every boundary is
computed from the anchor, so that a 31st clamps to the end of short months and never drifts.

Boundaries outside of the years 1 to 9999 are ``LIFETIME`` and ``FOREVER``.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from tallystick.clock import DAY, HOUR, Instant, from_datetime, to_datetime

Unit = Literal["HOUR", "DAY", "WEEK", "MONTH", "YEAR"]

LIFETIME: Final = Instant(-62_135_596_800_000_000)
"""0001-01-01T00:00Z: where a period without resets begins."""
FOREVER: Final = Instant(253_402_300_799_999_999)
"""The last microsecond of the year 9999: where what has no end ends."""

FROM_START: Final = "SubscriptionStart"
START_OF_MONTH: Final = "StartOfTheMonth"
WEEKDAYS: Final = (
    "EveryMonday", "EveryTuesday", "EveryWednesday", "EveryThursday", "EveryFriday",
    "EverySaturday", "EverySunday",
)  # fmt: skip

_FIXED: Final = {"HOUR": HOUR, "DAY": DAY, "WEEK": 7 * DAY}
_MONTHS: Final = {"MONTH": 1, "YEAR": 12}
_MONTH_MIN: Final = 12
_MONTH_MAX: Final = 12 * 10_000
_ORDINAL_MAX: Final = date.max.toordinal()
_BOUNDARIES_MAX: Final = 65_536
# Days at either end of the calendar where a zone's offset could leave it; no zone is consulted.
_ZONES_FROM: Final = LIFETIME + 2 * DAY
_ZONES_UNTIL: Final = FOREVER - 2 * DAY


class Rule(NamedTuple):
    """How usage resets. ``unit`` None is never: a lifetime.

    Windows begin at ``anchor`` and repeat in UTC when ``according_to`` is ``FROM_START``; calendar
    rules begin at local midnight in ``zone`` and have no use for the anchor.
    """

    unit: Unit | None
    according_to: str = FROM_START
    anchor: Instant = Instant(0)
    zone: str = "UTC"


class Change(NamedTuple):
    """From ``at`` on ``rule`` holds; None is no rule at all.

    ``floor``, not after ``at``, is the earliest instant a rule with resets may count; ``restart``
    says that usage is reset at ``at``. What is ``foreseen`` was known before it came.
    """

    at: Instant
    rule: Rule | None
    floor: Instant
    restart: bool = False
    foreseen: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """[start, stop) with one rule. ``restart``: it began because usage was reset, not by the grid.

    ``shown_start`` is where its first period begins for people: on the grid, or at the reset.
    """

    start: Instant
    stop: Instant
    rule: Rule
    restart: bool
    shown_start: Instant


class Period(NamedTuple):
    """A usage period, [start, end) as people see it, and the part of it that is counted."""

    start: Instant
    end: Instant
    counted_from: Instant
    counted_until: Instant


def segments(changes: Iterable[Change]) -> tuple[Segment, ...]:
    """What holds when, after all changes; ordered, without overlap.

    A new rule holds from the start of its own period that contains the change, or from the change
    itself where usage is reset then, or where it was foreseen: what is still to come decides
    nothing now. A lifetime holds from the beginning of time. A change to the rule that holds
    already changes nothing, unless usage is reset.
    """
    made: list[Segment] = []
    for change in sorted(changes, key=attrgetter("at")):
        _apply(made, change)
    return tuple(made)


def period_at(segments: tuple[Segment, ...], instant: Instant | int) -> Period | None:
    """The period that contains an instant; None where no rule holds."""
    place = bisect_right(segments, instant, key=attrgetter("start")) - 1
    if place < 0 or instant >= segments[place].stop:
        return None
    return _period(segments[place], instant)


def periods_between(
    segments: tuple[Segment, ...], first: Instant | int, last: Instant | int
) -> list[Period]:
    """Every period that contains an instant from ``first`` to ``last``, both included."""
    found = []
    for segment in segments:
        at = first if first > segment.start else segment.start
        while at <= last and at < segment.stop:
            period = _period(segment, at)
            found.append(period)
            at = period.counted_until
    return found


def window(rule: Rule, instant: Instant | int) -> tuple[Instant, Instant]:
    """[start, end) of the rule's grid that contains an instant.

    The last answer for each rule is remembered, because nearly every event is of the present.
    """
    known = _recent.get(rule)
    if known is not None and known[0] <= instant < known[1]:
        return known
    if len(_recent) >= _BOUNDARIES_MAX:
        _recent.clear()
    found = _recent[rule] = _window(rule, instant)
    return found


_recent: dict[Rule, tuple[Instant, Instant]] = {}


def _window(rule: Rule, instant: int) -> tuple[Instant, Instant]:
    if rule.unit is None:
        return LIFETIME, FOREVER
    if rule.according_to == START_OF_MONTH:
        return _month_window(rule.zone, instant)
    if rule.according_to in WEEKDAYS:
        return _week_window(rule.zone, WEEKDAYS.index(rule.according_to), instant)
    length = _FIXED.get(rule.unit)
    if length is not None:
        start = instant - (instant - rule.anchor) % length
        return _clamped(start), _clamped(start + length)
    return _anchored_window(rule.anchor, _MONTHS[rule.unit], instant)


def _apply(made: list[Segment], change: Change) -> None:
    """Change the segments in place."""
    rule = change.rule
    if rule is None:
        _cut(made, change.at)
        return
    restart = change.restart and rule.unit is not None
    if made and made[-1].stop > change.at and made[-1].rule == rule and not restart:
        return
    grid_start = window(rule, change.at)[0]
    at_once = restart or change.foreseen
    start = change.at if at_once else max(min(change.floor, change.at), grid_start)
    if rule.unit is None:
        start = LIFETIME
    _cut(made, start)
    if made and made[-1].stop == start == grid_start and made[-1].rule == rule and not restart:
        made[-1] = replace(made[-1], stop=FOREVER)
        return
    made.append(Segment(start, FOREVER, rule, restart, start if restart else grid_start))


def _cut(made: list[Segment], at: Instant) -> None:
    """Let nothing hold from ``at`` on."""
    while made and made[-1].start >= at:
        made.pop()
    if made and made[-1].stop > at:
        made[-1] = replace(made[-1], stop=at)


def _period(segment: Segment, instant: Instant | int) -> Period:
    start, end = window(segment.rule, instant)
    until = end if end < segment.stop else segment.stop
    if start <= segment.start:
        return Period(segment.shown_start, end, segment.start, until)
    return Period(start, end, start, until)


def _clamped(instant: int) -> Instant:
    return Instant(max(LIFETIME, min(FOREVER, instant)))


def _around(
    boundary: Callable[[int], Instant], number: int, instant: int
) -> tuple[Instant, Instant]:
    """The window between two boundaries that contains an instant, from a near guess of its number.

    The guess may be off by one: by the time of day, or where a clock was set back over midnight.
    """
    while (start := boundary(number)) > instant:
        number -= 1
    while (end := boundary(number + 1)) <= instant and end < FOREVER:
        start, number = end, number + 1
    return start, end


# --- months and years from the anchor, in UTC --------------------------------------------------


def _anchored_window(anchor: Instant, months: int, instant: int) -> tuple[Instant, Instant]:
    passed = _month_number(to_datetime(_clamped(instant))) - _month_number(to_datetime(anchor))
    return _around(lambda n: months_after(anchor, n * months), passed // months, instant)


def _month_number(moment: datetime) -> int:
    return moment.year * 12 + moment.month - 1


@lru_cache(maxsize=_BOUNDARIES_MAX)
def months_after(anchor: Instant, months: int) -> Instant:
    """The anchor moved by months; its day clamps to the length of the month it lands in."""
    begun = to_datetime(anchor)
    number = _month_number(begun) + months
    if not _MONTH_MIN <= number < _MONTH_MAX:
        return LIFETIME if months < 0 else FOREVER
    year, month = number // 12, number % 12 + 1
    day = min(begun.day, monthrange(year, month)[1])
    return from_datetime(begun.replace(year=year, month=month, day=day))


# --- calendar months and weeks, at local midnight ----------------------------------------------


def _month_window(zone: str, instant: int) -> tuple[Instant, Instant]:
    number = _month_number(_local(zone, instant))
    return _around(lambda n: _month_midnight(zone, n), number, instant)


def _week_window(zone: str, weekday: int, instant: int) -> tuple[Instant, Instant]:
    number = (_local(zone, instant).toordinal() - 1 - weekday) // 7
    return _around(lambda n: _day_midnight(zone, 7 * n + weekday + 1), number, instant)


def _local(zone: str, instant: int) -> datetime:
    moment = to_datetime(_clamped(instant))
    if zone == "UTC" or not _ZONES_FROM <= instant <= _ZONES_UNTIL:
        return moment
    return moment.astimezone(ZoneInfo(zone))


@lru_cache(maxsize=_BOUNDARIES_MAX)
def _month_midnight(zone: str, number: int) -> Instant:
    if not _MONTH_MIN <= number < _MONTH_MAX:
        return LIFETIME if number < _MONTH_MIN else FOREVER
    return _midnight(zone, datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC))


@lru_cache(maxsize=_BOUNDARIES_MAX)
def _day_midnight(zone: str, ordinal: int) -> Instant:
    if not 1 <= ordinal <= _ORDINAL_MAX:
        return LIFETIME if ordinal < 1 else FOREVER
    return _midnight(zone, datetime.fromordinal(ordinal).replace(tzinfo=UTC))


def _midnight(zone: str, day: datetime) -> Instant:
    """Where a day begins in a zone; where its midnight is skipped, the instant it is skipped at."""
    in_utc = from_datetime(day)
    if zone == "UTC" or not _ZONES_FROM <= in_utc <= _ZONES_UNTIL:
        return in_utc
    return from_datetime(day.replace(tzinfo=ZoneInfo(zone)))
