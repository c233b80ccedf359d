"""What every engine of the SQL store promises (``tallystick.store.contract``)."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

import pytest

from tallystick import limits
from tallystick.errors import DamagedData, Unavailable
from tallystick.store import Begun, Rewrite, Store, Transaction
from tests.store.engines import Engine

ADD = "INSERT INTO environments (environment, created_at) VALUES (?, ?)"
FORGET = "DELETE FROM environments WHERE environment = ?"
NAMES = "SELECT environment FROM environments ORDER BY environment"
ADD_CHANGE = "INSERT INTO changes (environment, customer, made_at, token) VALUES (?, '', 0, 0)"


def names(store: Store) -> list[str]:
    with store.reading() as transaction:
        return [str(row[0]) for row in transaction.all(NAMES)]


def add(store: Store, *added: str) -> None:
    with store.writing() as transaction:
        for name in added:
            transaction.run(ADD, name, 0)


def add_change(store: Store) -> int:
    with store.writing() as transaction:
        return transaction.insert(ADD_CHANGE, "e")


def in_thread(run: object) -> threading.Thread:
    assert callable(run)
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_statements_answer_with_rows_and_counts(store: Store) -> None:
    with store.writing() as transaction:
        assert transaction.run(ADD, "a", 1) == 1
        assert transaction.run_many(ADD, [("b", 2), ("c", 2**62)]) == 2
        assert transaction.run_many(ADD, []) == 0
        assert transaction.one("SELECT created_at FROM environments WHERE environment = 'c'") == (
            2**62,
        )
        assert transaction.one(NAMES) == ("a",)
        assert transaction.one("SELECT 1 FROM environments WHERE environment = 'z'") is None
        assert transaction.all(NAMES) == [("a",), ("b",), ("c",)]
        assert transaction.run("UPDATE environments SET created_at = 0") == 3
        assert transaction.run("DELETE FROM environments WHERE environment = ?", "z") == 0
        assert transaction.run_many(FORGET, [("a",), ("z",), ("b",)]) == 2


PARTS = Rewrite("counter_parts", ("count", "sum", "minimum"), "id")


def test_many_rows_are_rewritten_by_their_key(store: Store) -> None:
    odd = "\\N\t\n'\\ \U0001f600"
    with store.writing() as transaction:
        transaction.run_many(
            "INSERT INTO counter_parts (id, count, sum) VALUES (?, ?, ?)",
            [(number, 0, "0") for number in range(5)],
        )
        assert transaction.rewrite(PARTS, []) == 0
        assert transaction.rewrite(PARTS, [(1, "1.5", None, 1), (2**62, odd, "", 3)]) == 2
        assert transaction.rewrite(PARTS, [(7, "7", "7", 2), (9, "9", "9", 99)]) == 1
        with suppress(ZeroDivisionError), transaction.part():
            assert transaction.rewrite(PARTS, [(8, "8", "8", 0)]) == 1
            _ = 1 // 0
    with store.reading() as transaction:
        assert transaction.all("SELECT id, count, sum, minimum FROM counter_parts ORDER BY id") == [
            (0, 0, "0", None), (1, 1, "1.5", None), (2, 7, "7", "7"), (3, 2**62, odd, ""),
            (4, 0, "0", None),
        ]  # fmt: skip


def test_a_broken_constraint_is_told_as_damaged_data_and_undone(store: Store) -> None:
    add(store, "a")
    with pytest.raises(DamagedData, match="contradicts"):
        add(store, "b", "a")
    with store.reading() as transaction:
        assert transaction.all(NAMES) == [("a",)]


def test_values_come_back_as_they_went_in(store: Store) -> None:
    odd = "'; DROP TABLE environments; -- \U0001f600 \u00e9"
    with store.writing() as transaction:
        transaction.run(
            "INSERT INTO api_keys (hash, environment, kind, hint, created_at, revoked_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            b"\x00\xff", odd, "server", "", -(2**63), None,
        )  # fmt: skip
    with store.reading() as transaction:
        row = transaction.one(
            "SELECT hash, environment, hint, created_at, revoked_at FROM api_keys"
        )
    assert row == (b"\x00\xff", odd, "", -(2**63), None)


def test_a_write_is_whole_or_nothing(store: Store) -> None:
    add(store, "before")
    with suppress(ZeroDivisionError), store.writing() as transaction:
        transaction.run(ADD, "lost", 0)
        transaction.run("DELETE FROM environments WHERE environment = 'before'")
        _ = 1 // 0
    assert names(store) == ["before"]
    add(store, "after")
    assert names(store) == ["after", "before"]


def test_a_statement_that_fails_ends_the_write(store: Store) -> None:
    add(store, "a")
    with pytest.raises(Exception, match=r"(?i)unique"):
        add(store, "b", "a")
    assert names(store) == ["a"]


def test_a_part_is_undone_alone(store: Store) -> None:
    with store.writing() as transaction:
        transaction.run(ADD, "a", 0)
        with suppress(ZeroDivisionError), transaction.part():
            transaction.run(ADD, "lost", 0)
            _ = 1 // 0
        with transaction.part():
            transaction.run(ADD, "b", 0)
            with suppress(ZeroDivisionError), transaction.part():
                transaction.run(ADD, "lost", 0)
                _ = 1 // 0
            transaction.run(ADD, "c", 0)
    assert names(store) == ["a", "b", "c"]


def test_a_part_whose_statement_fails_is_undone_alone(store: Store) -> None:
    def twice(transaction: Transaction) -> None:
        with transaction.part():
            transaction.run(ADD, "lost", 0)
            transaction.run(ADD, "a", 0)

    with store.writing() as transaction:
        transaction.run(ADD, "a", 0)
        with pytest.raises(Exception, match=r"(?i)unique"):
            twice(transaction)
        transaction.run(ADD, "b", 0)
    assert names(store) == ["a", "b"]


def test_a_write_is_seen_by_others_when_it_is_committed(engine: Engine, store: Store) -> None:
    other = engine.open()
    with store.writing() as transaction:
        transaction.run(ADD, "a", 0)
        assert transaction.all(NAMES) == [("a",)]
        assert names(other) == []
        assert names(store) == []
    assert names(other) == names(store) == ["a"]
    other.close()


def test_reading_is_one_snapshot_and_does_not_wait(engine: Engine, store: Store) -> None:
    add(store, "a")
    other = engine.open()
    with other.reading() as transaction:
        assert transaction.all(NAMES) == [("a",)]
        add(store, "b")
        assert transaction.all(NAMES) == [("a",)]
    assert names(other) == ["a", "b"]
    other.close()


def test_reading_changes_nothing(store: Store) -> None:
    with suppress(Exception), store.reading() as transaction:
        transaction.run(ADD, "a", 0)
    assert names(store) == []


def test_reading_goes_on_after_an_error(store: Store) -> None:
    with suppress(ZeroDivisionError), store.reading():
        _ = 1 // 0
    with pytest.raises(Exception, match="nowhere"), store.reading() as transaction:
        transaction.all("SELECT * FROM nowhere")
    assert names(store) == []


def test_writers_are_serialised(store: Store) -> None:
    add(store, "counter")

    def count() -> None:
        for _ in range(50):
            with store.writing() as transaction:
                row = transaction.one("SELECT created_at FROM environments")
                assert row is not None
                assert isinstance(row[0], int)
                transaction.run("UPDATE environments SET created_at = ?", row[0] + 1)

    for thread in [in_thread(count) for _ in range(4)]:
        thread.join()
    with store.reading() as transaction:
        assert transaction.one("SELECT created_at FROM environments") == (200,)


def test_writers_of_two_stores_are_serialised(engine: Engine, store: Store) -> None:
    add(store, "counter")
    other = engine.open()

    def count(through: Store) -> None:
        for _ in range(50):
            with through.writing() as transaction:
                row = transaction.one("SELECT created_at FROM environments")
                assert row is not None
                assert isinstance(row[0], int)
                transaction.run("UPDATE environments SET created_at = ?", row[0] + 1)

    for thread in [in_thread(lambda: count(store)), in_thread(lambda: count(other))]:
        thread.join()
    with store.reading() as transaction:
        assert transaction.one("SELECT created_at FROM environments") == (100,)
    other.close()


def test_generated_ids_are_never_reused(engine: Engine, store: Store) -> None:
    assert [add_change(store), add_change(store)] == [1, 2]
    with store.writing() as transaction:
        transaction.run("DELETE FROM changes")
    assert add_change(store) == 3
    with store.writing() as transaction:
        transaction.run("DELETE FROM changes")
    store.close()
    reopened = engine.open()
    assert add_change(reopened) == 4
    reopened.close()


def test_the_version_changes_with_the_commits_of_others(engine: Engine, store: Store) -> None:
    other = engine.open()
    before = store.version()
    assert store.version() == before
    assert names(other) == []
    assert store.version() == before
    add(other, "a")
    after = store.version()
    assert after != before
    thread = in_thread(lambda: add(store, "b"))
    thread.join()
    assert store.version() != after
    other.close()


def test_a_locked_store_is_unavailable_for_writing_and_works_again(
    engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STORE_BUSY_SECONDS_MAX", 0.05)
    add(store, "before")
    with engine.locked():
        with pytest.raises(Unavailable) as caught:
            add(store, "lost")
        assert names(store) == ["before"]
    assert caught.value.retry_after_seconds >= 1
    add(store, "after")
    assert names(store) == ["after", "before"]


def test_a_write_that_does_not_end_makes_others_unavailable(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STORE_BUSY_SECONDS_MAX", 0.05)
    refusals: list[Unavailable] = []

    def try_to_add() -> None:
        try:
            add(store, "lost")
        except Unavailable as error:
            refusals.append(error)

    with store.writing() as transaction:
        transaction.run(ADD, "a", 0)
        in_thread(try_to_add).join()
    assert len(refusals) == 1
    assert names(store) == ["a"]


def test_a_write_behind_others_waits_no_longer_than_the_bound(
    engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First for a write of its own process, then for one of another: both within one bound."""
    bound, waited = 1.0, []
    monkeypatch.setattr(limits, "STORE_BUSY_SECONDS_MAX", bound)

    def try_to_add() -> None:
        began = time.monotonic()
        with suppress(Unavailable):
            add(store, "lost")
        waited.append(time.monotonic() - began)

    with engine.locked():
        first = in_thread(try_to_add)
        time.sleep(bound / 4)  # so that the second is next when the first gives up
        second = in_thread(try_to_add)
        first.join()
        second.join()
    assert names(store) == []
    assert max(waited) < 1.4 * bound


def test_a_write_may_begin_only_when_no_other_is_open(engine: Engine, store: Store) -> None:
    with engine.locked():
        assert store.begin_if_free() is None
    with store.writing():
        assert store.begin_if_free() is None
    begun = store.begin_if_free()
    assert begun is not None
    assert store.begin_if_free() is None
    with begun.filling() as transaction:
        transaction.run(ADD, "a", 0)
    begun.commit()
    add(store, "b")
    assert names(store) == ["a", "b"]


def test_what_was_begun_may_be_committed_by_another_thread(store: Store) -> None:
    begun = store.begin_if_free()
    assert begun is not None
    with begun.filling() as transaction:
        transaction.run(ADD, "a", 0)
    assert names(store) == []
    in_thread(begun.commit).join()
    assert names(store) == ["a"]


def test_filling_that_fails_ends_the_write(store: Store) -> None:
    begun = store.begin_if_free()
    assert begun is not None

    def fill() -> None:
        with begun.filling() as transaction:
            transaction.run(ADD, "a", 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    add(store, "b")
    assert names(store) == ["b"]


def fill_and_commit(begun: Begun) -> None:
    with begun.filling() as transaction:
        transaction.run_many(ADD, [(f"{number:0900d}", 0) for number in range(300)])
    begun.commit()


@pytest.mark.parametrize("trouble", ["full", "failing"])
def test_what_was_begun_without_room_is_unavailable_and_over(
    engine: Engine, store: Store, trouble: str
) -> None:
    in_trouble = engine.full(store) if trouble == "full" else engine.failing()
    with in_trouble:
        begun = store.begin_if_free()
        assert begun is not None
        with pytest.raises(Unavailable):
            fill_and_commit(begun)
        assert names(store) == []
    add(store, "after")
    assert names(store) == ["after"]


@pytest.mark.parametrize("trouble", ["full", "failing"])
def test_a_store_without_room_is_unavailable_and_works_again(
    engine: Engine, store: Store, trouble: str
) -> None:
    add(store, "before")
    in_trouble = engine.full(store) if trouble == "full" else engine.failing()
    with in_trouble:
        for _ in range(3):
            with pytest.raises(Unavailable):
                add(store, *(f"{number:0900d}" for number in range(300)))
        assert names(store) == ["before"]
    add(store, "after")
    assert names(store) == ["after", "before"]
    reopened = engine.open()
    assert names(reopened) == ["after", "before"]
    reopened.close()


def test_a_part_that_meets_a_full_disk_ends_the_write(engine: Engine, store: Store) -> None:
    def fill(transaction: Transaction) -> None:
        transaction.run(ADD, "first", 0)
        with transaction.part():
            transaction.run_many(ADD, [(f"{number:0900d}", 0) for number in range(300)])

    with engine.full(store), pytest.raises(Unavailable), store.writing() as transaction:
        fill(transaction)
    assert names(store) == []


def test_what_is_committed_survives_a_kill(engine: Engine, store: Store) -> None:
    returncode = engine.run_to_death("""
with store.writing() as transaction:
    transaction.run("INSERT INTO environments VALUES ('kept', 0)")
die()
""")
    assert returncode == -signal.SIGKILL
    assert names(store) == ["kept"]


def test_what_is_not_committed_does_not_survive_and_holds_nobody(
    engine: Engine, store: Store
) -> None:
    returncode = engine.run_to_death("""
with store.writing() as transaction:
    transaction.run("INSERT INTO environments VALUES ('lost', 0)")
    die()
""")
    assert returncode == -signal.SIGKILL
    add(store, "after")
    assert names(store) == ["after"]
