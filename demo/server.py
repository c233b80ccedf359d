"""Starting the demo's server on data of its own, and asking what the SDK has no words for."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tallystick.errors import OperatorError
from tallystick.folder import DataFolder
from tallystick.process.owner import OwnerLock

PREFERRED_PORT = 8080
KEPT_FOLDER = Path("demo-data")


@dataclass(frozen=True)
class Server:
    """A running server, its first key, and where its data is."""

    process: subprocess.Popen[str]
    url: str
    key: str
    folder: Path

    def get(self, path: str) -> Any:
        """A GET of Tallystick's own part of the API."""
        answer = httpx.get(self.url + path, headers={"X-API-KEY": self.key}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def verify(self) -> tuple[bool, dict[str, Any]]:
        """What ``tallystick verify`` says of the environment ``default``, beside the server."""
        told = subprocess.run(
            [*_COMMAND, "verify", "--json", "--data-dir", str(self.folder)],
            stdout=subprocess.PIPE,
            check=False,
        )
        report = json.loads(told.stdout)
        environments = {each["environment"]: each for each in report["environments"]}
        return report["equal"], environments["default"]


_COMMAND = (sys.executable, "-m", "tallystick")


@contextmanager
def running(*, keep: bool) -> Iterator[Server]:
    """A server that lives as long as the block.

    With ``keep`` its data stays in ``demo-data`` until the next demo, else it goes with the server.
    """
    with _folder(keep) as folder:
        key = f"server-{secrets.token_hex(12)}"
        port = _free_port()
        process, line = _started(folder, key, port)
        if not line and port != 0:  # somebody took the port in between
            process, line = _started(folder, key, 0)
        try:
            if not line:
                raise OperatorError("the server did not start; it says why above")
            yield Server(process, line.split()[-1], key, folder)
        finally:
            process.terminate()
            process.wait()


def _started(folder: Path, key: str, port: int) -> tuple[subprocess.Popen[str], str]:
    """A server, and the first line that it says; '' when it ended instead."""
    process = subprocess.Popen(
        [*_COMMAND, "serve", "--data-dir", str(folder), "--port", str(port)],
        env=_environment(key),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline()


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    if not keep:
        with tempfile.TemporaryDirectory(prefix="tallystick-demo-") as name:
            yield Path(name)
        return
    if KEPT_FOLDER.exists():
        # Only what no server owns any more is removed.
        lock = OwnerLock.take(DataFolder(KEPT_FOLDER))
        shutil.rmtree(KEPT_FOLDER)
        lock.release()
    yield KEPT_FOLDER


def _environment(key: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TALLYSTICK_")}
    return inherited | {"TALLYSTICK_API_KEY": key, "TALLYSTICK_LOG_LEVEL": "warning"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            return 0
        return PREFERRED_PORT
