"""DuckDB for reading the archive, off the event loop and within limits.

Owns: one in-memory DuckDB of a process, and the sessions in which its threads read. Promises: all
sessions together stay under one memory limit and spill to a folder of their own beyond it; a
session that passes its time is interrupted; no session reaches the network, another folder or a
Python variable. Leaves to others: how many sessions run at once (the pool that calls).

Each calling thread runs its own query (the engine has no threads of its own), so lowering that
thread's priority lowers the query's: see ``yield_to_others``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
from numpy.typing import NDArray

from tallystick import limits
from tallystick.errors import TimedOut, Unavailable

_INTERRUPT_AGAIN_SECONDS: Final = 0.05


class QueryEngine:
    """A DuckDB that only reads ``data_folder``'s archive. Safe to use from several threads."""

    def __init__(
        self,
        data_folder: Path,
        *,
        memory_mib: int = limits.QUERY_MEMORY_MIB_MAX,
        seconds: float = limits.QUERY_SECONDS_MAX,
    ) -> None:
        """Open the engine. ``seconds`` bounds each session."""
        self._seconds = seconds
        # DuckDB names its spill files alike in every process: each engine has its own folder.
        spill = data_folder / "run" / f"queries-{os.getpid()}-{id(self):x}"
        spill.mkdir(parents=True, exist_ok=True)
        self._spill = spill
        self._archive = data_folder / "archive"
        self._memory_mib = memory_mib
        self._opening = threading.Lock()
        self._opened: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Queries that share temp tables and one time limit.

        Raises ``TimedOut`` when the time is up, ``Unavailable`` when memory was not enough or a
        file was replaced and collected meanwhile.
        """
        connection = self._database().cursor()
        deadline = time.monotonic() + self._seconds
        done = threading.Event()
        watch = threading.Thread(
            target=_interrupt_at, args=(connection, deadline, done), name="query-watch", daemon=True
        )
        watch.start()
        try:
            with _translated(self._seconds):
                yield Session(connection, deadline)
        finally:
            done.set()
            watch.join()
            connection.close()

    def close(self) -> None:
        """End the engine; no session may be open."""
        if self._opened is not None:
            self._opened.close()
        for left in self._spill.iterdir():
            left.unlink(missing_ok=True)
        self._spill.rmdir()

    def _database(self) -> duckdb.DuckDBPyConnection:
        """Opened when first asked for: an API process of a server nearly never asks."""
        with self._opening:
            if self._opened is None:
                self._opened = _open(self._archive, self._spill, self._memory_mib)
            return self._opened


class Session:
    """One connection of the engine, used by one thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement for its effect on this session's temp tables."""
        self._check_time()
        self._connection.execute(sql, list(values))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, a few thousand in memory at a time. One query at a time."""
        self.run(sql, values)
        while batch := self._connection.fetchmany(limits.QUERY_FETCH_ROWS):
            yield from batch
            self._check_time()

    def table(self, name: str, columns: Mapping[str, NDArray[Any]]) -> None:
        """Make arrays readable as the relation ``name``; they must live as long as it is used."""
        self._connection.register(name, dict(columns))

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise duckdb.InterruptException("the time is up")


def _open(archive: Path, spill: Path, memory_mib: int) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": f"{memory_mib}MiB",
            "temp_directory": str(spill),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "preserve_insertion_order": "false",
        },
    )
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET enable_progress_bar = false")
    database.execute("SET allowed_directories = ?", [[str(archive), str(spill)]])
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def _interrupt_at(
    connection: duckdb.DuckDBPyConnection, deadline: float, done: threading.Event
) -> None:
    """Interrupt until the session ends: an interrupt between two queries would be lost."""
    wait = deadline - time.monotonic()
    while not done.wait(max(wait, 0)):
        connection.interrupt()
        wait = _INTERRUPT_AGAIN_SECONDS


@contextmanager
def _translated(seconds: float) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException as error:
        raise TimedOut(
            f"the query took longer than {seconds:g} s; ask for a shorter range"
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise Unavailable(
            "the query needs more memory than the server allows queries now; "
            "ask for a shorter range or fewer groups"
        ) from error
    except duckdb.IOException as error:
        raise Unavailable(
            "the archive could not be read; try again, since a file may just have been replaced"
        ) from error
