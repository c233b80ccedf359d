"""The engines of the SQL store, and how the suite makes each of them fail."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tallystick.store import Store
from tallystick.store.sqlite import SqliteStore

_HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""

_RUN_WITH_A_STORE = """
import os, signal, sys
from pathlib import Path
from tallystick.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), "state")
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Engine(ABC):
    """One database that several stores and processes may open."""

    name: str

    @abstractmethod
    def open(self) -> Store:
        """One more store on the database, with the schema ``state``."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Another process is in the middle of a write."""

    @abstractmethod
    def full(self, store: Store) -> AbstractContextManager[None]:
        """The store's disk has no room left."""

    @abstractmethod
    def failing(self) -> AbstractContextManager[None]:
        """Writing to the store's files fails."""

    @abstractmethod
    def run_to_death(self, script: str) -> int:
        """Run ``script``, given ``store`` and ``die()``, in a process; its return code."""


class SqliteEngine(Engine):
    """SQLite in a folder."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.db"

    def open(self) -> Store:
        return SqliteStore(self._path, "state")

    @contextmanager
    def locked(self) -> Iterator[None]:
        command = [sys.executable, "-c", _HOLD_THE_LOCK, str(self._path)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            try:
                yield
            finally:
                holder.communicate("\n")

    @contextmanager
    def full(self, store: Store) -> Iterator[None]:
        assert isinstance(store, SqliteStore)
        connection: sqlite3.Connection = store._writer
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        try:
            yield
        finally:
            connection.execute("PRAGMA max_page_count = 4294967294")

    @contextmanager
    def failing(self) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        wal = Path(f"{self._path}-wal")
        size = wal.stat().st_size if wal.exists() else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def run_to_death(self, script: str) -> int:
        command = [sys.executable, "-c", _RUN_WITH_A_STORE + script, str(self._path)]
        return subprocess.run(command, check=False, timeout=60).returncode


ENGINES: tuple[type[SqliteEngine], ...] = (SqliteEngine,)
