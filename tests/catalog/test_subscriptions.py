"""Subscriptions: dates, plan changes, overrides, ends."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, Conflict, NotFound
from tests.catalog.building import Desk, at, limit, monthly


def test_a_subscription_grants_at_once(shop: Desk) -> None:
    made = shop.subscribe("basic")
    assert made["status"] == "ACTIVE"
    assert shop.limit_of("calls") == 100


def test_one_that_starts_later_grants_later(shop: Desk) -> None:
    made = shop.subscribe("basic", startDate="2026-02-01T00:00:00Z")
    assert made["status"] == "NOT_STARTED"
    assert shop.limit_of("calls") is None
    shop.move("2026-02-01")
    assert shop.get(f"subscriptions/{made['id']}")["status"] == "ACTIVE"
    assert shop.limit_of("calls") == 100


def test_a_back_dated_one_counts_from_its_start(shop: Desk) -> None:
    shop.subscribe("basic", startDate="2025-11-15T08:00:00Z")
    assert shop.counted_from("calls", "2026-01-10T12:00:00") == at("2025-12-15T08:00:00")
    assert shop.counted_from("calls", "2025-11-20") == at("2025-11-15T08:00:00")
    assert shop.counted_from("calls", "2025-11-14") is None


def test_another_plan_replaces_the_active_one(shop: Desk) -> None:
    old = shop.subscribe("basic")
    shop.add_plan("pro", monthly("calls", 500))
    shop.move("2026-01-15T09:00:00")
    new = shop.subscribe("pro")
    assert shop.limit_of("calls") == 500
    assert [item["id"] for item in shop.get("subscriptions", status="ACTIVE")] == [new["id"]]
    ended = shop.get(f"subscriptions/{old['id']}")
    assert (ended["status"], ended["cancelReason"]) == ("CANCELED", "UPGRADE_OR_DOWNGRADE")
    assert ended["effectiveEndDate"] == "2026-01-15T09:00:00.000Z"


@pytest.mark.parametrize(
    ("behavior", "counted_from"),
    [("ALWAYS_RESET", "2026-01-15T09:00:00"), ("NEVER_RESET", "2026-01-10T12:00:00"),
     ("BILLING_PERIOD_CHANGE", "2026-01-10T12:00:00")],
)  # fmt: skip
def test_a_plan_change_resets_usage_as_the_product_says(
    shop: Desk, behavior: str, counted_from: str
) -> None:
    shop.patch("products/main", {"usageResetCutoffRule": {"behavior": behavior}})
    shop.subscribe("basic")
    shop.add_plan("pro", monthly("calls", 500))
    shop.move("2026-01-15T09:00:00")
    shop.subscribe("pro")
    assert shop.counted_from("calls", "2026-01-16") == at(counted_from)


def test_a_changed_billing_period_resets_usage_where_the_product_says_so(shop: Desk) -> None:
    shop.patch("products/main", {"usageResetCutoffRule": {"behavior": "BILLING_PERIOD_CHANGE"}})
    shop.subscribe("basic", billingPeriod="MONTHLY")
    shop.add_plan("pro", monthly("calls", 500))
    shop.move("2026-01-15T09:00:00")
    shop.subscribe("pro", billingPeriod="ANNUALLY")
    assert shop.counted_from("calls", "2026-01-16") == at("2026-01-15T09:00:00")


def test_a_chain_keeps_the_anchor_of_its_last_reset(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.add_plan("pro", monthly("calls", 500))
    shop.add_plan("max", monthly("calls", 900))
    shop.move("2026-01-15T09:00:00")
    shop.subscribe("pro")
    shop.patch("products/main", {"usageResetCutoffRule": {"behavior": "NEVER_RESET"}})
    shop.move("2026-01-20")
    shop.subscribe("max")
    assert shop.counted_from("calls", "2026-01-21") == at("2026-01-15T09:00:00")


def test_a_scheduled_plan_change_waits(shop: Desk) -> None:
    old = shop.subscribe("basic")
    shop.add_plan("pro", monthly("calls", 500))
    new = shop.subscribe("pro", startDate="2026-02-01T00:00:00Z")
    assert shop.get(f"subscriptions/{old['id']}")["status"] == "ACTIVE"
    assert shop.limit_of("calls") == 100
    shop.move("2026-02-01")
    assert shop.limit_of("calls") == 500
    assert shop.get(f"subscriptions/{new['id']}")["status"] == "ACTIVE"
    assert shop.get(f"subscriptions/{old['id']}")["status"] == "CANCELED"


def test_a_change_at_the_end_of_the_billing_period_is_scheduled(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.add_plan("pro", monthly("calls", 500))
    body = {"customerId": "acme", "planId": "pro", "scheduleStrategy": "END_OF_BILLING_PERIOD"}
    reply = shop.post("subscriptions", body)
    assert reply["isScheduled"] is True
    assert reply["subscription"]["startDate"] == "2026-02-10T12:00:00.000Z"


def test_a_scheduled_plan_change_can_be_called_off(shop: Desk) -> None:
    old = shop.subscribe("basic", cancellationDate="2026-04-01T00:00:00Z")
    shop.add_plan("pro", monthly("calls", 500))
    new = shop.subscribe("pro", startDate="2026-02-01T00:00:00Z")
    assert shop.post(f"subscriptions/{new['id']}/cancel")["status"] == "CANCELED"
    shop.move("2026-02-02")
    assert shop.limit_of("calls") == 100
    ends = shop.get(f"subscriptions/{old['id']}")
    assert (ends["status"], ends["effectiveEndDate"]) == ("ACTIVE", "2026-04-01T00:00:00.000Z")


def test_a_back_dated_plan_change_replaces_what_began_later(shop: Desk) -> None:
    old = shop.subscribe("basic")
    shop.add_plan("pro", monthly("calls", 500))
    shop.subscribe("pro", startDate="2026-01-01T00:00:00Z")
    assert shop.get(f"subscriptions/{old['id']}")["status"] == "CANCELED"
    assert shop.limit_of("calls", moment="2026-01-05") == 500
    assert shop.limit_of("calls") == 500


def test_the_same_plan_again_is_a_conflict(shop: Desk) -> None:
    shop.subscribe("basic")
    with pytest.raises(Conflict) as refused:
        shop.subscribe("basic")
    assert refused.value.code == "DuplicatedEntityNotAllowed"


def test_resources_have_subscriptions_of_their_own(desk: Desk) -> None:
    desk.add_product(multipleSubscriptions=True)
    desk.add_feature("calls")
    desk.add_plan("basic", limit("calls", 5))
    desk.add_customer()
    for resource in ("site-1", "site-2"):
        desk.subscribe("basic", resourceId=resource)
    assert desk.limit_of("calls", resource="site-1") == 5
    assert desk.limit_of("calls") is None
    assert [item["id"] for item in desk.get("customers/acme/resources")] == ["site-1", "site-2"]
    assert len(desk.get("subscriptions", resourceId="site-1")) == 1


def test_an_override_beats_the_plan_and_keeps_the_rest_of_it(shop: Desk) -> None:
    made = shop.subscribe("basic", entitlements=[limit("calls", 250)])
    assert made["subscriptionEntitlements"] == [{"id": "calls", "type": "FEATURE"}]
    assert shop.limit_of("calls") == 250
    assert shop.limit_of("events") == 1000
    assert shop.counted_from("calls", "2026-02-11") == at("2026-02-10T12:00:00")


def test_overrides_hold_from_when_they_were_made(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.move("2026-01-12")
    shop.patch(f"subscriptions/{made['id']}", {"entitlements": [limit("calls", 7)]})
    assert shop.limit_of("calls", moment="2026-01-11") == 100
    assert shop.limit_of("calls") == 7
    shop.move("2026-01-13")
    shop.patch(f"subscriptions/{made['id']}", {"entitlements": []})
    assert shop.limit_of("calls", moment="2026-01-12T01:00:00") == 7
    assert shop.limit_of("calls") == 100


def test_an_override_may_grant_what_the_plan_does_not(shop: Desk) -> None:
    shop.add_feature("seats")
    shop.subscribe("basic", entitlements=[limit("seats", 3)])
    assert shop.limit_of("seats") == 3


def test_cancelled_now(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.move("2026-01-11")
    path = f"subscriptions/{made['id']}"
    assert shop.post(f"{path}/cancel", {"cancellationTime": "IMMEDIATE"})["status"] == "CANCELED"
    assert shop.limit_of("calls") is None
    assert shop.limit_of("calls", moment="2026-01-10T13:00:00") == 100
    with pytest.raises(BadInput) as refused:
        shop.post(f"{path}/cancel")
    assert refused.value.code == "SubscriptionAlreadyCanceledOrExpired"


@pytest.mark.parametrize(
    ("request_body", "end"),
    [({"cancellationTime": "END_OF_BILLING_PERIOD"}, "2026-02-10T12:00:00.000Z"),
     ({"cancellationTime": "SPECIFIC_DATE", "endDate": "2026-03-01T00:00:00Z"},
      "2026-03-01T00:00:00.000Z")],
)  # fmt: skip
def test_cancelled_for_later(shop: Desk, request_body: dict[str, str], end: str) -> None:
    made = shop.subscribe("basic")
    path = f"subscriptions/{made['id']}"
    cancelled = shop.post(f"{path}/cancel", request_body)
    assert (cancelled["status"], cancelled["cancellationDate"]) == ("ACTIVE", end)
    shop.move("2026-03-01")
    assert shop.get(path)["status"] == "CANCELED"
    assert shop.limit_of("calls") is None


def test_a_scheduled_end_can_be_taken_back(shop: Desk) -> None:
    made = shop.subscribe("basic", cancellationDate="2026-02-01T00:00:00Z")
    path = f"subscriptions/{made['id']}"
    assert shop.patch(path, {"cancellationDate": None})["cancellationDate"] is None
    shop.move("2026-03-01")
    assert shop.get(path)["status"] == "ACTIVE"


def test_an_end_cannot_be_in_the_past(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.move("2026-01-20")
    body = {"cancellationTime": "SPECIFIC_DATE", "endDate": "2026-01-15T00:00:00Z"}
    with pytest.raises(BadInput):
        shop.post(f"subscriptions/{made['id']}/cancel", body)


@pytest.mark.parametrize(
    ("behavior", "status", "usage_limit"),
    [("CONVERT_TO_PAID", "ACTIVE", 100), ("CANCEL_SUBSCRIPTION", "EXPIRED", None)],
)
def test_a_trial_ends_by_itself(
    shop: Desk, behavior: str, status: str, usage_limit: int | None
) -> None:
    trial = {"isTrial": True, "trialEndBehavior": behavior, "trialEndDate": "2026-01-20T00:00:00Z"}
    made = shop.subscribe("basic", trialOverrideConfiguration=trial)
    assert (made["status"], made["trialEndDate"]) == ("IN_TRIAL", "2026-01-20T00:00:00.000Z")
    shop.move("2026-01-20")
    assert shop.get(f"subscriptions/{made['id']}")["status"] == status
    assert shop.limit_of("calls") == usage_limit


def test_a_plan_may_begin_with_a_trial(shop: Desk) -> None:
    shop.add_plan("pro", defaultTrialConfig={"duration": 1, "units": "MONTH"})
    assert shop.subscribe("pro")["trialEndDate"] == "2026-02-10T12:00:00.000Z"
    shop.add_customer("other")
    made = shop.subscribe("pro", "other", trialOverrideConfiguration={"isTrial": False})
    assert (made["status"], made["trialEndDate"]) == ("ACTIVE", None)


def test_money_is_echoed_and_never_computed(shop: Desk) -> None:
    terms: dict[str, Any] = {
        "billingPeriod": "ANNUALLY",
        "budget": {"limit": 12.5, "hasSoftLimit": True},
        "minimumSpend": {"amount": 0.1, "currency": "usd"},
        "appliedCoupon": {
            "couponId": "ten",
            "configuration": {"startDate": "2026-01-01T00:00:00Z"},
        },
        "charges": [{"id": "calls", "quantity": 2, "type": "FEATURE"}],
        "metadata": {"a": "b"},
    }
    made = shop.subscribe("basic", **terms)
    assert {name: made[name] for name in terms} == terms


def test_migration_moves_a_subscription_to_the_newest_version(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.move("2026-01-12")
    shop.renew("basic", "NEW_CUSTOMERS", calls={"usageLimit": 300})
    assert shop.limit_of("calls") == 100
    shop.move("2026-01-13")
    shop.post(f"subscriptions/{made['id']}/migrate")
    assert shop.limit_of("calls") == 300
    assert shop.limit_of("calls", moment="2026-01-12T12:00:00") == 100
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/migrate")
    assert shop.limit_of("calls", moment="2026-01-14") == 300


def test_what_is_unknown_is_not_found(shop: Desk) -> None:
    for change, code in (
        ({"customerId": "nobody"}, "CustomerNotFound"),
        ({"planId": "nothing"}, "PlanNotFound"),
        ({"entitlements": [limit("nothing")]}, "FeatureNotFound"),
    ):
        with pytest.raises(NotFound) as refused:
            shop.post("subscriptions", {"customerId": "acme", "planId": "basic"} | change)
        assert refused.value.code == code
    with pytest.raises(NotFound) as refused:
        shop.get("subscriptions/none")
    assert refused.value.code == "SubscriptionNotFound"
    assert shop.get("subscriptions") == []


def test_drafts_and_what_is_archived_cannot_be_subscribed_to(shop: Desk) -> None:
    shop.post("plans", {"id": "draft", "displayName": "Draft", "productId": "main"})
    with pytest.raises(BadInput, match="publish it first"):
        shop.subscribe("draft")
    shop.post("plans/basic/archive")
    with pytest.raises(BadInput, match="archived"):
        shop.subscribe("basic")
    shop.add_plan("other")
    shop.post("customers/acme/archive")
    with pytest.raises(BadInput, match="archived"):
        shop.subscribe("other")


def test_lists_filter(shop: Desk) -> None:
    shop.add_customer("other")
    made = shop.subscribe("basic", metadata={"k": "v"})
    later = shop.subscribe("basic", "other", startDate="2026-03-01T00:00:00Z")
    for query, expected in (
        ({"customerId": "acme"}, [made["id"]]),
        ({"planId": "basic"}, [made["id"], later["id"]]),
        ({"status": "ACTIVE,IN_TRIAL"}, [made["id"]]),
        ({"status": "NOT_STARTED"}, [later["id"]]),
        ({"pricingType": "PAID"}, []),
    ):
        found = {item["id"] for item in shop.get("subscriptions", **query)}
        assert found == set(expected), query
    with pytest.raises(BadInput):
        shop.get("subscriptions", status="GONE")
