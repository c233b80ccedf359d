"""What the fold remembers of customers' rules is bounded by entries, whoever has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick import limits
from tests.fold.test_laws import events, sold
from tests.simulation.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = sold(tmp_path / "data")
    yield made
    made.close()


def event(resource: int) -> dict[str, Any]:
    return {
        "customerId": "acme",
        "resourceId": f"resource-{resource}",
        "eventName": "call",
        "idempotencyKey": f"{resource}",
    }


def kept(world: World) -> int:
    slots = world.worker.counting._meterer._slots
    count = sum(len(of_one) for of_one in slots._customers.values())
    assert count == slots._count
    return count


def test_the_slots_of_one_customer_are_bounded_however_many_resources_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SLOTS_MAX", 20)
    for start in (0, 50, 100):
        world.post("/api/v1/events", {"events": [event(start + n) for n in range(50)]})
        world.worker.fold.step()
        assert 0 < kept(world) <= 20


def test_forgotten_slots_change_no_total(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLOTS_MAX", 3)
    sent = events(200)
    for start in range(0, 200, 20):
        world.post("/api/v1/events", {"events": sent[start : start + 20]})
        world.worker.step()
        assert kept(world) <= 3
    world.worker.drain()
    assert world.verify().equal


def test_a_step_that_did_not_take_all_that_waited_is_followed_at_once(world: World) -> None:
    world.worker.counting.events_max = 1
    for sent in events(2):
        world.post("/api/v1/events", {"events": [sent]})
    assert world.worker.paced_step()
    assert world.worker.paced_step()
    assert world.door.services.inbox.backlog().events == 0
