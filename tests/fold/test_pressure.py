"""A step stays small and ends, whatever rules change under it and however many counters are new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick import limits
from tallystick.catalog.changes import record_change
from tallystick.fold.metering import Measured, Meterer
from tallystick.store import Transaction
from tests.fold.test_laws import events, sold
from tests.simulation.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = sold(tmp_path / "data")
    yield made
    made.close()


def change_rules(world: World, environment: str, customer: str) -> bool:
    """A change is recorded, unless the store is held."""
    begun = world.door.services.state.begin_if_free()
    if begun is None:
        return False
    with begun.filling() as transaction:
        record_change(transaction, environment, customer, world.door.services.clock.now())
    begun.commit()
    return True


class Measuring:
    """Does something after each measuring, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
        self.times = 0
        self.events: list[int] = []
        measure = Meterer.measure_batch

        def measured(meterer: Meterer, transaction: Transaction, batch: Any) -> Measured:
            found = measure(meterer, transaction, batch)
            self.times += 1
            self.events.append(len(batch.env_nos))
            then()
            return found

        monkeypatch.setattr(Meterer, "measure_batch", measured)


def test_who_changes_rules_all_the_time_stops_nobodys_counting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STEP_EVENTS_MIN", 100)
    sent = events(1_500)
    for start in range(0, 1_500, 50):
        world.post("/api/v1/events", {"events": sent[start : start + 50]})
    world.worker.counting.events_max = 1_000
    measuring = Measuring(monkeypatch, lambda: change_rules(world, "default", ""))
    assert world.worker.fold.step()
    assert measuring.events == [1_000] * 3 + [100] * 4
    world.worker.drain()
    assert world.verify().equal


def test_rules_of_an_environment_without_meters_are_nobodys_business(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.door.new_key("other")
    world.post("/api/v1/events", {"events": events(5)})
    sent = {"events": events(1)}
    assert world.door.run(world.door.call("POST", "/api/v1/events", sent, key=other)).status == 200
    measuring = Measuring(monkeypatch, lambda: change_rules(world, "other", ""))
    assert world.worker.fold.step()
    assert measuring.times == 1
    assert world.door.services.inbox.backlog().events == 0


@pytest.mark.parametrize(("environment", "customer"), [("default", "idle"), ("other", "acme")])
def test_rules_of_customers_who_sent_nothing_are_nobodys_business(
    world: World, monkeypatch: pytest.MonkeyPatch, environment: str, customer: str
) -> None:
    other = world.door.new_key("other")
    sent = {"events": events(1)}
    assert world.door.run(world.door.call("POST", "/api/v1/events", sent, key=other)).status == 200
    world.post("/api/v1/events", {"events": events(20)})
    measuring = Measuring(monkeypatch, lambda: change_rules(world, environment, customer))
    assert world.worker.fold.step()
    assert measuring.times == 1


def test_a_customer_who_sent_something_is_measured_by_its_new_rules(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.post("/api/v1/events", {"events": events(20)})
    once = iter([True])
    measuring = Measuring(
        monkeypatch, lambda: next(once, False) and change_rules(world, "default", "acme")
    )
    assert world.worker.fold.step()
    assert measuring.times == 2


def test_a_first_meter_that_appears_meanwhile_misses_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "data", 1)
    world.set_up(meters=())
    world.add_customer("acme", 60)
    event = {"customerId": "acme", "eventName": "call", "idempotencyKey": "1"}
    world.post("/api/v1/events", {"events": [event]})
    condition = {"field": "eventName", "operation": "EQUALS", "value": "call"}
    meter = {"aggregation": {"function": "COUNT"}, "filters": [{"conditions": [condition]}]}
    bodies = iter([{"meter": meter}])

    def the_meter_appears() -> None:
        for body in bodies:
            patched = world.door.call("PATCH", "/api/v1/features/seats", body)
            assert world.door.run(patched).status == 200

    measuring = Measuring(monkeypatch, the_meter_appears)
    world.worker.fold.step()
    assert measuring.times == 2
    assert world.usage("acme", "seats") == 1
    world.close()


@pytest.mark.parametrize("counters_max", [30, 300])
def test_the_counters_of_a_transaction_are_bounded_whatever_is_new(
    world: World, monkeypatch: pytest.MonkeyPatch, counters_max: int
) -> None:
    weights: list[int] = []
    write = Meterer.write

    def writing(meterer: Meterer, transaction: Transaction, measured: Measured) -> int:
        weights.append(meterer.weight(measured))
        return write(meterer, transaction, measured)

    monkeypatch.setattr(Meterer, "write", writing)
    monkeypatch.setattr(limits, "STEP_COUNTERS_MAX", counters_max)
    monkeypatch.setattr(limits, "STEP_COUNTERS_TARGET", counters_max * 4 // 5)
    monkeypatch.setattr(limits, "STEP_EVENTS_MIN", 1)
    world.worker.counting.events_max = 1_000
    for event in (sent := events(200)):
        world.post("/api/v1/events", {"events": [event]})
    world.worker.drain()
    single = 5 * limits.STEP_NEW_COUNTER_WEIGHT  # one event of a call: a request is never cut
    assert max(weights) <= max(counters_max, single)
    assert len(weights) < len(sent)
    assert world.verify().equal


def test_steps_grow_again_once_their_counters_are_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STEP_COUNTERS_TARGET", 60)
    monkeypatch.setattr(limits, "STEP_COUNTERS_MAX", 75)
    monkeypatch.setattr(limits, "STEP_EVENTS_MIN", 1)
    world.worker.counting.events_max = 4
    sent = [event | {"timestamp": "2026-01-20T11:00:00Z"} for event in events(400)]
    for event in sent:
        world.post("/api/v1/events", {"events": [event]})
    sizes = Measuring(monkeypatch, lambda: None)
    world.worker.drain()
    assert max(sizes.events) > 60
    assert world.verify().equal
