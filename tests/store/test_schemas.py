"""A database of any former version catches up, and is then what a new one is.

``former/`` holds what data folders of former versions were made with; nobody edits those files.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import OperatorError
from tallystick.store import schemas
from tallystick.store.sqlite import SqliteStore

FORMER = Path(__file__).parent / "former"
SCHEMAS = ("inbox", "state")
FIRSTS = sorted(path.name for path in FORMER.glob("*.sql"))

Shape = dict[str, tuple[Any, ...]]


def made_with(path: Path, former: str) -> None:
    """A database as the Tallystick of that version made it."""
    version = int(re.findall(r"-(\d+)\.sql", former)[0])
    with closing(sqlite3.connect(path)) as made:
        made.executescript((FORMER / former).read_text())
        made.execute(f"PRAGMA user_version = {version}")
        made.commit()


def shape(path: Path) -> Shape:
    """Every table and index, by what it is rather than by how it was written; and the version."""
    with closing(sqlite3.connect(path)) as read:
        tables = read.execute("PRAGMA table_list").fetchall()
        named = read.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        found: Shape = {
            f"table {table[1]}": (*table[3:], *columns(read, table[1])) for table in tables
        }
        for (index,) in named:
            found[f"index {index}"] = tuple(read.execute(f"PRAGMA index_xinfo({index})"))
        found["version"] = read.execute("PRAGMA user_version").fetchone()
    return found


def columns(read: sqlite3.Connection, table: str) -> tuple[Any, ...]:
    return tuple(read.execute(f"PRAGMA table_xinfo({table})"))


def new(path: Path, schema: str) -> Shape:
    SqliteStore(path, schema).close()
    return shape(path)


@pytest.mark.parametrize("former", FIRSTS)
def test_an_older_database_becomes_what_a_new_one_is(tmp_path: Path, former: str) -> None:
    schema = former.partition("-")[0]
    made_with(tmp_path / "old.db", former)
    SqliteStore(tmp_path / "old.db", schema).close()
    assert shape(tmp_path / "old.db") == new(tmp_path / "new.db", schema)


def test_every_schema_has_its_first_version_here() -> None:
    assert {f"{schema}-1.sql" for schema in SCHEMAS} <= set(FIRSTS)


def test_what_an_older_database_holds_stays(tmp_path: Path) -> None:
    made_with(tmp_path / "inbox.db", "inbox-1.sql")
    with closing(sqlite3.connect(tmp_path / "inbox.db")) as old:
        old.execute("INSERT INTO accepted VALUES ('default', 7)")
        old.execute("UPDATE backlog SET head = 3")
        old.commit()
    store = SqliteStore(tmp_path / "inbox.db", "inbox")
    with store.reading() as transaction:
        assert transaction.all("SELECT * FROM accepted") == [("default", 7)]
        assert transaction.one("SELECT head FROM backlog") == (3,)
        assert transaction.all("SELECT * FROM replies") == []
    store.close()


def test_a_step_that_fails_leaves_the_former_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_with(tmp_path / "old.db", "inbox-1.sql")
    before = shape(tmp_path / "old.db")
    real = schemas.statements_from

    def failing(schema: str, version: int) -> list[str]:
        return [*real(schema, version), "CREATE TABLE replies (twice TEXT)"]

    monkeypatch.setattr("tallystick.store.sqlite.statements_from", failing)
    with pytest.raises(OperatorError, match="already exists"):
        SqliteStore(tmp_path / "old.db", "inbox")
    assert shape(tmp_path / "old.db") == before


def test_whoever_opens_at_once_finds_it_done_once(tmp_path: Path) -> None:
    made_with(tmp_path / "old.db", "inbox-1.sql")
    failures: list[BaseException] = []
    threads = [threading.Thread(target=opening(tmp_path / "old.db", failures)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert shape(tmp_path / "old.db") == new(tmp_path / "new.db", "inbox")


def opening(path: Path, failures: list[BaseException]) -> Callable[[], None]:
    def run() -> None:
        try:
            SqliteStore(path, "inbox").close()
        except BaseException as error:
            failures.append(error)

    return run


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_newer_database_is_refused(tmp_path: Path, schema: str) -> None:
    new(tmp_path / "newer.db", schema)
    with closing(sqlite3.connect(tmp_path / "newer.db")) as newer:
        newer.execute(f"PRAGMA user_version = {schemas.newest_version(schema) + 1}")
    with pytest.raises(OperatorError, match="written by a newer Tallystick"):
        SqliteStore(tmp_path / "newer.db", schema)
