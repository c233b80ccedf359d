"""The SQL store on SQLite, in WAL mode with ``synchronous=FULL``.

Owns: connections, transactions, the version of a schema (``PRAGMA user_version``; ``schemas`` has
its steps), and the translation of SQLite's errors.
Each thread has its own read connection; one write connection is shared under a lock.

Waiting for another process's write is done here rather than by SQLite's busy handler: that one
sleeps up to 100 ms between tries, which a 20 ms transaction elsewhere does not deserve.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, cast

from tallystick import limits
from tallystick.errors import DamagedData, OperatorError, Unavailable
from tallystick.store.contract import Rewrite, Row, Value
from tallystick.store.schemas import newest_version, statements_from

_RETRY_SECONDS = 0.0005
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteTransaction:
    """Statements on one connection between BEGIN and COMMIT."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def one(self, sql: str, *values: Value) -> Row | None:
        return cast("Row | None", self._connection.execute(sql, values).fetchone())

    def all(self, sql: str, *values: Value) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, *values: Value) -> int:
        return self._connection.execute(sql, values).rowcount

    def insert(self, sql: str, *values: Value) -> int:
        row_id = self._connection.execute(sql, values).lastrowid
        assert row_id is not None
        return row_id

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        return max(0, self._connection.executemany(sql, rows).rowcount)

    def rewrite(self, what: Rewrite, rows: Sequence[Sequence[Value]]) -> int:
        return self.run_many(_rewriting(what), rows)

    @contextmanager
    def part(self) -> Iterator[None]:
        self._connection.execute("SAVEPOINT part")
        try:
            with _translated(self._path):
                yield
        except BaseException:
            # A full disk makes SQLite roll the whole transaction back; then no savepoint is left.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            raise
        self._connection.execute("RELEASE part")


class SqliteBegun:
    """A write transaction on the write connection, whose lock goes with its end."""

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: threading.Lock) -> None:
        self._connection = connection
        self._path = path
        self._lock = lock

    @contextmanager
    def filling(self) -> Iterator[SqliteTransaction]:
        try:
            with _translated(self._path):
                yield SqliteTransaction(self._connection, self._path)
        except BaseException:
            self._undo()
            raise

    def commit(self) -> None:
        try:
            with _translated(self._path):
                self._connection.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        self._lock.release()

    def _undo(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            self._lock.release()


class _Snapshot:
    """A reading transaction, begun with the block. A class, because every check begins one and a
    generator costs three times as much."""

    __slots__ = ("_connection", "_path")

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> SqliteTransaction:
        try:
            self._connection.execute("BEGIN")
        except sqlite3.DatabaseError as error:
            raise _ours(error, self._path) from error
        return SqliteTransaction(self._connection, self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as failed:
            raise _ours(failed, self._path) from failed
        if isinstance(error, sqlite3.DatabaseError):
            ours = _ours(error, self._path)
            if ours is not error:
                raise ours from error


class SqliteStore:
    """One SQLite database file with the schema ``schema/NAME.sql``."""

    is_remote: Final = False

    def __init__(self, path: Path, schema: str) -> None:
        """Open ``path``, creating it with the schema named ``schema`` when it is new, and bringing
        it up to date when an older Tallystick made it.

        Raises ``OperatorError`` when the file cannot be opened or has a schema of a newer version.
        """
        self._path = path
        self._local = threading.local()
        self._write_lock = threading.Lock()
        self._all: list[sqlite3.Connection] = []
        self._tender: sqlite3.Connection | None = None
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA busy_timeout = 0")
            self._install(schema)
        except sqlite3.Error as error:
            raise OperatorError(f"{path}: cannot be opened as a database: {error}") from error

    def reading(self) -> _Snapshot:
        return _Snapshot(self._reader(), self._path)

    @contextmanager
    def writing(self) -> Iterator[SqliteTransaction]:
        # One bound for both waits: for writers of this process, then for those of others.
        deadline = time.monotonic() + limits.STORE_BUSY_SECONDS_MAX
        if not self._write_lock.acquire(timeout=limits.STORE_BUSY_SECONDS_MAX):
            raise Unavailable(f"{self._path.name} is busy: another write did not end in time")
        try:
            with _translated(self._path):
                self._begin_immediate(deadline)
                try:
                    yield SqliteTransaction(self._writer, self._path)
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
        finally:
            self._write_lock.release()

    def begin_if_free(self) -> SqliteBegun | None:
        if not self._write_lock.acquire(blocking=False):
            return None
        begun = False
        try:
            with _translated(self._path):
                begun = self._try_begin()
        finally:
            if not begun:
                self._write_lock.release()
        return SqliteBegun(self._writer, self._path, self._write_lock) if begun else None

    def version(self) -> int:
        with _translated(self._path):
            return cast("int", self._reader().execute("PRAGMA data_version").fetchone()[0])

    def tend(self) -> None:
        """Move what was committed from the log into the database file, without making a writer
        wait: left to SQLite, whichever commit fills the log does that for everyone."""
        with _translated(self._path):
            if self._tender is None:
                self._tender = self._connect()
            self._tender.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        for connection in self._all:
            connection.close()
        self._all.clear()

    def _connect(self) -> sqlite3.Connection:
        # isolation_level=None: this module alone says BEGIN and COMMIT.
        connection = sqlite3.connect(
            self._path,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        # For opening, and for readers while another process recovers from a crash.
        connection.execute("PRAGMA busy_timeout = 2000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -32768")
        connection.execute("PRAGMA wal_autocheckpoint = 16000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        self._all.append(connection)
        return connection

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            with _translated(self._path):
                connection = self._connect()
                connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
        return connection

    def _begin_immediate(self, deadline: float) -> None:
        while not self._try_begin():
            if time.monotonic() > deadline:
                raise Unavailable(f"{self._path.name} is busy: another write did not end in time")
            time.sleep(_RETRY_SECONDS)

    def _try_begin(self) -> bool:
        """Begin to write; False when another process is writing."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _primary_code(error) not in _BUSY:
                raise
            return False
        return True

    def _install(self, schema: str) -> None:
        """Bring the database to the newest version of its schema, in one transaction."""
        newest = newest_version(schema)
        self._begin_immediate(time.monotonic() + limits.STORE_BUSY_SECONDS_MAX)
        try:
            found = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if found > newest:
                raise OperatorError(
                    f"{self._path}: written by a newer Tallystick (schema {found}, this one "
                    f"knows {newest}); upgrade Tallystick"
                )
            for statement in statements_from(schema, found):
                self._writer.execute(statement)
            if found < newest:
                # SQLite takes no parameter here; the number is ours.
                self._writer.execute("PRAGMA user_version = " + str(newest))
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise


@lru_cache(maxsize=64)
def _rewriting(what: Rewrite) -> str:
    changes = ", ".join(f"{column} = ?" for column in what.columns)
    return f"UPDATE {what.table} SET {changes} WHERE {what.key} = ?"


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: what may pass becomes Unavailable, what is damaged says so."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        ours = _ours(error, path)
        if ours is error:
            raise
        raise ours from error


def _ours(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """What callers know the error as; itself when it is a mistake of the statement."""
    code = _primary_code(error)
    if isinstance(error, sqlite3.IntegrityError):
        return DamagedData(f"{path.name} contradicts what is to be written: {error}")
    if code in _DAMAGED:
        return DamagedData(f"{path}: {error}; restore it from a backup")
    if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
        return Unavailable(f"{path.name} cannot be written or read now: {error}")
    return error
