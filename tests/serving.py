"""A real server as tests meet it: started, asked, told to end, killed.

Everything waits for what it is about (a line, an end, a file), up to a deadline that only a broken
server reaches.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

API_KEY: Final = "server-of-the-tests-0123456789"
DEADLINE_SECONDS: Final = 30.0
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For HTTP clients: our servers speak no TLS, and each client would load the machine's certificates
first, which takes longer than most tests."""


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS
) -> None:
    """Return as soon as ``condition`` holds; fail naming ``what`` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether the process lives; one that ended and was not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``tallystick …`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tallystick", *arguments],
        env=_environment(variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


class Server:
    """``tallystick serve`` on a port of its own; a context manager that ends it.

    ``role`` api: an API process alone.
    """

    def __init__(self, folder: Path, *flags: str, role: str = "serve", **variables: str) -> None:
        self.folder = folder
        variables.setdefault("TALLYSTICK_API_KEY", API_KEY)
        self.errors = folder.with_name(folder.name + ".stderr")
        arguments = [role, "--data-dir", str(folder), "--port", "0", *flags]
        with open(self.errors, "a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tallystick", *arguments],
                env=_environment(variables),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        first = self.read_line()
        assert first.startswith("listening on http://"), first + self.errors.read_text()
        self.url = first.removeprefix("listening on ").strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def read_line(self) -> str:
        """The next line of its stdout; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def pid_of(self, name: str) -> int:
        """The process id of ``api-0``, ``worker-0``…"""
        return int((self.folder / "run" / f"{name}.pid").read_text())

    def pids(self) -> dict[str, int]:
        """Every process of this server by name; not one that is between two lives."""
        pids: dict[str, int] = {}
        for path in (self.folder / "run").glob("*.pid"):
            with suppress(FileNotFoundError):  # removed since the folder was listed
                pids[path.stem] = int(path.read_text())
        return pids

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def ask(
        self, path: str, body: Any = None, *, key: str | None = API_KEY, method: str | None = None
    ) -> tuple[int, Any]:
        """Status and decoded JSON of one request; POST when there is a body."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"} | ({"X-API-KEY": key} if key else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def _environment(variables: dict[str, str]) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TALLYSTICK_")}
    return inherited | variables
