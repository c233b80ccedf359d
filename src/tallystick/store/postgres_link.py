"""One connection to PostgreSQL, as fast as checks need it.

Owns: statements and their values on the wire. psycopg connects, copies and knows the errors; single
statements go through its binding of libpq (``psycopg.pq``) at once, which costs a third of what its
cursors do: a check is three of them, and it is their time that a caller waits for.

What a value is: ``contract.Value``. Numbers are whole and of 64 bits whatever they are, also what
PostgreSQL's ``sum`` makes of them; truth values are the numbers 1 and 0.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final, cast

import psycopg
from psycopg import RawCursor, pq
from psycopg.types.numeric import Int8BinaryDumper

from tallystick import limits
from tallystick.store import dialect
from tallystick.store.contract import Rewrite, Row, Value

_INT8, _BYTEA, _UNKNOWN = 20, 17, 0
_PREPARED_MAX: Final = 512
"""Statements that a connection keeps prepared; beyond it they are planned each time."""
_BINARY: Final = 1

_GOODBYE: Final = (b"FATAL", b"PANIC")
"""What is as severe as this ends the connection."""

_SINCE: Final = "SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"

_NUMERIC_HEAD: Final = struct.Struct("!HhHH")
_NEGATIVE: Final = 0x4000


class Link:
    """A connection. Used by one thread at a time."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """``connection`` is in autocommit mode and makes ``RawCursor``s."""
        self._connection = connection
        self._wire = connection.pgconn
        self._prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._met: set[tuple[str, tuple[int, ...]]] = set()
        self._is_lost = False
        """Told by an error, sooner than libpq tells it."""
        self._unread = False
        """Whether the answer of ``end`` was not read yet."""
        self._since = self.text(_SINCE)
        for kind in (int, bool):
            connection.adapters.register_dumper(kind, Int8BinaryDumper)

    @classmethod
    def open(cls, url: str, settings: str) -> Link:
        """A new connection to ``url`` that ``settings``, statements, are run on; raises
        ``psycopg.Error``."""
        connection = psycopg.connect(
            url,
            autocommit=True,
            cursor_factory=RawCursor,
            connect_timeout=limits.DATABASE_CONNECT_SECONDS_MAX,
            application_name="tallystick",
            keepalives_idle=limits.DATABASE_SILENT_SECONDS_MAX,
            keepalives_interval=1,
            keepalives_count=3,
            tcp_user_timeout=limits.DATABASE_SILENT_SECONDS_MAX * 1_000,
        )
        try:
            link = cls(connection)
            link.command(settings)
        except BaseException:
            connection.close()
            raise
        return link

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be asked over it any more."""
        return self._is_lost or self._wire.status != pq.ConnStatus.OK

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is open on it."""
        self._read_up()
        return self._wire.transaction_status == pq.TransactionStatus.IDLE

    @property
    def server_process(self) -> int:
        """The process of the server that answers here."""
        return self._wire.backend_pid

    @property
    def server_process_since(self) -> str:
        """When that process began, as the server writes it: with its id nothing else's."""
        return self._since

    def close(self) -> None:
        """Close it, whatever state it is in."""
        self._connection.close()

    def begin(self, sql: str) -> pq.abc.PGresult:
        """``command`` that begins a transaction; none is open when it fails."""
        try:
            return self.command(sql)
        except psycopg.Error:
            if not self.is_lost:
                self.end()
            raise

    def command(self, sql: str) -> pq.abc.PGresult:
        """Run statements without values; the result of the last, in text."""
        self._read_up()
        with self._noticing():
            return self._good(self._wire.exec_(sql.encode()))

    def end(self) -> None:
        """Undo what is open, without waiting for the answer: of what only read it tells nothing."""
        self._read_up()
        with suppress(psycopg.Error):
            self._wire.send_query(b"ROLLBACK")
            self._unread = True

    def text(self, sql: str) -> str:
        """The one text that statements without values answer with; as ``begin``."""
        found = self.begin(sql).get_value(0, 0)
        assert found is not None
        return found.decode()

    def ask(self, sql: str, values: Sequence[Value]) -> pq.abc.PGresult:
        """Run one statement."""
        with self._noticing():
            return self._asked(sql, values)

    def _asked(self, sql: str, values: Sequence[Value]) -> pq.abc.PGresult:
        self._read_up()
        kinds = tuple([_kind(value) for value in values])
        sent = [_sent(value) for value in values]
        formats = [_BINARY if kind else 0 for kind in kinds]
        name = self._prepared.get((sql, kinds)) or self._prepare(sql, kinds)
        if name is None:
            text = dialect.numbered(sql).encode()
            return self._good(self._wire.exec_params(text, sent, kinds, formats, _BINARY))
        # psycopg's own annotation leaves out None, which is NULL here as everywhere.
        return self._good(self._wire.exec_prepared(name, cast("Any", sent), formats, _BINARY))

    def _prepare(self, sql: str, kinds: tuple[int, ...]) -> bytes | None:
        """The name of a statement, which is prepared when it is met for the second time."""
        if (sql, kinds) not in self._met:
            if len(self._met) < _PREPARED_MAX:
                self._met.add((sql, kinds))
            return None
        name = f"t{len(self._prepared)}".encode()
        self._good(self._wire.prepare(name, dialect.numbered(sql).encode(), kinds))
        self._prepared[sql, kinds] = name
        return name

    def ask_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Run one statement for each row of values; how many rows they changed in all."""
        self._read_up()
        with self._noticing(), self._connection.cursor() as cursor:
            cursor.executemany(dialect.numbered(sql), rows)
            return max(0, cursor.rowcount)

    def rewrite(self, what: Rewrite, rows: Sequence[Sequence[Value]]) -> int:
        """Set columns of many rows with one statement; how many there were.

        The rows go to a table of this connection first: the fold writes thousands at a time, and a
        statement for each took seven times as long.
        """
        self._read_up()
        columns = (*what.columns, what.key)
        new = "_".join((what.table, *columns, "new"))
        listed = ", ".join(columns)
        self.command(
            f"CREATE TEMP TABLE IF NOT EXISTS {new} ON COMMIT DELETE ROWS "
            f"AS SELECT {listed} FROM {what.table} WHERE false; TRUNCATE {new}"
        )
        into = f"COPY {new} ({listed}) FROM STDIN".encode()
        with self._noticing(), self._connection.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)
        changes = ", ".join(f"{column} = {new}.{column}" for column in what.columns)
        changed = self.command(
            f"UPDATE {what.table} SET {changes} FROM {new} "
            f"WHERE {what.table}.{what.key} = {new}.{what.key}"
        )
        return changed.command_tuples or 0

    def _good(self, result: pq.abc.PGresult) -> pq.abc.PGresult:
        """The result; raises what the server says instead of it, as psycopg names it."""
        if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            return result
        told = result.error_field(pq.DiagnosticField.SQLSTATE)
        state, message = (told or b"").decode(), result.get_error_message()
        # Without a state it is libpq that speaks.
        severity = result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED)
        self._is_lost = self._is_lost or not state or severity in _GOODBYE
        raise _error_of(state)(message)

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """That the connection is lost: what has no state comes from the client's side of it."""
        try:
            yield
        except psycopg.OperationalError as error:
            self._is_lost = self._is_lost or error.sqlstate is None
            raise

    def _read_up(self) -> None:
        """Read the answer that ``end`` did not wait for. What was wrong with it shows next."""
        if self._unread:
            self._unread = False
            with suppress(psycopg.Error):
                while self._next_result() is not None:
                    pass

    def _next_result(self) -> pq.abc.PGresult | None:
        """Of what was sent; waits for it here, because ``get_result`` would hold Python's lock."""
        while self._wire.is_busy():
            waiting = select.poll()
            waiting.register(self._wire.socket, select.POLLIN)
            waiting.poll()
            self._wire.consume_input()
        return self._wire.get_result()


def rows_of(result: pq.abc.PGresult) -> list[Row]:
    """Every row of a result of ``ask``."""
    return [row_of(result, number) for number in range(result.ntuples)]


def row_of(result: pq.abc.PGresult, number: int) -> Row:
    """One row of a result of ``ask``."""
    return tuple(
        [
            None if (raw := result.get_value(number, column)) is None
            else _READ[result.ftype(column)](raw)
            for column in range(result.nfields)
        ]
    )  # fmt: skip


@lru_cache(maxsize=512)
def _error_of(state: str) -> type[psycopg.Error]:
    if not state:
        return psycopg.OperationalError
    try:
        return psycopg.errors.lookup(state)
    except KeyError:
        return cast("type[psycopg.Error]", type("ServerError", (psycopg.DatabaseError,), {
            "sqlstate": state,
        }))  # fmt: skip


def _kind(value: Value) -> int:
    """The type that a value is sent as; a text is what the statement takes it for."""
    if isinstance(value, int):
        return _INT8
    return _BYTEA if isinstance(value, bytes) else _UNKNOWN


def _sent(value: Value) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return struct.pack("!q", value)
    if "\0" in value:
        raise ValueError("PostgreSQL has no text with a NUL in it")
    return value.encode()


def _whole(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)


def _numeric(raw: bytes) -> int:
    """A number of any size: of its digits, to the base of 10,000, all must be before the point."""
    count, weight, sign, _ = _NUMERIC_HEAD.unpack_from(raw)
    if count > weight + 1:
        raise ValueError("a number of the store is not whole; quantities are text")
    found = 0
    for digit in _digits(raw, count):
        found = found * 10_000 + digit
    for _ in range(weight + 1 - count):
        found *= 10_000
    return -found if sign == _NEGATIVE else found


def _digits(raw: bytes, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"!{count}H", raw, _NUMERIC_HEAD.size)


_READ: Final[Mapping[int, Callable[[bytes], Value]]] = {
    16: _whole,  # bool: SQLite's 1 and 0
    _BYTEA: bytes,
    19: bytes.decode,  # name
    _INT8: _whole,
    21: _whole,  # int2
    23: _whole,  # int4
    25: bytes.decode,  # text
    705: bytes.decode,  # of a literal
    1043: bytes.decode,  # varchar
    1700: _numeric,
}
"""How the types of columns are read."""
