"""How fresh the counters are, told by the worker to every API process of the machine.

Three numbers in a mapped file: the folded position, the instant before which every accepted event
is counted (DESIGN 4.12), and the sum of both, which tells a torn write. A reader asks *before* it
reads counters, so what it then reads is at least as fresh. Losing the file loses nothing: the
worker writes it anew when it starts.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

from tallystick.clock import Instant

_LAYOUT = struct.Struct("<qqq")


class Fresh(NamedTuple):
    """``position``: folded up to here, included. ``as_of``: everything accepted before is in."""

    position: int
    as_of: Instant


class Freshness:
    """Read by many, written by one worker."""

    def __init__(self, path: Path) -> None:
        """Map ``path``, creating it at position 0 and the epoch when it is missing."""
        if not path.exists():
            path.write_bytes(_LAYOUT.pack(0, 0, 0))
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)

    def read(self) -> Fresh:
        """The latest pair; a torn one is read again (its sum does not fit)."""
        while True:
            position, as_of, check = _LAYOUT.unpack(self._map[:])
            if position + as_of == check:
                return Fresh(position, Instant(as_of))

    def write(self, position: int, as_of: Instant) -> None:
        """Tell everyone."""
        self._map[:] = _LAYOUT.pack(position, as_of, position + as_of)
