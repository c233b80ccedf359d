"""How much of the machine an import takes while somebody else wants it.

Owns: telling whether the API is busy, from what its processes leave in the run folder about
themselves (``api/metrics.py``): numbers at most a second old, which grow with each request. While
it is, an import counts small parts on the cores that a setting gives it, so that checks have the
others and events that come by requests are visible as soon as ever. Until that is noticed, what
an import reads and writes on other threads gives way anyhow: they have the least priority.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from tallystick import limits

_LOOK_SECONDS: Final = 1.0


class _Route(msgspec.Struct):
    statuses: dict[str, int]


class _Process(msgspec.Struct):
    routes: list[_Route]


_READER: Final = msgspec.json.Decoder(_Process)


class Share:
    """What an import may use now."""

    def __init__(
        self, run_folder: Path, cores_busy: int, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """``cores_busy`` are for the import while the API is busy; ``seconds`` only go forward."""
        self._run_folder = run_folder
        self._cores_busy = cores_busy
        self._seconds = seconds
        self._looked_at = seconds()
        self._requests = self._answered()
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """Whether more requests came lately than monitoring sends."""
        now = self._seconds()
        passed = now - self._looked_at
        if passed >= _LOOK_SECONDS:
            requests = self._answered()
            # A server that was started anew begins to count anew: less than before is not busy.
            came = requests - self._requests
            self._is_busy = came > limits.API_BUSY_REQUESTS_PER_SECOND * passed
            self._looked_at, self._requests = now, requests
        return self._is_busy

    @property
    def has_second_core(self) -> bool:
        """Whether a second core may be used."""
        return self._cores_busy > 1 or not self.is_busy

    @property
    def rows_max(self) -> int:
        """How many records are counted at once."""
        return limits.OBJECT_BUSY_EVENTS_MAX if self.is_busy else limits.STEP_ALONE_EVENTS_MAX

    def _answered(self) -> int:
        """Requests that the API processes have answered since they started."""
        total = 0
        for path in self._run_folder.glob("*.metrics"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                found = _READER.decode(path.read_bytes())
                total += sum(sum(route.statuses.values()) for route in found.routes)
        return total
