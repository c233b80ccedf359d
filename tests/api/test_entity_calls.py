"""30 changes a minute of one subscription, or of one customer's: the 31st is refused (K05)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick import limits
from tallystick.api.metrics import SharedCounts
from tallystick.api.routes import all_routes
from tallystick.clock import SystemClock
from tests.api.door import Answered, Door
from tests.api.scene import add_customer, prepare

SUBSCRIPTIONS = "/api/v1/subscriptions"
PER_MINUTE = limits.ENTITY_CALLS_PER_MINUTE

# By Stigg's documentation; the sub-resources of future-update are all there are.
LIMITED = {
    ("POST", ""), ("PATCH", "/{id}"), ("POST", "/{id}/cancel"), ("POST", "/{id}/migrate"),
    ("POST", "/{id}/transfer"), ("POST", "/{id}/delegate"),
    ("DELETE", "/{id}/future-update/schedule"), ("DELETE", "/{id}/future-update/pending-payment"),
}  # fmt: skip


def subscription_of(door: Door, customer: str) -> str:
    (found,) = door.get(f"{SUBSCRIPTIONS}?customerId={customer}").data
    return str(found["id"])


def patch(door: Door, subscription: str, **more: Any) -> Answered:
    body = {"metadata": {"colour": "blue"}}
    return door.run(door.call("PATCH", f"{SUBSCRIPTIONS}/{subscription}", body, **more))


@pytest.fixture
def mine(door: Door) -> str:
    """The subscription of customer ``c``; there is a customer ``d`` too."""
    prepare(door)
    add_customer(door, "d")
    return subscription_of(door, "c")


def test_what_stigg_limits_is_limited_and_nothing_else() -> None:
    routes = all_routes(SharedCounts(Path(), ""))
    limited = {(each.method, each.path) for each in routes if each.entity is not None}
    assert limited == {(method, f"{SUBSCRIPTIONS}{path}") for method, path in LIMITED}


def test_one_more_than_may_be_is_refused_and_changes_nothing(door: Door, mine: str) -> None:
    assert {patch(door, mine).status for _ in range(PER_MINUTE)} == {200}
    before = door.get(f"{SUBSCRIPTIONS}/{mine}").body
    path = f"{SUBSCRIPTIONS}/{mine}"
    refused = door.run(door.call("PATCH", path, {"metadata": {"colour": "red"}}))
    assert (refused.status, refused.code) == (429, "RateLimitExceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert mine in refused.json["message"]
    assert door.get(path).body == before
    assert patch(door, subscription_of(door, "d")).status == 200


def test_the_minute_is_shared_by_whatever_changes_it(door: Door, mine: str) -> None:
    for _ in range(PER_MINUTE):
        patch(door, mine)
    path = f"{SUBSCRIPTIONS}/{mine}"
    calls = [
        door.call("POST", f"{path}/cancel", {}),
        door.call("POST", f"{path}/migrate", {}),
        door.call("POST", f"{path}/transfer", {"destinationResourceId": "r"}),
        door.call("POST", f"{path}/delegate", {"targetCustomerId": "d"}),
        door.call("DELETE", f"{path}/future-update/schedule"),
        door.call("DELETE", f"{path}/future-update/pending-payment"),
    ]
    assert [door.run(call).status for call in calls] == [429] * 6
    assert door.get(path).status == 200


def test_subscribing_is_counted_for_the_customer_or_its_resource(door: Door, mine: str) -> None:
    def subscribe(**more: str) -> int:
        return door.post(SUBSCRIPTIONS, {"customerId": "d", "planId": "plan", **more}).status

    # Every one after the first repeats what is there: 409, and not counted.
    assert {subscribe() for _ in range(PER_MINUTE + 1)} == {409}
    fill(door, "d")
    assert subscribe() == 429
    assert subscribe(resourceId="r") == 201
    fill(door, "d", "s")
    assert subscribe(resourceId="s") == 429


def fill(door: Door, customer: str, resource: str = "") -> None:
    """Use up a customer's minute."""
    with door.services.state.writing() as transaction:
        now = SystemClock().now()
        transaction.run_many(
            "INSERT INTO entity_calls (environment, kind, id, resource, real_at) "
            "VALUES ('default', 'customer', ?, ?, ?)",
            [(customer, resource, now)] * PER_MINUTE,
        )


def test_the_clock_of_tests_does_not_stop_it(door: Door, mine: str) -> None:
    for _ in range(PER_MINUTE):
        patch(door, mine)
    door.move_clock("2026-03-01T00:00:00Z")
    assert patch(door, mine).status == 429


def test_calls_that_fail_do_not_count(door: Door, mine: str) -> None:
    path = f"{SUBSCRIPTIONS}/{mine}"
    for _ in range(PER_MINUTE):
        assert door.run(door.call("DELETE", f"{path}/future-update/schedule")).status == 404
        assert patch(door, "nobody's").status == 404
    assert patch(door, mine).status == 200


def test_an_answer_that_is_repeated_does_not_count(door: Door, mine: str) -> None:
    again = {"Idempotency-Key": "k"}
    assert {patch(door, mine, headers=again).status for _ in range(PER_MINUTE + 5)} == {200}
    for _ in range(PER_MINUTE - 1):
        assert patch(door, mine).status == 200
    assert patch(door, mine).status == 429
    assert patch(door, mine, headers=again).status == 200
    assert patch(door, mine, headers={"Idempotency-Key": "new"}).status == 429


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[list[Door]]:
    """Two processes' applications over one folder; they let five through."""
    made = [Door(tmp_path / "data", entity_calls_per_minute=5) for _ in range(2)]
    yield made
    for door in made:
        door.__exit__(None, None, None)


def test_all_processes_together_let_no_more_through(doors: list[Door]) -> None:
    prepare(doors[0])
    mine = subscription_of(doors[0], "c")
    told: list[int] = []

    def change(door: Door) -> None:
        told.extend(patch(door, mine, key=doors[0].key).status for _ in range(10))

    threads = [threading.Thread(target=change, args=(door,)) for door in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [200] * 5 + [429] * 15


def test_the_operator_may_take_it_away(tmp_path: Path) -> None:
    with Door(tmp_path / "data", entity_calls_per_minute=0) as door:
        prepare(door)
        mine = subscription_of(door, "c")
        assert {patch(door, mine).status for _ in range(PER_MINUTE + 5)} == {200}
