"""The table ``sent``: the good records of a piece, each with its place in it.

Owns: putting together what is plain and what takes a closer look, and showing it to the fold as a
batch. Promises: records keep their order, so that of two with one key the first
counts; one that is bad costs no other anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from tallystick.archive.relation import quoted
from tallystick.clock import Instant
from tallystick.fold.batch import KEY_HASHES, Batch, unmasked
from tallystick.objects.plain import SENT_COLUMNS, is_plain
from tallystick.objects.records import Columns, Problem

# Not temporary, so that another connection of the engine can read it.
CREATE_SENT: Final = """
CREATE OR REPLACE TABLE {table} (
    row BIGINT, line BIGINT, customer VARCHAR, resource VARCHAR, event_name VARCHAR, key VARCHAR,
    event_time TIMESTAMP, dimensions VARCHAR, plain BOOLEAN, stamp VARCHAR, colons BIGINT
)
"""

# Rows [first, …) of what a reader read; odd ones are not plain whatever they say. The stamp is kept
# of those that are read again.
ADD_READ: Final = """
INSERT INTO {table}
SELECT place + ?, place + ?, customer, resource, event_name, key, event_time, dimensions, plain,
       CASE WHEN NOT plain THEN {stamp} END, colons
FROM (SELECT *, coalesce(NOT odd AND {is_plain}, false) AS plain FROM ({select}))
"""

_WITH_TIME: Final = "SELECT *, try_cast(stamp AS TIMESTAMP) AS event_time FROM ({select})"
_STAMP: Final = "strftime(event_time, '%Y-%m-%dT%H:%M:%S.%fZ')"

# Of the rows from one on: how many, and what of colons they account for.
ACCOUNT: Final = "SELECT count(*), coalesce(sum(colons), 0) FROM {table} WHERE row >= ?"

# How many nulls there are inside of columns.
NULLS: Final = """
SELECT coalesce(sum((length(texts) - length(replace(texts, ':null', ''))) // 5), 0)
FROM (SELECT concat(customer, resource, event_name, key, stamp, dimensions) AS texts
      FROM {table} WHERE row >= ?)
"""

TAKE_BACK: Final = "DELETE FROM {table} WHERE row >= ?"

# Whether a plain one has a dimension twice. Few rows differ in their names, so each list of them is
# looked at once; as a text, which a quote joins unmistakably, for lists take DuckDB four times as
# long to compare.
TWICE: Final = """
SELECT count(*)
FROM (
    SELECT any_value(names) AS names
    FROM (SELECT json_keys(dimensions) AS names FROM {table} WHERE plain)
    GROUP BY array_to_string(names, '"')
)
WHERE len(names) > len(list_distinct(names))
"""

# Takes their plainness from those that do.
DOUBT_TWICE: Final = """
UPDATE {table} SET plain = false, stamp = {stamp}
WHERE plain AND len(json_keys(dimensions)) > len(list_distinct(json_keys(dimensions)))
"""

ODD: Final = f"SELECT row, {SENT_COLUMNS} FROM {{table}} WHERE NOT plain ORDER BY row"
FORGET_ODD: Final = "DELETE FROM {table} WHERE NOT plain"

# What was accepted after a closer look, as ``ingest`` writes lines.
ADD_MENDED: Final = """
INSERT INTO {table}
SELECT mended_rows.row, NULL, customerId, resourceId, eventName, idempotencyKey,
       CAST("timestamp" AS TIMESTAMP), CAST(dimensions AS VARCHAR), true, NULL, 0
FROM read_ndjson(?, columns = {
    customerId: 'VARCHAR', resourceId: 'VARCHAR', eventName: 'VARCHAR',
    idempotencyKey: 'VARCHAR', "timestamp": 'VARCHAR', dimensions: 'JSON'
}, maximum_object_size = 33554432) POSITIONAL JOIN mended_rows
"""

# In order again, with the lines that were told; needed when some rows were read with care.
SORT: Final = """
CREATE OR REPLACE TABLE {table} AS
SELECT sent.* REPLACE (record_lines.line AS line)
FROM {table} AS sent JOIN record_lines ON sent.row = record_lines.row ORDER BY sent.row
"""

_HI, _LO = KEY_HASHES
KEYS: Final = f"SELECT {_HI} AS hi, {_LO} AS lo FROM (SELECT *, ? AS environment FROM {{table}})"

# What is counted of it, as the fold takes it.
INCOMING: Final = """
SELECT {environment} AS environment, CAST({position} AS BIGINT) AS position,
       CAST(row AS INTEGER) AS event_index, 'object' AS way, {source} AS source, line,
       customer, resource, event_name, key,
       coalesce(event_time, make_timestamp({modified_us})) AS event_time,
       make_timestamp({now_us}) AS received_at, dimensions,
       CAST(NULL AS VARCHAR) AS feature, CAST(NULL AS DECIMAL(38, 9)) AS value,
       CAST(0 AS INTEGER) AS env_no
FROM {table}
"""


class Rejected(NamedTuple):
    """A record that was refused: the line at which it begins, and why."""

    line: int
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class Rules:
    """What reading a record takes besides its bytes: names of columns, and the clock."""

    columns: Columns
    now: Instant
    future_us: int

    @property
    def latest(self) -> int:
        """The latest timestamp that is accepted, in microseconds."""
        return self.now + self.future_us


Closer = Callable[[int, tuple[str | None, ...]], "dict[str, Any] | list[Problem]"]
"""Reads the record of a row with care, given what of it is in the columns of ``sent``."""


@dataclass(slots=True)
class Sent:
    """The good records of one piece on one connection, and the bad ones."""

    connection: duckdb.DuckDBPyConnection
    file: Path
    """Scratch, for lines."""
    rules: Rules
    lines: NDArray[np.int64]
    """The line at which each record begins."""
    table: str = "sent"
    """Its name, which this package chose."""
    rejected: list[Rejected] = field(default_factory=list)
    _mended: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _names_once: bool = False
    looked_closer: int = 0
    """How many records were read with care."""

    def begin(self) -> None:
        """Make the table, empty."""
        self._run(CREATE_SENT)

    def write_file(self, data: bytes) -> None:
        """Let ``file`` hold this, written over what it held: fresh memory takes twice as long."""
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(data)
            file.truncate()

    def _run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement of ours on the table: nobody's text is in it, which might say ``{table}``
        too. (Not ``format``: patterns have braces of their own.)"""
        return self.connection.execute(sql.replace("{table}", self.table), values).fetchall()

    def add_read(
        self, select: str, first: int, *, timed: bool = False, made: bool = False
    ) -> tuple[int, int]:
        """Take rows that a reader gives as (place, SENT_COLUMNS, odd, colons); ``first`` is the row
        of its place 0. Returns how many there were, and the sum of their colons.

        ``timed``: it gives ``event_time`` and no stamps. ``made``: see ``is_plain``.
        """
        line = int(self.lines[first]) if len(self.lines) else 1
        parts = {
            "{table}": self.table,
            "{stamp}": _STAMP if timed else "stamp",
            "{is_plain}": is_plain(timed=timed, made=made),
            # Last, and not looked at again: names of columns and of the file are in it.
            "{select}": select if timed else _WITH_TIME.replace("{select}", select),
        }
        sql = ADD_READ
        for name, text in parts.items():
            sql = sql.replace(name, text)
        self.connection.execute(sql, [first, line, self.rules.latest]).fetchall()
        self._names_once = made
        ((rows, colons),) = self._run(ACCOUNT, first)
        return int(rows), int(colons)

    def nulls(self, first: int) -> int:
        """How many nulls the rows from ``first`` on have inside of columns."""
        ((kept,),) = self._run(NULLS, first)
        return int(kept)

    def take_back(self, first: int) -> None:
        """Forget the rows from ``first`` on."""
        self._run(TAKE_BACK, first)

    def look_closer(self, row: int, found: dict[str, Any] | list[Problem]) -> None:
        """Take a record that was read with care."""
        self.looked_closer += 1
        if isinstance(found, list):
            self.rejected.append(Rejected(int(self.lines[row]), found))
        else:
            self._mended[row] = found

    def settle(self, closer: Closer) -> None:
        """Read with care what is not plain, and put it in its place or refuse it."""
        if not self._names_once and self._run(TWICE)[0][0]:
            self._run(DOUBT_TWICE.replace("{stamp}", _STAMP))
        odd = self._run(ODD)
        for row, *texts in odd:
            self.look_closer(row, closer(row, tuple(texts)))
        if odd:
            self._run(FORGET_ODD)
        mended = bool(self._mended)
        if mended:
            self._add_mended()
        if mended or not self._lines_follow():
            self._sort()
        self.rejected.sort(key=lambda each: each.line)

    def keys(self, environment: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The key hashes (hi, lo) of the records."""
        sql = KEYS.format(table=self.table)
        keys = self.connection.execute(sql, [environment]).fetchnumpy()
        return unmasked(keys["hi"]), unmasked(keys["lo"])

    def batch(
        self, environment: str, position: int, source: str, modified_at: Instant, now: Instant
    ) -> Batch:
        """The records as the fold counts them, received ``now``."""
        incoming = INCOMING.format(
            table=self.table, environment=quoted(environment), position=int(position),
            source=quoted(source), modified_us=int(modified_at), now_us=int(now),
        )  # fmt: skip
        events = len(self.lines) - len(self.rejected)
        return Batch((), (environment,), np.zeros(events, np.int32), incoming)

    def _lines_follow(self) -> bool:
        """Whether each record takes one line, which ``add_read`` takes for granted."""
        return bool(self.lines[-1] - self.lines[0] == len(self.lines) - 1)

    def _sort(self) -> None:
        rows = np.arange(len(self.lines), dtype=np.int64)
        self.connection.register("record_lines", {"row": rows, "line": self.lines})
        self._run(SORT)
        self.connection.unregister("record_lines")

    def _add_mended(self) -> None:
        self.write_file(_encode_lines(self._mended.values()))
        rows = np.fromiter(self._mended, dtype=np.int64, count=len(self._mended))
        self.connection.register("mended_rows", {"row": rows})
        self._run(ADD_MENDED, str(self.file))
        self.connection.unregister("mended_rows")
        self._mended.clear()


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def _encode_lines(events: Iterable[Mapping[str, Any]]) -> bytes:
    return _ENCODER.encode_lines(list(events))
