"""The worker process: the fold's steps on the main thread, upkeep on another.

Counting ends with the process when it meets an error that is not its work's: the supervisor starts
a new one, which finds in the record of attempts what the old one died of. Upkeep (merges, garbage,
expiry) only tidies, so its errors are logged and tried again later; counting goes on.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from tallystick import limits
from tallystick.app import open_worker
from tallystick.backoff import backoff_seconds
from tallystick.errors import TallystickError
from tallystick.folder import DataFolder
from tallystick.process.collecting import collect_as_usual, collect_seldom
from tallystick.process.link import Link
from tallystick.process.loops import run_steps
from tallystick.process.owner import OwnerLock
from tallystick.process.pids import remove_pid, write_pid
from tallystick.settings import Settings
from tallystick.threads import yield_to_others

log = logging.getLogger(__name__)

# Merges give way to nearly everything, but not as much as queries: they must keep up.
_UPKEEP_NICENESS: Final = 15


def run_worker(settings: Settings, link: Link | None, owner_descriptor: int | None) -> int:
    """Fold until SIGTERM or SIGINT, finish the step, and return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder = DataFolder(settings.data_dir)
    with ExitStack() as stack:
        if owner_descriptor is None:
            stack.callback(OwnerLock.take(folder).release)
        stack.callback(remove_pid, write_pid(folder, "worker", 0))
        worker = stack.enter_context(open_worker(settings))
        upkeep = threading.Thread(
            target=_keep_up, args=(worker.upkeep_step, stop), name="upkeep", daemon=True
        )
        upkeep.start()
        collect_seldom()
        stack.callback(collect_as_usual)
        _say_ready(link)
        code = _count(worker.paced_step, stop)
        stop.set()
        upkeep.join(limits.DRAIN_UPKEEP_SECONDS_MAX)
        if upkeep.is_alive():
            # A long merge; nothing of it is named yet, and the next worker begins it anew.
            os._exit(code)
    return code


@contextmanager
def working(settings: Settings) -> Iterator[Callable[[], None]]:
    """A worker in this process, which owns the folder: each call does one step of it, or waits a
    moment when there is nothing to do. Upkeep goes on beside it."""
    stop = threading.Event()
    with open_worker(settings, alone=True) as worker:
        upkeep = threading.Thread(
            target=_keep_up, args=(worker.upkeep_step, stop), name="upkeep", daemon=True
        )
        upkeep.start()

        def step() -> None:
            if not worker.step():
                stop.wait(limits.IDLE_SECONDS_MIN)

        collect_seldom()
        try:
            yield step
        finally:
            stop.set()
            upkeep.join()
            collect_as_usual()


def _count(step: Callable[[], bool], stop: threading.Event) -> int:
    """Run the steps; returns the exit code, 1 after an error that ends this worker."""
    try:
        run_steps(step, stop)
    except TallystickError as error:
        log.error("counting ends: %s", error.message)  # noqa: TRY400 - one line says it all
        return 1
    except Exception:
        log.exception("counting ends")
        return 1
    return 0


def _say_ready(link: Link | None) -> None:
    if link is None:
        print("worker ready", flush=True)
    else:
        link.ready()


def _keep_up(step: Callable[[], bool], stop: threading.Event) -> None:
    yield_to_others(_UPKEEP_NICENESS)
    failures = 0
    while not stop.is_set():
        try:
            run_steps(step, stop)
        except Exception:
            log.exception("upkeep failed; it goes on after a while")
            stop.wait(backoff_seconds(failures))
            failures += 1
