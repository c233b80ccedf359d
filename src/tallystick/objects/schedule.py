"""When a source is looked at next. Pure: an instant in, an instant out.

Either a cron expression in a time zone, with what daylight saving does to it (as in Debian's cron:
what the clock skips runs right after, what it repeats runs once), or an interval, whose instants
are its multiples since the epoch in UTC, so that they do not drift.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallystick import limits
from tallystick.clock import DAY, HOUR, MINUTE, SECOND, Instant, from_datetime, to_datetime
from tallystick.errors import BadInput
from tallystick.objects.errors import MissingExtra

_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_FIELDS: Final = 5


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression with its time zone, or an interval in microseconds; never both."""

    cron: str | None = None
    time_zone: str = "UTC"
    every: int | None = None

    def next_after(self, instant: Instant) -> Instant:
        """The first instant of the schedule after ``instant``; strictly after."""
        if self.every is not None:
            return Instant((instant // self.every + 1) * self.every)
        assert self.cron is not None
        local = to_datetime(instant).astimezone(ZoneInfo(self.time_zone))
        return from_datetime(next(_cron(self.cron, local)))

    def as_json(self) -> dict[str, str]:
        """The spelling that ``schedule_of`` reads."""
        if self.cron is not None:
            return {"cron": self.cron, "timeZone": self.time_zone}
        assert self.every is not None
        unit = next(unit for unit in "dhms" if self.every % _UNITS[unit] == 0)
        return {"every": f"{self.every // _UNITS[unit]}{unit}"}


HOURLY: Final = Schedule(every=HOUR)


def schedule_of(value: object, name: str = "schedule") -> Schedule:
    """The schedule that JSON says, hourly when it says None; ``BadInput`` names the field."""
    if value is None:
        return HOURLY
    if not isinstance(value, Mapping):
        raise BadInput(f"{name}: must be an object with cron or every")
    unknown = [field for field in value if field not in ("cron", "timeZone", "every")]
    if unknown:
        raise BadInput(f"{name}.{unknown[0]}: unknown; known are cron, timeZone, every")
    if ("cron" in value) == ("every" in value):
        raise BadInput(f"{name}: give either cron or every")
    if "every" in value:
        if "timeZone" in value:
            raise BadInput(f"{name}.timeZone: goes with cron; an interval has none")
        return Schedule(every=_interval(value["every"], f"{name}.every"))
    return _cron_schedule(value["cron"], value.get("timeZone", "UTC"), name)


def _interval(value: object, name: str) -> int:
    match = _INTERVAL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadInput(f"{name}: must be a number and s, m, h or d, as in 15m")
    every = int(match[1]) * _UNITS[match[2]]
    if every < limits.SCHEDULE_SECONDS_MIN * SECOND:
        raise BadInput(f"{name}: must be at least {limits.SCHEDULE_SECONDS_MIN} seconds")
    return every


def _cron_schedule(cron: object, time_zone: object, name: str) -> Schedule:
    if not isinstance(time_zone, str) or not _is_zone(time_zone):
        raise BadInput(f"{name}.timeZone: must be a name such as Europe/Berlin")
    if not isinstance(cron, str) or len(cron.split()) != _FIELDS:
        raise BadInput(f"{name}.cron: must have five fields, as in 0 * * * *")
    schedule = Schedule(cron=cron, time_zone=time_zone)
    bad_expression = _cron_error()
    try:
        schedule.next_after(Instant(0))
    except (StopIteration, OverflowError):
        raise BadInput(f"{name}.cron: names no instant that ever comes") from None
    except bad_expression as error:
        raise BadInput(f"{name}.cron: {error}") from None
    return schedule


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _cron(expression: str, after: datetime) -> Iterator[datetime]:
    return cast("Iterator[datetime]", _library().CronSim(expression, after))


def _cron_error() -> type[Exception]:
    return cast("type[Exception]", _library().CronSimError)


def _library() -> ModuleType:
    try:
        import cronsim
    except ImportError:
        raise MissingExtra(
            "a cron expression, other than an interval, needs the package cronsim"
        ) from None
    return cronsim
