"""What takes long and needs no store: listing buckets and reading objects, on a thread of its own.

Owns: one job at a time and the few results that may wait for whoever counts them. Promises: the
fold never waits for a network, and nobody else for this thread; memory is that of two pieces; a job
that is given up ends at its next result.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from tallystick.threads import yield_to_others

Result = TypeVar("Result")

_AHEAD: Final = 2
_POLL_SECONDS: Final = 0.1


class Ended:
    """Comes after the last result of a job; ``error`` is what it ended with, if it failed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class Feed(Generic[Result]):
    """The results of one job, one by one."""

    def __init__(self, name: str, job: Callable[[], Iterator[Result]]) -> None:
        """Begin ``job`` on a thread; ``name`` is the thread's."""
        self._results: queue.Queue[Result | Ended] = queue.Queue(_AHEAD)
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(job,), name=name, daemon=True)
        self._thread.start()

    def take(self, wait_seconds: float = 0.0) -> Result | Ended | None:
        """The next result, None when there is none yet. After ``Ended`` there is nothing more."""
        try:
            return self._results.get(block=wait_seconds > 0, timeout=wait_seconds or None)
        except queue.Empty:
            return None

    def give_up(self) -> None:
        """Nobody takes the rest."""
        self._given_up.set()

    def _run(self, job: Callable[[], Iterator[Result]]) -> None:
        yield_to_others()
        ended = Ended()
        try:
            for result in job():
                if not self._put(result):
                    return
        except Exception as error:
            ended = Ended(error)
        self._put(ended)

    def _put(self, result: Result | Ended) -> bool:
        while not self._given_up.is_set():
            try:
                self._results.put(result, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
