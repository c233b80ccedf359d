"""The SQL store on PostgreSQL, for more than one node.

Owns: connections, transactions, the version of a schema, the translation of PostgreSQL's errors and
what becomes of a COMMIT that was not answered. Both stores lie in one database, each in a schema of
its own (``tallystick_state``, ``tallystick_inbox``). Each thread has its own read connection; one
write connection is shared under a lock.

Writers are serialised by an advisory lock that every writing transaction takes first: what it reads
afterwards nobody changes until it ends, also where a row is not there yet, which no lock of rows
can promise. It is no lock of a table: readers never meet it.

Connections that were lost are replaced: before the first statement of a transaction unnoticed,
later with ``Unavailable``. Waiting is bounded everywhere: for the lock, for a connection, and by
the server for a transaction that its owner leaves open (a node that was stopped holds nobody up).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

import psycopg
from psycopg import RawCursor, conninfo, pq
from psycopg.types.bool import BoolBinaryLoader
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from tallystick import limits
from tallystick.errors import DamagedData, OperatorError, OutcomeUnknown, Unavailable
from tallystick.store import dialect
from tallystick.store.contract import Row, Value
from tallystick.store.schemas import newest_version, statements_from

Connection: TypeAlias = "psycopg.Connection[Row]"

_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_VERSION: Final = "SELECT version FROM schema_version"
_SNAPSHOT: Final = "SELECT pg_current_snapshot()::text"
_OUTCOME: Final = "SELECT pg_xact_status($1::text::xid8)"
_END_BACKEND: Final = "SELECT pg_terminate_backend($1::int)"

_POLL_SECONDS: Final = 0.05

# Of SQLSTATEs: what may pass, by class or in full (PostgreSQL's manual, appendix A).
_PASSING: Final = (
    "08",  # the connection
    "25006",  # read only: a standby, or an operator who forbids writing for now
    "25P03",  # idle in a transaction for too long
    "40",  # rolled back: a deadlock, or what was serialised
    "53",  # no room, no memory, too many connections
    "55P03",  # a lock was not to be had in time
    "57",  # an operator intervened, a shutdown among it
    "58",  # the system beneath it, as a file that cannot grow
)
_DAMAGED: Final = ("XX001", "XX002")
_BROKEN_CONSTRAINT: Final = "23"


class _Whole(NumericBinaryLoader):
    """What PostgreSQL's ``sum`` makes of 64 bits: all numbers of the store are whole."""

    def load(self, data: Any) -> int:  # type: ignore[override]
        found = super().load(data)
        if found != int(found):
            raise ValueError(f"{found} is not whole; quantities are text")
        return int(found)


class _Truth(BoolBinaryLoader):
    """A condition as SQLite has it: 1 or 0."""

    def load(self, data: Any) -> int:  # type: ignore[override]
        return int(super().load(data))


class PostgresTransaction:
    """Statements on one connection between BEGIN and COMMIT."""

    def __init__(self, connection: Connection, generated: dict[str, str]) -> None:
        self._connection = connection
        self._generated = generated

    def one(self, sql: str, *values: Value) -> Row | None:
        return self._execute(sql, values).fetchone()

    def all(self, sql: str, *values: Value) -> list[Row]:
        return self._execute(sql, values).fetchall()

    def run(self, sql: str, *values: Value) -> int:
        return max(0, self._execute(sql, values).rowcount)

    def insert(self, sql: str, *values: Value) -> int:
        column = self._generated[dialect.table_of_insert(sql)]
        row = self._execute(f"{sql} RETURNING {column}", values).fetchone()
        assert row is not None
        return cast("int", row[0])

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        cursor = self._connection.cursor()
        cursor.executemany(dialect.numbered(sql), rows)
        return max(0, cursor.rowcount)

    @contextmanager
    def part(self) -> Iterator[None]:
        self._connection.execute("SAVEPOINT part")
        try:
            with _translated():
                yield
        except BaseException:
            # Of a connection that was lost there is nothing left to undo.
            if not _lost(self._connection):
                self._connection.execute("ROLLBACK TO SAVEPOINT part")
                self._connection.execute("RELEASE SAVEPOINT part")
            raise
        self._connection.execute("RELEASE SAVEPOINT part")

    def _execute(self, sql: str, values: Sequence[Value]) -> psycopg.Cursor[Row]:
        return self._connection.execute(dialect.numbered(sql), values, binary=True)


class PostgresBegun:
    """A write transaction on the write connection, whose lock goes with its end."""

    def __init__(self, store: PostgresStore, connection: Connection, number: str) -> None:
        """``number`` is what the server knows the transaction by."""
        self._store = store
        self._connection = connection
        self._number = number

    @contextmanager
    def filling(self) -> Iterator[PostgresTransaction]:
        try:
            with _translated():
                yield PostgresTransaction(self._connection, self._store.generated)
        except BaseException:
            self._store.end_writing(self._connection)
            raise

    def commit(self) -> None:
        try:
            with _translated():
                self._commit()
        finally:
            self._store.end_writing(self._connection)

    def _commit(self) -> None:
        pid = self._connection.info.backend_pid
        try:
            answer = self._connection.execute("COMMIT").statusmessage
        except psycopg.Error:
            if not _lost(self._connection):
                raise
            self._store.find_out(self._number, pid)
            return
        if answer != "COMMIT":
            # A statement failed, and whoever ran it went on as if it had not.
            raise Unavailable("PostgreSQL rolled back what was to be committed")


class _Snapshot:
    """A reading transaction, begun with the block."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def __enter__(self) -> PostgresTransaction:
        with _translated():
            self._connection = self._store.reader(_READ)
        return PostgresTransaction(self._connection, self._store.generated)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with suppress(psycopg.Error):  # nothing was written; the next one finds out
            self._connection.execute("ROLLBACK")
        if isinstance(error, psycopg.Error):
            ours = _ours(error)
            if ours is not error:
                raise ours from error


class PostgresStore:
    """One schema in a PostgreSQL database."""

    is_remote: Final = True

    def __init__(self, url: str, schema: str) -> None:
        """Open the database at ``url``, giving it the schema ``schema`` when it has none, and
        bringing it up to date when an older Tallystick made it.

        Raises ``OperatorError`` when it cannot be opened or has a schema of a newer version.
        """
        self._url = url
        self._space = f"tallystick_{schema}"
        self._lock = advisory_lock(schema)
        self._local = threading.local()
        self._write_lock = threading.Lock()
        self._writer: Connection | None = None
        self._all: list[Connection] = []
        self.generated = dialect.generated_columns(list(statements_from(schema, 0)))
        try:
            self._install(schema)
        except (psycopg.Error, Unavailable) as error:
            raise OperatorError(
                f"TALLYSTICK_DATABASE_URL: {_place(url)} cannot be used: {_told(error)}"
            ) from error

    def reading(self) -> _Snapshot:
        return _Snapshot(self)

    @contextmanager
    def writing(self) -> Iterator[PostgresTransaction]:
        # One bound for both waits: for writers of this process, then for those of others.
        deadline = time.monotonic() + limits.STORE_BUSY_SECONDS_MAX
        if not self._write_lock.acquire(timeout=limits.STORE_BUSY_SECONDS_MAX):
            raise Unavailable("PostgreSQL is busy: another write did not end in time")
        begun = self._begin(deadline)
        assert begun is not None
        with begun.filling() as transaction:
            yield transaction
        begun.commit()

    def begin_if_free(self) -> PostgresBegun | None:
        if not self._write_lock.acquire(blocking=False):
            return None
        return self._begin(None)

    def version(self) -> int:
        """The snapshot, of which any commit makes another."""
        with _translated():
            row = self.reader(_SNAPSHOT, once=True).fetchone()
        assert row is not None
        digest = hashlib.blake2b(str(row[0]).encode(), digest_size=8).digest()
        return int.from_bytes(digest)

    def tend(self) -> None:
        """Nothing: PostgreSQL vacuums by itself."""

    def close(self) -> None:
        for connection in self._all:
            connection.close()
        self._all.clear()

    def reader(self, statement: str, *, once: bool = False) -> Any:
        """This thread's read connection after ``statement``, or with ``once`` its cursor. One that
        was lost meanwhile is replaced: nobody has seen anything of it yet."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            try:
                cursor = connection.execute(statement)
            except psycopg.OperationalError:
                if not _lost(connection):
                    raise
                self._drop(connection)
                connection = None
            else:
                return cursor if once else connection
        connection = self._local.connection = self._connect()
        cursor = connection.execute(statement)
        return cursor if once else connection

    def end_writing(self, connection: Connection) -> None:
        """A write is over, however it ended: undo what is left of it and let others write."""
        try:
            if connection.info.transaction_status != pq.TransactionStatus.IDLE:
                with suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
            if _lost(connection):
                self._drop(connection)
                self._writer = None
        finally:
            self._write_lock.release()

    def find_out(self, number: str, pid: int) -> None:
        """What became of a transaction whose COMMIT was not answered; returns if it is committed.

        Raises ``Unavailable`` when nothing of it remains, ``OutcomeUnknown`` when the server does
        not come back in time.
        """
        deadline = time.monotonic() + limits.COMMIT_OUTCOME_SECONDS_MAX
        while time.monotonic() < deadline:
            status = self._outcome(number, pid)
            if status == "committed":
                return
            if status == "aborted":
                raise Unavailable("the connection to PostgreSQL was lost; nothing was stored")
            time.sleep(_POLL_SECONDS)
        raise OutcomeUnknown(
            "the connection to PostgreSQL was lost during a commit, and it did not come back "
            "to tell whether that was stored"
        )

    def _outcome(self, number: str, pid: int) -> str | None:
        """``committed``, ``aborted``, or None while it cannot be told. What the connection left
        running is ended, so that it can be."""
        try:
            with self._connect(kept=False) as asking:
                row = asking.execute(_OUTCOME, (number,)).fetchone()
                assert row is not None
                if row[0] == "in progress":
                    asking.execute(_END_BACKEND, (pid,))
                    return None
                return cast("str | None", row[0])
        except (psycopg.Error, Unavailable):
            return None

    def _begin(self, deadline: float | None) -> PostgresBegun | None:
        """Begin to write, by when it has to have begun; without a deadline None when another is
        writing. This thread has the lock of this process, which goes when it does not begin."""
        begun: PostgresBegun | None = None
        try:
            with _translated():
                begun = self._try_begin(deadline)
        finally:
            if begun is None:
                self._write_lock.release()
        return begun

    def _try_begin(self, deadline: float | None) -> PostgresBegun | None:
        connection = self._writer
        if connection is not None:
            try:
                return self._locked(connection, deadline)
            except psycopg.OperationalError:
                if not _lost(connection):
                    raise
                self._drop(connection)
        self._writer = connection = self._connect()
        return self._locked(connection, deadline)

    def _locked(self, connection: Connection, deadline: float | None) -> PostgresBegun | None:
        """Begin a transaction that has the lock; None when it is not free and may not wait."""
        if deadline is None:
            lock = f"SELECT pg_try_advisory_xact_lock({self._lock})"
        else:
            milliseconds = max(1, round((deadline - time.monotonic()) * 1_000))
            lock = (
                f"SET LOCAL lock_timeout = {milliseconds}; "
                f"SELECT pg_advisory_xact_lock({self._lock}), true"
            )
        try:
            cursor = connection.execute(f"BEGIN; {lock}; SELECT pg_current_xact_id()::text")
            answers = [row for rows in cursor.results() if rows.description for row in rows]
        except psycopg.errors.LockNotAvailable:
            connection.execute("ROLLBACK")
            raise Unavailable("PostgreSQL is busy: another write did not end in time") from None
        (*_, taken), (number,) = answers
        if not taken:
            connection.execute("ROLLBACK")
            return None
        return PostgresBegun(self, connection, str(number))

    def _connect(self, *, kept: bool = True) -> Connection:
        """A connection whose statements are as this module says. ``kept`` until the store closes.

        Autocommit: this module alone says BEGIN and COMMIT.
        """
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            cursor_factory=RawCursor,
            connect_timeout=limits.DATABASE_CONNECT_SECONDS_MAX,
            application_name="tallystick",
            keepalives_idle=limits.DATABASE_SILENT_SECONDS_MAX,
            tcp_user_timeout=limits.DATABASE_SILENT_SECONDS_MAX * 1_000,
        )
        _adapt(connection)
        connection.execute(
            f"SET search_path = {self._space}; SET synchronous_commit = on; "
            f"SET idle_in_transaction_session_timeout = '{limits.DATABASE_IDLE_SECONDS_MAX}s'"
        )
        if kept:
            self._all.append(connection)
        return connection

    def _drop(self, connection: Connection) -> None:
        with suppress(ValueError):
            self._all.remove(connection)
        connection.close()

    def _install(self, schema: str) -> None:
        """Bring the database to the newest version of its schema, in one transaction."""
        newest = newest_version(schema)
        self._write_lock.acquire()
        begun = self._begin(time.monotonic() + limits.STORE_BUSY_SECONDS_MAX)
        assert begun is not None
        with begun.filling() as transaction:
            transaction.run(f"CREATE SCHEMA IF NOT EXISTS {self._space}")
            transaction.run("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            row = transaction.one(_VERSION)
            found = 0 if row is None else cast("int", row[0])
            if found > newest:
                raise OperatorError(
                    f"TALLYSTICK_DATABASE_URL: {_place(self._url)} was written by a newer "
                    f"Tallystick (schema {found}, this one knows {newest}); upgrade Tallystick"
                )
            for statement in statements_from(schema, found):
                transaction.run(dialect.schema_statement(statement))
            if found < newest:
                transaction.run("DELETE FROM schema_version")
                transaction.run("INSERT INTO schema_version (version) VALUES (?)", newest)
        begun.commit()


def advisory_lock(schema: str) -> int:
    """The number of the lock that writers of a schema take: one that nobody else happens to use."""
    digest = hashlib.blake2b(f"tallystick {schema}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _adapt(connection: Connection) -> None:
    """Values as ``contract.Value`` has them: integers of 64 bits whatever they are, no truth
    values, no decimals."""
    adapters = connection.adapters
    for kind in (int, bool):
        adapters.register_dumper(kind, Int8BinaryDumper)
    adapters.register_loader("numeric", _Whole)
    adapters.register_loader("bool", _Truth)


def _place(url: str) -> str:
    """Where a database is, without its password."""
    try:
        known = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return "the URL"
    host = known.get("host") or known.get("hostaddr") or "the local socket"
    return f"database {known.get('dbname') or known.get('user') or 'of the user'!s} at {host!s}"


def _lost(connection: Connection) -> bool:
    return connection.closed or connection.broken


def _told(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def _translated() -> Iterator[None]:
    """PostgreSQL's errors as ours: what may pass becomes Unavailable, what is damaged says so."""
    try:
        yield
    except psycopg.Error as error:
        ours = _ours(error)
        if ours is error:
            raise
        raise ours from error


def _ours(error: psycopg.Error) -> Exception:
    """What callers know the error as; itself when it is a mistake of the statement."""
    state = error.sqlstate or ""
    if state.startswith(_BROKEN_CONSTRAINT):
        return DamagedData(f"the database contradicts what is to be written: {_told(error)}")
    if state in _DAMAGED:
        return DamagedData(f"PostgreSQL: {_told(error)}; restore it from a backup")
    lost = not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if lost or state.startswith(_PASSING):
        return Unavailable(f"PostgreSQL cannot be written or read now: {_told(error)}")
    return error
