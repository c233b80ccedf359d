"""How fresh the counters are, told by the worker to every API process of the machine.

Three numbers in a mapped file: the folded position, the instant before which every accepted event
is counted (DESIGN 4.12), and the sum of both, which tells a torn write. A reader asks *before* it
reads counters, so what it then reads is at least as fresh. Losing the file loses nothing: the
worker writes it anew when it starts.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

from tallystick.clock import Instant

_LAYOUT = struct.Struct("<qqq")
_READS_MAX = 1_000


class Fresh(NamedTuple):
    """``position``: folded up to here, included. ``as_of``: everything accepted before is in."""

    position: int
    as_of: Instant


class Freshness:
    """Read by many, written by one worker."""

    def __init__(self, path: Path) -> None:
        """Map ``path``, creating it at position 0 and the epoch when it is missing."""
        self._map = mapped_page(path, _LAYOUT.size)

    def read(self) -> Fresh:
        """The latest pair; a torn one is read again (its sum does not fit).

        Who wrote one that stays torn died over it: until the worker writes the next, nothing is
        known to be counted.
        """
        for _ in range(_READS_MAX):
            position, as_of, check = _LAYOUT.unpack(self._map[:])
            if position + as_of == check:
                return Fresh(position, Instant(as_of))
        return Fresh(0, Instant(0))

    def write(self, position: int, as_of: Instant) -> None:
        """Tell everyone."""
        self._map[:] = _LAYOUT.pack(position, as_of, position + as_of)


def mapped_page(path: Path, size: int) -> mmap.mmap:
    """The first ``size`` bytes of a file for reading and writing; what is missing becomes zeros.

    Others may have it mapped, so it is never cut; a full disk or loss of power may have left it
    shorter. Raises ``OSError`` when there is no room: later writes cannot fail for want of it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        present = os.fstat(descriptor).st_size
        if present < size:
            os.pwrite(descriptor, bytes(size - present), present)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
