"""Remembers which requests were being folded, so that one that kills the process is found.

Forty bytes in a mapped file, written before a step and after it. They survive the process, not
loss of power, which is enough: power does not fail because of a request.

After a death the requests of that step are folded a sixteenth at a time, until the part that holds
the killer has died too, and so on down to one request. So few deaths find it among many requests,
and each of them costs a start of the process. The supervisor reads the record too (``Isolation``):
a death that came closer to the killer is no reason to wait longer before the next start.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

from tallystick import limits
from tallystick.freshness import mapped_page
from tallystick.inbox.inbox import InboxRequest

PARTS: Final = 16
"""Into how many parts the requests of a step that ended the process are cut."""

_LAYOUT = struct.Struct("<qqqqq")
_OBJECTS: Final = -(1 << 62)
_OBJECT_BITS: Final = 34


class Attempt(NamedTuple):
    """Positions [first, last], and how often a process began to fold them and did not return.

    Up to ``suspect_last``, at most ``together`` requests are folded together.
    """

    first: int
    last: int
    times: int
    suspect_last: int
    together: int

    def comes_closer(self, before: Attempt) -> bool:
        """Whether a process that died of this attempt narrows down what one died of before.

        That ends: ranges shrink down to one request, and its attempts are counted.
        """
        if not self.times or not before.times:
            return False
        if (self.first, self.last) == (before.first, before.last):
            return before.times < self.times <= limits.STEP_ATTEMPTS_MAX
        return before.first <= self.first and self.last <= before.last


class Attempts:
    """One mapped file, written by the worker alone."""

    def __init__(self, path: Path) -> None:
        self._map = mapped_page(path, _LAYOUT.size)

    def cut(self, requests: list[InboxRequest]) -> list[InboxRequest]:
        """The first of the requests that come next: all, unless a former process died of some."""
        record = self._read()
        first = requests[0].position
        if record.times and record.first == first:
            inside = sum(1 for request in requests if request.position <= record.last)
            together = max(1, inside // PARTS)
            self._write(record._replace(suspect_last=record.last, together=together))
            return requests[:together]
        return requests[: record.together] if first <= record.suspect_last else requests

    def suspects_after(self, position: int) -> bool:
        """Whether requests that follow ``position`` are still cut because of a death."""
        return position < self._read().suspect_last

    def begin(self, first: int, last: int) -> int:
        """Record that [first, last] is about to be folded; returns which attempt this is."""
        before = self._read()
        again = (before.first, before.last) == (first, last)
        times = before.times + 1 if again else 1
        self._write(before._replace(first=first, last=last, times=times))
        return times

    def note_records(self, number: int, first: int, records: int, times: int) -> None:
        """Record that records of object ``number`` are about to be counted, for who follows the
        deaths of workers. What they are, and how often, the object's row remembers."""
        # As a range that no position of the inbox is in, and no other object's record either.
        place = _OBJECTS + (number << _OBJECT_BITS) + first
        self._write(self._read()._replace(first=place, last=place + records, times=times))

    def end(self) -> None:
        """The step returned, well or with an error: it did not kill the process."""
        self._write(self._read()._replace(first=0, last=0, times=0))

    def _read(self) -> Attempt:
        return _parsed(self._map[:])

    def _write(self, record: Attempt) -> None:
        self._map[:] = _LAYOUT.pack(*record)


class Isolation:
    """Follows the deaths of workers on one mapped file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: Attempt | None = None

    def came_closer(self) -> bool:
        """Asked once after each death: whether it narrows down what the one before died of."""
        before, self._before = self._before, self._read()
        return bool(before and self._before and self._before.comes_closer(before))

    def _read(self) -> Attempt | None:
        """None when no worker ever made the file."""
        try:
            return _parsed(self._path.read_bytes())
        except (OSError, struct.error):
            return None


def _parsed(page: bytes) -> Attempt:
    return Attempt(*_LAYOUT.unpack_from(page))
