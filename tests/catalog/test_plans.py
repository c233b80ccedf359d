"""Plans: drafts, versions, entitlements, inheritance."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, Conflict, NotFound, RequestError
from tests.catalog.building import Desk, credits, limit, monthly


def test_a_new_plan_is_a_draft(desk: Desk) -> None:
    desk.add_product()
    made = desk.post("plans", {"id": "basic", "displayName": "Basic", "productId": "main"})
    assert (made["status"], made["versionNumber"], made["entitlements"]) == ("DRAFT", 1, [])
    desk.grant("basic", credits())
    desk.publish("basic")
    assert desk.get("plans/basic")["status"] == "PUBLISHED"


def test_it_may_be_published_at_once_if_it_inherits(shop: Desk) -> None:
    body = {"id": "pro", "displayName": "P", "productId": "main", "status": "PUBLISHED"}
    with pytest.raises(BadInput):
        shop.post("plans", body)
    assert shop.post("plans", body | {"parentPlanId": "basic"})["status"] == "PUBLISHED"


def test_a_draft_that_grants_nothing_is_not_published(desk: Desk) -> None:
    desk.add_product()
    desk.post("plans", {"id": "basic", "displayName": "Basic", "productId": "main"})
    with pytest.raises(BadInput):
        desk.publish("basic")
    assert desk.get("plans/basic")["status"] == "DRAFT"


def test_no_plan_is_published_above_a_draft(shop: Desk) -> None:
    shop.post("plans", {"id": "idea", "displayName": "Idea", "productId": "main"})
    body = {"id": "pro", "displayName": "Pro", "productId": "main", "parentPlanId": "idea"}
    shop.post("plans", body)
    shop.grant("pro", monthly("calls"))
    with pytest.raises(BadInput) as refused:
        shop.publish("pro")
    assert refused.value.code == "PlanCannotBePublishWhenBasePlanIsDraft"


def test_entitlements_are_listed_in_their_order(shop: Desk) -> None:
    shop.add_feature("seats")
    shop.post("plans/basic/draft")
    shop.grant("basic", limit("seats", order=2.5), credits())
    shop.patch("plans/basic/entitlements/events", {"type": "FEATURE", "order": 1})
    found = [one["id"] for one in shop.get("plans/basic/entitlements")]
    assert found == ["events", "seats", "calls", "coins"]


def test_drafts_drop_no_rules(shop: Desk) -> None:
    changes = "SELECT count(*) FROM changes"
    before = shop.rows(changes)
    shop.post("plans/basic/draft")
    shop.patch("plans/basic", {"displayName": "Basic!"})
    shop.grant("basic", credits())
    shop.delete("plans/basic/entitlements/coins")
    assert shop.rows(changes) == before
    shop.publish("basic")
    assert shop.rows("SELECT what FROM changes ORDER BY seq DESC LIMIT 1") == [("plan:basic",)]


def test_entitlements_of_a_draft(shop: Desk) -> None:
    shop.post("plans/basic/draft")
    shop.add_feature("seats")
    item = limit("seats", 5) | {
        "resetPeriod": "MONTH",
        "monthlyResetPeriodConfiguration": {"accordingTo": "StartOfTheMonth"},
        "order": 1.5,
        "hiddenFromWidgets": ["PAYWALL"],
    }
    (made,) = shop.post("plans/basic/entitlements", {"entitlements": [item]})
    assert made["resetPeriodConfiguration"] == {"accordingTo": "StartOfTheMonth"}
    assert (made["usageLimit"], made["type"], made["order"]) == (5, "FEATURE", 1.5)
    assert (made["behavior"], made["isGranted"]) == ("Increment", True)
    path = "plans/basic/entitlements/seats"
    changed = shop.patch(path, {"type": "FEATURE", "usageLimit": 7})
    assert (changed["usageLimit"], changed["resetPeriod"]) == (7, "MONTH")
    assert changed["resetPeriodConfiguration"] == {"accordingTo": "StartOfTheMonth"}
    changed = shop.patch(path, {"type": "FEATURE", "resetPeriod": "WEEK"})
    assert changed["resetPeriodConfiguration"] == {"accordingTo": "SubscriptionStart"}
    assert shop.delete(path)["id"] == "seats"
    assert [one["id"] for one in shop.get("plans/basic/entitlements")] == ["calls", "events"]


def test_credits_are_stored_and_echoed(shop: Desk) -> None:
    shop.post("plans/basic/draft")
    item = {"id": "coins", "type": "CREDIT", "amount": 10.5, "cadence": "MONTH"}
    shop.grant("basic", item)
    stored = shop.get("plans/basic/entitlements")[-1]
    assert {name: stored[name] for name in item} == item
    change = {"type": "CREDIT", "amount": 12}
    assert shop.patch("plans/basic/entitlements/coins", change)["amount"] == 12
    with pytest.raises(BadInput):
        shop.patch("plans/basic/entitlements/coins", {"type": "FEATURE"})
    shop.publish("basic", "ALL_CUSTOMERS")
    shop.subscribe("basic")
    assert shop.limit_of("calls") == 100


@pytest.mark.parametrize("change", [
    ("POST", "plans/basic/entitlements", {"entitlements": [limit("calls")]}),
    ("PATCH", "plans/basic/entitlements/calls", {"type": "FEATURE"}),
    ("DELETE", "plans/basic/entitlements/calls", None),
    ("POST", "plans/basic/publish", {"migrationType": "NEW_CUSTOMERS"}),
    ("DELETE", "plans/basic/draft", None),
    ("PATCH", "plans/basic", {"charges": {"pricingType": "PAID"}}),
])  # fmt: skip
def test_only_drafts_can_be_changed(shop: Desk, change: tuple[str, str, Any]) -> None:
    with pytest.raises(BadInput) as refused:
        shop.call(*change)
    assert refused.value.code == "EditAllowedOnDraftPackageOnlyError"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"resetPeriod": "WEEK", "monthlyResetPeriodConfiguration": {"accordingTo":
          "SubscriptionStart"}}, "InvalidEntitlementResetPeriod"),
        ({"weeklyResetPeriodConfiguration": {"accordingTo": "EveryMonday"}},
         "InvalidEntitlementResetPeriod"),
        ({"resetPeriod": "DAY", "yearlyResetPeriodConfiguration": {"accordingTo":
          "SubscriptionStart"}}, "InvalidEntitlementResetPeriod"),
        ({"resetPeriod": "WEEK", "weeklyResetPeriodConfiguration": {"accordingTo":
          "StartOfTheMonth"}}, "BadUserInput"),
        ({"resetPeriod": "CENTURY"}, "BadUserInput"),
        ({"usageLimit": -1}, "BadUserInput"),
        ({"usageLimit": 1.5}, "BadUserInput"),
        ({"type": "OTHER"}, "BadUserInput"),
        ({"id": "none"}, "FeatureNotFound"),
    ],
)  # fmt: skip
def test_entitlements_that_make_no_sense(shop: Desk, more: dict[str, Any], code: str) -> None:
    shop.add_feature("seats")
    shop.post("plans/basic/draft")
    with pytest.raises(RequestError) as refused:
        shop.grant("basic", limit("seats") | more)
    assert refused.value.code == code


def test_enum_values_are_the_features(shop: Desk) -> None:
    values = [{"value": value, "displayName": value} for value in ("us", "eu")]
    shop.add_feature("region", featureType="ENUM", meterType="None", enumConfiguration=values)
    shop.post("plans/basic/draft")
    with pytest.raises(BadInput, match="asia"):
        shop.grant("basic", {"id": "region", "type": "FEATURE", "enumValues": ["us", "asia"]})
    shop.grant("basic", {"id": "region", "type": "FEATURE", "enumValues": ["us"]})


def test_a_feature_is_granted_once(shop: Desk) -> None:
    shop.post("plans/basic/draft")
    with pytest.raises(Conflict):
        shop.grant("basic", limit("calls"))


def test_published_for_new_customers(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.move("2026-01-11")
    shop.renew("basic", "NEW_CUSTOMERS", calls={"usageLimit": 200})
    assert shop.limit_of("calls") == 100
    shop.add_customer("new")
    shop.subscribe("basic", "new")
    assert shop.limit_of("calls", "new") == 200


def test_published_for_all_customers(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.move("2026-01-11")
    shop.renew("basic", "NEW_CUSTOMERS", calls={"usageLimit": 200})
    shop.move("2026-01-12")
    shop.renew("basic", "ALL_CUSTOMERS", calls={"usageLimit": 300})
    assert shop.limit_of("calls") == 300
    assert shop.limit_of("calls", moment="2026-01-11T12:00:00") == 100


def test_drafts_come_and_go(shop: Desk) -> None:
    draft = shop.post("plans/basic/draft")
    assert (draft["status"], draft["versionNumber"], draft["isLatest"]) == ("DRAFT", 2, False)
    assert shop.get("plans/basic")["versionNumber"] == 1
    with pytest.raises(Conflict) as refused:
        shop.post("plans/basic/draft")
    assert refused.value.code == "DraftAlreadyExists"
    assert shop.delete("plans/basic/draft") == {"id": "basic"}
    assert shop.post("plans/basic/draft")["versionNumber"] == 2


def test_a_plan_that_never_was_published_goes_with_its_draft(shop: Desk) -> None:
    shop.post("plans", {"id": "idea", "displayName": "Idea", "productId": "main"})
    shop.delete("plans/idea/draft")
    with pytest.raises(NotFound) as refused:
        shop.get("plans/idea")
    assert refused.value.code == "PlanNotFound"


def test_update(shop: Desk) -> None:
    assert shop.patch("plans/basic", {"displayName": "B", "metadata": {"a": "b"}})["metadata"]
    shop.post("plans/basic/draft")
    price = {"billingPeriod": "MONTHLY", "price": {"amount": 9.99, "currency": "usd"}}
    charges = {
        "pricingType": "PAID",
        "pricingModels": [{"billingModel": "FLAT_FEE", "pricePeriods": [price]}],
    }
    changed = shop.patch("plans/basic", {"charges": charges})
    assert (changed["pricingType"], changed["charges"]) == ("PAID", charges)
    shop.publish("basic")
    assert shop.subscribe("basic")["pricingType"] == "PAID"


def test_money_must_be_a_number(shop: Desk) -> None:
    shop.post("plans/basic/draft")
    spend = [{"billingPeriod": "MONTHLY", "minimum": {"amount": "NaN"}}]
    with pytest.raises(BadInput):
        shop.patch("plans/basic", {"charges": {"pricingType": "PAID", "minimumSpend": spend}})


def test_archived_plans_stay_with_their_subscribers(shop: Desk) -> None:
    shop.subscribe("basic")
    assert shop.post("plans/basic/archive")["status"] == "ARCHIVED"
    assert shop.limit_of("calls") == 100
    with pytest.raises(BadInput) as refused:
        shop.post("plans/basic/draft")
    assert refused.value.code == "EntityIsArchivedError"


def test_lists(shop: Desk) -> None:
    shop.add_product("other")
    shop.add_plan("else", product="other")
    shop.post("plans/basic/draft")
    assert {one["id"]: one["status"] for one in shop.get("plans")} == {
        "basic": "PUBLISHED", "else": "PUBLISHED",
    }  # fmt: skip
    assert [one["versionNumber"] for one in shop.get("plans", status="DRAFT")] == [2]
    assert len(shop.get("plans", status="DRAFT,PUBLISHED")) == 3
    assert [one["id"] for one in shop.get("plans", productId="other")] == ["else"]


def test_a_plan_inherits_what_it_does_not_say(shop: Desk) -> None:
    shop.add_feature("seats")
    shop.add_plan("pro", limit("seats", 5), monthly("calls", 500), parentPlanId="basic")
    shop.subscribe("pro")
    assert [shop.limit_of(name) for name in ("calls", "events", "seats")] == [500, 1000, 5]
    assert len(shop.get("plans/pro")["entitlements"]) == 3


def test_what_a_parent_publishes_reaches_its_children(shop: Desk) -> None:
    shop.add_plan("pro", monthly("calls", 500), parentPlanId="basic")
    shop.add_plan("max", parentPlanId="pro")
    shop.subscribe("max")
    shop.post("plans/pro/draft")
    shop.patch("plans/pro", {"description": "work in progress"})
    shop.move("2026-01-11")
    shop.renew("basic", "ALL_CUSTOMERS", events={"usageLimit": 2000})
    assert (shop.limit_of("events"), shop.limit_of("calls")) == (2000, 500)
    assert shop.get("plans/max")["versionNumber"] == 2
    draft = shop.get("plans", status="DRAFT")[0]
    assert (draft["versionNumber"], draft["description"]) == (3, "work in progress")


def test_parents_are_plans_of_the_same_product_and_no_descendants(shop: Desk) -> None:
    shop.add_product("other")
    shop.add_plan("else", product="other")
    shop.add_plan("pro", parentPlanId="basic")
    for parent, error in (("none", NotFound), ("else", BadInput), ("pro", BadInput)):
        shop.post("plans/basic/draft")
        with pytest.raises(error):
            shop.patch("plans/basic", {"parentPlanId": parent})
        shop.delete("plans/basic/draft")


def test_products_must_exist_and_be_open(shop: Desk) -> None:
    with pytest.raises(NotFound) as refused:
        shop.post("plans", {"id": "new", "displayName": "New", "productId": "none"})
    assert refused.value.code == "ProductNotFoundError"
    shop.post("products/main/archive")
    with pytest.raises(BadInput):
        shop.post("plans", {"id": "new", "displayName": "New", "productId": "main"})
    with pytest.raises(BadInput):
        shop.subscribe("basic")
    with pytest.raises(Conflict):
        shop.post("plans", {"id": "basic", "displayName": "New", "productId": "main"})
