"""The SQL store on PostgreSQL, for more than one node.

Owns: connections, transactions, the version of a schema, the translation of PostgreSQL's errors and
what became of a COMMIT that was not answered. Both stores lie in one database, each in a schema of
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
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Final, cast

import psycopg
from psycopg import conninfo

from tallystick import ids, limits
from tallystick.errors import DamagedData, OperatorError, OutcomeUnknown, Unavailable
from tallystick.store import dialect
from tallystick.store.contract import Rewrite, Row, Value
from tallystick.store.postgres_link import Link, row_of, rows_of
from tallystick.store.schemas import newest_version, statements_from

log = logging.getLogger(__name__)

_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
# Whatever the database's default: under another level the lock's own statement would take the
# snapshot, before it waits.
_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_VERSION: Final = "SELECT version FROM schema_version"
_SNAPSHOT: Final = "SELECT pg_current_snapshot()::text"

# What a store wrote last, in the transaction that wrote it: so it can be found out whether that was
# committed. The transaction's own number would not do: a server that crashed gives those of lost
# ones to others.
_CREATE_WRITERS: Final = """
CREATE TABLE IF NOT EXISTS writers (
    writer TEXT COLLATE "C" PRIMARY KEY, number BIGINT NOT NULL, written_at TIMESTAMPTZ NOT NULL
)
"""
_WRITTEN: Final = "SELECT number FROM writers WHERE writer = ?"
_FORGET_WRITERS: Final = "DELETE FROM writers WHERE written_at < now() - interval '1 day'"

_END_PROCESS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = CAST(? AS INTEGER) AND CAST(backend_start AS TEXT) = CAST(? AS TEXT)
"""

_POLL_SECONDS: Final = 0.05

# Of SQLSTATEs: what may pass, by class or in full (PostgreSQL's manual, appendix A).
_PASSING: Final = (
    "08",  # the connection
    "25006",  # read only: a standby, or an operator who forbids writing for now
    "25P02",  # a statement failed before, and whoever ran it went on as if it had not
    "25P03",  # idle in a transaction for too long
    "40",  # rolled back: a deadlock, or what was serialised
    "53",  # no room, no memory, too many connections
    "55P03",  # a lock was not to be had in time
    "57",  # an operator intervened, a shutdown among it
    "58",  # the system beneath it, as a file that cannot grow
)
_DAMAGED: Final = ("XX001", "XX002")
_BROKEN_CONSTRAINT: Final = "23"


class PostgresTransaction:
    """Statements on one connection between BEGIN and COMMIT."""

    def __init__(self, link: Link, generated: dict[str, str]) -> None:
        self._link = link
        self._generated = generated

    def one(self, sql: str, *values: Value) -> Row | None:
        result = self._link.ask(sql, values)
        return row_of(result, 0) if result.ntuples else None

    def all(self, sql: str, *values: Value) -> list[Row]:
        return rows_of(self._link.ask(sql, values))

    def run(self, sql: str, *values: Value) -> int:
        return self._link.ask(sql, values).command_tuples or 0

    def insert(self, sql: str, *values: Value) -> int:
        column = self._generated[dialect.table_of_insert(sql)]
        return cast("int", row_of(self._link.ask(f"{sql} RETURNING {column}", values), 0)[0])

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        return self._link.ask_many(sql, rows)

    def rewrite(self, what: Rewrite, rows: Sequence[Sequence[Value]]) -> int:
        return self._link.rewrite(what, rows)

    @contextmanager
    def part(self) -> Iterator[None]:
        self._link.command("SAVEPOINT part")
        try:
            with _translated():
                yield
        except BaseException:
            # Of a connection that was lost there is nothing left to undo.
            if not self._link.is_lost:
                self._link.command("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part")
            raise
        self._link.command("RELEASE SAVEPOINT part")


class PostgresBegun:
    """A write transaction on the write connection, whose lock goes with its end."""

    def __init__(self, store: PostgresStore, link: Link) -> None:
        self._store = store
        self._link = link

    @contextmanager
    def filling(self) -> Iterator[PostgresTransaction]:
        try:
            with _translated():
                yield PostgresTransaction(self._link, self._store.generated)
        except BaseException:
            self._store.end_writing(self._link)
            raise

    def commit(self) -> None:
        try:
            with _translated():
                self._commit()
        finally:
            self._store.end_writing(self._link)

    def _commit(self) -> None:
        number, told = self._store.next_write()
        try:
            self._link.command(f"{told}; COMMIT")
        except psycopg.Error:
            if not self._link.is_lost:
                raise
            self._store.find_out(number, self._link)


class _Snapshot:
    """A reading transaction, begun with the block."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def __enter__(self) -> PostgresTransaction:
        with _translated():
            self._link = self._store.begin_reading()
        return PostgresTransaction(self._link, self._store.generated)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._store.end_reading(self._link)
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
        self._url, self._place = url, _place(url)
        self._space = f"tallystick_{schema}"
        self._lock = advisory_lock(schema)
        self._local = threading.local()
        self._write_lock = threading.Lock()
        self._name = ids.new_id()
        self._writes = 0
        self._writer: Link | None = None
        self._readers: dict[threading.Thread, Link] = {}
        self._readers_lock = threading.Lock()
        self.generated = dialect.generated_columns(list(statements_from(schema, 0)))
        try:
            self._install(schema)
        except OperatorError:
            self.close()
            raise
        except (psycopg.Error, Unavailable) as error:
            self.close()
            why = _told(error.__cause__ or error)
            raise OperatorError(
                f"TALLYSTICK_DATABASE_URL: {self._place} cannot be used: {why}"
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
        """The snapshot, of which any commit makes another: that of the transaction that this thread
        reads in, if it does."""
        text: str | None = getattr(self._local, "snapshot", None)
        if text is None:
            with _translated():
                _, text = self._asked(_SNAPSHOT)
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest)

    def tend(self) -> None:
        """Forget stores that have not written for a day; PostgreSQL vacuums by itself."""
        begun = self.begin_if_free()
        if begun is not None:
            with begun.filling() as transaction:
                transaction.run(_FORGET_WRITERS)
            begun.commit()

    def close(self) -> None:
        with self._readers_lock:
            for link in self._readers.values():
                link.close()
            self._readers.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def begin_reading(self) -> Link:
        """This thread's connection for reading, in a new snapshot."""
        if getattr(self._local, "snapshot", None) is not None:
            raise RuntimeError("this thread reads already; a snapshot has no other inside")
        link, self._local.snapshot = self._asked(_READ + _SNAPSHOT)
        return link

    def end_reading(self, link: Link) -> None:
        """The snapshot is let go."""
        self._local.snapshot = None
        link.end()

    def _asked(self, statement: str) -> tuple[Link, str]:
        """This thread's connection for reading, and what it answers at first. One that was lost
        meanwhile is replaced: nobody has seen anything of it yet."""
        link: Link | None = getattr(self._local, "link", None)
        if link is not None:
            try:
                return link, link.text(statement)
            except psycopg.OperationalError:
                if not link.is_lost:
                    raise
                link.close()
        link = self._local.link = self._connect(idle_seconds=0)
        self._keep(link)
        return link, link.text(statement)

    def _keep(self, link: Link) -> None:
        """Note whose a connection for reading is, and close those of threads that have ended."""
        with self._readers_lock:
            for thread in [each for each in self._readers if not each.is_alive()]:
                self._readers.pop(thread).close()
            self._readers[threading.current_thread()] = link

    def end_writing(self, link: Link) -> None:
        """A write is over, however it ended: undo what is left of it and let others write."""
        try:
            if not link.is_lost and not link.is_idle:
                link.end()
            if link.is_lost:
                link.close()
                self._writer = None
        finally:
            self._write_lock.release()

    def next_write(self) -> tuple[int, str]:
        """A number for a write, and the statement that leaves it with what is written."""
        self._writes += 1
        return self._writes, (
            f"INSERT INTO writers VALUES ('{self._name}', {self._writes}, now()) "
            "ON CONFLICT (writer) DO UPDATE "
            "SET number = excluded.number, written_at = excluded.written_at"
        )

    def find_out(self, number: int, lost: Link) -> None:
        """What became of a write whose COMMIT was not answered; returns if it is committed.

        Raises ``Unavailable`` when nothing of it remains, ``OutcomeUnknown`` when the server does
        not come back in time.
        """
        deadline = time.monotonic() + limits.COMMIT_OUTCOME_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                with closing(self._connect()) as asking:
                    last = self._last_written(asking, lost, deadline)
            except (psycopg.Error, Unavailable):
                time.sleep(_POLL_SECONDS)
                continue
            if last != number:
                raise Unavailable("the connection to PostgreSQL was lost; nothing was stored")
            return
        raise OutcomeUnknown(
            "the connection to PostgreSQL was lost during a commit, and it did not come back "
            "to tell whether that was stored"
        )

    def _last_written(self, asking: Link, lost: Link, deadline: float) -> int | None:
        """The number of this store's last write that was committed: known as soon as the lock is to
        be had, for the lost one had it. What the lost connection left running is ended."""
        asking.ask(_END_PROCESS, (lost.server_process, lost.server_process_since))
        self._lock_taken(asking, deadline)
        result = asking.ask(_WRITTEN, (self._name,))
        asking.end()
        return cast("int", row_of(result, 0)[0]) if result.ntuples else None

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
        link = self._writer
        if link is not None:
            try:
                return self._locked(link, deadline)
            except psycopg.OperationalError:
                if not link.is_lost:
                    raise
                link.close()
        self._writer = link = self._connect()
        return self._locked(link, deadline)

    def _locked(self, link: Link, deadline: float | None) -> PostgresBegun | None:
        """Begin a transaction that has the lock; None when it is not free and may not wait."""
        return PostgresBegun(self, link) if self._lock_taken(link, deadline) else None

    def _lock_taken(self, link: Link, deadline: float | None) -> bool:
        """Begin a transaction and take the lock; False, and nothing is begun, when it is not free
        and may not wait. Raises ``Unavailable`` when it is not free in time."""
        if deadline is None:
            taken = link.begin(f"{_WRITE}; SELECT pg_try_advisory_xact_lock({self._lock})::int")
            if taken.get_value(0, 0) == b"1":
                return True
            link.end()
            return False
        milliseconds = max(1, round((deadline - time.monotonic()) * 1_000))
        try:
            link.begin(
                f"{_WRITE}; SET LOCAL lock_timeout = {milliseconds}; "
                f"SELECT pg_advisory_xact_lock({self._lock}); "
                f"SET LOCAL lock_timeout = '{limits.STORE_BUSY_SECONDS_MAX}s'"
            )
        except psycopg.errors.LockNotAvailable:
            raise Unavailable("PostgreSQL is busy: another write did not end in time") from None
        return True

    def _connect(self, idle_seconds: int = limits.DATABASE_IDLE_SECONDS_MAX) -> Link:
        """A connection that is set as this module says."""
        return Link.open(
            self._url,
            f"SET search_path = {self._space}; SET synchronous_commit = on; "
            f"SET lock_timeout = '{limits.STORE_BUSY_SECONDS_MAX}s'; "
            # Who only reads holds nobody up, and may think for as long as a query takes.
            f"SET idle_in_transaction_session_timeout = '{idle_seconds}s'",
        )

    def _install(self, schema: str) -> None:
        """Bring the database to the newest version of its schema, in one transaction."""
        newest = newest_version(schema)
        self._write_lock.acquire()
        begun = self._begin(time.monotonic() + limits.STORE_BUSY_SECONDS_MAX)
        assert begun is not None
        with begun.filling() as transaction:
            transaction.run(f"CREATE SCHEMA IF NOT EXISTS {self._space}")
            transaction.run("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            transaction.run(_CREATE_WRITERS)
            row = transaction.one(_VERSION)
            found = 0 if row is None else cast("int", row[0])
            if found > newest:
                raise OperatorError(
                    f"TALLYSTICK_DATABASE_URL: {self._place} was written by a newer "
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


def _place(url: str) -> str:
    """Where a database is, without its password. Raises ``OperatorError`` when that cannot be told
    from the rest for certain."""
    advice = "TALLYSTICK_DATABASE_URL: is no URL of a database; percent-encode what is in it"
    try:
        known = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise OperatorError(advice) from None
    host = str(known.get("host") or known.get("hostaddr") or "the local socket")
    database = str(known.get("dbname") or known.get("user") or "of the user")
    if any(mark in host + database for mark in "@:%") or "/" in database:
        raise OperatorError(advice)
    return f"database {database} at {host}"


def _told(error: BaseException) -> str:
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
        # Callers elsewhere are told no more than that; who runs this finds the rest in the log.
        log.warning("PostgreSQL: %s", _told(error))
        why = f"SQLSTATE {state}" if state else "the connection was lost, or cannot be made"
        return Unavailable(f"PostgreSQL cannot be written or read now: {why}")
    return error
