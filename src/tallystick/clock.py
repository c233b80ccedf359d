"""Time comes in through this door only.

Owns: what "now" is. Instants are whole microseconds since 1970-01-01T00:00Z (``Instant``). A
``Clock`` governs received times, periods, windows and schedules; timeouts use
``time.monotonic`` and are never governed by it.

The test clock stands still until it is moved, forward only. It lives in a file of the data folder
that every process maps, so when a move returns, every process obeys it.
"""

from __future__ import annotations

import mmap
import os
import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import NewType, Protocol

import msgspec

from tallystick.errors import BadInput

Instant = NewType("Instant", int)
"""Whole microseconds since the Unix epoch, UTC."""

SECOND: int = 1_000_000
MINUTE: int = 60 * SECOND
HOUR: int = 3600 * SECOND
DAY: int = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
# msgspec would round what is beyond microseconds.
_MORE_DIGITS = re.compile(r"(\.[0-9]{6})[0-9]+")


class Clock(Protocol):
    """What "now" is for everything the product measures."""

    def now(self) -> Instant:
        """The present, in microseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1000)


class TestClock:
    """A clock that stands still, shared by every process that opens the same file."""

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(self, path: Path) -> None:
        """Map the clock file at ``path``, which ``TestClock.create`` has made."""
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    @classmethod
    def create(cls, path: Path, start: Instant) -> TestClock:
        """Make the file if it is missing; an existing clock is never set back."""
        if not path.exists():
            draft = path.with_suffix(".new")
            with open(draft, "wb") as file:
                file.write(start.to_bytes(8, "little", signed=True))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        clock = cls(path)
        if start > clock.now():
            clock.move(start)
        return clock

    def now(self) -> Instant:
        return Instant(int.from_bytes(self._map[:8], "little", signed=True))

    def move(self, now: Instant) -> None:
        """Set the clock to ``now``; raises ``BadInput`` when that would be a step back."""
        current = self.now()
        if now < current:
            raise BadInput(
                f"now: the test clock only moves forward; it stands at {format_instant(current)}"
            )
        self._map[:8] = now.to_bytes(8, "little", signed=True)
        self._map.flush()


def to_datetime(instant: Instant | int) -> datetime:
    """The aware UTC datetime of an instant."""
    return _EPOCH + timedelta(microseconds=instant)


def from_datetime(moment: datetime) -> Instant:
    """The instant of a datetime; a naive one is taken as UTC (DESIGN 4.5)."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Instant((moment - _EPOCH) // _MICROSECOND)


def parse_instant(text: str) -> Instant | None:
    """The instant of an RFC 3339 text, None when it is none (or outside the years 1 to 9999).

    Digits beyond microseconds are cut, a text without an offset is UTC (DESIGN 4.5).
    """
    try:
        instant = from_datetime(msgspec.convert(_MORE_DIGITS.sub(r"\1", text), datetime))
    except msgspec.ValidationError:
        return None
    return instant if _FIRST <= instant <= _LAST else None  # an offset may lead out of the years


@lru_cache(maxsize=32_768)
def format_instant(instant: Instant | int) -> str:
    """RFC 3339 in UTC with a ``Z``: milliseconds, or microseconds where they are needed.

    Remembered, because every answer tells the present and where a period begins and ends.
    """
    second, microsecond = divmod(instant, SECOND)
    if microsecond % 1000 == 0:
        return f"{_second_text(second)}.{microsecond // 1000:03d}Z"
    return f"{_second_text(second)}.{microsecond:06d}Z"


def _second_text(second: int) -> str:
    return to_datetime(second * SECOND).replace(tzinfo=None).isoformat(timespec="seconds")
