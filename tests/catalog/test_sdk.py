"""The official SDK, in its strict mode, against the whole application: it checks every shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stigg import BadRequestError, ConflictError, NotFoundError, Stigg

from tests.api.door import Door


class DoorTransport(httpx.BaseTransport):
    """Hands requests to an application in this process."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.targets: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        self.targets.append(target)
        answered = self._door.run(
            self._door.call(request.method, target, request.read() or None, headers={})
        )
        return httpx.Response(
            answered.status, headers=dict(answered.headers), content=answered.body
        )


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with Door(tmp_path / "data") as found:
        yield found


@pytest.fixture
def transport(door: Door) -> DoorTransport:
    return DoorTransport(door)


@pytest.fixture
def client(door: Door, transport: DoorTransport) -> Iterator[Stigg]:
    """A client that refuses any answer that is not what its types say."""
    with httpx.Client(transport=transport) as http, Stigg(
        api_key=door.key, base_url="http://tally", max_retries=0, http_client=http,
        _strict_response_validation=True,
    ) as made:  # fmt: skip
        yield made


METER: Any = {
    "filters": [
        {"conditions": [{"field": "eventName", "operation": "EQUALS", "value": "api_call"}]}
    ],
    "aggregation": {"function": "SUM", "field": "tokens"},
}


@pytest.fixture
def shop(client: Stigg) -> Stigg:
    """A plan with one feature of each kind, and a customer."""
    v1 = client.v1
    v1.products.create_product(id="main", display_name="Main")
    v1.features.create_feature(id="sso", display_name="SSO", feature_type="BOOLEAN")
    v1.features.create_feature(
        id="region", display_name="Region", feature_type="ENUM",
        enum_configuration=[{"value": "us", "display_name": "US"}],
    )  # fmt: skip
    v1.features.create_feature(
        id="tokens", display_name="Tokens", feature_type="NUMBER", meter_type="INCREMENTAL",
        meter=METER, unit_transformation={"divide": 1000, "round": "UP"},
    )  # fmt: skip
    v1.plans.create(id="basic", display_name="Basic", product_id="main", pricing_type="FREE")
    v1.plans.entitlements.create(
        "basic",
        entitlements=[
            {"id": "sso", "type": "FEATURE"},
            {"id": "region", "type": "FEATURE", "enum_values": ["us"]},
            {"id": "tokens", "type": "FEATURE", "usage_limit": 100, "reset_period": "MONTH",
             "monthly_reset_period_configuration": {"according_to": "StartOfTheMonth"}},
            {"id": "coins", "type": "CREDIT", "amount": 2.5, "cadence": "MONTH"},
        ],
    )  # fmt: skip
    v1.plans.publish("basic", migration_type="NEW_CUSTOMERS")
    v1.customers.provision(id="acme", name="Acme", metadata={"k": "v"})
    return client


def test_features(shop: Stigg) -> None:
    features = shop.v1.features
    made = features.retrieve_feature("tokens").data
    assert made.meter is not None
    assert made.meter.to_dict() == METER
    assert features.update_feature("tokens", display_name="T").data.display_name == "T"
    with pytest.raises(BadRequestError):
        features.archive_feature("sso")
    features.create_feature(id="old", display_name="Old", feature_type="BOOLEAN")
    assert features.archive_feature("old").data.feature_status == "SUSPENDED"
    assert features.unarchive_feature("old").data.feature_status == "ACTIVE"
    assert [one.id for one in features.list_features(feature_type=["NUMBER", "ENUM"])] == [
        "region", "tokens",
    ]  # fmt: skip
    with pytest.raises(ConflictError) as refused:
        features.create_feature(id="sso", display_name="SSO", feature_type="BOOLEAN")
    assert refused.value.body == {
        "message": "id: a feature 'sso' exists already",
        "code": "DuplicatedEntityNotAllowed",
    }


def test_iterating_walks_all_pages(client: Stigg, transport: DoorTransport) -> None:
    for number in range(5):
        client.v1.features.create_feature(
            id=f"f-{number}", display_name="F", feature_type="BOOLEAN"
        )
    transport.targets.clear()
    assert [one.id for one in client.v1.features.list_features(limit=2)] == [
        f"f-{number}" for number in range(5)
    ]
    assert len(transport.targets) == 3
    assert "after=" in transport.targets[1]


def test_products(client: Stigg) -> None:
    products = client.v1.products
    products.create_product(id="main", display_name="Main", metadata={"a": "b"})
    changed = products.update_product(
        "main",
        usage_reset_cutoff_rule={"behavior": "NEVER_RESET"},
        product_settings={
            "subscription_cancellation_time": "IMMEDIATE",
            "subscription_end_setup": "CANCEL_SUBSCRIPTION",
            "subscription_start_setup": "PLAN_SELECTION",
        },
    ).data
    assert changed.product_settings is not None
    assert products.archive_product("main").data.status == "ARCHIVED"
    assert products.unarchive_product("main").data.status == "PUBLISHED"
    assert products.duplicate_product("main", target_id="copy").data.id == "copy"
    assert [one.id for one in products.list_products()] == ["copy", "main"]


def test_plans(shop: Stigg) -> None:
    plans = shop.v1.plans
    assert plans.retrieve("basic").data.status == "PUBLISHED"
    with pytest.raises(BadRequestError):
        plans.entitlements.create("basic", entitlements=[{"id": "sso", "type": "FEATURE"}])
    assert plans.create_draft("basic").data.version_number == 2
    rows = plans.entitlements.list("basic").data
    assert [row.id for row in rows] == ["sso", "region", "tokens", "coins"]
    changed = plans.entitlements.update(
        "tokens", plan_id="basic", type="FEATURE", usage_limit=500
    ).data
    assert changed.to_dict()["usageLimit"] == 500
    plans.entitlements.delete("coins", plan_id="basic")
    plans.update("basic", charges={"pricing_type": "PAID"}, description="d")
    assert plans.publish("basic", migration_type="ALL_CUSTOMERS").data.task_id is None
    assert [one.version_number for one in plans.list(status=["PUBLISHED"])] == [2]
    plans.create_draft("basic")
    assert plans.remove_draft("basic").data.id == "basic"
    assert plans.archive("basic").data.status == "ARCHIVED"


def test_customers(shop: Stigg, door: Door) -> None:
    customers = shop.v1.customers
    made = customers.provision(
        id="org|user@x.io",
        email="a@b.c",
        timezone="Europe/Berlin",
        billing_currency="usd",
        integrations=[{"id": "i", "synced_entity_id": None, "vendor_identifier": "STRIPE"}],
        passthrough={"stripe": {"billing_address": {"city": "Ulm"}}},
    ).data
    assert made.archived_at is None
    assert customers.retrieve("org|user@x.io").data.timezone == "Europe/Berlin"
    assert customers.update("acme", email="x@y.z").data.email == "x@y.z"
    assert [one.id for one in customers.list(email="x@y.z")] == ["acme"]
    assert customers.archive("acme").data.archived_at is not None
    assert customers.unarchive("acme").data.archived_at is None
    people: Any = [{"id": "new", "email": None, "name": "N"}]
    assert customers.import_(customers=people).data.new_customers == ["new"]
    with pytest.raises(NotFoundError) as missing:
        customers.retrieve("missing")
    body: Any = missing.value.body
    assert body["code"] == "CustomerNotFound"
    with pytest.raises(BadRequestError):
        customers.provision(id="-bad")
    with pytest.raises(BadRequestError):
        customers.provision(id="b", extra_body={"surprise": 1})


def test_subscriptions(shop: Stigg, door: Door) -> None:
    subscriptions = shop.v1.subscriptions
    reply = subscriptions.provision(
        customer_id="acme",
        plan_id="basic",
        resource_id=None,
        entitlements=[{"id": "tokens", "type": "FEATURE", "usage_limit": 7}],
        metadata={"a": "b"},
        budget={"limit": 10, "has_soft_limit": False},
        trial_override_configuration={
            "is_trial": True, "trial_end_behavior": "CONVERT_TO_PAID",
            "trial_end_date": "2026-02-01T00:00:00Z",
        },
    ).data  # fmt: skip
    assert reply.status == "SUCCESS"
    assert reply.subscription is not None
    assert reply.subscription.status == "IN_TRIAL"
    found = subscriptions.retrieve(reply.id).data
    assert [one.id for one in found.subscription_entitlements or ()] == ["tokens"]
    listed = subscriptions.list(customer_id="acme", status=["ACTIVE", "IN_TRIAL"])
    assert [one.id for one in listed] == [reply.id]
    subscriptions.update(reply.id, metadata={"c": "d"}, billing_period="ANNUALLY")
    subscriptions.migrate(reply.id)
    door.move_clock("2026-02-02T00:00:00Z")
    assert subscriptions.retrieve(reply.id).data.status == "ACTIVE"
    assert subscriptions.cancel(reply.id, cancellation_time="IMMEDIATE").data.status == "CANCELED"
    check = shop.v1.customers.check_entitlement("acme", feature_id="tokens").data
    assert (check.is_granted, check.access_denied_reason) == (False, "NoActiveSubscription")


def test_a_new_subscription_grants_at_once(shop: Stigg) -> None:
    customers = shop.v1.customers
    shop.v1.subscriptions.provision(customer_id="acme", plan_id="basic")
    assert customers.check_entitlement("acme", feature_id="sso").data.is_granted
    asked = customers.check_entitlement("acme", feature_id="region", requested_values=["eu"]).data
    assert asked.access_denied_reason == "RequestedValuesMismatch"
    all_of_them = customers.retrieve_entitlements("acme").data.entitlements
    assert len(all_of_them) == 3


def test_addons(shop: Stigg) -> None:
    addons = shop.v1.addons
    made = addons.create(
        id="extra", display_name="Extra", product_id="main", max_quantity=3, pricing_type="PAID"
    ).data
    assert (made.status, made.version_number, made.max_quantity) == ("DRAFT", 1, 3)
    added = addons.entitlements.create(
        "extra",
        entitlements=[
            {"id": "tokens", "type": "FEATURE", "usage_limit": 20, "behavior": "Override"},
            {"id": "coins", "type": "CREDIT", "amount": 1, "cadence": "YEAR"},
        ],
    ).data
    assert [one.id for one in added] == ["tokens", "coins"]
    changed = addons.entitlements.update("tokens", addon_id="extra", type="FEATURE", usage_limit=25)
    assert changed.data.id == "tokens"
    assert addons.entitlements.delete("coins", addon_id="extra").data.id == "coins"
    assert [one.id for one in addons.entitlements.list("extra").data] == ["tokens"]
    assert addons.publish("extra", migration_type="ALL_CUSTOMERS").data.task_id is None
    assert addons.create_draft("extra").data.version_number == 2
    price: Any = {"billing_period": "MONTHLY", "price": {"amount": 5.5, "currency": "usd"}}
    model: Any = {"billing_model": "FLAT_FEE", "price_periods": [price]}
    addons.update(
        "extra", charges={"pricing_type": "PAID", "pricing_models": [model]}, metadata={"a": "b"}
    )
    assert addons.remove_draft("extra").data.id == "extra"
    addons.create_draft("extra")
    addons.update("extra", charges={"pricing_type": "PAID", "pricing_models": [model]})
    addons.publish("extra", migration_type="NEW_CUSTOMERS")
    (charge,) = addons.list_charges("extra")
    assert charge.price is not None
    assert (charge.price.amount, charge.billing_model) == (5.5, "FLAT_FEE")
    assert [one.id for one in addons.list(product_id="main", status=["PUBLISHED"])] == ["extra"]
    assert addons.archive("extra").data.status == "ARCHIVED"
    with pytest.raises(NotFoundError) as refused:
        addons.retrieve("none")
    assert refused.value.body == {"message": "no add-on 'none'", "code": "AddonNotFound"}


def test_charges_of_plans(shop: Stigg) -> None:
    plans = shop.v1.plans
    plans.create_draft("basic")
    price: Any = {"billing_period": "ANNUALLY", "price": {"amount": 9}}
    plans.update(
        "basic",
        charges={
            "pricing_type": "PAID",
            "pricing_models": [{"billing_model": "PER_UNIT", "price_periods": [price]}],
            "overage_pricing_models": [{"feature_id": "tokens", "price_periods": [price]}],
        },
    )
    plans.publish("basic", migration_type="NEW_CUSTOMERS")
    assert [one.billing_model for one in plans.list_charges("basic")] == ["PER_UNIT"]
    assert [one.feature_id for one in plans.list_overage_charges("basic")] == ["tokens"]


def promotion(feature: str, **more: Any) -> Any:
    """All that the SDK wants stated, most of it null."""
    names = (
        "custom_end_date", "enum_values", "has_soft_limit", "has_unlimited_usage", "is_visible",
        "monthly_reset_period_configuration", "reset_period", "usage_limit",
        "weekly_reset_period_configuration", "yearly_reset_period_configuration",
    )  # fmt: skip
    return dict.fromkeys(names) | {"feature_id": feature, "period": "lifetime"} | more


def test_promotional_entitlements(shop: Stigg) -> None:
    customers, granted = shop.v1.customers, shop.v1.customers.promotional_entitlements
    weekly = {"according_to": "EveryMonday"}
    items = [
        promotion("sso", is_visible=False),
        promotion("region", period="1 week", enum_values=["us"]),
        promotion(
            "tokens", period="custom", custom_end_date="2999-01-01T00:00:00Z", usage_limit=500,
            reset_period="WEEK", weekly_reset_period_configuration=weekly,
        ),
    ]  # fmt: skip
    sso, region, tokens = granted.create("acme", promotional_entitlements=items).data
    assert (sso.is_visible, sso.period, sso.end_date, sso.status) == (
        False, "lifetime", None, "Active",
    )  # fmt: skip
    assert (region.is_visible, region.enum_values) == (True, ["us"])
    assert (tokens.usage_limit, tokens.environment_id) == (500, "default")
    assert customers.check_entitlement("acme", feature_id="sso").data.is_granted
    again = granted.create("acme", promotional_entitlements=[promotion("sso")]).data
    listed = [one.feature_id for one in granted.list("acme", limit=1)]
    assert sorted(listed) == ["region", "sso", "tokens"]
    assert len(granted.list("acme", status=["Active", "Paused"]).data) == 3
    assert granted.revoke("sso", id="acme").data.id == again[0].id
    with pytest.raises(NotFoundError) as refused:
        granted.revoke("sso", id="acme")
    assert refused.value.body == {
        "message": "customer 'acme' has no promotional entitlement of 'sso'",
        "code": "PromotionalEntitlementNotFoundError",
    }
    assert not customers.check_entitlement("acme", feature_id="sso").data.is_granted
