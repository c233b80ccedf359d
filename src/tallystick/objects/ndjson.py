"""Lines of JSON as rows: read by DuckDB, whole pieces at a time.

Owns: taking some lines at once, or saying that they need a closer look. What DuckDB lets pass
and we do not is told from counts over all of them: an unknown field has a colon that no column
accounts for; a string that was none, or one with an escape, shows in its quotes.

Lines that take a closer look are halved until few are left, so that a bad one costs its neighbours
little.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.archive.relation import quoted
from tallystick.ingest.strict import problem_of_text
from tallystick.objects.csv_rows import record_edges
from tallystick.objects.cutting import count_of
from tallystick.objects.plain import gathered
from tallystick.objects.records import DIMENSIONS, FIELDS, FLATTENED, Problem, read_line
from tallystick.objects.sent import Sent

CLOSER_ROWS: Final = 64
"""So many lines or fewer are read one by one."""

# Escapes that hide a colon from the count, or a NUL.
_HIDDEN: Final = re.compile(rb"\\u00(?:00|3[aA])")
_FINE_FRACTION: Final = re.compile(rb"[.][0-9]{15}")

# One JSON column a field, as DuckDB writes them again: strings in quotes, objects without spaces.
READ: Final = """
SELECT {columns}
FROM read_ndjson({file}, columns = {{{types}}}, auto_detect = false, records = true,
                 format = 'newline_delimited', maximum_object_size = {bytes})
"""


class LineReader:
    """Reads pieces of one object's lines into ``sent``."""

    def __init__(self) -> None:
        self._flattened: list[str] = []
        """Columns that hold one dimension each, as far as lines have shown them."""

    def read(self, sent: Sent, data: bytes) -> None:
        """Put the lines, one record each, into ``sent``; those that are refused as well."""
        lines = _Lines(data, len(sent.lines))
        sent.begin()
        self._learn(lines, sent)
        self._take(sent, lines, 0, lines.count)
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
        if self._load(sent, lines.between(first, last), first, last - first):
            return
        if last - first <= CLOSER_ROWS:
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

    def _load(self, sent: Sent, data: bytes, first: int, wanted: int) -> bool:
        """Take so many whole lines, one row each; False, and nothing taken, when they need closer
        looks."""
        if b"\\" in data and _HIDDEN.search(data):
            return False
        if _FINE_FRACTION.search(data):
            return False  # more digits than a double keeps
        sent.write_file(data)
        try:
            rows, colons = sent.add_read(self._select(sent), first)
        except (duckdb.InvalidInputException, duckdb.ConversionException, UnicodeDecodeError):
            return False  # the last where the engine's own message cuts a character in two
        if rows == wanted and _accounted_for(sent, data, first, colons):
            return True
        sent.take_back(first)
        return False

    def _select(self, sent: Sent) -> str:
        """What the file of lines says, as ``Sent.add_read`` takes it."""
        columns = sent.rules.columns
        theirs = [columns.theirs(field) for field in (*FIELDS, DIMENSIONS)] + self._flattened
        read = READ.format(
            columns=", ".join(f"{_name(their)} AS c{no}" for no, their in enumerate(theirs)),
            file=quoted(sent.file),
            types=", ".join(f"{_name(their)}: 'JSON'" for their in theirs),
            bytes=2 * limits.EVENT_BYTES_MAX,
        )
        customer, name, key, resource, stamp = (_text(f"c{no}") for no in range(len(FIELDS)))
        dimensions = f"CAST(c{len(FIELDS)} AS VARCHAR)"
        if self._flattened:
            dimensions = _gathered(dimensions, self._flattened, sent)
        odd = " OR ".join(_is_odd(f"c{number}") for number in range(len(FIELDS)))
        return (
            f"SELECT *, {_colons()} - more AS colons "
            "FROM (SELECT row_number() OVER () - 1 AS place, "
            f"{customer} AS customer, {resource} AS resource, {name} AS event_name, {key} AS key, "
            f"{stamp} AS stamp, {dimensions} AS dimensions, ({odd}) AS odd, "
            f"c{len(FIELDS)} IS NOT NULL AS nested, {_more(self._flattened, sent)} AS more "
            f"FROM ({read}))"
        )


class _Lines:
    """Lines by number."""

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self.count = count

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        return record_edges(self.data, quoted=False)

    def between(self, first: int, last: int) -> bytes:
        if first == 0 and last == self.count:
            return self.data
        return self.data[int(self._edges[first]) : int(self._edges[last])]

    def line(self, row: int) -> bytes:
        return self.between(row, row + 1).rstrip(b"\r\n")


def _accounted_for(sent: Sent, data: bytes, first: int, colons: int) -> bool:
    """Whether the columns hold all that the lines said.

    A null that is a column's own leaves no trace in it; those inside of dimensions do.
    """
    missing = count_of(data, ord(":")) - colons
    if missing == 0 or b"null" not in data:
        return missing == 0
    return missing == data.count(b":null") + data.count(b": null") - sent.nulls(first)


def _colons() -> str:
    """How many colons of its line a row accounts for: of each member that there is, and in it."""
    fields = ("customer", "resource", "event_name", "key", "stamp")
    present = " + ".join(f"CAST({name} IS NOT NULL AS INTEGER)" for name in fields)
    # Ids mostly have none; to look for one costs a tenth of counting them.
    rare = " + ".join(
        f"CASE WHEN contains({name}, ':') THEN {_colons_in(name)} ELSE 0 END"
        for name in fields if name != "stamp"
    )  # fmt: skip
    return (
        f"{present} + CAST(nested AS INTEGER) + {rare} + coalesce({_colons_in('stamp')}, 0) "
        f"+ coalesce({_colons_in('dimensions')}, 0)"
    )


def _colons_in(name: str) -> str:
    return f"strlen({name}) - strlen(replace({name}, ':', ''))"


def _name(theirs: str) -> str:
    return '"' + theirs.replace('"', '""') + '"'


def _text(column: str) -> str:
    """The contents of a JSON string without escapes."""
    text = f"CAST({column} AS VARCHAR)"
    return f"substr({text}, 2, length({text}) - 2)"  # a slice, [2:-2], takes three times as long


def _is_odd(column: str) -> str:
    """Whether a column holds something that is no string, or one with an escape."""
    text = f"CAST({column} AS VARCHAR)"
    return f"coalesce(NOT starts_with({text}, '\"') OR contains({text}, '\\'), false)"


def _more(flattened: list[str], sent: Sent) -> str:
    """How many colons our names of a row's dimensions have that theirs, in its line, have not."""
    counts = [
        (number, sent.rules.columns.ours(theirs).count(":") - theirs.count(":"))
        for number, theirs in enumerate(flattened, start=len(FIELDS) + 1)
    ]
    terms = [f"{more} * CAST(c{number} IS NOT NULL AS INTEGER)" for number, more in counts if more]
    return " + ".join(terms) or "0"


def _gathered(nested: str, flattened: list[str], sent: Sent) -> str:
    """Nested and flattened dimensions as one object; what is missing in a line stays away."""
    members = []
    for number, theirs in enumerate(flattened, start=len(FIELDS) + 1):
        name = sent.rules.columns.ours(theirs).removeprefix(FLATTENED)
        key = quoted(json.dumps(name, ensure_ascii=False) + ":")
        members.append(f"{key} || CAST(c{number} AS VARCHAR)")
    return gathered(nested, members)
