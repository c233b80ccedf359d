"""What is remembered of event keys while the window changes and requests are set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tallystick import failpoints
from tallystick.fold.quarantine import ask_retry
from tests.fold.test_laws import sold
from tests.simulation.world import World

EVENT = {"customerId": "acme", "eventName": "call", "idempotencyKey": "the key"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = sold(tmp_path / "data")
    yield made
    made.close()


def deliver(world: World, *events: dict[str, Any]) -> None:
    """Send events, those of one key by default, and fold them."""
    world.post("/api/v1/events", {"events": events or [EVENT]})
    world.worker.drain()


def tidy(world: World) -> None:
    while world.worker.upkeep.tidy():
        pass


def archived(world: World) -> int:
    """Events of the default environment that were new; the record is as it ought to be."""
    report = world.verify()
    (found,) = report.environments
    assert report.equal, found.differences
    return found.counted


def with_window(world: World, days: int) -> None:
    """The worker starts anew with another window."""
    world.door.settings = replace(world.door.settings, dedupe_window_days=days)
    world.restart()


@pytest.mark.parametrize(("before", "after"), [(35, 7), (7, 35), (35, 36)])
def test_a_changed_window_forgets_no_key_that_is_still_within_it(
    world: World, before: int, after: int
) -> None:
    with_window(world, before)
    deliver(world)
    with_window(world, after)
    tidy(world)
    deliver(world)
    assert archived(world) == 1


@pytest.mark.parametrize(("before", "after"), [(35, 7), (7, 35)])
def test_a_changed_window_lets_keys_go_in_its_time(world: World, before: int, after: int) -> None:
    with_window(world, before)
    deliver(world)
    with_window(world, after)
    world.door.move_clock("2026-03-10T12:00:00Z")
    deliver(world, EVENT | {"idempotencyKey": "another"})
    tidy(world)
    with world.door.services.state.reading() as transaction:
        runs = transaction.one(
            "SELECT count(*) FROM files WHERE kind = 'keys' AND removed_at IS NULL"
        )
    assert runs == (1,)


def test_a_request_tried_again_after_the_window_does_not_repeat_what_came_meanwhile(
    world: World,
) -> None:
    set_aside(world)
    world.door.move_clock("2026-01-21T12:00:00Z")
    deliver(world)  # the sender repeats it, a day later
    world.door.move_clock("2026-03-15T12:00:00Z")
    deliver(world, EVENT | {"idempotencyKey": "another"})
    tidy(world)
    try_again(world)
    assert archived(world) == 2


def test_a_request_tried_again_is_no_repetition_of_what_came_after_its_window(
    world: World,
) -> None:
    set_aside(world)
    world.door.move_clock("2026-03-15T12:00:00Z")
    deliver(world)
    try_again(world)
    assert archived(world) == 2


def set_aside(world: World) -> None:
    """Let the request of the key fail when it is folded."""
    failpoints.arm(_fail_at("fold.before_files"))
    deliver(world)
    failpoints.arm(None)


def try_again(world: World) -> None:
    services = world.door.services
    assert ask_retry(services.state, services.inbox, services.inbox_store, None) == 1
    world.worker.drain()


def _fail_at(wanted: str) -> Callable[[str], None]:
    def action(point: str) -> None:
        if point == wanted:
            raise ValueError("it cannot be folded")

    return action
