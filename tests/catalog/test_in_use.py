"""What stands on something else keeps it from being archived, removed, or given another meaning."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, RequestError
from tests.catalog.building import Desk, credits, limit, monthly
from tests.catalog.test_addons import take

SETTINGS = {
    "subscriptionCancellationTime": "IMMEDIATE",
    "subscriptionEndSetup": "DOWNGRADE_TO_FREE",
    "subscriptionStartSetup": "FREE_PLAN",
}


def refusal(desk: Desk, method: str, path: str, body: Any = None) -> str:
    """The code with which a request is refused."""
    with pytest.raises(RequestError) as refused:
        desk.call(method, path, body)
    return refused.value.code


def test_a_feature_that_a_plan_offers_is_not_archived(shop: Desk) -> None:
    assert refusal(shop, "POST", "features/calls/archive") == "CannotArchiveFeatureError"
    shop.post("plans/basic/draft")
    shop.delete("plans/basic/entitlements/calls")
    assert refusal(shop, "POST", "features/calls/archive") == "CannotArchiveFeatureError"
    shop.publish("basic")
    assert shop.post("features/calls/archive")["featureStatus"] == "SUSPENDED"


def test_a_feature_that_a_draft_would_grant_is_not_archived(shop: Desk) -> None:
    shop.add_feature("seats")
    shop.post("plans/basic/draft")
    shop.grant("basic", limit("seats"))
    assert refusal(shop, "POST", "features/seats/archive") == "CannotArchiveFeatureError"
    shop.delete("plans/basic/draft")
    assert shop.post("features/seats/archive")["featureStatus"] == "SUSPENDED"


def test_a_feature_of_an_archived_plan_may_be_archived(shop: Desk) -> None:
    shop.post("plans/basic/archive")
    assert shop.post("features/calls/archive")["featureStatus"] == "SUSPENDED"


@pytest.mark.parametrize("migration", ["NEW_CUSTOMERS", "ALL_CUSTOMERS"])
def test_a_feature_that_subscribers_have_is_not_archived(shop: Desk, migration: str) -> None:
    subscription = shop.subscribe("basic")["id"]
    shop.post("plans/basic/draft")
    shop.delete("plans/basic/entitlements/calls")
    shop.publish("basic", migration)
    if migration == "NEW_CUSTOMERS":
        assert refusal(shop, "POST", "features/calls/archive") == "CannotArchiveFeatureError"
        cancel = {"cancellationTime": "IMMEDIATE"}
        shop.post(f"subscriptions/{subscription}/cancel", cancel)
        shop.move("2026-01-11")
    assert shop.post("features/calls/archive")["featureStatus"] == "SUSPENDED"


def test_a_feature_of_an_addon_that_somebody_has_is_not_archived(shop: Desk) -> None:
    shop.add_feature("seats")
    shop.add_addon("more", limit("seats"))
    assert refusal(shop, "POST", "features/seats/archive") == "CannotArchiveFeatureError"
    subscription = shop.subscribe("basic")["id"]
    take(shop, subscription, ("more", 1))
    with shop.services.state.writing() as transaction:
        transaction.run(
            "INSERT INTO subscription_addons (environment, addon, subscription, customer) "
            "VALUES (?, 'more', ?, 'acme')",
            shop.environment, subscription,
        )  # fmt: skip
    shop.post("addons/more/archive")
    assert refusal(shop, "POST", "features/seats/archive") == "CannotArchiveFeatureError"


def test_a_feature_of_an_override_or_a_promotion_is_not_archived(shop: Desk) -> None:
    for feature in ("seats", "gifts"):
        shop.add_feature(feature)
    item = {"id": "seats", "type": "FEATURE", "usageLimit": 7}
    shop.subscribe("basic", entitlements=[item])
    assert refusal(shop, "POST", "features/seats/archive") == "CannotArchiveFeatureError"
    with shop.services.state.writing() as transaction:
        transaction.run(
            "INSERT INTO promotional_entitlements (environment, customer, id, feature, body, "
            "start_at, created_at, updated_at) VALUES (?, 'acme', 'p', 'gifts', '{}', 0, 0, 0)",
            shop.environment,
        )
    assert refusal(shop, "POST", "features/gifts/archive") == "CannotArchiveFeatureError"


def test_units_are_not_changed_under_somebody(shop: Desk) -> None:
    change = {"unitTransformation": {"divide": 1000}}
    shop.patch("features/calls", change)
    shop.subscribe("basic")
    assert shop.patch("features/calls", change)["unitTransformation"]["divide"] == 1000
    other = {"unitTransformation": {"divide": 10}}
    assert refusal(shop, "PATCH", "features/calls", other) == "CannotUpdateUnitTransformationError"
    assert shop.get("features/calls")["unitTransformation"]["divide"] == 1000


def test_values_that_are_granted_stay(shop: Desk) -> None:
    values = [{"value": value, "displayName": value} for value in ("us", "eu")]
    shop.add_feature("region", featureType="ENUM", meterType="None", enumConfiguration=values)
    shop.add_plan("local", {"id": "region", "type": "FEATURE", "enumValues": ["us"]})
    assert refusal(shop, "PATCH", "features/region", {"enumConfiguration": values[1:]})
    assert shop.patch("features/region", {"enumConfiguration": values[:1]})


@pytest.mark.parametrize(
    ("feature", "item"),
    [
        ("flag", {"usageLimit": 0}),
        ("flag", {"resetPeriod": "MONTH"}),
        ("flag", {"hasUnlimitedUsage": True}),
        ("flag", {"enumValues": ["us"]}),
        ("number", {"resetPeriod": "MONTH"}),
        ("number", {"hasSoftLimit": True}),
        ("number", {"enumValues": ["us"]}),
        ("region", {"usageLimit": 5}),
        ("region", {"resetPeriod": "DAY"}),
        ("calls", {"enumValues": ["us"]}),
    ],
)
def test_entitlements_that_do_not_fit(shop: Desk, feature: str, item: dict[str, Any]) -> None:
    values = [{"value": "us", "displayName": "US"}]
    shop.add_feature("region", featureType="ENUM", meterType="None", enumConfiguration=values)
    shop.add_feature("flag", featureType="BOOLEAN", meterType="None")
    shop.add_feature("number", meterType="None")
    shop.post("plans", {"id": "new", "displayName": "New", "productId": "main"})
    body = {"entitlements": [{"id": feature, "type": "FEATURE"} | item]}
    assert refusal(shop, "POST", "plans/new/entitlements", body) == "UnsupportedFeatureType"
    assert shop.get("plans/new/entitlements") == []
    nothing = {"usageLimit": None, "hasSoftLimit": False, "hasUnlimitedUsage": False}
    shop.grant("new", {"id": feature, "type": "FEATURE"} | nothing)


def test_a_parent_is_not_archived(shop: Desk) -> None:
    shop.post(
        "plans",
        {"id": "pro", "displayName": "P", "productId": "main", "parentPlanId": "basic"},
    )
    assert refusal(shop, "POST", "plans/basic/archive") == "PlanWithChildCantBeDeleted"
    shop.post("plans/pro/archive")
    assert shop.post("plans/basic/archive")["status"] == "ARCHIVED"


def test_a_parent_that_was_never_published_is_not_removed(shop: Desk) -> None:
    shop.post("plans", {"id": "idea", "displayName": "Idea", "productId": "main"})
    child = {"id": "pro", "displayName": "P", "productId": "main", "parentPlanId": "idea"}
    shop.post("plans", child)
    assert refusal(shop, "DELETE", "plans/idea/draft") == "PlanWithChildCantBeDeleted"
    shop.patch("plans/pro", {"parentPlanId": None})
    assert shop.delete("plans/idea/draft") == {"id": "idea"}


@pytest.mark.parametrize(
    ("field", "code"),
    [("downgradePlanId", "PlanIsUsedAsDowngradePlan"),
     ("subscriptionStartPlanId", "PlanIsUsedAsDefaultStartPlan")],
)  # fmt: skip
def test_a_plan_that_its_product_leads_to_is_not_archived(
    shop: Desk, field: str, code: str
) -> None:
    shop.patch("products/main", {"productSettings": SETTINGS | {field: "basic"}})
    assert refusal(shop, "POST", "plans/basic/archive") == code
    shop.patch("products/main", {"productSettings": SETTINGS | {field: None}})
    assert shop.post("plans/basic/archive")["status"] == "ARCHIVED"


def test_an_addon_that_is_needed_is_not_archived(shop: Desk) -> None:
    shop.add_addon("base")
    shop.add_addon("upper")
    shop.post("addons/upper/draft")
    shop.patch("addons/upper", {"dependencies": ["base"]})
    assert refusal(shop, "POST", "addons/base/archive") == "BadUserInput"
    shop.post("plans/basic/draft")
    shop.patch("plans/basic", {"compatibleAddonIds": ["upper"]})
    assert refusal(shop, "POST", "addons/upper/archive") == "AddonIsCompatibleWithPlan"
    shop.delete("plans/basic/draft")
    shop.post("addons/upper/archive")
    assert shop.post("addons/base/archive")["status"] == "ARCHIVED"


def test_compatible_addons_are_of_the_same_product(shop: Desk) -> None:
    shop.add_product("other")
    shop.add_addon("far", product="other")
    shop.post("plans/basic/draft")
    for names, code in ((["none"], "AddonNotFound"), (["far"], "BadUserInput")):
        assert refusal(shop, "PATCH", "plans/basic", {"compatibleAddonIds": names}) == code


def test_subscribers_keep_nothing_from_being_archived(shop: Desk) -> None:
    shop.add_addon("base", credits())
    subscription = shop.subscribe("basic")["id"]
    take(shop, subscription, ("base", 1))
    assert shop.post("addons/base/archive")["status"] == "ARCHIVED"
    assert shop.post("plans/basic/archive")["status"] == "ARCHIVED"
    assert shop.limit_of("calls") == 100
    with pytest.raises(BadInput):
        shop.add_plan("late", monthly("calls"), parentPlanId="basic")
