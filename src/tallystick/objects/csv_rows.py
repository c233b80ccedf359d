"""CSV as rows: read by DuckDB, whole pieces at a time; every value is text.

Owns: taking some records at once. Ragged ones, and those that are no UTF-8, are found by halving,
so that a bad one costs its neighbours little.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.archive.relation import quoted
from tallystick.objects.cutting import START, count_of, pieces
from tallystick.objects.errors import DamagedObject
from tallystick.objects.plain import gathered
from tallystick.objects.records import DIMENSIONS, Columns, Problem
from tallystick.objects.sent import Sent
from tallystick.objects.tables import Layout, layout_of, read_row

# Cells are as large as records may be, whichever reader reads them.
csv.field_size_limit(2 * limits.EVENT_BYTES_MAX)

CLOSER_ROWS: Final = 64
"""So many records or fewer are read one by one."""

# One VARCHAR column each; an empty cell is NULL. nobody's quote may end a line early: strict.
READ: Final = """
SELECT row_number() OVER () - 1 AS place, {values}, false AS odd, 0 AS colons
FROM read_csv({file}, auto_detect = false, header = false, delim = ',', quote = '"',
                       escape = '"', nullstr = '', strict_mode = true, null_padding = false,
                       max_line_size = {bytes}, columns = {{{columns}}})
"""


class RowReader:
    """Reads pieces of one object's records into ``sent``."""

    def __init__(self, header: bytes, columns: Columns) -> None:
        """``header`` is the first record; raises ``DamagedObject`` when it will not do."""
        try:
            names = next(csv.reader([header.decode()], strict=True), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise DamagedObject(f"the header is no CSV: {error}") from None
        self.layout: Layout = layout_of([name.strip() for name in names], columns)
        self._width = len(names)
        self._values = _values(self.layout)

    def read(self, sent: Sent, data: bytes) -> None:
        """Put the records into ``sent``; those that are refused as well."""
        edges = record_edges(data, quoted=True)
        sent.begin()
        self._take(sent, data, edges, 0, len(edges) - 1)
        sent.settle(lambda _, texts: read_row(texts, sent.rules))

    def _take(
        self, sent: Sent, data: bytes, edges: NDArray[np.int64], first: int, last: int
    ) -> None:
        part = data[int(edges[first]) : int(edges[last])]
        if self._load(sent, part, first, last - first):
            return
        if last - first > CLOSER_ROWS:
            middle = (first + last) // 2
            self._take(sent, data, edges, first, middle)
            self._take(sent, data, edges, middle, last)
        else:
            for row in range(first, last):
                record = data[int(edges[row]) : int(edges[row + 1])]
                sent.look_closer(row, self._closer(sent, record))

    def _load(self, sent: Sent, data: bytes, first: int, rows: int) -> bool:
        """Take whole records; False, and none is taken, when they need a closer look."""
        if b"\0" in data or count_of(data, ord('"')) % 2:
            return False  # of an open quote DuckDB and we make different records
        if not _is_text(data):
            return False  # DuckDB does not look at columns that nobody asked for
        sent.write_file(data)
        select = READ.format(
            values=self._values, file=quoted(sent.file), bytes=2 * limits.EVENT_BYTES_MAX,
            columns=", ".join(f"'c{number}': 'VARCHAR'" for number in range(self._width)),
        )  # fmt: skip
        try:
            found, _ = sent.add_read(select, first)
        except (duckdb.InvalidInputException, duckdb.ConversionException, UnicodeDecodeError):
            return False  # the last where the engine's own message cuts a character in two
        if found == rows:
            return True
        sent.take_back(first)
        return False

    def _closer(self, sent: Sent, record: bytes) -> dict[str, Any] | list[Problem]:
        try:
            cells, *more = csv.reader(io.StringIO(record.decode(), newline=""), strict=True)
        except UnicodeDecodeError as error:
            return [Problem("", f"is not valid UTF-8 at byte {error.start}")]
        except (csv.Error, ValueError) as error:
            return [Problem("", f"is no CSV: {error}")]
        if more and record.count(b'"') % 2:
            return [Problem("", "has a quote that nothing closes")]
        if more:
            return [Problem("", "has a carriage return outside of quotes and not at its end")]
        if len(cells) != self._width:
            return [Problem("", f"has {len(cells)} columns, the header has {self._width}")]
        return read_row(_texts(self.layout, cells), sent.rules)


def header_of(stream: Any) -> bytes:
    """The first record of a stream of CSV; raises ``DamagedObject`` when there is none."""
    for piece in pieces(stream, START, "csv", limits.EVENT_BYTES_MAX):
        if piece.oversized:
            break
        if piece.data:
            return piece.data[: int(record_edges(piece.data, quoted=True)[1])].rstrip(b"\r\n")
    raise DamagedObject("there is no header: the first line must name the columns")


def record_edges(data: bytes, *, quoted: bool) -> NDArray[np.int64]:
    """Where records begin, and where the last one ends; of CSV those outside quotes count.

    The last one of an object ends with it, though a quote may be open.
    """
    content = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(content == 0x0A)
    quotes = np.flatnonzero(content == 0x22) if quoted else feeds[:0]
    if len(quotes):
        feeds = feeds[np.searchsorted(quotes, feeds) % 2 == 0]
    ends = feeds + 1
    if len(data) and (not len(ends) or ends[-1] != len(data)):
        ends = np.append(ends, len(data))
    return np.concatenate(([0], ends)).astype(np.int64)


def _is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def _values(layout: Layout) -> str:
    """The columns of ``sent``, as SQL over the file's."""

    def column(field: str) -> str:
        number = layout.fields.get(field)
        return "CAST(NULL AS VARCHAR)" if number is None else f"c{number}"

    return (
        f"{column('customerId')} AS customer, "
        f"{column('resourceId')} AS resource, {column('eventName')} AS event_name, "
        f"{column('idempotencyKey')} AS key, {column('timestamp')} AS stamp, "
        f"{_dimensions(layout)} AS dimensions"
    )


def _dimensions(layout: Layout) -> str:
    """The cells of dimensions as one JSON object of strings; empty ones stay away."""
    number = layout.fields.get(DIMENSIONS)
    nested = "CAST(NULL AS VARCHAR)" if number is None else f"c{number}"
    if not layout.flattened:
        return nested
    members = [
        f"{quoted(json.dumps(name, ensure_ascii=False) + ':')} "
        f"|| CAST(to_json(c{column}) AS VARCHAR)"
        for name, column in layout.flattened
    ]
    return gathered(nested, members)


def _texts(layout: Layout, cells: Sequence[str]) -> tuple[str | None, ...]:
    """A record's cells in the columns of ``sent``."""

    def cell(field: str) -> str | None:
        number = layout.fields.get(field)
        return None if number is None else cells[number] or None

    named = {name: cells[number] for name, number in layout.flattened if cells[number]}
    dimensions = cell(DIMENSIONS)
    if named:
        inner = json.dumps(named, ensure_ascii=False)[1:-1]
        outer = dimensions or "{}"
        outer = outer[1:-1] if outer.startswith("{") and outer.endswith("}") else outer
        dimensions = "{" + ", ".join(part for part in (outer, inner) if part) + "}"
    whole = ("customerId", "resourceId", "eventName", "idempotencyKey", "timestamp")
    return (*(cell(field) for field in whole), dimensions)
