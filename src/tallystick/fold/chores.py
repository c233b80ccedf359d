"""Work beside the fold, each kind with a try and a wait of its own.

Whatever one kind fails with, the fold and the other kinds go on: it is logged, and that kind alone
is tried again after a growing while. What ends the process all the same: that another owner took
the folder, and errors after which the engine is lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tallystick.backoff import backoff_seconds
from tallystick.errors import OperatorError, TryLater
from tallystick.fold.engine import FATAL, disk_failures

log = logging.getLogger("tallystick.fold")


class Chore:
    """One kind of work, in bounded steps."""

    def __init__(
        self, name: str, step: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``clock`` tells seconds that nobody sets back."""
        self._name = name
        self._step = step
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0

    def step(self) -> bool:
        """One step, unless it failed a moment ago; False also when it fails now."""
        if self._failures and self._clock() < self._not_before:
            return False
        try:
            with disk_failures():
                worked = self._step()
        except (OperatorError, *FATAL):
            raise
        except Exception as error:
            self._wait(error)
            return False
        self._failures = 0
        return worked

    def _wait(self, error: Exception) -> None:
        seconds = backoff_seconds(self._failures)
        self._failures += 1
        self._not_before = self._clock() + seconds
        if isinstance(error, TryLater):
            log.warning("%s: %s; again in %.1f s", self._name, error.message, seconds)
        else:
            log.error("%s failed; again in %.1f s", self._name, seconds, exc_info=error)
