"""A change that was answered is obeyed by the next check, whichever API process it reaches.

Each process keeps what it knows of the catalog in memory. So every test asks in both before a
change, that they have something old to forget, and after it.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from stigg import AuthenticationError

from tests.conformance.driving import Clients, Site
from tests.conformance.selling import (
    CUSTOMER,
    Shop,
    event,
    granting,
    hard,
    moment,
    promised,
    resetting,
)

PROCESSES = {"api-0", "api-1"}
VOICES_MIN, VOICES_MAX = 4, 60
ASKED = re.compile(
    r'^tallystick_requests_total\{process="([^"]+)",method="GET",route="/health",[^}]*\} (\d+)$',
    re.MULTILINE,
)


class Everywhere:
    """Clients with a connection each, so many that every API process answers some of them."""

    def __init__(self, clients: Clients, key: str) -> None:
        self._voices: dict[Any, str] = {}
        while len(self._voices) < VOICES_MIN or set(self._voices.values()) != PROCESSES:
            assert len(self._voices) < VOICES_MAX, self._voices.values()
            fresh = clients.of(key)
            self._voices[fresh] = process_of(fresh)

    def still(self) -> None:
        """They are answered by whom they were: no connection was made anew meanwhile."""
        assert {one: process_of(one) for one in self._voices} == self._voices

    def check(self, feature: str, customer: str = CUSTOMER, **more: Any) -> Any:
        """The answer of all, which is the same."""
        answers = [Shop(one).check(feature, customer, **more).to_dict() for one in self._voices]
        assert all(one == answers[0] for one in answers), answers
        return Shop(next(iter(self._voices))).check(feature, customer, **more)

    def limit(self, feature: str = "seats", customer: str = CUSTOMER, **more: Any) -> int | None:
        """The limit that all tell; None without one."""
        found: int | None = self.check(feature, customer, **more).usage_limit
        return found

    def reason(self, feature: str = "seats", customer: str = CUSTOMER, **more: Any) -> str | None:
        """Why all deny; None when they grant."""
        found: str | None = self.check(feature, customer, **more).access_denied_reason
        return found

    def used(self, feature: str = "seats", customer: str = CUSTOMER, **more: Any) -> float | None:
        """What is used, as all tell it."""
        found: float | None = self.check(feature, customer, **more).current_usage
        return found


def process_of(client: Any) -> str:
    """The process that a client's connection leads to.

    A process knows its own count at once, and that of another when that one leaves it, at most once
    for all it was asked before. So the one whose count rises each time is the one that is asked.
    """
    counts = [asked(client) for _ in range(4)]
    rising = [
        process
        for process, last in counts[-1].items()
        if [one.get(process, 0) for one in counts] == list(range(last - 3, last + 1))
    ]
    (found,) = rising
    return found


def asked(client: Any) -> dict[str, int]:
    """How often each process was asked for its health, once more by this client included."""
    assert client.get("/health", cast_to=httpx.Response).status_code == 200
    text = client.get("/metrics", cast_to=httpx.Response).text
    return {process: int(count) for process, count in ASKED.findall(text)}


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A customer with a plan of ten seats."""
    shop.product()
    shop.reported("seats")
    shop.boolean("sso")
    shop.plan("basic", hard("seats", 10))
    return shop


@pytest.fixture
def everywhere(shop: Shop, clients: Clients, key: str) -> Any:
    """Clients that reach every process, and did so to the end."""
    made = Everywhere(clients, key)
    yield made
    made.still()


def test_changes_of_the_catalog(shop: Shop, everywhere: Everywhere) -> None:
    name = shop.buyer("basic")
    assert (everywhere.limit(), everywhere.reason("sso")) == (
        10, "NoFeatureEntitlementInSubscription",
    )  # fmt: skip

    shop.replan("basic", hard("seats", 20), to="NEW_CUSTOMERS")
    assert everywhere.limit() == 10
    shop.v1.subscriptions.migrate(name)
    assert everywhere.limit() == 20
    shop.v1.plans.create_draft("basic")
    shop.v1.plans.entitlements.create("basic", entitlements=[granting("sso")])
    assert everywhere.reason("sso") == "NoFeatureEntitlementInSubscription"
    shop.v1.plans.publish("basic", migration_type="ALL_CUSTOMERS")
    assert everywhere.reason("sso") is None

    # What a parent grants is its children's too.
    shop.plan("child", parent_plan_id="basic")
    shop.buyer("child", "heir")
    assert everywhere.limit("seats", "heir") == 20
    shop.replan("basic", hard("seats", 30))
    assert everywhere.limit() == 30

    shop.addon("more", hard("seats", 5, behavior="Increment"))
    shop.v1.subscriptions.update(name, addons=[{"id": "more", "quantity": 2}])
    assert everywhere.limit() == 40
    shop.v1.addons.create_draft("more")
    shop.v1.addons.entitlements.update("seats", addon_id="more", type="FEATURE", usage_limit=50)
    assert everywhere.limit() == 40
    shop.v1.addons.publish("more", migration_type="ALL_CUSTOMERS")
    assert everywhere.limit() == 130


def test_changes_of_features(shop: Shop, everywhere: Everywhere, site: Site) -> None:
    shop.buyer("basic")
    assert everywhere.reason("late") == "FeatureNotFound"
    shop.reported("late")
    assert everywhere.check("late").feature.display_name == "late"
    shop.v1.features.update_feature("late", display_name="Later")
    assert everywhere.check("late").feature.display_name == "Later"
    shop.v1.features.archive_feature("late")
    assert everywhere.check("late").feature.feature_status == "SUSPENDED"
    shop.v1.features.unarchive_feature("late")
    assert everywhere.check("late").feature.feature_status == "ACTIVE"

    shop.report(1500, feature="late")
    assert everywhere.used("late") == 1500
    shop.v1.features.update_feature("late", unit_transformation={"divide": 1000, "round": "UP"})
    assert everywhere.used("late") == 2

    # An event feature's answer needs the fold, and a recount when its meter changes.
    shop.metered("calls")
    shop.grant(promised("calls", usage_limit=2))
    shop.send(event(dimensions={"n": 7}))
    site.sync()
    assert everywhere.used("calls") == 1
    meter = {
        "filters": [
            {"conditions": [{"field": "eventName", "operation": "EQUALS", "value": "call"}]}
        ],
        "aggregation": {"function": "SUM", "field": "n"},
    }
    shop.v1.features.update_feature("calls", meter=meter)
    site.sync()
    assert everywhere.used("calls") == 7
    assert everywhere.reason("calls") == "RequestedUsageExceedingLimit"


def test_changes_of_subscriptions(shop: Shop, everywhere: Everywhere) -> None:
    shop.plan("large", hard("seats", 100), granting("sso"))
    assert everywhere.reason() == "CustomerNotFound"
    shop.customer()
    assert everywhere.reason() == "NoActiveSubscription"
    first = shop.subscribe("basic")
    assert everywhere.limit() == 10
    shop.v1.subscriptions.update(first, entitlements=[hard("seats", 3)])
    assert everywhere.limit() == 3
    second = shop.subscribe("large")  # another plan of the product
    assert (everywhere.limit(), everywhere.reason("sso")) == (100, None)

    assert everywhere.reason(resource_id="res-1") == "CustomerResourceNotFound"
    third = shop.subscribe("basic", resource_id="res-1")
    assert everywhere.limit(resource_id="res-1") == 10
    shop.v1.subscriptions.transfer(third, destination_resource_id="res-2")
    assert everywhere.limit(resource_id="res-2") == 10
    assert everywhere.reason(resource_id="res-1") == "CustomerResourceNotFound"
    shop.customer("heir")
    assert everywhere.reason("seats", "heir") == "NoActiveSubscription"
    shop.v1.subscriptions.delegate(second, target_customer_id="heir")
    assert (everywhere.limit("seats", "heir"), everywhere.limit()) == (100, None)

    shop.v1.subscriptions.cancel(second, cancellation_time="IMMEDIATE")
    assert everywhere.reason("seats", "heir") == "NoActiveSubscription"
    shop.v1.subscriptions.cancel(third, cancellation_time="IMMEDIATE")
    assert everywhere.reason(resource_id="res-2") == "NoActiveSubscription"


def test_changes_of_customers(shop: Shop, everywhere: Everywhere) -> None:
    shop.plan("monthly", hard("seats", 10, **resetting("MONTH", "StartOfTheMonth")))
    shop.buyer("monthly")
    assert (everywhere.limit(), everywhere.reason("sso")) == (
        10, "NoFeatureEntitlementInSubscription",
    )  # fmt: skip
    shop.grant(promised("seats", usage_limit=20), promised("sso"))
    assert (everywhere.limit(), everywhere.reason("sso")) == (20, None)
    shop.grant(promised("seats", usage_limit=15))
    assert everywhere.limit() == 15
    for feature in ("seats", "sso"):
        shop.v1.customers.promotional_entitlements.revoke(feature, id=CUSTOMER)
    assert (everywhere.limit(), everywhere.reason("sso")) == (
        10, "NoFeatureEntitlementInSubscription",
    )  # fmt: skip

    assert everywhere.check("seats").usage_period_end == moment("2026-02-01")
    shop.v1.customers.update(CUSTOMER, timezone="Asia/Tokyo")
    assert everywhere.check("seats").usage_period_end == moment("2026-01-31T15:00")

    for value, total in ((4, 4), (-1, 3), (8, 11)):
        shop.report(value)
        assert everywhere.used() == total
    assert everywhere.reason() == "RequestedUsageExceedingLimit"

    shop.v1.customers.archive(CUSTOMER)
    assert everywhere.reason() == "CustomerIsArchived"
    shop.v1.customers.unarchive(CUSTOMER)
    assert everywhere.used() == 11


def test_a_new_key_opens_every_process(
    site: Site, shop: Shop, clients: Clients, environment: str
) -> None:
    """Also one of an environment that no process has met."""
    shop.buyer("basic")
    for place, reason in ((environment, None), (f"{environment}-new", "CustomerNotFound")):
        everywhere = Everywhere(clients, site.key(place))
        assert everywhere.reason() == reason
        everywhere.still()
    with pytest.raises(AuthenticationError):
        Shop(clients.of("server-nobody-has-this")).check("seats")
