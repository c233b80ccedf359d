"""Writes that share a transaction: who is told what, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tallystick import limits
from tallystick.api.gathering import Gathering
from tallystick.errors import BadInput, Unavailable
from tallystick.store import Store, Transaction
from tallystick.store.sqlite import SqliteStore

T = TypeVar("T")

ADD = "INSERT INTO environments (environment, created_at) VALUES (?, 0)"
NAMES = "SELECT environment FROM environments ORDER BY environment"
SECONDS = 20


class Place:
    """A store, and a way in that writes the names it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SqliteStore(path, "state")
        self.groups: list[list[str]] = []
        self.threads: list[str] = []
        self.gathering: Gathering[str, int] = Gathering(
            self.store, self.work, name="commits", weigh=len
        )

    def work(self, transaction: Transaction, asked: Sequence[str]) -> list[int | Exception]:
        """Write each name; 'bad' is refused and 'broken' fails the group."""
        self.groups.append(list(asked))
        self.threads.append(threading.current_thread().name)
        if "broken" in asked:
            raise ValueError("broken")
        if "ended" in asked:
            raise SystemExit("ended")
        told: list[int | Exception] = []
        for name in asked:
            if name == "bad":
                told.append(BadInput("bad"))
                continue
            transaction.run(ADD, name)
            told.append(len(name))
        return told

    def names(self) -> list[str]:
        with self.store.reading() as transaction:
            return [str(row[0]) for row in transaction.all(NAMES)]

    def close(self) -> None:
        self.gathering.close()
        self.store.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    it = Place(tmp_path / "state.db")
    yield it
    it.close()


def run(job: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(job(), SECONDS)

    return asyncio.run(bounded())


async def all_of(*asked: Awaitable[T]) -> list[T | BaseException]:
    return await asyncio.gather(*asked, return_exceptions=True)


@contextmanager
def another_write(store: Store) -> Iterator[None]:
    """Another thread is in the middle of a write until the block ends."""
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        with store.writing():
            begun.set()
            assert end.wait(SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(SECONDS)
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_callers_of_a_moment_share_a_transaction(place: Place) -> None:
    told = run(lambda: all_of(*(place.gathering.submit(name) for name in ("a", "bb", "ccc"))))
    assert told == [1, 2, 3]
    assert place.groups == [["a", "bb", "ccc"]]


def test_who_comes_during_a_commit_shares_the_next(place: Place) -> None:
    async def job() -> list[int | BaseException]:
        first = asyncio.ensure_future(place.gathering.submit("a"))
        while not place.groups:
            await asyncio.sleep(0)
        return await all_of(first, *(place.gathering.submit(name) for name in ("b", "c")))

    assert run(job) == [1, 1, 1]
    assert place.groups == [["a"], ["b", "c"]]


def test_what_is_told_is_committed(place: Place) -> None:
    async def job() -> list[str]:
        await place.gathering.submit("a")
        return place.names()

    assert run(job) == ["a"]


def test_one_that_is_refused_is_refused_alone(place: Place) -> None:
    good, bad, last = run(
        lambda: all_of(*(place.gathering.submit(name) for name in ("a", "bad", "b")))
    )
    assert (good, last) == (1, 1)
    assert isinstance(bad, BadInput)
    assert place.names() == ["a", "b"]


def test_when_the_work_fails_everyone_is_told_and_nothing_is_stored(place: Place) -> None:
    told = run(lambda: all_of(*(place.gathering.submit(name) for name in ("a", "broken"))))
    assert [str(each) for each in told] == ["broken", "broken"]
    assert place.names() == []
    assert run(lambda: place.gathering.submit("after")) == 5


def test_when_the_work_ends_the_process_nobody_waits_for_ever(place: Place) -> None:
    told = run(lambda: all_of(*(place.gathering.submit(name) for name in ("a", "ended"))))
    assert [type(each) for each in told] == [Unavailable] * 2
    assert place.names() == []


def test_light_work_is_done_on_the_loop_and_heavy_work_is_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOOP_WEIGHT_MAX", 4)
    told = run(lambda: all_of(*(place.gathering.submit(n) for n in ("aa", "bb", "c", "heavy"))))
    assert told == [2, 2, 1, 5]
    assert place.groups == [["aa", "bb"], ["c"], ["heavy"]]
    loop = threading.main_thread().name
    assert place.threads[:2] == [loop, loop]
    assert place.threads[2].startswith("commits")
    assert place.names() == ["aa", "bb", "c", "heavy"]


@pytest.mark.parametrize("name", ["light", "h" * (limits.LOOP_WEIGHT_MAX + 1)])
def test_a_write_waits_for_another_and_then_goes_on(place: Place, name: str) -> None:
    async def job() -> int:
        with another_write(place.store):
            waiting = asyncio.ensure_future(place.gathering.submit(name))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        return await waiting

    assert run(job) == len(name)


@pytest.mark.parametrize("name", ["light", "h" * (limits.LOOP_WEIGHT_MAX + 1)])
def test_when_the_other_does_not_end_everyone_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(limits, "STORE_BUSY_SECONDS_MAX", 0.05)
    with another_write(place.store):
        told = run(lambda: all_of(*(place.gathering.submit(name) for _ in range(3))))
    assert [type(each) for each in told] == [Unavailable] * 3
    assert place.names() == []
    assert run(lambda: place.gathering.submit("after")) == 5


def test_who_leaves_before_its_turn_is_left_out(place: Place) -> None:
    async def job() -> int:
        leaving = asyncio.ensure_future(place.gathering.submit("gone"))
        staying = asyncio.ensure_future(place.gathering.submit("a"))
        with another_write(place.store):
            await asyncio.sleep(0.01)
            leaving.cancel()
        return await staying

    assert run(job) == 1
    assert place.groups == [["a"]]


def test_who_leaves_during_the_commit_disturbs_nobody(place: Place) -> None:
    async def job() -> int:
        leaving = asyncio.ensure_future(place.gathering.submit("a"))
        staying = asyncio.ensure_future(place.gathering.submit("b"))
        while not place.groups:
            await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert run(job) == 1
    assert place.names() == ["a", "b"]


def test_one_that_is_closed_takes_nothing(place: Place) -> None:
    place.gathering.close()
    with pytest.raises(Unavailable):
        run(lambda: place.gathering.submit("a"))
