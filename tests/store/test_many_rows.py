"""Many rows with one statement: all of them, in order, however many there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.store.many_rows import SIZES, all_rows, for_many, run_rows
from tallystick.store.sqlite import SqliteStore

ADD = for_many("INSERT INTO environments (environment, created_at) VALUES {rows}", "(?, ?)")
FIND = for_many(
    "SELECT environment, created_at FROM environments WHERE environment IN ({rows})", "?"
)


@pytest.mark.parametrize("count", [0, 1, 3, *SIZES, 85, 200])
def test_every_row_is_written_and_found_once(tmp_path: Path, count: int) -> None:
    store = SqliteStore(tmp_path / "state.db", "state")
    rows = [(f"name-{number}", number) for number in range(count)]
    with store.writing() as transaction:
        run_rows(transaction, ADD, rows)
    with store.reading() as transaction:
        names = [(name,) for name, _ in rows]
        assert sorted(all_rows(transaction, FIND, [*names, ("missing",)])) == sorted(rows)
        written = transaction.all("SELECT environment FROM environments ORDER BY rowid")
    assert written == names
    store.close()
