"""``tallystick serve``: API processes, the worker and the process for queries, kept running.

Owns: the data folder's lock, the listening socket, and its children's lives. Promises: the first
line on stdout says ``listening on …`` and is written when all of them are ready; a child that ends
is started again, later each time it ends soon, unless its end helped to find a request that kills
whoever folds it (``fold/attempts.py``); SIGTERM and SIGINT end the API processes first, after their
last answers, then the others, the worker after its step, with exit code 0; no child outlives the
supervisor (``process/link.py``).
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from tallystick import limits
from tallystick.errors import OperatorError
from tallystick.process.children import Child
from tallystick.process.link import READY

log = logging.getLogger(__name__)

_WRONG_USE: Final = 2
_POLL_SECONDS_MAX: Final = 60.0


class Supervisor:
    """Runs children until it is told to stop."""

    def __init__(
        self, children: list[Child], announce: Callable[[], None], close_door: Callable[[], None]
    ) -> None:
        """``announce`` is called once, when every child is ready for the first time.

        ``close_door`` is called when the end begins, so that new connections are refused at once
        instead of waiting for nobody.
        """
        self._children = children
        self._announce = announce
        self._close_door = close_door
        self._announced = False
        self._told_to_end = False
        self._stop_by: float | None = None
        self._exit_code = 0
        self._failure: str | None = None
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Start, watch, restart and finally end the children; returns the exit code."""
        with _wakeups(self._on_signal) as wakeup:
            self._selector.register(wakeup, selectors.EVENT_READ)
            while not self._is_over():
                self._obey()
                self._drain()
                self._start_due()
                self._wait()
                self._reap()
        self._selector.close()
        if self._failure is not None:
            raise OperatorError(self._failure)
        return self._exit_code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._told_to_end = True

    def _obey(self) -> None:
        if self._told_to_end and self._stop_by is None:
            self._begin_stop(0)

    def _begin_stop(self, exit_code: int) -> None:
        self._stop_by = time.monotonic() + limits.DRAIN_SECONDS_MAX
        self._exit_code = exit_code
        self._close_door()

    def _is_over(self) -> bool:
        return self._stop_by is not None and not any(child.is_running for child in self._children)

    def _start_due(self) -> None:
        for child in self._children:
            if self._stop_by is None and child.is_due(time.monotonic()):
                link = child.start()
                if link is not None:
                    self._selector.register(link, selectors.EVENT_READ, child)

    def _wait(self) -> None:
        moments = [child.start_at for child in self._children if not child.is_running]
        if self._stop_by is not None:
            moments = [self._stop_by]
        until = min(moments, default=time.monotonic() + _POLL_SECONDS_MAX)
        for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
            self._read(key)

    def _read(self, key: selectors.SelectorKey) -> None:
        """A child said that it is ready, or its end closed; or a signal woke us."""
        link = key.fileobj
        assert isinstance(link, socket.socket)
        try:
            said = link.recv(64)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not isinstance(key.data, Child):
            return
        if said[:1] == READY:
            key.data.is_ready = True
            self._announce_once()
        elif not said:
            self._selector.unregister(link)

    def _announce_once(self) -> None:
        if not self._announced and all(child.is_ready for child in self._children):
            self._announced = True
            self._announce()

    def _reap(self) -> None:
        for child in self._children:
            link = child.link
            code = child.take_exit_code()
            if code is None:
                continue
            if link is not None and link.fileno() in self._selector.get_map():
                self._selector.unregister(link)
            if link is not None:
                link.close()
            if self._stop_by is None:
                self._judge(child, code)

    def _judge(self, child: Child, code: int) -> None:
        """A child ended although nobody told it to."""
        if not self._announced and code == _WRONG_USE:
            self._begin_stop(_WRONG_USE)  # it has said why
        elif not self._announced and child.failures >= limits.STARTS_FAILED_MAX:
            self._failure = f"the {child.name} process ended {child.failures} times while starting"
            self._begin_stop(_WRONG_USE)
        else:
            wait = max(0.0, child.start_at - time.monotonic())
            log.warning("%s ended with code %d; again in %.1f s", child.name, code, wait)

    def _drain(self) -> None:
        """While stopping: API processes first, then the others; whoever is late is killed."""
        if self._stop_by is None:
            return
        running = [child for child in self._children if child.is_running]
        doors = [child for child in running if child.role == "api"]
        for child in doors or running:
            child.terminate()
        if time.monotonic() >= self._stop_by:
            for child in running:
                child.kill()
            self._stop_by = time.monotonic() + _POLL_SECONDS_MAX


@contextlib.contextmanager
def _wakeups(
    handler: Callable[[int, FrameType | None], None],
) -> Iterator[socket.socket]:
    """Handle our signals by ``handler`` and make the yielded socket readable at each."""
    ours, kernels = socket.socketpair()
    ours.setblocking(False)
    kernels.setblocking(False)
    before = {
        number: signal.signal(number, handler)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    }
    signal.set_wakeup_fd(kernels.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(-1)
        for number, previous in before.items():
            signal.signal(number, previous)
        ours.close()
        kernels.close()
