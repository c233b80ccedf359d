"""What PostgreSQL alone can do to a store: lines that are cut, nodes that stop, servers that go."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import limits
from tallystick.clock import Instant
from tallystick.errors import OperatorError, OutcomeUnknown, Unavailable
from tallystick.inbox.inbox import Inbox
from tallystick.store import Store, schemas
from tallystick.store.postgres import PostgresStore
from tallystick.store.sqlite import SqliteStore
from tests.postgres import administer, make_server, new_database
from tests.serving import wait_until
from tests.store.cutting import Fate, Line, at_statement, line_to
from tests.store.test_contract import ADD, NAMES, add, names

SCHEMAS = ("inbox", "state")

_STOP_IN_A_WRITE = """
import sys, signal, os
from tallystick import limits
limits.DATABASE_IDLE_SECONDS_MAX = 1
from tallystick.store.postgres import PostgresStore
store = PostgresStore(sys.argv[1], "state")
with store.writing() as transaction:
    transaction.run("INSERT INTO environments VALUES ('of the stopped', 0)")
    print("writing", flush=True)
    sys.stdin.readline()
print("committed", flush=True)
"""


@pytest.fixture
def url() -> str:
    return new_database()


@pytest.fixture
def cut(url: str) -> Iterator[tuple[Line, Store]]:
    """A store behind a line that can be cut."""
    with line_to(url) as (line, through):
        store = PostgresStore(through, "state")
        yield line, store
        store.close()


# --- a COMMIT that is not answered ----------------------------------------------------------------


def test_a_commit_that_the_server_has_counts_though_its_answer_was_lost(
    cut: tuple[Line, Store],
) -> None:
    line, store = cut
    add(store, "before")
    line.rule = at_statement(b"; COMMIT", "cut after")
    add(store, "a")
    assert names(store) == ["a", "before"]


def test_a_commit_that_the_server_never_had_is_told_as_unavailable(
    cut: tuple[Line, Store],
) -> None:
    line, store = cut
    line.rule = at_statement(b"; COMMIT", "cut before")
    with pytest.raises(Unavailable, match="nothing was stored"):
        add(store, "a")
    assert names(store) == []
    add(store, "after")
    assert names(store) == ["after"]


def test_what_a_lost_line_leaves_running_is_ended(cut: tuple[Line, Store]) -> None:
    line, store = cut
    line.rule = at_statement(b"; COMMIT", "strand")
    with pytest.raises(Unavailable, match="nothing was stored"):
        add(store, "a")
    add(store, "after")
    assert names(store) == ["after"]


def test_a_server_that_crashed_gives_numbers_of_lost_transactions_to_others() -> None:
    """So the number that a transaction had tells nothing of it afterwards."""
    with make_server() as server, line_to(server.url()) as (line, through):
        other, store = PostgresStore(server.url(), "state"), PostgresStore(through, "state")
        add(store, "before")
        further, ended = [], threading.Event()

        def rule(message: bytes) -> Fate:
            if b"; COMMIT" not in message:
                return "pass"
            line.rule = lambda _: "pass"
            server.stop(signal.SIGQUIT)
            server.start()
            for number in range(5):
                further.append(f"other {number}")
                add(other, further[-1])
            ended.set()
            return "cut before"

        line.rule = rule
        with pytest.raises(Unavailable, match="nothing was stored"):
            add(store, "lost")
        assert ended.wait(limits.COMMIT_OUTCOME_SECONDS_MAX)
        assert names(store) == ["before", *further]
        store.close()
        other.close()


def test_who_cannot_be_asked_leaves_the_outcome_unknown(
    cut: tuple[Line, Store], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMMIT_OUTCOME_SECONDS_MAX", 0.3)
    line, store = cut

    def rule(message: bytes) -> Fate:
        if b"; COMMIT" not in message:
            return "pass"
        line.open = False
        return "cut after"

    line.rule = rule
    with pytest.raises(OutcomeUnknown):
        add(store, "a")
    with pytest.raises(Unavailable):
        add(store, "b")
    line.open, line.rule = True, lambda _: "pass"
    wait_until(lambda: names(store) == ["a"], "what was committed")
    add(store, "after")
    assert names(store) == ["a", "after"]


@pytest.mark.parametrize("fate", ["cut before", "cut after"])
def test_a_line_that_is_cut_at_any_statement_loses_and_repeats_nothing(
    cut: tuple[Line, Store], fate: Fate
) -> None:
    """Each write is tried until it is told to be stored; a key that is there already is an error,
    so that one that was stored in spite of what was told would show."""
    line, store = cut
    added, cuts = [], 0
    for number in range(12):
        seen = 0

        def rule(message: bytes, at: int = number) -> Fate:
            nonlocal seen, cuts
            seen += 1
            cuts += seen == at + 1
            return fate if seen == at + 1 else "pass"

        line.rule = rule
        name = f"{number:02d}"
        while True:
            try:
                add(store, name, f"{name}-second")
            except Unavailable:
                continue
            break
        line.rule = lambda _: "pass"
        added += [name, f"{name}-second"]
        assert names(store) == added
    assert cuts >= 4, "at BEGIN, at each INSERT and at COMMIT"


def test_reading_goes_on_over_a_new_line_before_it_has_begun(cut: tuple[Line, Store]) -> None:
    line, store = cut
    add(store, "a")
    assert names(store) == ["a"]
    line.rule = at_statement(b"BEGIN", "cut before")
    assert names(store) == ["a"]
    line.rule = at_statement(b"SELECT environment", "cut before")
    with pytest.raises(Unavailable):
        names(store)
    assert names(store) == ["a"]


def test_who_has_not_written_for_a_day_is_forgotten(url: str) -> None:
    store, gone = PostgresStore(url, "state"), PostgresStore(url, "state")
    add(store, "a")
    add(gone, "b")
    gone.close()
    written = "SELECT count(*) FROM tallystick_state.writers"
    with closing(psycopg.connect(url, autocommit=True)) as operator:
        store.tend()
        assert operator.execute(written).fetchall() == [(2,)]
        operator.execute(
            "UPDATE tallystick_state.writers SET written_at = now() - interval '25 hours'"
        )
        store.tend()
        assert operator.execute(written).fetchall() == [(1,)], "who writes this is there again"
    add(store, "c")
    assert names(store) == ["a", "b", "c"]
    store.close()


# --- the lock -------------------------------------------------------------------------------------


def test_a_wait_for_the_lock_that_is_cancelled_leaves_a_store_that_writes(url: str) -> None:
    """As a database does whose role has a statement_timeout."""
    store, other = PostgresStore(url, "state"), PostgresStore(url, "state")
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            add(store, "cancelled")
        except BaseException as error:
            failures.append(error)

    with other.writing():
        thread = threading.Thread(target=wait)
        thread.start()
        await_a_waiting_writer(url, "pg_cancel_backend(pid)")
        thread.join()
    assert [type(failure) for failure in failures] == [Unavailable]
    add(store, "after")
    assert names(store) == ["after"]
    store.close()
    other.close()


def await_a_waiting_writer(url: str, do: str = "pid") -> None:
    """Return when a writer waits for the lock of another, and something was done to it."""
    waiting = (
        f"SELECT {do} FROM pg_stat_activity "
        "WHERE wait_event = 'advisory' AND datname = current_database()"
    )
    with closing(psycopg.connect(url, autocommit=True)) as operator:
        wait_until(lambda: operator.execute(waiting.encode()).fetchall(), "one that waits")


def test_writers_are_serialised_whatever_the_database_s_default_is(url: str) -> None:
    database = re.findall(r"/(\w+)\?", url)[0]
    for level in ("repeatable read", "serializable"):
        administer(f"ALTER DATABASE {database} SET default_transaction_isolation = '{level}'")
        one, other = PostgresStore(url, "state"), PostgresStore(url, "state")
        seen: list[list[str]] = []

        def look(through: Store = other, into: list[list[str]] = seen) -> None:
            with through.writing() as transaction:
                into.append([str(row[0]) for row in transaction.all(NAMES)])

        with one.writing() as transaction:
            transaction.run(ADD, level, 0)
            thread = threading.Thread(target=look)
            thread.start()
            await_a_waiting_writer(url)
        thread.join()
        assert level in seen[0]
        one.close()
        other.close()


def test_connections_of_threads_that_ended_are_closed(url: str) -> None:
    store = PostgresStore(url, "state")
    for _ in range(5):
        thread = threading.Thread(target=lambda: names(store))
        thread.start()
        thread.join()
    names(store)
    open_ones = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with closing(psycopg.connect(url, autocommit=True)) as operator:
        wait_until(
            lambda: operator.execute(open_ones).fetchall() == [(3,)],
            "no more than a writer, a reader and the one who asks",
        )
    store.close()


def test_a_snapshot_has_no_other_inside(url: str) -> None:
    store = PostgresStore(url, "state")
    with store.reading(), pytest.raises(RuntimeError, match="reads already"), store.reading():
        pass
    assert names(store) == []
    store.close()


# --- a node that stops, a server that goes --------------------------------------------------------


def test_a_node_that_stops_in_the_middle_of_a_write_holds_nobody_up(url: str) -> None:
    store = PostgresStore(url, "state")
    with subprocess.Popen(
        [sys.executable, "-c", _STOP_IN_A_WRITE, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as node:  # fmt: skip
        assert node.stdout is not None
        assert node.stdout.readline() == "writing\n"
        node.send_signal(signal.SIGSTOP)
        add(store, "of another")
        node.send_signal(signal.SIGCONT)
        told, failure = node.communicate("\n")
    assert (told, node.returncode) == ("", 1)
    assert "Unavailable" in failure
    assert names(store) == ["of another"]
    store.close()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_goes_and_comes_back(ending: signal.Signals) -> None:
    with make_server() as server:
        store = PostgresStore(server.url(), "state")
        add(store, "before")
        assert names(store) == ["before"]
        server.stop(ending)
        for _ in range(2):
            with pytest.raises(Unavailable):
                add(store, "lost")
            with pytest.raises(Unavailable):
                names(store)
            with pytest.raises(Unavailable):
                store.version()
        server.start()
        assert names(store) == ["before"]
        add(store, "after")
        assert names(store) == ["after", "before"]
        store.close()


def test_no_more_connections_is_unavailable(url: str) -> None:
    database = re.findall(r"/(\w+)\?", url)[0]
    administer(f"CREATE ROLE guest_of_{database} LOGIN")
    administer(f"ALTER DATABASE {database} OWNER TO guest_of_{database}")
    store = PostgresStore(url.replace("//tallystick@", f"//guest_of_{database}@"), "state")
    administer(f"ALTER ROLE guest_of_{database} CONNECTION LIMIT 0")
    with pytest.raises(Unavailable, match="cannot be made"):
        names(store)
    add(store, "a")  # over the connection that it has
    administer(f"ALTER ROLE guest_of_{database} CONNECTION LIMIT -1")
    assert names(store) == ["a"]
    store.close()


# --- the order of positions -----------------------------------------------------------------------


def test_a_position_never_appears_below_one_that_was_read(url: str) -> None:
    """One that was given out and is not committed yet holds back the next, whoever asks for it."""
    one, other = PostgresStore(url, "inbox"), PostgresStore(url, "inbox")
    later: list[int] = []

    def accept() -> None:
        with other.writing() as transaction:
            later.append(Inbox(other).add(transaction, "e", Instant(0), 1, b"{}\n"))

    with one.writing() as transaction:
        first = Inbox(one).add(transaction, "e", Instant(0), 1, b"{}\n")
        thread = threading.Thread(target=accept)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "a later one waits"
        assert Inbox(other).take(0, 1_000, 10) == []
    thread.join()
    assert (first, later) == (1, [2])
    taken = Inbox(one).take(0, 1_000, 10)
    assert [request.position for request in taken] == [1, 2]
    one.close()
    other.close()


# --- the schema -----------------------------------------------------------------------------------

_COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable = 'NO', collation_name
FROM information_schema.columns
WHERE table_schema = %s AND table_name NOT IN ('schema_version', 'writers')
ORDER BY table_name, ordinal_position
"""
_INDEXES = """
SELECT tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname = %s AND tablename NOT IN ('schema_version', 'writers')
"""
_TYPES = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_schema_is_the_one_of_sqlite(url: str, schema: str, tmp_path: Path) -> None:
    PostgresStore(url, schema).close()
    SqliteStore(tmp_path / "new.db", schema).close()
    with closing(psycopg.connect(url)) as read:
        space = (f"tallystick_{schema}",)
        columns = read.execute(_COLUMNS, space).fetchall()
        indexes = read.execute(_INDEXES, space).fetchall()
    assert [row[:4] for row in columns] == sqlite_columns(tmp_path / "new.db")
    assert {row[4] for row in columns if row[2] == "text"} == {"C"}, "texts in order of code points"
    named = {(table, _columns_of(made)) for table, _, made in indexes}
    assert named == sqlite_indexes(tmp_path / "new.db")


def sqlite_columns(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as read:
        return [
            (table, name, _TYPES[kind], bool(not_null) or bool(key))
            for table in _tables(read)
            for _, name, kind, not_null, _, key in read.execute(f"PRAGMA table_info({table})")
        ]


def sqlite_indexes(path: Path) -> set[tuple[str, str]]:
    found = set()
    with closing(sqlite3.connect(path)) as read:
        for table in _tables(read):
            for _, index, *_ in read.execute(f"PRAGMA index_list({table})").fetchall():
                parts = read.execute(f"PRAGMA index_info({index})").fetchall()
                found.add((table, ", ".join(part[2] for part in parts)))
            keys = [row for row in read.execute(f"PRAGMA table_info({table})") if row[5]]
            found.add((table, ", ".join(row[1] for row in sorted(keys, key=lambda row: row[5]))))
    return found


def _tables(read: sqlite3.Connection) -> list[str]:
    rows = read.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [row[0] for row in rows.fetchall() if not row[0].startswith("sqlite_")]


def _columns_of(made: str) -> str:
    found = re.search(r"\(([^)]*)\)", made)
    assert found is not None
    return found[1].replace('"', "")


def test_whoever_opens_at_once_finds_it_done_once(url: str) -> None:
    failures: list[BaseException] = []

    def opening() -> None:
        try:
            PostgresStore(url, "inbox").close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=opening) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store = PostgresStore(url, "inbox")
    with store.reading() as transaction:
        assert transaction.all("SELECT head FROM backlog") == [(0,)]
        assert transaction.all("SELECT count(*) FROM schema_version") == [(1,)]
    store.close()


def test_an_older_database_catches_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PostgresStore(url, "state")
    add(store, "kept")
    store.close()
    newest = schemas.newest_version("state")
    step = "CREATE TABLE further (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"
    new_step(monkeypatch, newest + 1, lambda: [step])
    store = PostgresStore(url, "state")
    with store.writing() as transaction:
        assert transaction.insert("INSERT INTO further (text) VALUES (?)", "a") == 1
    assert names(store) == ["kept"]
    store.close()


def test_a_step_that_fails_leaves_the_former_version(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PostgresStore(url, "state").close()
    with monkeypatch.context() as patched:
        failing = ["CREATE TABLE further (id INTEGER)", "CREATE TABLE further (id INTEGER)"]
        new_step(patched, schemas.newest_version("state") + 1, lambda: failing)
        with pytest.raises(OperatorError, match="already exists"):
            PostgresStore(url, "state")
    store = PostgresStore(url, "state")
    with suppress(psycopg.Error), store.reading() as transaction:
        transaction.all("SELECT * FROM further")
        pytest.fail("a table of the failed step is there")
    store.close()


def new_step(
    monkeypatch: pytest.MonkeyPatch, version: int, statements: Callable[[], list[str]]
) -> None:
    """As if this Tallystick had one version more of every schema."""
    real = schemas.statements_from

    def more(schema: str, found: int) -> Iterator[str]:
        yield from real(schema, found)
        if found < version:
            yield from statements()

    monkeypatch.setattr("tallystick.store.postgres.statements_from", more)
    monkeypatch.setattr("tallystick.store.postgres.newest_version", lambda _: version)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_newer_database_is_refused(url: str, schema: str) -> None:
    PostgresStore(url, schema).close()
    with psycopg.connect(url) as newer:
        newer.execute(f"UPDATE tallystick_{schema}.schema_version SET version = 99".encode())
    with pytest.raises(OperatorError, match="written by a newer Tallystick"):
        PostgresStore(url, schema)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda url: url.replace("/test_", "/nowhere_"), "does not exist"),
        (lambda url: re.sub(r"host=.*", "host=/nowhere", url), "/nowhere"),
        (lambda url: url.replace("?host", "?hoost"), "is no URL"),
        (lambda url: url.replace("letmein", "let/me@in:now"), "is no URL"),
        (lambda url: url.replace("letmein", "let%zz"), "is no URL"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_password(
    url: str, broken: Callable[[str], str], told: str
) -> None:
    secret = url.replace("//tallystick@", "//tallystick:letmein@")
    with pytest.raises(OperatorError, match="TALLYSTICK_DATABASE_URL") as raised:
        PostgresStore(broken(secret), "state")
    assert told in raised.value.message
    assert "let" not in raised.value.message
    assert "\n" not in raised.value.message


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [0, 1, -1, 9_999, 10_000, -10_000, 10**8, 123_456_789_012_345_678, 2**63 - 1, -(2**63)],
)
def test_sums_are_read_whatever_their_size(url: str, number: int) -> None:
    store = PostgresStore(url, "state")
    with store.writing() as transaction:
        transaction.run_many(ADD, [("a", number), ("b", number), ("c", 0)])
        assert transaction.one("SELECT sum(created_at) FROM environments") == (2 * number,)
    store.close()


def test_a_statement_is_prepared_for_each_kind_of_its_values(url: str) -> None:
    """What is NULL at first may be a number later."""
    store = PostgresStore(url, "state")
    with store.writing() as transaction:
        transaction.run("INSERT INTO api_keys VALUES (?, 'e', 'server', '', 0, NULL)", b"")
        for revoked in (None, None, None, 5, None, 6, 7, 8):
            assert transaction.run("UPDATE api_keys SET revoked_at = ?", revoked) == 1
            assert transaction.one("SELECT revoked_at FROM api_keys") == (revoked,)
            assert transaction.one("SELECT coalesce(?, ?)", None, "x") == ("x",)
            assert transaction.one("SELECT ?", revoked) == (revoked,)
    store.close()


def test_a_text_with_a_nul_is_refused_rather_than_cut(url: str) -> None:
    store = PostgresStore(url, "state")
    with pytest.raises(ValueError, match="NUL"):
        add(store, "nul\0rest")
    assert names(store) == []
    store.close()


def test_numbers_are_whole_and_conditions_are_numbers(url: str) -> None:
    store = PostgresStore(url, "state")
    with store.writing() as transaction:
        transaction.run_many(ADD, [("a", 2**61), ("b", 2**61)])
        row = transaction.one(
            "SELECT sum(created_at), count(*), max(created_at) > 1, min(environment) "
            "FROM environments WHERE created_at > ?",
            True,
        )
    assert row == (2**62, 2, 1, "a")
    assert [type(value) for value in row] == [int, int, int, str]
    store.close()
