"""Accepted requests that share a commit: who is told what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.clock import Instant
from tallystick.errors import TooManyRequests, Unavailable
from tallystick.inbox.arrivals import Arrivals
from tallystick.inbox.inbox import Arrival, Backlog, Inbox
from tallystick.store import Transaction
from tallystick.store.sqlite import SqliteStore
from tallystick.store.writer import GroupWriter

SECONDS = 20


class Place:
    """An inbox of 100 bytes, its writer and the way in."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path, "inbox")
        self.inbox = Inbox(self.store, bytes_max=100)
        self.writer = GroupWriter(self.store, "inbox-writer")
        self.arrivals = Arrivals(self.inbox, self.writer)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The writer is in the middle of a commit until the block ends."""
        begun, end = threading.Event(), threading.Event()

        def job(_: Transaction) -> None:
            begun.set()
            assert end.wait(SECONDS)

        self.writer.submit(job)
        assert begun.wait(SECONDS)
        try:
            yield
        finally:
            end.set()

    def close(self) -> None:
        self.writer.close()
        self.store.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    it = Place(tmp_path / "inbox.db")
    yield it
    it.close()


def an_arrival(size: int = 1, environment: str = "default") -> Arrival:
    return Arrival(environment, Instant(5), 1, b"x" * size)


def test_positions_are_told_in_the_order_of_arrival(place: Place) -> None:
    assert place.arrivals.accept(an_arrival()).result(SECONDS) == 1
    with place.busy():
        futures = [place.arrivals.accept(an_arrival(environment=f"e{i % 2}")) for i in range(75)]
    assert [future.result(SECONDS) for future in futures] == list(range(2, 77))
    taken = place.inbox.take(1, 10**6, 10**6)
    assert [request.environment for request in taken] == [f"e{i % 2}" for i in range(75)]
    assert place.inbox.accepted() == {"default": 1, "e0": 38, "e1": 37}
    assert place.inbox.backlog() == Backlog(76, 76)


def test_what_is_told_is_committed(place: Place) -> None:
    seen: list[int] = []
    with place.busy():
        future = place.arrivals.accept(an_arrival())
        future.add_done_callback(lambda _: seen.append(place.inbox.head()))
    future.result(SECONDS)
    place.writer.close()
    assert seen == [1]


def test_requests_without_room_are_refused_alone(place: Place) -> None:
    with place.busy():
        futures = [place.arrivals.accept(an_arrival(size)) for size in (60, 41, 30, 11, 10)]
    positions = [futures[index].result(SECONDS) for index in (0, 2, 4)]
    assert positions == [1, 2, 3]
    for index in (1, 3):
        with pytest.raises(TooManyRequests):
            futures[index].result(SECONDS)
    assert place.inbox.backlog() == Backlog(3, 100)


def test_a_large_group_is_spread_over_commits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMMIT_GROUP_MAX", 4)
    with place.busy():
        futures = [place.arrivals.accept(an_arrival()) for _ in range(10)]
    assert [future.result(SECONDS) for future in futures] == list(range(1, 11))


def test_when_the_store_cannot_take_it_everyone_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STORE_BUSY_SECONDS_MAX", 0.05)
    other = SqliteStore(place.store._path, "inbox")
    with other.writing():
        futures = [place.arrivals.accept(an_arrival()) for _ in range(3)]
        for future in futures:
            with pytest.raises(Unavailable):
                future.result(SECONDS)
    other.close()
    assert place.inbox.head() == 0
    assert place.arrivals.accept(an_arrival()).result(SECONDS) == 1


def test_an_error_while_adding_is_told_and_undone(place: Place) -> None:
    with place.store.writing() as transaction:
        transaction.run("INSERT INTO requests VALUES (2, 'x', 0, 1, x'', NULL)")
    with place.busy():
        futures = [place.arrivals.accept(an_arrival()) for _ in range(3)]
    for future in futures:
        with pytest.raises(Exception, match="UNIQUE"):
            future.result(SECONDS)
    assert (place.inbox.head(), place.inbox.accepted()) == (0, {})


def test_who_cancelled_is_not_told_and_disturbs_nobody(place: Place) -> None:
    with place.busy():
        first = place.arrivals.accept(an_arrival())
        assert first.cancel()
        second = place.arrivals.accept(an_arrival())
    assert second.result(SECONDS) == 2


def test_a_closed_writer_takes_nothing(place: Place) -> None:
    place.writer.close()
    for _ in range(2):
        with pytest.raises(Unavailable):
            place.arrivals.accept(an_arrival())


def test_many_threads(place: Place) -> None:
    positions: list[int] = []

    def run() -> None:
        for _ in range(10):
            positions.append(place.arrivals.accept(an_arrival(1)).result(SECONDS))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(positions) == list(range(1, 81))
