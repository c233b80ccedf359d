"""One child process of the supervisor: how it is started, told to end, and started again."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tallystick import limits
from tallystick.backoff import backoff_seconds
from tallystick.folder import DataFolder
from tallystick.process.pids import remove_pid

log = logging.getLogger(__name__)


class Child:
    """A process that is started again when it ends."""

    def __init__(
        self,
        role: str,
        number: int,
        folder: DataFolder,
        variables: Mapping[str, str],
        inherited: Mapping[str, int],
        came_closer: Callable[[], bool] = bool,
    ) -> None:
        """``inherited``: open descriptors by the flag that tells the child their number.

        ``came_closer`` is asked after each end of the child: whether it narrowed down what ends it,
        so that the next start need not wait longer than this one did.
        """
        self.role = role
        self.name = f"{role}-{number}"
        self.is_ready = False
        self.failures = 0
        self.start_at = 0.0
        self.link: socket.socket | None = None
        self._number = number
        self._pid_file = folder.run / f"{self.name}.pid"
        self._variables = variables
        self._inherited = inherited
        self._came_closer = came_closer
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._told_to_end = False

    @property
    def is_running(self) -> bool:
        """Whether it was started and not yet reaped."""
        return self._process is not None

    def is_due(self, now: float) -> bool:
        """Whether it should be started, ``now`` on the monotonic clock."""
        return self._process is None and now >= self.start_at

    def start(self) -> socket.socket | None:
        """Start it; returns our end of the link, readable when it is ready or has ended.

        None when the machine cannot start a process now; another try is planned then.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                self._process = self._open(theirs)
            except OSError as error:
                ours.close()
                self._plan_start()
                log.warning("%s cannot be started: %s", self.name, error)
                return None
        self._started_at = time.monotonic()
        self._told_to_end = False
        self.link = ours
        return ours

    def _open(self, link: socket.socket) -> subprocess.Popen[bytes]:
        inherited = {**self._inherited, "--link-fd": link.fileno()}
        return subprocess.Popen(
            _command(self.role, self._number, inherited),
            env={**os.environ, **self._variables},
            stdin=subprocess.DEVNULL,
            pass_fds=tuple(inherited.values()),
        )

    def take_exit_code(self) -> int | None:
        """Its exit code, once, when it has ended; the next start is planned then."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return None
        if self.is_ready and time.monotonic() - self._started_at > limits.STEADY_SECONDS_MIN:
            self.failures = 0
        if self._came_closer():
            self.failures = max(0, self.failures - 1)
        self._plan_start()
        self.is_ready = False
        self._process = None
        remove_pid(self._pid_file)
        return code

    def _plan_start(self) -> None:
        self.start_at = time.monotonic() + backoff_seconds(self.failures)
        self.failures += 1

    def terminate(self) -> None:
        """Ask it, once, to finish what it does and end."""
        if self._process is not None and not self._told_to_end:
            self._told_to_end = True
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()


def _command(role: str, number: int, inherited: Mapping[str, int]) -> Sequence[str]:
    flags = [f"{flag}={descriptor}" for flag, descriptor in inherited.items()]
    return [sys.executable, "-m", "tallystick", role, f"--number={number}", *flags]
