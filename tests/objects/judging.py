"""What readers make of a piece: the rows that the archive would keep, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np

from tallystick.clock import DAY, Instant
from tallystick.fold import batch as batches
from tallystick.inbox.inbox import InboxRequest
from tallystick.ingest.events import accept_events
from tallystick.objects.csv_rows import RowReader, header_of
from tallystick.objects.cutting import START, pieces
from tallystick.objects.ndjson import LineReader
from tallystick.objects.parquet_rows import ParquetReader
from tallystick.objects.records import Columns, Problem
from tallystick.objects.sent import Rules, Sent

NOW = Instant(1_767_225_600_000_000)  # 2026-01-01
MODIFIED = Instant(NOW - DAY)
PIECE_BYTES = 1 << 24

KEPT = """
SELECT customer, resource, event_name, key, epoch_us(event_time), dimensions FROM incoming
"""

Row = tuple[Any, ...]


class Judged(NamedTuple):
    """Of a piece: (line, what is kept) of each good record, and the problems of each bad one."""

    rows: list[tuple[int, Row]]
    rejected: dict[int, list[Problem]]

    @property
    def kept(self) -> list[Row]:
        """What is kept, in order."""
        return [row for _, row in self.rows]


class Bench:
    """A place where readers are tried."""

    def __init__(self, folder: Path) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        self.folder = folder
        self._numbers = count()

    def lines(self, data: bytes, renamed: Mapping[str, str] | None = None) -> Judged:
        """An object of JSON lines."""
        reader = LineReader()
        columns = Columns(renamed)
        return self._cut(data, "lines", lambda: reader, columns, 0)

    def csv(self, data: bytes, renamed: Mapping[str, str] | None = None) -> Judged:
        """An object of CSV."""
        columns = Columns(renamed)
        reader = RowReader(header_of(iter([data])), columns)
        return self._cut(data, "csv", lambda: reader, columns, 1)

    def parquet(self, select: str, renamed: Mapping[str, str] | None = None) -> Judged:
        """A Parquet file of what a query returns."""
        path = self.folder / f"{next(self._numbers)}.parquet"
        self.connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        columns = Columns(renamed)
        reader = ParquetReader(self.connection, path, columns)
        sent = self._sent(np.arange(1, reader.rows + 1, dtype=np.int64), columns)
        reader.read(sent, 0)
        return self._judged([sent])

    def request(self, *events: bytes) -> list[Row]:
        """What the archive keeps of the same events sent to the API."""
        accepted = accept_events(b'{"events":[' + b",".join(events) + b"]}", NOW, DAY)
        request = InboxRequest(1, "default", MODIFIED, accepted.events, accepted.lines)
        batches.load(self.connection, [request], self.folder / "api.lines")
        return self.connection.execute(KEPT).fetchall()

    def _cut(
        self,
        data: bytes,
        kind: Any,
        reader: Callable[[], LineReader | RowReader],
        columns: Columns,
        header: int,
    ) -> Judged:
        judged = Judged([], {})
        for piece in pieces(iter([data]), START, kind, PIECE_BYTES):
            sent = self._sent(piece.line_numbers[header:], columns)
            content = piece.data
            if header:
                from tallystick.objects.csv_rows import record_edges

                content = content[int(record_edges(content, quoted=True)[1]) :]
            header = 0
            if len(sent.lines):
                reader().read(sent, content)
                more = self._judged([sent])
                judged.rows.extend(more.rows)
                judged.rejected.update(more.rejected)
            for line in piece.oversized:
                judged.rejected[line] = [Problem("", "too large")]
        return judged

    def _sent(self, lines: Any, columns: Columns) -> Sent:
        rules = Rules(columns, NOW, DAY)
        return Sent(self.connection, self.folder / "scratch.lines", rules, lines)

    def _judged(self, sents: list[Sent]) -> Judged:
        judged = Judged([], {})
        for sent in sents:
            batch = sent.batch("default", 1, "object", MODIFIED, sent.rules.now)
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS {batch.incoming}")
            lines = self.connection.execute("SELECT line FROM incoming").fetchall()
            kept = self.connection.execute(KEPT).fetchall()
            judged.rows.extend((line, row) for (line,), row in zip(lines, kept, strict=True))
            judged.rejected.update({each.line: each.problems for each in sent.rejected})
        return judged


@contextmanager
def careful(reader: type[Any]) -> Iterator[None]:
    """Every record is read one by one in the block: nothing is told in SQL."""
    former = reader._load
    reader._load = lambda *_: False
    try:
        yield
    finally:
        reader._load = former
