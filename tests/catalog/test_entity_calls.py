"""So many changes of one entity in any minute, by a clock that the test steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import limits
from tallystick.catalog.entity_calls import Entity, EntityCalls
from tallystick.clock import MINUTE, SECOND, Instant
from tallystick.errors import TooManyRequests
from tallystick.store.sqlite import SqliteStore

NOON = 1_767_268_800 * SECOND
MINE = Entity("subscription", "mine")


class Stepped:
    """A clock that shows what it was last set to."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> Instant:
        return Instant(self.at)


class Counted:
    """A store, a clock and the calls that are counted there."""

    def __init__(self, folder: Path, per_minute: int = 3) -> None:
        self.store = SqliteStore(folder / "state.db", "state")
        self.clock = Stepped()
        self.calls = EntityCalls(per_minute, self.clock)

    def admit(self, entity: Entity = MINE, environment: str = "default") -> int:
        """0 when the call was let through, else after how many seconds to come back."""
        try:
            with self.store.writing() as transaction:
                self.calls.admit(transaction, environment, entity)
        except TooManyRequests as refused:
            return refused.retry_after_seconds
        return 0

    def rows(self) -> int:
        with self.store.reading() as transaction:
            found = transaction.one("SELECT count(*) FROM entity_calls")
        assert found is not None
        return int(found[0] or 0)


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    made = Counted(tmp_path)
    yield made
    made.store.close()


def test_the_call_after_the_last_is_told_when_to_come_back(counted: Counted) -> None:
    for _ in range(3):
        assert counted.admit() == 0
        counted.clock.at += 10 * SECOND
    assert counted.admit() == 30
    counted.clock.at += 30 * SECOND - 1
    assert counted.admit() == 1
    counted.clock.at += 1
    assert counted.admit() == 0
    assert counted.admit() == 10


def test_every_entity_has_a_minute_of_its_own(counted: Counted) -> None:
    others = [
        Entity("subscription", "other"),
        Entity("customer", "mine"),
        Entity("customer", "mine", "resource"),
        Entity("customer", "mine:resource"),
    ]
    for _ in range(3):
        counted.admit()
    assert [counted.admit(other) for other in others] == [0] * 4
    assert counted.admit(environment="other") == 0
    assert counted.admit() > 0


def test_a_refused_call_is_not_counted(counted: Counted) -> None:
    for _ in range(20):
        counted.admit()
    assert counted.rows() == 3


def test_none_is_no_limit(tmp_path: Path) -> None:
    counted = Counted(tmp_path, per_minute=0)
    assert {counted.admit() for _ in range(100)} == {0}
    assert counted.rows() == 0
    counted.store.close()


def test_the_table_holds_no_more_than_a_minute_and_what_was_left_then(counted: Counted) -> None:
    busiest = 0
    for number in range(300):
        counted.admit(Entity("subscription", str(number)))
        counted.clock.at += SECOND
        busiest = max(busiest, counted.rows())
    assert busiest <= 60 + 1
    counted.clock.at += MINUTE
    for number in range(60 // (limits.ENTITY_CALLS_SWEPT_MAX - 1) + 1):
        counted.admit(Entity("customer", str(number)))
    assert counted.rows() <= 60 // (limits.ENTITY_CALLS_SWEPT_MAX - 1) + 1


def test_a_clock_that_was_set_back_locks_nobody_out(counted: Counted) -> None:
    for _ in range(3):
        counted.admit()
    counted.clock.at -= 59 * SECOND
    assert counted.admit() == limits.RETRY_AFTER_SECONDS_MAX, "not far enough to be sure"
    counted.clock.at -= 2 * SECOND
    assert counted.admit() == 0


@given(steps=st.lists(st.integers(0, 40), max_size=40))
@settings(max_examples=30, deadline=None)
def test_no_minute_sees_more_than_it_may(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    """Against a list of instants."""
    counted = Counted(tmp_path_factory.mktemp("minutes"))
    minute: deque[int] = deque()
    for seconds in steps:
        counted.clock.at += seconds * SECOND
        while minute and minute[0] <= counted.clock.at - MINUTE:
            minute.popleft()
        told = counted.admit()
        if len(minute) < 3:
            assert told == 0
            minute.append(counted.clock.at)
        else:
            assert told == (minute[0] + MINUTE - counted.clock.at) // SECOND
    counted.store.close()
