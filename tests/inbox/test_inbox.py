"""The inbox: positions, the ledger of what was accepted, and its bounds."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tallystick import limits
from tallystick.clock import Instant
from tallystick.errors import TooManyRequests
from tallystick.inbox.inbox import Arrival, Backlog, Inbox, InboxRequest
from tallystick.store.sqlite import SqliteStore

NOW = Instant(1_767_225_600_000_000)


class Opened:
    """An inbox in a folder, which can be closed and opened again."""

    def __init__(self, path: Path, bytes_max: int = limits.INBOX_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self._path, "inbox")
        self.inbox = Inbox(self.store, self._bytes_max)

    def close(self) -> None:
        self.store.close()

    def add(self, body: bytes = b"{}\n", events: int = 1, environment: str = "default") -> int:
        with self.store.writing() as transaction:
            return self.inbox.add(transaction, environment, NOW, events, body)

    def take(self, after: int = 0, bytes_max: int = 10**9, events_max: int = 10**6) -> list[int]:
        requests = self.inbox.take(after, bytes_max, events_max)
        return [request.position for request in requests]

    def waiting(self, after: int) -> dict[str, int]:
        with self.store.reading() as transaction:
            return self.inbox.waiting_after(transaction, after)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    it = Opened(tmp_path / "inbox.db", bytes_max=100)
    yield it
    it.close()


def test_what_is_added_is_taken_in_order(opened: Opened) -> None:
    assert opened.add(b"a\n", 1, "one") == 1
    assert opened.add(b"b\nc\n", 2, "two") == 2
    assert opened.inbox.take(0, 1000, 1000) == [
        InboxRequest(1, "one", NOW, 1, b"a\n", None),
        InboxRequest(2, "two", NOW, 2, b"b\nc\n", None),
    ]
    assert opened.take(after=1) == [2]
    assert opened.take(after=2) == []


def test_a_take_keeps_both_bounds_but_gives_one_at_least(opened: Opened) -> None:
    for _ in range(4):
        opened.add(b"x" * 10, 3)
    assert opened.take(bytes_max=30) == [1, 2, 3]
    assert opened.take(bytes_max=29) == [1, 2]
    assert opened.take(bytes_max=1) == [1]
    assert opened.take(events_max=9) == [1, 2, 3]
    assert opened.take(events_max=8) == [1, 2]
    assert opened.take(events_max=1) == [1]
    assert opened.take(after=2, events_max=1) == [3]


def test_the_ledger_counts_what_was_ever_accepted(opened: Opened) -> None:
    opened.add(events=2, environment="one")
    opened.add(events=3, environment="two")
    opened.add(events=4, environment="one")
    assert opened.inbox.accepted() == {"one": 6, "two": 3}
    assert opened.waiting(0) == {"one": 6, "two": 3}
    assert opened.waiting(1) == {"one": 4, "two": 3}
    opened.inbox.remove(2)
    assert opened.inbox.accepted() == {"one": 6, "two": 3}
    assert opened.waiting(0) == {"one": 4}


def test_a_full_inbox_refuses_and_stores_nothing(opened: Opened) -> None:
    opened.add(b"x" * 60)
    with pytest.raises(TooManyRequests, match="60 bytes of accepted events wait") as caught:
        opened.add(b"x" * 41)
    assert caught.value.retry_after_seconds == 1
    assert opened.inbox.backlog() == Backlog(1, 60)
    assert opened.inbox.accepted() == {"default": 1}
    assert opened.add(b"x" * 40) == 2
    opened.inbox.remove(1)
    assert opened.add(b"x" * 60) == 3


def test_requests_without_room_are_refused_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "inbox.db", "inbox")
    inbox = Inbox(store, bytes_max=100)
    sizes = (60, 41, 30, 11, 10)
    with store.writing() as transaction:
        told = inbox.add_all(
            transaction, [Arrival(f"e{size % 2}", Instant(5), 1, b"x" * size) for size in sizes]
        )
    assert [each if isinstance(each, int) else type(each) for each in told] == [
        1, TooManyRequests, 2, TooManyRequests, 3,
    ]  # fmt: skip
    assert inbox.backlog() == Backlog(3, 100)
    assert inbox.accepted() == {"e0": 3}
    store.close()


def test_how_long_to_wait_grows_with_what_must_go_first(tmp_path: Path) -> None:
    room = Opened(tmp_path / "inbox.db", bytes_max=10 * limits.FOLD_BYTES_PER_SECOND)
    with room.store.writing() as transaction:
        transaction.run("UPDATE backlog SET bytes = ?", 15 * limits.FOLD_BYTES_PER_SECOND)
    with pytest.raises(TooManyRequests) as caught:
        room.add()
    assert caught.value.retry_after_seconds == 6
    with room.store.writing() as transaction:
        transaction.run("UPDATE backlog SET bytes = ?", 10**13)
    with pytest.raises(TooManyRequests) as caught:
        room.add()
    assert caught.value.retry_after_seconds == limits.RETRY_AFTER_SECONDS_MAX
    room.close()


def test_positions_are_not_reused_when_the_inbox_empties_or_restarts(opened: Opened) -> None:
    assert [opened.add(), opened.add()] == [1, 2]
    opened.inbox.remove(2)
    assert (opened.inbox.head(), opened.take()) == (2, [])
    opened.close()
    opened.open()
    assert opened.inbox.head() == 2
    assert opened.add() == 3


def test_positions_continue_after_what_the_state_knows(opened: Opened) -> None:
    opened.add()
    opened.inbox.resume_after(40)
    assert opened.inbox.head() == 40
    opened.inbox.resume_after(7)
    assert opened.add() == 41
    assert opened.inbox.backlog() == Backlog(2, 6)


def test_an_accepted_request_that_is_rolled_back_leaves_nothing(opened: Opened) -> None:
    with contextlib.suppress(RuntimeError), opened.store.writing() as transaction:
        opened.inbox.add(transaction, "default", NOW, 1, b"{}\n")
        raise RuntimeError
    assert (opened.inbox.head(), opened.inbox.backlog()) == (0, Backlog(0, 0))
    assert opened.inbox.accepted() == {}


def test_what_is_tried_again_is_not_accepted_again(opened: Opened) -> None:
    opened.add(b"x" * 100)
    with opened.store.writing() as transaction:
        position = opened.inbox.add_again(transaction, "default", NOW, 1, b"y", origin=7)
    assert opened.inbox.take(position - 1, 1000, 1000) == [
        InboxRequest(2, "default", NOW, 1, b"y", 7)
    ]
    assert opened.inbox.accepted() == {"default": 1}
    assert opened.waiting(0) == {"default": 1}
    assert opened.inbox.backlog() == Backlog(2, 101)


def test_removal_is_spread_over_bounded_transactions(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INBOX_ROWS_REMOVED_MAX", 3)
    for _ in range(8):
        opened.add(b"")
    opened.inbox.remove(7)
    assert opened.take() == [8]
    assert opened.inbox.backlog() == Backlog(1, 0)
    opened.inbox.remove(10**15)
    opened.inbox.remove(10**15)
    assert opened.inbox.backlog() == Backlog(0, 0)


def test_the_backlog_is_what_waits_whatever_happens(tmp_path: Path) -> None:
    numbers = itertools.count()

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.opened = Opened(tmp_path / f"{next(numbers)}.db", bytes_max=60)
            self.waiting: dict[int, tuple[int, int]] = {}
            self.head = self.accepted = 0

        @rule(events=st.integers(1, 5), size=st.integers(0, 30))
        def add(self, events: int, size: int) -> None:
            used = sum(bytes_ for _, bytes_ in self.waiting.values())
            if used + size > 60:
                with pytest.raises(TooManyRequests):
                    self.opened.add(b"x" * size, events)
                return
            self.head += 1
            self.accepted += events
            assert self.opened.add(b"x" * size, events) == self.head
            self.waiting[self.head] = (events, size)

        @rule(back=st.integers(0, 5))
        def remove(self, back: int) -> None:
            through = self.head - back
            self.opened.inbox.remove(through)
            self.waiting = {p: kept for p, kept in self.waiting.items() if p > through}

        @rule(ahead=st.integers(-3, 3))
        def resume(self, ahead: int) -> None:
            self.opened.inbox.resume_after(self.head + ahead)
            self.head = max(self.head, self.head + ahead)

        @rule()
        def reopen(self) -> None:
            self.opened.close()
            self.opened.open()

        @invariant()
        def the_backlog_is_exact(self) -> None:
            sizes = list(self.waiting.values())
            assert self.opened.inbox.backlog() == Backlog(
                sum(events for events, _ in sizes), sum(size for _, size in sizes)
            )
            assert self.opened.take() == sorted(self.waiting)
            assert self.opened.inbox.head() == self.head
            assert sum(self.opened.inbox.accepted().values()) == self.accepted

        def teardown(self) -> None:
            self.opened.close()

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None)
    )
