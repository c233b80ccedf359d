"""``Tally-As-Of`` is true whatever the clock does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.clock import DAY, SECOND, Instant, parse_instant
from tallystick.fold.as_of import AsOf
from tests.fold.test_laws import events, sold
from tests.simulation.world import World

NOON = 1_000 * DAY


def at(seconds: float) -> Instant:
    return Instant(NOON + int(seconds * SECOND))


def begun(now: float = 0, head: int = 0, first_waiting: Instant | None = None) -> AsOf:
    return AsOf(at(now), head, first_waiting)


def test_a_start_tells_the_clock_or_when_the_first_that_waits_came_in() -> None:
    assert at(0) == begun().told
    assert at(-7) == begun(first_waiting=at(-7)).told


def test_what_waits_from_a_clock_that_was_ahead_tells_nothing_until_it_is_folded() -> None:
    as_of = begun(head=9, first_waiting=at(100))
    assert as_of.told == 0
    as_of.look(at(1), 12)
    assert as_of.tell(5, at(150), drained=False) == 0
    as_of.look(at(2), 12)
    assert at(1.5) == as_of.tell(10, at(1.5), drained=False)


def test_it_goes_forward_with_what_is_folded_and_with_the_clock_when_nothing_waits() -> None:
    as_of = begun()
    as_of.look(at(10), 0)
    assert at(10) == as_of.tell(0, at(10), drained=True)
    as_of.look(at(20), 0)
    assert at(12) == as_of.tell(3, at(12), drained=False)
    as_of.look(at(21), 0)
    assert at(12) == as_of.tell(4, at(11), drained=False), "one that took longer to be stored"


def test_it_goes_back_with_the_clock_and_says_no_more_than_it_showed_then() -> None:
    as_of = begun()
    as_of.look(at(100), 5)
    assert at(100) == as_of.tell(3, at(100), drained=True)
    as_of.look(at(40), 9)
    assert at(39) < as_of.tell(5, at(99), drained=False) <= at(40)
    as_of.look(at(50), 20)
    assert as_of.tell(9, at(45), drained=False) <= at(40)
    assert at(46) == as_of.tell(10, at(46), drained=False)


def test_it_is_the_clock_again_once_nothing_waits() -> None:
    as_of = begun()
    as_of.look(at(-60), 9)
    assert at(-60) == as_of.tell(9, at(-60), drained=True)


class Wrong:
    """A clock that anybody may set."""

    def __init__(self, now: Instant) -> None:
        self.time = now

    def now(self) -> Instant:
        return self.time


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = sold(tmp_path / "data")
    yield made
    made.close()


def shown(world: World) -> Instant:
    path = "/api/v1/customers/acme/entitlements/check?featureId=calls"
    found = parse_instant(world.door.get(path).headers["tally-as-of"])
    assert found is not None
    return found


def test_a_clock_that_was_ahead_for_a_moment_leaves_no_lie_behind(world: World) -> None:
    right = world.door.services.clock.now()
    clock = world.worker.fold._clock = Wrong(Instant(right + 2 * DAY))
    world.worker.fold.step()
    assert shown(world) == right + 2 * DAY
    clock.time = right
    world.post("/api/v1/events", {"events": events(3)})
    world.worker.counting.events_max = 1
    world.post("/api/v1/events", {"events": events(3)})
    world.worker.fold.step()
    assert shown(world) <= right
    world.worker.drain()
    assert shown(world) == right


def test_a_clock_that_was_set_back_between_two_workers_leaves_no_lie_behind(world: World) -> None:
    right = world.door.services.clock.now()
    world.worker.fold._clock = Wrong(Instant(right + 2 * DAY))
    world.worker.fold.step()
    world.post("/api/v1/events", {"events": events(3)})
    world.restart()
    assert shown(world) == right
    world.worker.drain()
    assert shown(world) == right
