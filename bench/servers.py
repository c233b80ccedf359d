"""The servers under test, as child processes of the bench on free loopback ports.

Owns: their start, their end (by process id, with the block), and what they weigh in memory.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench.load import TargetName

# On a disk, not in shared memory: what is measured includes fsync.
SCRATCH = Path("/var/tmp")
START_SECONDS_MAX = 60


@dataclass(frozen=True)
class Server:
    """A running server. ``pid`` is of its topmost process."""

    target: TargetName
    port: int
    pid: int
    key: str = ""
    folder: Path | None = None

    def resident_mib(self) -> float:
        """Memory of all its processes; pages they share are counted once (PSS)."""
        top = psutil.Process(self.pid)
        processes = [top, *top.children(recursive=True)]
        return round(sum(_proportional_bytes(process) for process in processes) / 2**20, 1)

    def busy_share(self, over_seconds: float) -> float:
        """What its processes take of one processor, watched for so long."""
        before = self._processor_seconds()
        time.sleep(over_seconds)
        return (self._processor_seconds() - before) / over_seconds

    def _processor_seconds(self) -> float:
        top = psutil.Process(self.pid)
        return sum(_busy_seconds(process) for process in [top, *top.children(recursive=True)])


@contextmanager
def tallystick(workers: int = 1) -> Iterator[Server]:
    """Tallystick on an empty data folder, which goes with the block."""
    folder = Path(tempfile.mkdtemp(prefix="tallystick-bench-", dir=SCRATCH))
    key = f"server-{secrets.token_hex(16)}"
    command = [
        sys.executable, "-m", "tallystick", "serve", "--data-dir", str(folder / "data"),
        "--host", "127.0.0.1", "--port", "0", "--workers", str(workers),
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **_key(key)}
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if not line.startswith("listening on "):
            raise SystemExit(f"tallystick did not start: {(folder / 'log').read_text()[-2000:]}")
        yield Server("tallystick", int(line.rsplit(":", 1)[1]), process.pid, key, folder / "data")
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def home_made(workers: int = 1) -> Iterator[Server]:
    """The baseline on an empty database, which goes with the block."""
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.home_made", "--port", str(port), "--workers", str(workers)],
        stdout=subprocess.DEVNULL,
    )
    try:
        _await_health(f"http://127.0.0.1:{port}/health", process)
        yield Server("home-made", port, process.pid)
    finally:
        _end(process)


def _key(key: str) -> dict[str, str]:
    return {"TALLYSTICK_API_KEY": key}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{url} does not answer") from None
            time.sleep(0.1)
        else:
            return


def _busy_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.NoSuchProcess:
        return 0
    return int(getattr(memory, "pss", memory.rss))
