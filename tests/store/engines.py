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

import psycopg

from tallystick.store import Store
from tallystick.store.postgres import PostgresStore, advisory_lock
from tallystick.store.sqlite import SqliteStore
from tests.postgres import administer, fill, new_database, small_disk

_HELD = """
print("held", flush=True)
sys.stdin.readline()
"""

_DIE = """
import os, signal
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""

_HOLD_SQLITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
"""

_OPEN_SQLITE = """
import sys
from pathlib import Path
from tallystick.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), "state")
"""

_HOLD_POSTGRES = """
import psycopg, sys
connection = psycopg.connect(sys.argv[1], autocommit=True)
connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock({sys.argv[2]})")
"""

_OPEN_POSTGRES = """
import sys
from tallystick.store.postgres import PostgresStore
store = PostgresStore(sys.argv[1], "state")
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


@contextmanager
def _held_by(script: str, *arguments: str) -> Iterator[None]:
    """A process that did ``script`` and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", script + _HELD, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.communicate("\n")


def _run_to_death(script: str, argument: str) -> int:
    command = [sys.executable, "-c", script, argument]
    return subprocess.run(command, check=False, timeout=60).returncode


class SqliteEngine(Engine):
    """SQLite in a folder."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.db"

    def open(self) -> Store:
        return SqliteStore(self._path, "state")

    def locked(self) -> AbstractContextManager[None]:
        return _held_by(_HOLD_SQLITE, str(self._path))

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
        return _run_to_death(_OPEN_SQLITE + _DIE + script, str(self._path))


class PostgresEngine(Engine):
    """PostgreSQL, a database of its own on the server of the tests."""

    name = "postgres"

    def __init__(self, folder: Path) -> None:
        self._url = new_database()

    def open(self) -> Store:
        return PostgresStore(self._url, "state")

    def locked(self) -> AbstractContextManager[None]:
        return _held_by(_HOLD_POSTGRES, self._url, str(advisory_lock("state")))

    @contextmanager
    def full(self, store: Store) -> Iterator[None]:
        """The tables are moved to a small disk, which something else then fills."""
        with small_disk() as (tablespace, folder):
            self._move("pg_default", tablespace)
            ballast = fill(folder)
            try:
                yield
            finally:
                ballast.unlink()
                self._move(tablespace, "pg_default")
                administer(f"DROP TABLESPACE {tablespace}")

    def _move(self, before: str, after: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for kind in ("TABLE", "INDEX"):
                connection.execute(
                    f"ALTER {kind} ALL IN TABLESPACE {before} SET TABLESPACE {after}".encode()
                )

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Nobody may write for now: an operator says so, or it is a standby."""
        database = self._url.partition("?")[0].rpartition("/")[2]
        read_only = f"ALTER DATABASE {database} SET default_transaction_read_only"
        administer(f"{read_only} = on")
        self._reconnect()
        try:
            yield
        finally:
            administer(f"ALTER DATABASE {database} RESET default_transaction_read_only")
            self._reconnect()

    def _reconnect(self) -> None:
        """The server ends every connection to the database, as when it is restarted."""
        database = self._url.partition("?")[0].rpartition("/")[2]
        administer(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )

    def run_to_death(self, script: str) -> int:
        return _run_to_death(_OPEN_POSTGRES + _DIE + script, self._url)


ENGINES: tuple[type[SqliteEngine | PostgresEngine], ...] = (SqliteEngine, PostgresEngine)
