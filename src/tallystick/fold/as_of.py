"""The instant before which every accepted event is counted (DESIGN 4.12), told as it becomes later.

Owns: what may be said of it, also when the clock is set back. Promises: what is told is true by the
clock as it is; it goes back only when the clock did. Nothing is taken over from a former process:
the clock may have been another in between.

A request came in before it was stored, so everything stored before it is older than nothing that
still waits: with the clock going forward, the time of a folded request is true, and so is the
instant at which the inbox was found drained. What was stored when the clock was found set back has
times by both clocks: until it is folded nothing later is told than the clock showed when it was.
"""

from __future__ import annotations

import time

from tallystick.clock import SECOND, Instant


class AsOf:
    """Works out what to tell after each step of one process."""

    def __init__(self, now: Instant, head: int, first_waiting: Instant | None) -> None:
        """``head`` is the last position of the inbox, ``first_waiting`` when the first request that
        waits came in, None when none does."""
        self.told = now if first_waiting is None else first_waiting
        self._looked_at = now
        self._looked_real = time.monotonic()
        self._unclear_to = -1
        self._clear_until = Instant(0)
        if self.told > now:
            self._begin_again(head, Instant(0))

    def look(self, now: Instant, head: int) -> None:
        """A step begins: notice whether the clock was set back since the last one began."""
        real = time.monotonic()
        if now < self._looked_at:
            passed = int((real - self._looked_real) * SECOND)
            self._begin_again(head, Instant(now - passed))
        self._looked_at, self._looked_real = now, real

    def tell(self, position: int, last_received: Instant, *, drained: bool) -> Instant:
        """The instant after a step that left everything up to ``position`` folded."""
        if drained or position > self._unclear_to:
            self._unclear_to = -1
        true = self._looked_at if drained else min(last_received, self._looked_at)
        if self._unclear_to >= 0:
            true = min(true, self._clear_until)
        self.told = max(self.told, true)
        return self.told

    def _begin_again(self, head: int, clear_until: Instant) -> None:
        self.told = Instant(0)
        self._unclear_to = head
        self._clear_until = clear_until
