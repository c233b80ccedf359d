"""The files of a fold: what was new, and what was a repetition.

Owns: writing a step's events and duplicates as Parquet, durable before anything names them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import duckdb

from tallystick.archive.drafts import Drafts
from tallystick.archive.manifest import FileDraft, Kind, Way
from tallystick.archive.relation import DUPLICATE_COLUMNS, EVENT_COLUMNS, copy_to_parquet

# What the manifest says about a file: rows, positions, and the range of its times.
EXTENT = """
SELECT count(*), min(position), max(position), min(epoch_us({time})), max(epoch_us({time}))
FROM {table}
"""


class Recorder:
    """Writes temp tables of one connection to files of one data folder."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        data_folder: Path,
        epoch: int,
        file_name: Callable[[str, str, str], str],
    ) -> None:
        self._connection = connection
        self._data_folder = data_folder
        self._epoch = epoch
        self._file_name = file_name

    def drafts(self) -> Drafts:
        """Takes charge of files until a transaction has named them."""
        return Drafts(self._data_folder)

    def events(self, way: Way) -> FileDraft | None:
        """The table ``events`` as an archive file; None when it is empty."""
        select = f"SELECT {EVENT_COLUMNS} FROM events"
        return self._write("archive", way, "events", "event_time", select, 0)

    def duplicates(self, bucket: int) -> FileDraft | None:
        """The table ``repeated`` as a file of the log of duplicates; None when it is empty."""
        select = f"SELECT {DUPLICATE_COLUMNS} FROM repeated"
        return self._write("duplicates", "", "repeated", "received_at", select, bucket)

    def _write(
        self, kind: Kind, way: Way, table: str, time: str, select: str, bucket: int
    ) -> FileDraft | None:
        # fetchall: a result that is not read to its end keeps the connection busy.
        (row,) = self._connection.execute(EXTENT.format(table=table, time=time)).fetchall()
        count, first, last, time_first, time_last = cast("tuple[int, ...]", row)
        if count == 0:
            return None
        name = self._file_name("archive", kind, "parquet")
        size = copy_to_parquet(self._connection, select, self._data_folder / name)
        return FileDraft(
            kind=kind, name=name, epoch=self._epoch, row_count=count, bytes=size, way=way,
            position_first=first, position_last=last, time_first=time_first, time_last=time_last,
            bucket=bucket,
        )  # fmt: skip
