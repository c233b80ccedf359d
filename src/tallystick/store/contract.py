"""The contract of the SQL store. SQLite and PostgreSQL stand behind it.

The statements themselves are named constants beside the code that uses them, in the SQL both
engines speak (``?`` placeholders, ``ON CONFLICT … DO UPDATE``, no engine's functions), so nothing
is written twice. What differs between engines is here, as promises:

* ``writing()`` is one transaction. Once it has returned, its effects survive loss of power. When
  the block raises, nothing of it remains.
* Writers are serialised: what a writing transaction reads cannot change before it commits.
* ``reading()`` is one snapshot; it never waits for a writer and never makes one wait (but, with
  PostgreSQL, while a schema is brought up to date).
* A store that cannot take it now (disk full, locked, gone) raises ``Unavailable`` within a bounded
  wait, and works again without a restart when the cause is gone.
* A row that breaks a constraint raises ``DamagedData``: who writes knows, in the transaction, what
  is stored, so something stored or remembered is not what it ought to be.
* A statement that fails ends its transaction, or its part.
* Opening a store brings its schema to the newest version (``schemas``) in one transaction: whoever
  opens it at the same moment, or dies in the middle, one version or the other is there, whole. A
  schema newer than this code is refused with ``OperatorError``.
* Row ids of tables declared with ``AUTOINCREMENT`` are never reused, and become visible in order.

``tests/store/`` holds the suite that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeAlias

Value: TypeAlias = str | int | bytes | None
"""What a column holds. Never a float: quantities are decimal text, instants are integers."""

Row: TypeAlias = tuple[Value, ...]


class Rewrite(NamedTuple):
    """Columns of a table to be set in many rows, each told by its ``key``."""

    table: str
    columns: tuple[str, ...]
    key: str


class Transaction(Protocol):
    """Statements inside one transaction."""

    def one(self, sql: str, *values: Value) -> Row | None:
        """The first row, or None when there is none."""
        ...

    def all(self, sql: str, *values: Value) -> list[Row]:
        """Every row."""
        ...

    def run(self, sql: str, *values: Value) -> int:
        """Run a statement that changes rows; returns how many it changed."""
        ...

    def insert(self, sql: str, *values: Value) -> int:
        """Insert one row and return its generated id."""
        ...

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Run one statement for each row of values; returns how many rows they changed in all."""
        ...

    def rewrite(self, what: Rewrite, rows: Sequence[Sequence[Value]]) -> int:
        """Set columns of many rows: values in the order of ``what``, the key last. Returns how many
        rows there were; those that are not there are passed over. No key comes twice."""
        ...

    def part(self) -> AbstractContextManager[None]:
        """A part that is undone alone when it raises; the transaction goes on."""
        ...


class Begun(Protocol):
    """A write transaction that was begun and is neither filled nor committed yet. Each method is
    called once, one after the other; they need not be called by the same thread."""

    def filling(self) -> AbstractContextManager[Transaction]:
        """Its statements. When the block raises, the transaction is over and nothing remains."""
        ...

    def commit(self) -> None:
        """Make it durable. When it raises ``Unavailable``, nothing of it remains."""
        ...


class Store(Protocol):
    """A database with one schema. Safe to use from several threads."""

    @property
    def is_remote(self) -> bool:
        """Whether its statements wait for another machine, so that no event loop may."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """One snapshot, for reading."""
        ...

    def writing(self) -> AbstractContextManager[Transaction]:
        """One transaction, durable when the block is left without an error."""
        ...

    def begin_if_free(self) -> Begun | None:
        """Begin what ``writing`` would, or None when another write is open: waits for nobody."""
        ...

    def version(self) -> int:
        """A number that changes after any other process or thread has committed. Cheap: asked
        whenever a key was not looked at for a moment. A commit of the asking thread itself need
        not change it."""
        ...

    def tend(self) -> None:
        """The engine's own upkeep, a bounded piece that may wait; called now and then by one
        process, beside everything else."""
        ...

    def close(self) -> None:
        """Close every connection; using the store afterwards is a mistake."""
        ...
