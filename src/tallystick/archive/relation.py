"""The relation ``events``: what a meter selects from, wherever the events lie.

Owns: its columns, their order and types, shared by the fold's micro-batch and the archive's Parquet
files, so that one SQL text runs over both; and how a relation becomes a durable Parquet file.
Leaves to others: which files there are (``manifest``), what a meter selects (``metering``).

``position`` and ``event_index`` say where an event stood in the inbox; of a usage report,
``position`` is its number among the reports and ``feature`` and ``value`` are what was reported.
``resource`` is NULL for the customer itself. Instants are TIMESTAMP in UTC, microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from tallystick.archive.files import sync_file
from tallystick.archive.manifest import FileDraft

EVENT_TYPES: Final = (
    ("environment", "VARCHAR"),
    ("position", "BIGINT"),
    ("event_index", "INTEGER"),
    ("way", "VARCHAR"),
    ("source", "VARCHAR"),
    ("line", "BIGINT"),
    ("customer", "VARCHAR"),
    ("resource", "VARCHAR"),
    ("event_name", "VARCHAR"),
    ("key", "VARCHAR"),
    ("event_time", "TIMESTAMP"),
    ("received_at", "TIMESTAMP"),
    ("dimensions", "VARCHAR"),
    ("feature", "VARCHAR"),
    ("value", "DECIMAL(38, 9)"),
)
"""Name and DuckDB type of each column, in order."""

EVENT_COLUMNS: Final = ", ".join(name for name, _ in EVENT_TYPES)
"""The columns as a select list."""

DUPLICATE_TYPES: Final = (
    ("environment", "VARCHAR"),
    ("position", "BIGINT"),
    ("event_index", "INTEGER"),
    ("customer", "VARCHAR"),
    ("event_name", "VARCHAR"),
    ("key", "VARCHAR"),
    ("received_at", "TIMESTAMP"),
)
"""Name and DuckDB type of each column of the log of duplicates, in order."""

DUPLICATE_COLUMNS: Final = ", ".join(name for name, _ in DUPLICATE_TYPES)

# An empty relation, replacing what the connection had under that name.
CREATE_EVENTS_TABLE: Final = (
    "CREATE OR REPLACE TEMP TABLE events ("
    + ", ".join(f"{name} {kind}" for name, kind in EVENT_TYPES)
    + ")"
)

_CREATE_ROWS: Final = "CREATE OR REPLACE TEMP TABLE event_rows AS "
_SHOW: Final = "CREATE OR REPLACE TEMP VIEW events AS "

USAGE_REPORTED: Final = "$usage.reported"
"""The event name under which usage reports are archived; no meter matches a name with ``$``."""

ROW_GROUP_ROWS: Final = 61_440
"""Rows a reader skips at once when none can match; also what a writer holds in memory."""

_PARQUET_VERSION: Final = "v2"
"""Its encodings make of keys and positions a fifth to a quarter less, and are a tenth faster to
write and to read; every reader of the last years knows them."""

_ZSTD_LEVEL: Final = 1
"""Of events level 1 takes a third less time than DuckDB's 3, and a twentieth less room: most of
what it is given are dictionary codes and keys that look random."""


def events_sql(paths: Sequence[Path]) -> str:
    """A SELECT of the relation over Parquet files; of none, the empty relation."""
    return _select(EVENT_TYPES, paths)


def duplicates_sql(paths: Sequence[Path]) -> str:
    """A SELECT of the log of duplicates over its Parquet files."""
    return _select(DUPLICATE_TYPES, paths)


def paths_of(data_folder: Path, files: Sequence[FileDraft]) -> list[Path]:
    """Where the files of a manifest lie."""
    return [data_folder / file.name for file in files]


def show_events(connection: duckdb.DuckDBPyConnection, select: str) -> None:
    """Let ``events`` be what a select without parameters gives, as often as it is read: for rows
    that are in a table already, which costs less than to copy them."""
    connection.execute(_SHOW + select)


def make_events(
    connection: duckdb.DuckDBPyConnection, select: str, values: Sequence[Any] = ()
) -> None:
    """Let ``events`` be what a select gives now."""
    connection.execute(_CREATE_ROWS + select, values)
    connection.execute(_SHOW + "SELECT * FROM event_rows")


def copy_to_parquet(connection: duckdb.DuckDBPyConnection, select_sql: str, path: Path) -> int:
    """Write what ``select_sql`` gives to ``path`` and make it durable; returns its bytes.

    The file must not exist; nobody reads it before a transaction names it, so that a torn one left
    by a crash is only garbage.
    """
    connection.execute(
        f"COPY ({select_sql}) TO {quoted(path)} (FORMAT parquet, COMPRESSION zstd, "
        f"COMPRESSION_LEVEL {_ZSTD_LEVEL}, PARQUET_VERSION {_PARQUET_VERSION}, "
        f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}, USE_TMP_FILE false)"
    )
    return sync_file(path)


def quoted(text: str | Path) -> str:
    """A SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def _select(types: Sequence[tuple[str, str]], paths: Sequence[Path]) -> str:
    if not paths:
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in types)
        return f"SELECT {nulls} WHERE false"
    columns = ", ".join(name for name, _ in types)
    return f"SELECT {columns} FROM read_parquet([{', '.join(quoted(path) for path in paths)}])"
