"""Reads the next part of an object while this one is counted.

Owns: two tables of the fold's engine, each with a connection of its own: the one that is counted
and the one that is read meanwhile, on a second thread and so on a second core. Promises: records
are read in their order, one part at a time; what was read ahead and is not wanted any more (the
part before it was made smaller, or failed) is forgotten, and nothing of it was durable.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick.failpoints import reach_each
from tallystick.objects.cutting import Place
from tallystick.objects.reader import ObjectReader, Part
from tallystick.objects.sent import Rules, Sent
from tallystick.threads import begin


class ReadPart(NamedTuple):
    """The records of a part, and the key hashes of the good ones."""

    sent: Sent
    hi: NDArray[np.uint64]
    lo: NDArray[np.uint64]


class _Begun(NamedTuple):
    """A part that is being read, and what must hold for it to be the next."""

    reader: ObjectReader
    tries: int
    after: tuple[Place, int]
    part: Part
    result: Future[ReadPart]

    def is_next_of(self, reader: ObjectReader) -> bool:
        found = reader.found
        is_same = self.reader is reader and self.tries == reader.tries
        return is_same and self.after == (found.place, found.skip)


_TABLES: Final = ("sent_0", "sent_1")


class Ahead:
    """Reads parts. Used by the thread that folds."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, scratch: Path, *, yielding: bool
    ) -> None:
        """``scratch`` takes the lines of two parts; ``yielding``: other processes go first."""
        self._connections = [connection.cursor() for _ in _TABLES]
        self._scratch = scratch
        self._yielding = yielding
        self._turn = 0
        self._begun: _Begun | None = None

    def next_of(self, reader: ObjectReader) -> Part | None:
        """The part that was begun, if it is what the reader comes to now."""
        if self._begun is not None and self._begun.is_next_of(reader):
            return self._begun.part
        return None

    def read(self, reader: ObjectReader, part: Part, rules: Rules) -> ReadPart:
        """A part's records: waits for what was begun, or reads them now. Where other processes go
        first, that is on a thread which lets them."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.result.exception()  # one part at a time: a reader learns from what it reads
            if begun.part is part:
                return begun.result.result()
        read = partial(self._read, reader, part, rules, self._next_table())
        return begin(read, "object-part", yielding=True).result() if self._yielding else read()

    def read_meanwhile(self, reader: ObjectReader, before: Part, part: Part, rules: Rules) -> None:
        """Read ``part``, which follows ``before``, on another thread."""
        after = (before.place, before.skip)
        read = partial(self._read, reader, part, rules, self._next_table())
        result = begin(read, "object-part", yielding=self._yielding)
        self._begun = _Begun(reader, reader.tries, after, part, result)

    def close(self) -> None:
        """Wait for what was begun, and let go of the connections."""
        if self._begun is not None:
            self._begun.result.exception()
            self._begun = None
        for connection in self._connections:
            connection.close()

    def _next_table(self) -> int:
        """The table that is not being counted."""
        self._turn = 1 - self._turn
        return self._turn

    def _read(self, reader: ObjectReader, part: Part, rules: Rules, number: int) -> ReadPart:
        sent = Sent(
            self._connections[number], self._scratch / f"objects-{number}.lines", rules,
            part.lines, _TABLES[number],
        )  # fmt: skip
        sent.begin()
        reach_each("objects.read", part.lines)
        if len(part.lines):
            part.read(sent)
        return ReadPart(sent, *sent.keys(reader.found.environment))
