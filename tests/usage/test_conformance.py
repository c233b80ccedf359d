"""CONFORMANCE.md, sections D and E: the official SDK in its strict mode, the whole application.

Names carry the case. The catalog is set up through the SDK too.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from stigg import BadRequestError, NotFoundError, Stigg

from tallystick.clock import DAY
from tallystick.store import Transaction
from tallystick.usage.report import report_usages
from tests.api.door import Door
from tests.catalog.test_sdk import DoorTransport
from tests.usage.building import usage

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
EVENT_METER: Any = {
    "filters": [
        {"conditions": [{"field": "eventName", "operation": "EQUALS", "value": "api_call"}]}
    ],
    "aggregation": {"function": "COUNT"},
}
LIMITS: Any = [
    {"id": "feature-sso", "type": "FEATURE"},
    {"id": "feature-region", "type": "FEATURE", "enum_values": ["us"]},
    {"id": "feature-projects", "type": "FEATURE", "usage_limit": 5},
    {"id": "feature-seats", "type": "FEATURE", "usage_limit": 10},
    {"id": "feature-api-calls", "type": "FEATURE", "usage_limit": 100, "reset_period": "MONTH",
     "monthly_reset_period_configuration": {"according_to": "SubscriptionStart"}},
    {"id": "feature-ev-count", "type": "FEATURE", "usage_limit": 1000, "reset_period": "MONTH",
     "monthly_reset_period_configuration": {"according_to": "StartOfTheMonth"}},
]  # fmt: skip


class Shop:
    """The fixture of CONFORMANCE.md: cust-1 is subscribed to plan-basic."""

    def __init__(self, door: Door, stigg: Stigg) -> None:
        self.door = door
        self.stigg = stigg
        stigg.v1.products.create_product(
            id="product-main", display_name="Main", multiple_subscriptions=True
        )
        self._feature("feature-sso", "BOOLEAN")
        self._feature("feature-region", "ENUM", enum_configuration=[
            {"value": "us", "display_name": "US"}, {"value": "eu", "display_name": "EU"},
        ])  # fmt: skip
        self._feature("feature-projects", "NUMBER", meter_type="None")
        self._feature("feature-seats", "NUMBER", meter_type="FLUCTUATING")
        self._feature("feature-api-calls", "NUMBER", meter_type="INCREMENTAL")
        self._feature("feature-unsold", "NUMBER", meter_type="INCREMENTAL")
        self._feature("feature-ev-count", "NUMBER", meter_type="INCREMENTAL", meter=EVENT_METER)
        self.plan("plan-basic", LIMITS)
        stigg.v1.customers.provision(id="cust-1")
        self.subscribe()

    def _feature(self, name: str, kind: Any, **more: Any) -> None:
        self.stigg.v1.features.create_feature(id=name, display_name=name, feature_type=kind, **more)

    def plan(self, name: str, entitlements: Any) -> None:
        """A published plan."""
        self.stigg.v1.plans.create(id=name, display_name=name, product_id="product-main")
        self.stigg.v1.plans.entitlements.create(name, entitlements=entitlements)
        self.stigg.v1.plans.publish(name, migration_type="NEW_CUSTOMERS")

    def subscribe(self, plan: str = "plan-basic", **more: Any) -> None:
        """A subscription of cust-1."""
        self.stigg.v1.subscriptions.provision(customer_id="cust-1", plan_id=plan, **more)

    def report(self, *values: float, **more: Any) -> list[Any]:
        """Report api calls of cust-1, one item a value."""
        item = {"customer_id": "cust-1", "feature_id": "feature-api-calls"} | more
        usages: Any = [item | {"value": value} for value in values]
        return self.stigg.v2.usage.report(usages=usages).data.usages

    def check(self, feature: str = "feature-api-calls", **more: Any) -> Any:
        """Check a feature of cust-1."""
        return self.stigg.v1.customers.check_entitlement("cust-1", feature_id=feature, **more).data


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with (
        Door(tmp_path / "data") as door,
        httpx.Client(transport=DoorTransport(door)) as http,
        Stigg(
            api_key=door.key, base_url="http://tally", max_retries=0, http_client=http,
            _strict_response_validation=True,
        ) as stigg,
    ):  # fmt: skip
        yield Shop(door, stigg)


# ---------------------------------------------------------------------------------- D: the check


def test_d01_d02_d03_a_feature_in_the_plan_outside_of_it_and_unknown(shop: Shop) -> None:
    granted = shop.check("feature-sso")
    assert (granted.type, granted.is_granted) == ("FEATURE", True)
    outside, unknown = shop.check("feature-unsold"), shop.check("feature-none")
    assert outside.access_denied_reason == "NoFeatureEntitlementInSubscription"
    assert unknown.access_denied_reason == "FeatureNotFound"
    assert outside.is_granted is unknown.is_granted is False


def test_d04_an_unknown_customer(shop: Shop) -> None:
    told = shop.stigg.v1.customers.check_entitlement("nobody", feature_id="feature-sso").data
    assert (told.is_granted, told.access_denied_reason) == (False, "CustomerNotFound")


def test_d06_neither_feature_nor_currency_or_both(shop: Shop) -> None:
    for asked in ({}, {"feature_id": "feature-sso", "currency_id": "credits"}):
        with pytest.raises(BadRequestError):
            shop.stigg.v1.customers.check_entitlement("cust-1", **asked)  # type: ignore[arg-type]


def test_d07_d08_configurations(shop: Shop) -> None:
    projects = shop.check("feature-projects")
    assert (projects.is_granted, projects.usage_limit) == (True, 5)
    assert shop.check("feature-region", requested_values=["us"]).is_granted
    other = shop.check("feature-region", requested_values=["eu"])
    assert other.access_denied_reason == "RequestedValuesMismatch"


def test_d10_d14_hard_limits_and_unlimited(shop: Shop) -> None:
    shop.report(9, feature_id="feature-seats")
    assert shop.check("feature-seats", requested_usage=1).is_granted
    denied = shop.check("feature-seats", requested_usage=2)
    assert denied.access_denied_reason == "RequestedUsageExceedingLimit"
    unlimited: Any = [{"id": "feature-seats", "type": "FEATURE", "has_unlimited_usage": True}]
    shop.plan("plan-open", unlimited)
    shop.subscribe("plan-open", resource_id="site")
    shop.report(10**6, feature_id="feature-seats", resource_id="site")
    told = shop.check("feature-seats", requested_usage=1, resource_id="site")
    assert (told.is_granted, told.has_unlimited_usage) == (True, True)


def test_d16_the_period(shop: Shop) -> None:
    told = shop.check()
    assert told.usage_period_start <= NOW < told.usage_period_end
    assert (told.usage_period_anchor, told.reset_period) == (NOW, "MONTH")


def test_d17_d18_every_entitlement_once_and_those_of_a_resource(shop: Shop) -> None:
    told = shop.stigg.v1.customers.retrieve_entitlements("cust-1").data
    named = [row.feature.id for row in told.entitlements]  # type: ignore[union-attr]
    assert sorted(named) == sorted(item["id"] for item in LIMITS)
    assert told.access_denied_reason is None
    shop.plan("plan-small", [{"id": "feature-seats", "type": "FEATURE", "usage_limit": 2}])
    shop.subscribe("plan-small", resource_id="res-x")
    (only,) = shop.stigg.v1.customers.retrieve_entitlements(
        "cust-1", resource_id="res-x"
    ).data.entitlements
    assert only.usage_limit == 2


def test_d19_a_check_changes_nothing(shop: Shop) -> None:
    shop.report(5)
    for _ in range(100):
        shop.check(requested_usage=1)
    assert shop.check().current_usage == 5


# ------------------------------------------------------------------------------ E: reported usage


def test_e01_the_measurement(shop: Shop) -> None:
    (told,) = shop.report(5)
    assert (told.value, told.current_usage) == (5, 5)
    assert told.id
    assert told.timestamp == told.created_at == NOW == told.usage_period_start
    assert told.usage_period_end == told.next_reset_date == datetime(2026, 2, 20, 12, tzinfo=UTC)
    assert shop.check().current_usage == 5


def test_e05_set_records_the_difference(shop: Shop) -> None:
    shop.report(8)
    (told,) = shop.report(5, update_behavior="SET")
    assert (told.value, told.current_usage) == (-3, 5)


def test_e09_e11_e16_bad_requests(shop: Shop) -> None:
    with pytest.raises(BadRequestError):
        shop.report(1, update_behavior="ADD")
    for count in (0, 101):
        with pytest.raises(BadRequestError):
            shop.report(*[1] * count)
    with pytest.raises(BadRequestError):
        shop.report("5")  # type: ignore[arg-type]


def test_e10_a_hundred_in_order(shop: Shop) -> None:
    values = list(range(1, 101))
    assert [told.value for told in shop.report(*values)] == values


def test_e13_e14_e15_ranges_and_rounding(shop: Shop) -> None:
    (told,) = shop.report(-1.234565)
    assert told.value == told.current_usage == -1.23457
    (most,) = shop.report(9007199254740991, update_behavior="SET", feature_id="feature-seats")
    assert most.value == 9007199254740991
    for value in (9007199254740992, 34359738368.5):
        with pytest.raises(BadRequestError):
            shop.report(value, feature_id="feature-unsold")


def test_e17_e18_e20_e21_keys(shop: Shop) -> None:
    (first,), (again,) = shop.report(5, idempotency_key="k"), shop.report(9, idempotency_key="k")
    assert (again.id, again.value, again.current_usage) == (first.id, 5, 5)
    assert [told.current_usage for told in shop.report(1, 1)] == [6, 7]
    twice = shop.report(2, 2, idempotency_key="other")
    assert [told.current_usage for told in twice] == [9, 9]


def test_e19_a_key_counts_again_after_the_window(tmp_path: Path) -> None:
    with (
        Door(tmp_path / "data", dedupe_window_days=7) as door,
        httpx.Client(transport=DoorTransport(door)) as http,
        Stigg(api_key=door.key, base_url="http://tally", http_client=http) as stigg,
    ):
        shop = Shop(door, stigg)
        shop.report(5, idempotency_key="k")
        door.move_clock((NOW + timedelta(days=7)).isoformat())
        assert shop.report(5, idempotency_key="k")[0].current_usage == 5
        door.move_clock((NOW + timedelta(days=8)).isoformat())
        assert shop.report(5, idempotency_key="k")[0].current_usage == 10


def test_e23_e24_what_takes_no_reports(shop: Shop) -> None:
    with pytest.raises(BadRequestError, match="MeteringNotAvailableForFeatureType"):
        shop.report(1, feature_id="feature-sso")
    with pytest.raises(BadRequestError, match="CannotReportUsageForEntitlementWithMeterError"):
        shop.report(1, feature_id="feature-ev-count")
    with pytest.raises(NotFoundError, match="CustomerNotFound"):
        shop.report(1, customer_id="nobody")
    with pytest.raises(NotFoundError, match="FeatureNotFound"):
        shop.report(1, feature_id="feature-none")


def test_e25_usage_over_the_limit_is_recorded_and_then_denied(shop: Shop) -> None:
    shop.report(11, feature_id="feature-seats")
    told = shop.check("feature-seats")
    assert (told.is_granted, told.current_usage, told.usage_limit) == (False, 11, 10)


def test_e26_resources(shop: Shop) -> None:
    for resource, value in (("res-1", 4), ("res-2", 1)):
        shop.subscribe(resource_id=resource)
        shop.report(value, resource_id=resource)
    used = [shop.check(resource_id=name).current_usage for name in ("res-1", "res-2")]
    assert used == [4, 1]
    assert shop.check().current_usage == 0


def test_e27_parallel_reports(shop: Shop) -> None:
    """Twenty jobs of the group commit in each of fifty threads."""
    services = shop.door.services

    def report(thread: int) -> None:
        for number in range(20):
            item = usage(1, "feature-api-calls", customer="cust-1", key=f"{thread}-{number}")

            def job(transaction: Transaction, item: Any = item) -> object:
                rules = services.rules()
                rules.refresh(transaction)
                now = services.clock.now()
                return report_usages(transaction, rules, "default", [item], now, 7 * DAY)

            services.state_writer.submit(job).result()

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(report, range(50)))
    assert shop.check().current_usage == 1000


def test_e29_no_credits(shop: Shop) -> None:
    told = shop.stigg.v2.usage.report(
        usages=[{"customer_id": "cust-1", "feature_id": "feature-api-calls", "value": 1}]
    ).data
    assert told.usages[0].credit is None
    assert told.credits is None
    with pytest.deprecated_call():
        listed = shop.stigg.v1.usage.report(
            usages=[{"customer_id": "cust-1", "feature_id": "feature-api-calls", "value": 1}]
        ).data
    assert [one.current_usage for one in listed] == [2]


def test_reports_archived_and_recalculated_survive_a_plan_change(shop: Shop) -> None:
    """What the archive holds and what waits is placed anew by the new rules."""
    shop.report(5)
    shop.door.fold()
    shop.report(2)
    shop.stigg.v1.customers.provision(id="cust-2")
    shop.report(3, customer_id="cust-2")
    shop.door.fold()
    shop.report(4, customer_id="cust-2")
    shop.stigg.v1.subscriptions.provision(
        customer_id="cust-2", plan_id="plan-basic", start_date=NOW - timedelta(days=1)
    )
    (told,) = shop.report(1, customer_id="cust-2")
    assert told.current_usage == 8
    assert shop.check().current_usage == 7
