"""The table ``sent``: the good records of a piece, each with its place in it.

Owns: putting together what is plain and what takes a closer look, and handing it to the fold as
``incoming``. Promises: records keep their order, so that of two with one key the first counts; one
that is bad costs no other anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from tallystick.clock import Instant
from tallystick.fold.batch import KEY_HASHES, Batch, incoming_keys
from tallystick.objects.plain import IS_PLAIN, SENT_COLUMNS
from tallystick.objects.records import Columns, Problem

CREATE_SENT: Final = """
CREATE OR REPLACE TEMP TABLE sent (
    row BIGINT, customer VARCHAR, resource VARCHAR, event_name VARCHAR, key VARCHAR, stamp VARCHAR,
    dimensions VARCHAR, plain BOOLEAN
)
"""

# Rows [first, …) of what a reader read, which follows in parentheses; odd ones are not plain
# whatever they say.
ADD_READ: Final = f"""
INSERT INTO sent SELECT place + ?, {SENT_COLUMNS}, coalesce(NOT odd AND {IS_PLAIN}, false) FROM
"""

# Of the same rows, as they are now: whether a plain one has a dimension twice.
TWICE: Final = """
SELECT count(*)
FROM (SELECT DISTINCT json_keys(dimensions) AS names FROM sent WHERE plain AND row >= ?)
WHERE len(names) > len(list_distinct(names))
"""

# Takes their plainness from those that do.
DOUBT_TWICE: Final = """
UPDATE sent SET plain = false
WHERE plain AND row >= ? AND len(json_keys(dimensions)) > len(list_distinct(json_keys(dimensions)))
"""

ODD: Final = f"SELECT row, {SENT_COLUMNS} FROM sent WHERE NOT plain ORDER BY row"
FORGET_ODD: Final = "DELETE FROM sent WHERE NOT plain"

# What was accepted after a closer look, as ``ingest`` writes lines.
ADD_MENDED: Final = """
INSERT INTO sent
SELECT mended_rows.row, customerId, resourceId, eventName, idempotencyKey, "timestamp",
       CAST(dimensions AS VARCHAR), true
FROM read_ndjson(?, columns = {
    customerId: 'VARCHAR', resourceId: 'VARCHAR', eventName: 'VARCHAR',
    idempotencyKey: 'VARCHAR', "timestamp": 'VARCHAR', dimensions: 'JSON'
}, maximum_object_size = 33554432) POSITIONAL JOIN mended_rows
"""

_HI, _LO = KEY_HASHES

CREATE_INCOMING: Final = f"""
CREATE OR REPLACE TEMP TABLE incoming AS
SELECT *, {_HI} AS hi, {_LO} AS lo
FROM (
    SELECT CAST(? AS VARCHAR) AS environment, CAST(? AS BIGINT) AS position,
           CAST(sent.row AS INTEGER) AS event_index, 'object' AS way,
           CAST(? AS VARCHAR) AS source, record_lines.line AS line, customer, resource, event_name,
           key,
           coalesce(CAST(stamp AS TIMESTAMP), make_timestamp(CAST(? AS BIGINT))) AS event_time,
           make_timestamp(CAST(? AS BIGINT)) AS received_at, dimensions,
           CAST(NULL AS VARCHAR) AS feature, CAST(NULL AS DECIMAL(38, 9)) AS value,
           CAST(0 AS INTEGER) AS env_no
    FROM sent JOIN record_lines ON sent.row = record_lines.row ORDER BY sent.row
)
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
    rejected: list[Rejected] = field(default_factory=list)
    _mended: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def begin(self) -> None:
        """Make ``sent``, empty."""
        self.connection.execute(CREATE_SENT)

    def add_read(self, select: str, first: int) -> None:
        """Take rows that a reader gives as (place, SENT_COLUMNS, odd); ``first`` is the row of its
        place 0."""
        self.connection.execute(f"{ADD_READ}({select})", [first, self.rules.latest])
        # Few rows differ in their names; to look at each list of them once costs a third.
        ((twice,),) = self.connection.execute(TWICE, [first]).fetchall()
        if twice:
            self.connection.execute(DOUBT_TWICE, [first])

    def look_closer(self, row: int, found: dict[str, Any] | list[Problem]) -> None:
        """Take a record that was read with care."""
        if isinstance(found, list):
            self.rejected.append(Rejected(int(self.lines[row]), found))
        else:
            self._mended[row] = found

    def settle(self, closer: Closer) -> None:
        """Read with care what is not plain, and put it in its place or refuse it."""
        for row, *texts in self.connection.execute(ODD).fetchall():
            self.look_closer(row, closer(row, tuple(texts)))
        self.connection.execute(FORGET_ODD)
        if self._mended:
            self._add_mended()
        self.rejected.sort(key=lambda each: each.line)

    def incoming(
        self, environment: str, position: int, source: str, modified_at: Instant
    ) -> tuple[Batch, NDArray[np.uint64], NDArray[np.uint64]]:
        """Make ``incoming``; returns the batch and its key hashes (hi, lo)."""
        rows = np.arange(len(self.lines), dtype=np.int64)
        self.connection.register("record_lines", {"row": rows, "line": self.lines})
        values = [environment, position, source, int(modified_at), int(self.rules.now)]
        self.connection.execute(CREATE_INCOMING, values)
        self.connection.unregister("record_lines")
        hi, lo = incoming_keys(self.connection)
        return Batch((), (environment,), np.zeros(len(hi), np.int32)), hi, lo

    def _add_mended(self) -> None:
        self.file.write_bytes(_encode_lines(self._mended.values()))
        rows = np.fromiter(self._mended, dtype=np.int64, count=len(self._mended))
        self.connection.register("mended_rows", {"row": rows})
        self.connection.execute(ADD_MENDED, [str(self.file)])
        self.connection.unregister("mended_rows")
        self._mended.clear()


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def _encode_lines(events: Iterable[Mapping[str, Any]]) -> bytes:
    return _ENCODER.encode_lines(list(events))
