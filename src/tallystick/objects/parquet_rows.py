"""Parquet as rows: read by DuckDB, a range of row numbers at a time.

Owns: which types a column may have, and how their values become the text that the archive keeps.
A file whose columns have other types is refused whole: none of its rows could be meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import duckdb

from tallystick.archive.relation import quoted
from tallystick.objects.errors import DamagedObject
from tallystick.objects.plain import FINE_NUMBER, gathered
from tallystick.objects.records import DIMENSIONS, Columns
from tallystick.objects.sent import Sent
from tallystick.objects.tables import Layout, layout_of, read_row

ROWS: Final = "SELECT count(*) FROM read_parquet(?)"
DESCRIBE: Final = "DESCRIBE SELECT * FROM read_parquet(?)"

# A range of rows, in their order, which DuckDB keeps.
READ: Final = """
SELECT file_row_number - {first} AS place, {columns}, 0 AS colons
FROM read_parquet({file}, file_row_number = true)
WHERE file_row_number >= {first} AND file_row_number < {last}
"""

_INTEGERS: Final = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}
_REALS: Final = ("FLOAT", "DOUBLE")
_LARGE: Final = 10**15
"""Whole numbers from here on are read with care."""


_NONE: Final = "CAST(NULL AS VARCHAR)"


class _Column(NamedTuple):
    name: str
    type: str


class ParquetReader:
    """Reads ranges of one file's rows into ``sent``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, columns: Columns) -> None:
        """Look at the file; raises ``DamagedObject`` when it will not do."""
        self._connection = connection
        self._path = _escaped(path)
        try:
            described = connection.execute(DESCRIBE, [self._path]).fetchall()
            ((self.rows,),) = connection.execute(ROWS, [self._path]).fetchall()
        except duckdb.Error as error:
            raise DamagedObject(f"is no Parquet: {str(error).splitlines()[0]}") from None
        self._columns = [_Column(row[0], row[1]) for row in described]
        self.layout: Layout = layout_of([column.name for column in self._columns], columns)
        stamp = self.layout.fields.get("timestamp")
        self._timed = stamp is not None and self._columns[stamp].type != "VARCHAR"
        self._names: list[str] = []
        self._odd: list[str] = []
        """What of made dimensions is no plain number."""
        self._made = False
        self._texts = self._expressions()

    def read(self, sent: Sent, first: int) -> None:
        """Put as many rows from ``first`` on into ``sent`` as it has lines; those that are refused
        as well. Raises ``DamagedObject`` when they cannot be read."""
        sent.begin()
        select = READ.format(
            file=quoted(self._path), columns=self._texts, first=first, last=first + len(sent.lines)
        )
        try:
            sent.add_read(select, 0, timed=self._timed, made=self._made)
        except duckdb.Error as error:
            raise DamagedObject(f"rows from {first} on: {str(error).splitlines()[0]}") from None
        sent.settle(lambda _, texts: read_row(texts, sent.rules))

    def _expressions(self) -> str:
        """The columns of ``sent``, as SQL over the file's."""
        return ", ".join([
            f"{self._field('customerId', _identifier)} AS customer",
            f"{self._field('resourceId', _identifier)} AS resource",
            f"{self._field('eventName', _identifier)} AS event_name",
            f"{self._field('idempotencyKey', _identifier)} AS key",
            f"{self._field('timestamp', _stamp)} AS {'event_time' if self._timed else 'stamp'}",
            f"{self._dimensions()} AS dimensions",
            f"({' OR '.join(['false', *self._odd])}) AS odd",
        ])  # fmt: skip

    def _field(self, field: str, text_of: Callable[[_Column, str], str]) -> str:
        number = self.layout.fields.get(field)
        if number is None:
            return _NONE
        column = self._columns[number]
        return text_of(column, _name(column.name))

    def _dimensions(self) -> str:
        """All dimensions as one JSON object; those that are NULL stay away."""
        nested, members = _NONE, []
        number = self.layout.fields.get(DIMENSIONS)
        if number is not None:
            column = self._columns[number]
            if column.type.startswith("STRUCT("):
                members += self._of_struct(column)
            elif column.type.startswith("MAP("):
                nested = f"CAST(to_json({_name(column.name)}) AS VARCHAR)"
            elif column.type in ("VARCHAR", "JSON"):
                nested = f"CAST({_name(column.name)} AS VARCHAR)"
            else:
                raise _wrong(column, "a struct, a map, or text that is a JSON object")
        for dimension, place in self.layout.flattened:
            column = self._columns[place]
            members.append(self._member(dimension, column, _name(column.name)))
        if not members:
            return nested
        self._made = nested == _NONE and len(set(self._names)) == len(self._names)
        return gathered(nested, members)

    def _of_struct(self, column: _Column) -> list[str]:
        described = self._connection.execute(
            f"DESCRIBE SELECT unnest({_name(column.name)}) FROM read_parquet(?)", [self._path]
        ).fetchall()
        return [
            self._member(name, _Column(f"{column.name}.{name}", kind),
                    f"struct_extract({_name(column.name)}, {quoted(name)})")
            for name, kind, *_ in described
        ]  # fmt: skip

    def _member(self, dimension: str, column: _Column, value: str) -> str:
        """``"name":value`` as SQL text; NULL where the value is."""
        self._names.append(dimension)
        self._odd += _is_odd(column, value)
        key = quoted(json.dumps(dimension, ensure_ascii=False) + ":")
        return f"{key} || {_scalar(column, value)}"


def _is_odd(column: _Column, value: str) -> list[str]:
    """Which values of a column are numbers that take a closer look."""
    if column.type in ("BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT"):
        return [f"coalesce({value} >= {_LARGE} OR {value} <= -{_LARGE}, false)"]
    if column.type in _REALS:
        fine = f"regexp_full_match({_real(value)}, '{FINE_NUMBER}')"
        return [f"coalesce(NOT {fine}, false)"]
    return []


def _identifier(column: _Column, value: str) -> str:
    if column.type in ("VARCHAR", "UUID") or column.type.startswith("ENUM("):
        return f"nullif(CAST({value} AS VARCHAR), '')"
    if column.type in _INTEGERS:
        return f"CAST({value} AS VARCHAR)"
    raise _wrong(column, "text or whole numbers")


def _stamp(column: _Column, value: str) -> str:
    """Text as it is; others as TIMESTAMP in UTC, digits beyond microseconds cut."""
    if column.type == "VARCHAR":
        return f"nullif({value}, '')"
    if column.type == "TIMESTAMP WITH TIME ZONE":
        value = f"make_timestamp(epoch_us({value}))"
    elif column.type not in ("TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE"):
        raise _wrong(column, "a timestamp, or text that is one")
    return f"CAST({value} AS TIMESTAMP)"


def _scalar(column: _Column, value: str) -> str:
    """A value as JSON, a number in the form of ``ingest.literals``."""
    kind = column.type
    if kind in ("VARCHAR", "UUID", "DATE", "TIME") or kind.startswith(("ENUM(", "TIMESTAMP")):
        return f"CAST(to_json(CAST({value} AS VARCHAR)) AS VARCHAR)"
    if kind in _INTEGERS or kind == "BOOLEAN":
        return f"CAST({value} AS VARCHAR)"
    if kind in _REALS:
        return _real(value)
    if kind.startswith("DECIMAL("):
        text = f"CAST({value} AS VARCHAR)"
        short = (
            f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
        )
        return f"'\"' || {short} || '\"'"
    raise _wrong(column, "text, a number or a boolean")


def _real(value: str) -> str:
    """A whole number as its digits, others as a double prints them; no number at all is missing."""
    double = f"CAST({value} AS DOUBLE)"
    return (
        f"CASE WHEN NOT isfinite({double}) THEN NULL "
        f"WHEN {double} = trunc({double}) AND abs({double}) < 1e15 "
        f"THEN CAST(try_cast({double} AS BIGINT) AS VARCHAR) ELSE CAST({value} AS VARCHAR) END"
    )


def _escaped(path: Path) -> str:
    """The path as DuckDB takes it for itself, not for a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _wrong(column: _Column, expected: str) -> DamagedObject:
    return DamagedObject(f"the column {column.name} is {column.type}; it must be {expected}")


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
