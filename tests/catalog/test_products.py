"""Products and what is in them: archived, unarchived and copied together."""

from __future__ import annotations

import pytest

from tallystick.errors import BadInput, Conflict, NotFound
from tests.catalog.building import Desk, credits, limit, monthly

SETTINGS = {
    "subscriptionCancellationTime": "IMMEDIATE",
    "subscriptionEndSetup": "DOWNGRADE_TO_FREE",
    "subscriptionStartSetup": "PLAN_SELECTION",
}


@pytest.fixture
def store(shop: Desk) -> Desk:
    """Plans that inherit, add-ons that depend, and one of each that is archived."""
    shop.add_feature("seats")
    shop.add_addon("base", credits())
    shop.add_addon("more", limit("seats", 5))
    shop.post("addons/more/draft")
    shop.patch("addons/more", {"dependencies": ["base"]})
    shop.post("addons/more/publish", {"migrationType": "NEW_CUSTOMERS"})
    shop.add_plan("pro", monthly("calls", 500), parentPlanId="basic")
    shop.post("plans/pro/draft")
    shop.patch("plans/pro", {"compatibleAddonIds": ["more"], "description": "next"})
    shop.add_plan("old")
    shop.post("plans/old/archive")
    shop.patch("products/main", {"productSettings": SETTINGS | {"downgradePlanId": "basic"}})
    return shop


def test_all_that_is_in_a_product_is_archived_with_it(store: Desk) -> None:
    store.subscribe("basic")
    before = {one["id"]: one["status"] for one in store.get("plans") + store.get("addons")}
    assert store.post("products/main/archive")["status"] == "ARCHIVED"
    for listed in (store.get("plans"), store.get("addons")):
        assert {one["status"] for one in listed} == {"ARCHIVED"}
    assert store.limit_of("calls") == 100
    assert store.post("products/main/unarchive")["status"] == "PUBLISHED"
    after = {one["id"]: one["status"] for one in store.get("plans") + store.get("addons")}
    assert after == before
    assert after["old"] == "ARCHIVED"
    assert [one["description"] for one in store.get("plans", status="DRAFT")] == ["next"]


def test_a_copy_has_copies_of_what_is_open(store: Desk) -> None:
    made = store.post("products/main/duplicate", {"targetId": "new", "displayName": "New"})
    assert (made["id"], made["displayName"], made["status"]) == ("new", "New", "PUBLISHED")
    assert made["productSettings"]["downgradePlanId"] == "new-basic"
    plans = {one["id"]: one for one in store.get("plans", productId="new")}
    assert plans.keys() == {"new-basic", "new-pro"}
    assert plans["new-pro"]["parentPlanId"] == "new-basic"
    assert (plans["new-pro"]["status"], plans["new-pro"]["versionNumber"]) == ("PUBLISHED", 1)
    (draft,) = store.get("plans", productId="new", status="DRAFT")
    assert (draft["id"], draft["compatibleAddonIds"]) == ("new-pro", ["new-more"])
    addons = {one["id"]: one for one in store.get("addons", productId="new")}
    assert addons["new-more"]["dependencies"] == ["new-base"]
    store.subscribe("new-pro")
    assert (store.limit_of("calls"), store.limit_of("events")) == (500, 1000)
    with pytest.raises(Conflict):
        store.post("products/main/duplicate", {"targetId": "new"})


def test_a_copy_whose_plan_is_taken_leaves_nothing(store: Desk) -> None:
    store.add_product("other")
    store.add_plan("new-pro", product="other")
    with pytest.raises(Conflict):
        store.post("products/main/duplicate", {"targetId": "new"})
    assert [one["id"] for one in store.get("products")] == ["main", "other"]
    assert store.rows("SELECT id FROM plans WHERE product = 'new'") == []


def test_several_subscriptions_are_decided_before_the_first(shop: Desk) -> None:
    change = {"multipleSubscriptions": True}
    assert shop.patch("products/main", change)["multipleSubscriptions"]
    shop.subscribe("basic")
    assert shop.patch("products/main", change)["multipleSubscriptions"]
    with pytest.raises(BadInput):
        shop.patch("products/main", {"multipleSubscriptions": False})


@pytest.mark.parametrize("field", ["downgradePlanId", "subscriptionStartPlanId"])
def test_a_product_leads_to_plans_of_its_own(store: Desk, field: str) -> None:
    store.add_product("other")
    store.add_plan("far", product="other")
    for plan in ("none", "far", "old"):
        with pytest.raises(NotFound) as refused:
            store.patch("products/main", {"productSettings": SETTINGS | {field: plan}})
        assert refused.value.code == "PlanNotFound"
    assert store.patch("products/main", {"productSettings": SETTINGS | {field: "pro"}})


def test_features_drop_only_themselves_and_products_no_rule(shop: Desk) -> None:
    noted = "SELECT what FROM changes ORDER BY seq DESC LIMIT 1"
    shop.patch("features/calls", {"displayName": "Calls!"})
    assert shop.rows(noted) == [("feature:calls",)]
    shop.patch("products/main", {"displayName": "Main!"})
    assert shop.rows(noted) == [("feature:calls",)]
