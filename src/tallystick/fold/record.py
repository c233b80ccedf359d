"""The files of a fold: what was new, and what was a repetition.

Owns: writing a step's events and duplicates as Parquet, durable before anything names them; events
that another connection can read also on a thread, and so a core, of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import duckdb

from tallystick.archive.drafts import Drafts
from tallystick.archive.manifest import FileDraft, Kind, Way
from tallystick.archive.relation import DUPLICATE_COLUMNS, EVENT_COLUMNS, copy_to_parquet
from tallystick.threads import begin

# What the manifest says about a file: rows, positions, and the range of its times.
EXTENT = """
SELECT count(*), min(position), max(position), min(epoch_us({time})), max(epoch_us({time}))
FROM {table}
"""


class _Relation(NamedTuple):
    """What becomes a file: rows of a table, or of a select in parentheses."""

    kind: Kind
    way: Way
    table: str
    time: str
    columns: str
    bucket: int


class Recorder:
    """Writes temp tables of one connection to files of one data folder."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        data_folder: Path,
        epoch: int,
        file_name: Callable[[str, str, str], str],
        *,
        yielding: bool = True,
    ) -> None:
        """``yielding``: what is written beside lets other processes go first."""
        self._connection = connection
        self._data_folder = data_folder
        self._epoch = epoch
        self._file_name = file_name
        self._beside = connection.cursor()
        self._yielding = yielding

    def close(self) -> None:
        """Let go of the second connection; nothing is being written."""
        self._beside.close()

    def drafts(self) -> Drafts:
        """Takes charge of files until a transaction has named them."""
        return Drafts(self._data_folder)

    def events(self, way: Way) -> FileDraft | None:
        """The table ``events`` as an archive file; None when it is empty."""
        return self._write(self._connection, _events(way, "events"))

    def events_beside(self, way: Way, select: str) -> Future[FileDraft | None]:
        """The same of a select that gives what ``events`` does, from tables that all connections
        see, while the caller goes on."""
        relation = _events(way, f"({select})")
        write = partial(self._write, self._beside, relation)
        return begin(write, "archive-file", yielding=self._yielding)

    def duplicates(self, bucket: int) -> FileDraft | None:
        """The table ``repeated`` as a file of the log of duplicates; None when it is empty."""
        relation = _Relation("duplicates", "", "repeated", "received_at", DUPLICATE_COLUMNS, bucket)
        return self._write(self._connection, relation)

    def _write(
        self, connection: duckdb.DuckDBPyConnection, relation: _Relation
    ) -> FileDraft | None:
        kind, way, table, time, columns, bucket = relation
        # fetchall: a result that is not read to its end keeps the connection busy.
        (row,) = connection.execute(EXTENT.format(table=table, time=time)).fetchall()
        count, first, last, time_first, time_last = cast("tuple[int, ...]", row)
        if count == 0:
            return None
        name = self._file_name("archive", kind, "parquet")
        size = copy_to_parquet(
            connection, f"SELECT {columns} FROM {table}", self._data_folder / name
        )
        return FileDraft(
            kind=kind, name=name, epoch=self._epoch, row_count=count, bytes=size, way=way,
            position_first=first, position_last=last, time_first=time_first, time_last=time_last,
            bucket=bucket,
        )  # fmt: skip


def _events(way: Way, table: str) -> _Relation:
    return _Relation("archive", way, table, "event_time", EVENT_COLUMNS, 0)
