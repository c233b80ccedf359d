"""The fold's own DuckDB: one connection, one thread of work, bounded memory.

One thread, because the other core serves requests; a setting may give it more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tallystick.errors import Unavailable

FATAL = (duckdb.FatalException, duckdb.InternalException, MemoryError)
"""After these the engine is no longer usable: only a new process is."""


def open_engine(
    temp_folder: Path, *, threads: int = 1, memory_mib: int = 512
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that spills to ``temp_folder`` and never reaches for the network."""
    temp_folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{memory_mib}MiB",
            "temp_directory": str(temp_folder),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "true",
        },
    )
    connection.execute("SET enable_progress_bar = false")
    return connection


@contextmanager
def disk_failures() -> Iterator[None]:
    """A full or failing disk is the store's failure, whoever meets it: ``Unavailable``."""
    try:
        yield
    except (OSError, duckdb.IOException) as error:
        raise Unavailable(f"the data folder cannot be written or read now: {error}") from error
