"""Group commit: who shares a commit, and who is told what."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from tallystick import limits
from tallystick.errors import BadInput, Unavailable
from tallystick.store import Store, Transaction
from tallystick.store.writer import GroupWriter
from tests.store.engines import Engine
from tests.store.test_contract import ADD, names

SECONDS = 20


@pytest.fixture
def writer(store: Store) -> Iterator[GroupWriter]:
    made = GroupWriter(store, "writer")
    yield made
    made.close()


class Gate:
    """A job that holds up its group until it is opened, so that others queue behind it."""

    def __init__(self, writer: GroupWriter) -> None:
        self._begun = threading.Event()
        self._open = threading.Event()
        self.future = writer.submit(self._job)
        assert self._begun.wait(SECONDS)

    def _job(self, _: Transaction) -> None:
        self._begun.set()
        assert self._open.wait(SECONDS)

    def open(self) -> None:
        self._open.set()


def test_a_result_comes_after_the_commit(writer: GroupWriter, store: Store) -> None:
    def job(transaction: Transaction) -> str:
        transaction.run(ADD, "a", 0)
        return "done"

    gate = Gate(writer)
    seen: list[list[str]] = []
    future = writer.submit(job)
    future.add_done_callback(lambda _: seen.append(names(store)))
    gate.open()
    assert future.result(SECONDS) == "done"
    writer.close()
    assert seen == [["a"]]


def test_jobs_that_wait_share_a_commit(writer: GroupWriter, store: Store) -> None:
    gate = Gate(writer)
    transactions: list[Transaction] = []

    def job(transaction: Transaction) -> None:
        transactions.append(transaction)

    futures = [writer.submit(job) for _ in range(10)]
    gate.open()
    for future in futures:
        future.result(SECONDS)
    assert len({id(transaction) for transaction in transactions}) == 1


def test_a_group_is_bounded(writer: GroupWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMMIT_GROUP_MAX", 3)
    gate = Gate(writer)
    kept: list[Transaction] = []  # kept alive, so that ids tell them apart
    futures = [writer.submit(kept.append) for _ in range(7)]
    gate.open()
    for future in futures:
        future.result(SECONDS)
    assert [kept.count(one) for one in dict.fromkeys(kept)] == [3, 3, 1]


def test_a_job_that_fails_is_undone_alone(writer: GroupWriter, store: Store) -> None:
    def failing(transaction: Transaction) -> None:
        transaction.run(ADD, "lost", 0)
        raise BadInput("value: is odd")

    def repeating(transaction: Transaction) -> None:
        transaction.run(ADD, "lost", 0)
        transaction.run(ADD, "a", 0)

    gate = Gate(writer)
    first = writer.submit(lambda transaction: transaction.run(ADD, "a", 0))
    refused = writer.submit(failing)
    repeated = writer.submit(repeating)
    last = writer.submit(lambda transaction: transaction.run(ADD, "b", 0))
    gate.open()
    assert (first.result(SECONDS), last.result(SECONDS)) == (1, 1)
    with pytest.raises(BadInput, match="value: is odd"):
        refused.result(SECONDS)
    with pytest.raises(Exception, match=r"(?i)unique"):
        repeated.result(SECONDS)
    assert names(store) == ["a", "b"]


def test_when_the_commit_fails_nobody_is_told_otherwise(
    engine: Engine, store: Store, writer: GroupWriter
) -> None:
    gate = Gate(writer)
    small = writer.submit(lambda transaction: transaction.run(ADD, "small", 0))
    rows = [(f"{number:0900d}", 0) for number in range(300)]
    large = writer.submit(lambda transaction: transaction.run_many(ADD, rows))
    refused = writer.submit(lambda _: 1 // 0)
    with engine.failing():
        gate.open()
        for future in (small, large, refused):
            with pytest.raises(Unavailable):
                future.result(SECONDS)
    assert names(store) == []
    again = writer.submit(lambda transaction: transaction.run(ADD, "again", 0))
    assert again.result(SECONDS) == 1


def test_who_cancels_before_the_group_begins_is_left_out(writer: GroupWriter, store: Store) -> None:
    gate = Gate(writer)
    cancelled = writer.submit(lambda transaction: transaction.run(ADD, "lost", 0))
    other = writer.submit(lambda transaction: transaction.run(ADD, "a", 0))
    assert cancelled.cancel()
    assert not gate.future.cancel()
    gate.open()
    assert other.result(SECONDS) == 1
    with pytest.raises(CancelledError):
        cancelled.result(SECONDS)
    assert names(store) == ["a"]


def test_a_whole_group_may_be_cancelled(writer: GroupWriter, store: Store) -> None:
    gate = Gate(writer)
    assert writer.submit(lambda transaction: transaction.run(ADD, "lost", 0)).cancel()
    gate.open()
    gate.future.result(SECONDS)
    assert writer.submit(lambda transaction: transaction.run(ADD, "a", 0)).result(SECONDS) == 1
    assert names(store) == ["a"]


def test_closing_finishes_what_is_queued(store: Store) -> None:
    writer = GroupWriter(store, "writer")
    gate = Gate(writer)
    futures = [
        writer.submit(lambda transaction, name=name: transaction.run(ADD, name, 0))  # type: ignore[misc]
        for name in ("a", "b")
    ]
    gate.open()
    writer.close()
    assert [future.result(0) for future in futures] == [1, 1]
    assert names(store) == ["a", "b"]
    writer.close()
    with pytest.raises(Unavailable, match="ending"):
        writer.submit(lambda transaction: transaction.run(ADD, "c", 0))


def test_what_is_committed_survives_a_kill_before_the_answer(engine: Engine, store: Store) -> None:
    returncode = engine.run_to_death("""
import contextlib
from tallystick.store.writer import GroupWriter

class KilledAfterCommit:
    @contextlib.contextmanager
    def writing(self):
        with store.writing() as transaction:
            yield transaction
        die()

writer = GroupWriter(KilledAfterCommit(), "writer")
print(writer.submit(lambda t: t.run("INSERT INTO environments VALUES ('kept', 0)")).result())
""")
    assert returncode == -signal.SIGKILL
    assert names(store) == ["kept"]
