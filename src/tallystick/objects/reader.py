"""One object, part by part: whatever its format, rows with the lines at which they begin.

Owns: turning what the feed delivers (pieces of bytes, or a local Parquet file) into parts of at
most so many records, and where reading goes on after each: a place of the object, and how many
records behind it are done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.objects.buckets import Bucket
from tallystick.objects.csv_rows import RowReader, header_of, record_edges
from tallystick.objects.cutting import START, Piece, Place, pieces
from tallystick.objects.errors import DamagedObject
from tallystick.objects.feed import Ended, Feed
from tallystick.objects.formats import Kind, format_of
from tallystick.objects.job import Job
from tallystick.objects.ledger import StoredObject
from tallystick.objects.ndjson import LineReader
from tallystick.objects.parquet_rows import ParquetReader
from tallystick.objects.reading import open_stream, spooled
from tallystick.objects.sent import Sent

Lines = NDArray[np.int64]
Delivered = bytes | Piece | Path
"""The header of CSV, a piece, or where a Parquet file is."""


class Part(NamedTuple):
    """Some records of an object: the line at which each begins, and what puts them into ``sent``.

    Afterwards reading goes on at ``place``, ``skip`` records behind it. ``oversized`` are lines of
    records that were too large to be read; ``bytes`` is what all of it took in the file.
    """

    lines: Lines
    read: Callable[[Sent], None]
    place: Place
    skip: int
    oversized: list[int]
    bytes: int


class ObjectReader:
    """Reads one object from where the ledger says. Used by one thread, which may have another
    ``read`` a part meanwhile, one at a time."""

    def __init__(
        self,
        found: StoredObject,
        job: Job,
        bucket: Bucket,
        connection: duckdb.DuckDBPyConnection,
        data_folder: Path,
    ) -> None:
        self.found = found
        self.job = job
        self.bucket = bucket
        named = format_of(found.key)
        self._kind: Kind = "lines" if named is None else named.kind
        self._connection = connection
        self._data_folder = data_folder
        self.rows_max = limits.OBJECT_CLOSER_ROWS_MAX
        """How many records a part has at most: more as parts show how they are read, fewer after
        one that failed."""
        self.rejects_at: tuple[int, int] | None = None
        """Of which place rejects were written last, perhaps of a part that then was not counted."""
        self.ended = False
        self.tries = 0
        """How often reading began anew."""
        self._rows: _Rows | None = None
        self._upcoming: _PieceRows | None = None
        """The piece after that of ``_rows``, if it was asked for already."""
        self._kept: Delivered | Ended | None = None
        """What came from the feed and was not used yet."""
        self._text: LineReader | RowReader | None = None
        self._feed: Feed[Delivered]
        self._begin()

    def part(self, rows_max: int) -> Part | Ended | None:
        """The next records, at most so many; None while they are on their way.

        It is the same part until ``passed``, though perhaps a smaller one. Raises ``DamagedObject``
        when what came cannot be read.
        """
        while self._rows is None or self._rows.is_done:
            if isinstance(self._rows, _FileRows):
                return Ended()
            result, self._kept = self._kept or self._feed.take(limits.OBJECT_WAIT_SECONDS), None
            if result is None or isinstance(result, Ended):
                return result
            self._receive(result)
        return self._rows.part(min(rows_max, self.rows_max))

    def following(self, part: Part, rows_max: int) -> Part | None:
        """What comes after a part that is not passed yet; None when that is not there yet."""
        rows = self._rows
        if rows is None or not rows.ends_with(part):
            return None if rows is None else rows.after(part, rows_max)
        if isinstance(rows, _FileRows):
            return None
        if self._upcoming is None:
            self._kept = self._kept or self._feed.take()
            if self._text is None or not isinstance(self._kept, Piece):
                return None
            self._upcoming = _PieceRows(self._text, self._kept, rows.piece.place, part.skip)
            self._kept = None
        return self._upcoming.part(rows_max)

    def passed(self, part: Part) -> None:
        """A part is counted; what follows comes next."""
        assert self._rows is not None
        self._rows.passed(part)
        if self._rows.is_done and self._upcoming is not None:
            self._rows, self._upcoming = self._upcoming, None

    def suit(self, rows: int, looked_closer: int) -> None:
        """Let parts grow, but not beyond what is read in a moment: so many rows were, and so many
        of them one by one, which takes a hundred times as long."""
        fitting = rows * limits.OBJECT_CLOSER_ROWS_MAX // max(1, looked_closer)
        most = min(limits.STEP_ALONE_EVENTS_MAX, max(fitting, limits.STEP_EVENTS_MIN))
        self.rows_max = min(2 * self.rows_max, most)

    def try_again(self) -> None:
        """Begin anew where the ledger says."""
        self._stop()
        self.tries += 1
        self._begin()

    def give_up(self) -> None:
        """Nobody takes the rest."""
        self.ended = True
        self._stop()

    def _begin(self) -> None:
        self._released = threading.Event()
        self._rows = self._upcoming = self._kept = None
        self._text = LineReader() if self._kind == "lines" else None
        self._feed = Feed("object-read", self._deliveries)

    def _stop(self) -> None:
        self._released.set()
        self._feed.give_up()

    def _receive(self, result: Delivered) -> None:
        if isinstance(result, bytes):
            self._text = RowReader(result, self.job.columns)
        elif isinstance(result, Path):
            with self._of_this_version():
                file = ParquetReader(self._connection, result, self.job.columns)
            self._rows = _FileRows(file, self.found, self._of_this_version)
        else:
            assert self._text is not None
            start, skip = self.found.place, self.found.skip
            if isinstance(self._rows, _PieceRows):
                start, skip = self._rows.piece.place, self._rows.skip
            is_header = self._kind == "csv" and start == START
            self._rows = _PieceRows(self._text, result, start, max(skip, int(is_header)))

    @contextmanager
    def _of_this_version(self) -> Iterator[None]:
        """What is read in the block is of the version that was listed, or ``ObjectChanged``.

        A local file may be written while it is read; a copy of another store's may not.
        """
        folder = self.bucket.folder
        try:
            yield
        finally:  # what a file in change was damaged by is that
            if folder is not None:
                folder.assert_version(self.found.info)

    def _deliveries(self) -> Iterator[Delivered]:
        """Everything there is to read, on the feed's thread."""
        info, place = self.found.info, self.found.place
        if self._kind == "parquet":
            released = self._released
            with spooled(self.bucket, info, self._data_folder / "run") as path:
                yield path
                released.wait()
            return
        if self._kind == "csv":
            yield header_of(open_stream(self.bucket, info))
        stream = open_stream(self.bucket, info, place)
        yield from pieces(stream, place, self._kind, limits.OBJECT_PIECE_BYTES)


class _PieceRows:
    """The records of one piece.

    ``skip`` of them are done. A piece that is cut again may end a little earlier than it did: what
    is left to be skipped then is in the next.
    """

    is_done = False

    def __init__(
        self, reader: LineReader | RowReader, piece: Piece, start: Place, skip: int
    ) -> None:
        self.piece = piece
        self._reader = reader
        self._start = start
        self.skip = skip

    @cached_property
    def _edges(self) -> Lines:
        return record_edges(self.piece.data, quoted=isinstance(self._reader, RowReader))

    def _data(self, first: int, last: int) -> bytes:
        if first == 0 and last == len(self.piece.line_numbers):
            return self.piece.data  # mostly: then nobody need know where records begin
        return self.piece.data[int(self._edges[first]) : int(self._edges[last])]

    def part(self, rows_max: int) -> Part:
        return self._part(self.skip, rows_max)

    def after(self, part: Part, rows_max: int) -> Part:
        return self._part(part.skip, rows_max)

    def ends_with(self, part: Part) -> bool:
        return part.place == self.piece.place

    def _part(self, skip: int, rows_max: int) -> Part:
        total = len(self.piece.line_numbers)
        first = min(skip, total)
        last = min(first + rows_max, total)
        is_last = last == total
        data = self._data(first, last)
        return Part(
            lines=self.piece.line_numbers[first:last],
            read=lambda sent: self._reader.read(sent, data),
            place=self.piece.place if is_last else self._start,
            skip=max(0, skip - total) if is_last else last,
            oversized=self.piece.oversized if is_last else [],
            bytes=len(data),
        )

    def passed(self, part: Part) -> None:
        self.skip = part.skip
        self.is_done = self.ends_with(part)


class _FileRows:
    """The rows of a Parquet file; a place in it is the number of a row."""

    def __init__(
        self,
        reader: ParquetReader,
        found: StoredObject,
        guarded: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """``guarded`` is what a block that reads rows is within."""
        self._reader = reader
        self._guarded = guarded
        self._size = found.size
        self._next = found.byte
        if self._next > reader.rows:
            raise DamagedObject(f"has {reader.rows} rows, {self._next} of it were read")

    @property
    def is_done(self) -> bool:
        return bool(self._next >= self._reader.rows)

    def part(self, rows_max: int) -> Part:
        return self._part(self._next, rows_max)

    def after(self, part: Part, rows_max: int) -> Part:
        return self._part(part.place.offset, rows_max)

    def ends_with(self, part: Part) -> bool:
        return bool(part.place.offset >= self._reader.rows)

    def _part(self, first: int, rows_max: int) -> Part:
        last = min(first + rows_max, self._reader.rows)
        share = (last - first) / max(1, self._reader.rows)

        def read(sent: Sent) -> None:
            with self._guarded():
                self._reader.read(sent, first)

        return Part(
            lines=np.arange(first + 1, last + 1, dtype=np.int64),
            read=read,
            place=Place(last, last + 1),
            skip=0,
            oversized=[],
            bytes=round(self._size * share),
        )

    def passed(self, part: Part) -> None:
        self._next = part.place.offset


_Rows = _PieceRows | _FileRows
