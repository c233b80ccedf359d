"""Lines of JSON as rows: read by DuckDB, whole pieces at a time.

Owns: making ``read`` of some lines, or saying that they take a closer look. What DuckDB lets pass
and we do not is told from counts over all of them: an unknown field has a colon that no column
accounts for; a string that was none, or one with an escape, shows in its quotes.

Lines that take a closer look are halved until few are left, so that a bad one costs its neighbours
little.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.archive.relation import quoted
from tallystick.ingest.strict import problem_of_text
from tallystick.objects.plain import gathered
from tallystick.objects.records import DIMENSIONS, FIELDS, FLATTENED, Problem, read_line
from tallystick.objects.sent import Sent

CLOSER_ROWS: Final = 64
"""So many lines or fewer are read one by one."""

# Escapes that hide a colon from the count, or a NUL.
_HIDDEN: Final = re.compile(rb"\\u00(?:00|3[aA])")
_FINE_FRACTION: Final = b"." + b"0" * 15
_DIGITS: Final = bytes(ord("0") if ord("0") <= byte <= ord("9") else byte for byte in range(256))

# One JSON column a field, as DuckDB writes them again: strings in quotes, objects without spaces.
CREATE_READ: Final = """
CREATE OR REPLACE TEMP TABLE read AS
SELECT {columns}
FROM read_ndjson(?, columns = {{{types}}}, auto_detect = false, records = true,
                 format = 'newline_delimited', maximum_object_size = {bytes})
"""

# How many rows there are, and how many colons the columns account for.
ACCOUNT: Final = """
SELECT count(*), coalesce(sum({present} + length(texts) - length(replace(texts, ':', ''))), 0)
FROM (SELECT *, concat({columns}) AS texts FROM read)
"""

# How many nulls there are inside of columns.
NULLS: Final = """
SELECT coalesce(sum((length(texts) - length(replace(texts, ':null', ''))) // 5), 0)
FROM (SELECT concat({columns}) AS texts FROM read)
"""


class LineReader:
    """Reads pieces of one object's lines into ``sent``."""

    def __init__(self) -> None:
        self._flattened: list[str] = []
        """Columns that hold one dimension each, as far as lines have shown them."""

    def read(self, sent: Sent, data: bytes) -> None:
        """Put the lines, one record each, into ``sent``; those that are refused as well."""
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0x0A) + 1
        lines = _Lines(data, np.concatenate(([0], ends)))
        sent.begin()
        self._learn(lines, sent)
        self._take(sent, lines, 0, len(ends))
        sent.settle(lambda row, _: self._closer(sent, lines.line(row)))

    def _learn(self, lines: _Lines, sent: Sent) -> None:
        """Look at the first line for dimensions that have columns of their own."""
        if lines.data.find(FLATTENED.encode(), 0, limits.EVENT_BYTES_MAX) < 0:
            return
        try:
            first = json.loads(lines.line(0))
        except ValueError:
            return
        self._meet(first, sent)

    def _meet(self, line: Any, sent: Sent) -> None:
        if not isinstance(line, dict):
            return
        columns = sent.rules.columns
        for name in line:
            is_new = columns.ours(name).startswith(FLATTENED) and name not in self._flattened
            if is_new and problem_of_text(name) is None:  # else no statement can name it
                self._flattened.append(name)

    def _take(self, sent: Sent, lines: _Lines, first: int, last: int) -> None:
        if self._load(sent, lines.between(first, last)):
            sent.add_read(_select(self._flattened, sent), first)
        elif last - first <= CLOSER_ROWS:
            for row in range(first, last):
                sent.look_closer(row, self._closer(sent, lines.line(row)))
        else:
            middle = (first + last) // 2
            self._take(sent, lines, first, middle)
            self._take(sent, lines, middle, last)

    def _closer(self, sent: Sent, line: bytes) -> dict[str, Any] | list[Problem]:
        rules = sent.rules
        found = read_line(line, rules.columns, rules.now, rules.future_us)
        if isinstance(found, dict) and FLATTENED.encode() in line:
            self._meet(json.loads(line), sent)  # the next lines may have it too
        return found

    def _load(self, sent: Sent, data: bytes) -> bool:
        """Make ``read`` of whole lines, one row each; False when they take a closer look."""
        if b"\\u00" in data and _HIDDEN.search(data):
            return False
        if _FINE_FRACTION in data.translate(_DIGITS):
            return False  # more digits than a double keeps
        sent.file.write_bytes(data)
        columns = sent.rules.columns
        theirs = [columns.theirs(field) for field in (*FIELDS, DIMENSIONS)] + self._flattened
        names = [f"c{number}" for number in range(len(theirs))]
        sql = CREATE_READ.format(
            columns=", ".join(f"{_name(t)} AS {n}" for t, n in zip(theirs, names, strict=True)),
            types=", ".join(f"{_name(their)}: 'JSON'" for their in theirs),
            bytes=2 * limits.EVENT_BYTES_MAX,
        )
        try:
            sent.connection.execute(sql, [str(sent.file)])
        except (duckdb.InvalidInputException, duckdb.ConversionException, UnicodeDecodeError):
            return False  # the last where the engine's own message cuts a character in two
        return _accounted_for(sent.connection, data, names)


class _Lines:
    """Lines by number."""

    def __init__(self, data: bytes, edges: NDArray[np.int64]) -> None:
        self.data = data
        self._edges = edges

    def between(self, first: int, last: int) -> bytes:
        return self.data[int(self._edges[first]) : int(self._edges[last])]

    def line(self, row: int) -> bytes:
        return self.between(row, row + 1).rstrip(b"\r\n")


def _accounted_for(connection: duckdb.DuckDBPyConnection, data: bytes, names: list[str]) -> bool:
    """Whether the columns hold all that the lines said.

    A null that is a column's own leaves no trace in it; those inside of dimensions do.
    """
    present = " + ".join(f"CAST({name} IS NOT NULL AS INTEGER)" for name in names)
    sql = ACCOUNT.format(present=present, columns=", ".join(names))
    ((rows, colons),) = connection.execute(sql).fetchall()
    gone = data.count(b":null") + data.count(b": null")
    if gone:
        ((kept,),) = connection.execute(NULLS.format(columns=", ".join(names))).fetchall()
        gone -= kept
    return bool(rows == data.count(b"\n") and colons + gone == data.count(b":"))


def _select(flattened: list[str], sent: Sent) -> str:
    """What ``read`` says, as ``Sent.add_read`` takes it."""
    customer, name, key, resource, stamp = (_text(f"c{number}") for number in range(len(FIELDS)))
    dimensions = f"CAST(c{len(FIELDS)} AS VARCHAR)"
    if flattened:
        dimensions = _gathered(dimensions, flattened, sent)
    odd = " OR ".join(_is_odd(f"c{number}") for number in range(len(FIELDS)))
    return (
        f"SELECT rowid AS place, {customer} AS customer, {resource} AS resource, "
        f"{name} AS event_name, {key} AS key, {stamp} AS stamp, {dimensions} AS dimensions, "
        f"({odd}) AS odd FROM read"
    )


def _name(theirs: str) -> str:
    return '"' + theirs.replace('"', '""') + '"'


def _text(column: str) -> str:
    """The contents of a JSON string without escapes."""
    return f"CAST({column} AS VARCHAR)[2:-2]"


def _is_odd(column: str) -> str:
    """Whether a column holds something that is no string, or one with an escape."""
    text = f"CAST({column} AS VARCHAR)"
    return f"coalesce(NOT starts_with({text}, '\"') OR contains({text}, '\\'), false)"


def _gathered(nested: str, flattened: list[str], sent: Sent) -> str:
    """Nested and flattened dimensions as one object; what is missing in a line stays away."""
    members = []
    for number, theirs in enumerate(flattened, start=len(FIELDS) + 1):
        name = sent.rules.columns.ours(theirs).removeprefix(FLATTENED)
        key = quoted(json.dumps(name, ensure_ascii=False) + ":")
        members.append(f"{key} || CAST(c{number} AS VARCHAR)")
    return gathered(nested, members)
