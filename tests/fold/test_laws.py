"""The laws of counting, shown on the whole path: door, inbox, fold, archive, recount."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tallystick import limits
from tallystick.catalog.changes import queue_recount, record_change
from tests.proof.selling import (
    customer,
    for_life,
    monthly,
    plan,
    reported,
    sdk,
    serving,
    usage,
    verified,
)
from tests.simulation.world import METERS, World

MONTHS = ("2025-11", "2025-12", "2026-01")

TOTALS = """
SELECT customer, resource, feature, period_start, count, sum, minimum, maximum
FROM counters JOIN counter_parts USING (id)
JOIN features ON features.id = feature AND features.generation = counters.generation
ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data", 1)
    yield made
    made.close()


def totals(world: World) -> list[Any]:
    """Every valid counter."""
    with world.door.services.state.reading() as transaction:
        return transaction.all(TOTALS)


def events(count: int, seed: int = 5) -> list[dict[str, Any]]:
    """Events over three months of two customers, keys distinct."""
    chance = random.Random(seed)
    return [
        {
            "customerId": chance.choice(("acme", "globex")),
            "eventName": chance.choice(("call", "page")),
            "idempotencyKey": f"key-{number}",
            "timestamp": f"{chance.choice(MONTHS)}-{chance.randint(1, 20):02d}T11:30:00Z",
            "dimensions": {
                "tokens": chance.choice((0.1, 5, "7", -2)),
                "user": chance.randint(1, 9),
            },
        }
        for number in range(count)
    ]


def sold(folder: Path) -> World:
    world = World(folder, 1)
    world.set_up()
    world.add_customer("acme", 60)
    world.add_customer("globex", 5)
    return world


@pytest.mark.parametrize("seed", range(3))
def test_cutting_and_reordering_batches_changes_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    found = []
    for name in ("whole", "cut"):
        world = sold(tmp_path / name)
        sent = events(300)
        if name == "cut":
            chance.shuffle(sent)
        while sent:
            size = len(sent) if name == "whole" else chance.randint(1, 60)
            world.post("/api/v1/events", {"events": sent[:size]})
            del sent[:size]
            if name == "cut" and chance.random() < 0.7:
                world.worker.step()
        world.worker.drain()
        found.append(totals(world))
        world.close()
    assert found[0] == found[1]
    assert len(found[0]) > 2 * len(METERS)


def test_a_recount_equals_the_incremental_totals(tmp_path: Path) -> None:
    world = sold(tmp_path / "data")
    for start in range(0, 300, 50):
        world.post("/api/v1/events", {"events": events(300)[start : start + 50]})
        world.worker.step()
    world.worker.drain()
    before = totals(world)
    now = world.door.services.clock.now()
    with world.door.services.state.writing() as transaction:
        record_change(transaction, "default", "", now)
        for feature in METERS:
            assert queue_recount(transaction, "default", feature, "", "law", now, now)
    pending = world.door.get("/api/v1/customers/acme/entitlements/check?featureId=calls")
    assert pending.headers["tally-recount"] == "pending"
    world.worker.drain()
    assert totals(world) == before
    done = world.door.get("/api/v1/customers/acme/entitlements/check?featureId=calls")
    assert "tally-recount" not in done.headers
    while world.worker.upkeep_step():
        pass
    with world.door.services.state.reading() as transaction:
        assert transaction.one("SELECT count(*) FROM counters") == (len(before),)
    world.close()


def test_a_meter_created_late_counts_what_was_before_and_knows_its_values(world: World) -> None:
    """40 days later, beyond the window of event keys, a seen value adds nothing, a new one one."""
    page = {"customerId": "acme", "eventName": "page", "dimensions": {"user": "ann"}}
    world.post("/api/v1/events", {"events": [{**page, "idempotencyKey": "1"}]})
    world.worker.drain()
    world.add_meter("users")
    world.post("/api/v1/products", {"id": "main", "displayName": "Main"})
    world.post("/api/v1/plans", {"id": "plan", "displayName": "Plan", "productId": "main"})
    item = {"id": "users", "type": "FEATURE", "hasUnlimitedUsage": True}
    world.post("/api/v1/plans/plan/entitlements", {"entitlements": [item]})
    world.post("/api/v1/plans/plan/publish", {"migrationType": "NEW_CUSTOMERS"})
    world.post("/api/v1/customers", {"id": "acme"})
    world.post("/api/v1/subscriptions", {"customerId": "acme", "planId": "plan"})
    world.worker.drain()
    assert world.usage("acme", "users") == 1

    world.door.move_clock("2026-03-05T12:00:00Z")
    world.post("/api/v1/events", {"events": [{**page, "idempotencyKey": "1"}]})
    world.worker.drain()
    assert world.usage("acme", "users") == 1
    other = page | {"dimensions": {"user": "bob"}, "idempotencyKey": "2"}
    world.post("/api/v1/events", {"events": [other]})
    world.worker.drain()
    assert world.usage("acme", "users") == 2


def test_the_old_value_stands_until_the_recount_of_a_changed_meter(tmp_path: Path) -> None:
    world = sold(tmp_path / "data")
    call = {"customerId": "acme", "eventName": "call", "dimensions": {"tokens": 40}}
    world.post("/api/v1/events", {"events": [{**call, "idempotencyKey": k} for k in "abc"]})
    world.worker.drain()
    assert world.usage("acme", "tokens") == 120
    condition = {"field": "eventName", "operation": "EQUALS", "value": "call"}
    filters = [{"conditions": [condition]}]
    for function in ("COUNT", "MAX"):
        field = {} if function == "COUNT" else {"field": "tokens"}
        meter = {"filters": filters, "aggregation": {"function": function, **field}}
        changed = world.door.run(
            world.door.call("PATCH", "/api/v1/features/tokens", {"meter": meter})
        )
        assert changed.status == 200
        assert world.usage("acme", "tokens") == 120
    world.worker.drain()
    assert world.usage("acme", "tokens") == 40
    world.post("/api/v1/events", {"events": [{**call, "idempotencyKey": "d"}]})
    world.worker.drain()
    assert world.usage("acme", "tokens") == 40
    world.close()


def test_a_worker_that_slept_through_many_changes_forgets_what_it_knew(tmp_path: Path) -> None:
    """Old rows of changes are deleted; who did not read them may not go on as before."""
    world = sold(tmp_path / "data")
    call = {"customerId": "acme", "eventName": "call", "dimensions": {"tokens": 1}}
    for key in "ab":
        world.post("/api/v1/events", {"events": [{**call, "idempotencyKey": key}]})
        world.worker.drain()
    now = world.door.services.clock.now()
    state = world.door.services.state
    with state.writing() as transaction:
        record_change(transaction, "default", "acme", now)
        for feature in METERS:
            assert queue_recount(transaction, "default", feature, "acme", "law", now, now)
    while world.worker.recounts.step():
        pass
    with state.writing() as transaction:
        for _ in range(limits.RULES_CHANGES_FOLLOWED_MAX + 1):
            record_change(transaction, "default", "somebody", now)
        transaction.run("DELETE FROM changes WHERE seq < (SELECT max(seq) FROM changes)")
    world.post("/api/v1/events", {"events": [{**call, "idempotencyKey": "c"}]})
    world.worker.drain()
    assert world.usage("acme", "calls") == 3
    assert world.verify().equal
    world.close()


def test_history_in_a_loop_under_merges_never_fails_nor_changes(tmp_path: Path) -> None:
    world = sold(tmp_path / "data")
    sent = events(400)
    for start in range(0, 400, 5):
        world.post("/api/v1/events", {"events": sent[start : start + 5]})
        world.worker.step()
    world.worker.drain()
    path = "/api/v1/usage/acme/history/calls?startDate=2026-01-01T00:00:00Z"
    first = world.door.get(path).data
    stop = threading.Event()
    failures: list[BaseException] = []

    def merge() -> None:
        try:
            while world.worker.upkeep_step():
                pass
        except BaseException as error:
            failures.append(error)
        finally:
            stop.set()

    merging = threading.Thread(target=merge)
    merging.start()
    reads = 0
    while not stop.is_set() or reads < 3:
        assert world.door.get(path).data == first
        reads += 1
    merging.join()
    assert failures == []
    with world.door.services.state.reading() as transaction:
        merged = transaction.one("SELECT count(*) FROM files WHERE kind = 'archive' AND level > 0")
    assert merged != (0,)
    world.close()


def test_fifty_reporters_of_differences_and_totals_while_rules_change(tmp_path: Path) -> None:
    """What was recorded adds up to what is shown, whatever changed meanwhile."""
    with serving(tmp_path / "data", "--workers", "2") as (server, stigg):
        plan(stigg, "small", for_life(reported(stigg, "seats")), monthly(reported(stigg, "jobs")))
        plan(stigg, "large", for_life("seats"), monthly("jobs"))
        for name in ("acme", "globex"):
            customer(stigg, name, "small")
        recorded: dict[tuple[str, str], list[Fraction]] = {}
        lock = threading.Lock()

        def report(thread: int) -> None:
            chance = random.Random(thread)
            # One client each: fifty threads on one of the SDK's now and then break a connection.
            with sdk(server).with_options(max_retries=2) as patient:
                for number in range(8):
                    answer = patient.v2.usage.report(usages=[{
                        "customer_id": chance.choice(("acme", "globex")),
                        "feature_id": "seats",
                        "value": chance.choice((1, 2, 0.5, -1)),
                        "update_behavior": "SET" if chance.random() < 0.3 else "DELTA",
                        "idempotency_key": f"{thread}-{number}",
                    }])  # fmt: skip
                    (one,) = answer.data.usages
                    with lock:
                        values = recorded.setdefault((one.customer_id, one.feature_id), [])
                        values.append(Fraction(str(one.value)))

        def change(_: int) -> None:
            for plan_id in ("large", "small", "large"):
                for name in ("acme", "globex"):
                    stigg.v1.subscriptions.provision(customer_id=name, plan_id=plan_id)

        with ThreadPoolExecutor(51) as pool:
            futures = [pool.submit(report, thread) for thread in range(50)]
            futures.append(pool.submit(change, 0))
            for future in futures:
                future.result()
        for (name, feature), values in recorded.items():
            assert Fraction(str(usage(stigg, name, feature))) == sum(values)
        told = verified(server)
        assert told["accepted"] - told["duplicates"] == 400  # the SDK repeats what it saw fail
