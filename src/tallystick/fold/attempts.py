"""Remembers which requests were being folded, so that one that kills the process is found.

Twenty-four bytes in a mapped file, written before a step and cleared after it. They survive the
process, not loss of power, which is enough: power does not fail because of a request.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

_LAYOUT = struct.Struct("<qqq")


class Attempt(NamedTuple):
    """Positions [first, last] and how often a process began to fold them and did not return."""

    first: int
    last: int
    times: int


class Attempts:
    """One mapped file, written by the worker alone."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_LAYOUT.pack(0, 0, 0))
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)

    def left_behind(self) -> Attempt | None:
        """The step a former process died in, if it did."""
        attempt = Attempt(*_LAYOUT.unpack(self._map[:]))
        return attempt if attempt.times else None

    def begin(self, first: int, last: int) -> int:
        """Record that [first, last] is about to be folded; returns which attempt this is."""
        before = self.left_behind()
        again = before is not None and (before.first, before.last) == (first, last)
        times = before.times + 1 if again and before is not None else 1
        self._map[:] = _LAYOUT.pack(first, last, times)
        return times

    def end(self) -> None:
        """The step returned, well or with an error: it did not kill the process."""
        self._map[:] = _LAYOUT.pack(0, 0, 0)
