"""The endless loop lives here, once: bounded steps until told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tallystick import limits
from tallystick.backoff import backoff_seconds
from tallystick.errors import TryLater

log = logging.getLogger(__name__)


def run_steps(step: Callable[[], bool], stop: threading.Event) -> None:
    """Call ``step`` until ``stop`` is set; it returns whether it had work.

    Without work the next call waits a little, up to ``IDLE_SECONDS_MAX``. ``TryLater`` (the store
    cannot take it now) is logged and tried again after growing waits; any other error ends the
    loop, because the step itself deals with work that cannot succeed.
    """
    idle = limits.IDLE_SECONDS_MIN
    failures = 0
    while not stop.is_set():
        try:
            worked = step()
        except TryLater as error:
            wait = backoff_seconds(failures)
            failures += 1
            log.warning("%s; again in %.1f s", error.message, wait)
            stop.wait(wait)
            continue
        failures = 0
        if worked:
            idle = limits.IDLE_SECONDS_MIN
        else:
            stop.wait(idle)
            idle = min(2 * idle, limits.IDLE_SECONDS_MAX)
