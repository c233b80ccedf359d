"""Subscriptions: begun, found, changed, handed over, brought in; and what they grant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from stigg import BadRequestError, ConflictError, NotFoundError

from tests.conformance.building import (
    addon,
    check,
    choice,
    customer,
    extra,
    feature,
    flag,
    granting,
    later,
    plan,
    product,
    refused,
    retrieved,
    shop,
    statuses,
    subscription,
    time_of,
    up_to,
    use,
)
from tests.conformance.driving import Clients, Site


@pytest.fixture(scope="module")
def site(site_of_its_own: Site) -> Site:
    """Time passes here."""
    return site_of_its_own


# --- beginning ---------------------------------------------------------------------------------


def test_c06_a_subscription_grants_when_the_call_returns(stigg: Any, site: Site) -> None:
    shop(stigg, up_to(100, reset_period="MONTH"))
    flag(stigg)
    made = stigg.v1.subscriptions.provision(customer_id="acme", plan_id="basic").data
    found = made.subscription
    assert (made.status, made.id, made.is_scheduled) == ("SUCCESS", found.id, False)
    assert (found.status, found.customer_id, found.plan_id) == ("ACTIVE", "acme", "basic")
    assert (found.pricing_type, found.payment_collection) == ("FREE", "NOT_REQUIRED")
    assert found.start_date == found.current_billing_period_start == time_of(site)
    assert (found.end_date, found.cancel_reason, found.future_updates) == (None, None, [])
    told = check(stigg)
    assert (told.is_granted, told.usage_limit, told.current_usage) == (True, 100, 0)
    assert told.usage_period_start <= time_of(site) < told.usage_period_end
    everything = stigg.v1.customers.retrieve_entitlements("acme").data.entitlements
    assert [one.feature.id for one in everything] == ["calls"]
    assert retrieved(stigg, found).to_dict() == found.to_dict()


def test_c07_another_plan_of_the_product_replaces_the_active_one(stigg: Any, site: Site) -> None:
    shop(stigg)
    plan(stigg, "pro", up_to(1000))
    first = subscription(stigg, id="sub-1")
    later(site, seconds=1)
    assert subscription(stigg, "pro").status == "ACTIVE"
    assert statuses(stigg) == {"basic": "CANCELED", "pro": "ACTIVE"}
    replaced = retrieved(stigg, first)
    assert (replaced.cancel_reason, replaced.end_date) == ("UPGRADE_OR_DOWNGRADE", time_of(site))
    assert check(stigg).usage_limit == 1000
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        subscription(stigg, "pro")
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        subscription(stigg, "basic", id="sub-1")
    assert statuses(stigg) == {"basic": "CANCELED", "pro": "ACTIVE"}


def test_a_product_of_many_subscriptions_has_one_for_each_resource(stigg: Any) -> None:
    product(stigg, multiple_subscriptions=True)
    feature(stigg)
    plan(stigg, "basic", up_to(10))
    plan(stigg, "pro", up_to(20))
    customer(stigg)
    subscription(stigg, resource_id="one")
    subscription(stigg, "pro", resource_id="two")
    assert subscription(stigg, "pro").resource_id is None
    assert {check(stigg, resource_id=name).usage_limit for name in ("one", "two")} == {10, 20}
    assert use(stigg, 4, resource_id="one") == 4
    assert [check(stigg, resource_id=name).current_usage for name in ("one", "two")] == [4, 0]
    assert check(stigg).current_usage == 0
    assert check(stigg, resource_id="three").access_denied_reason == "CustomerResourceNotFound"


def test_one_that_starts_in_the_past_counts_from_its_start(stigg: Any, site: Site) -> None:
    shop(stigg, up_to(100, reset_period="DAY"))
    start = time_of(site) - timedelta(days=40, hours=1)
    found = subscription(stigg, start_date=start)
    assert (found.status, found.start_date) == ("ACTIVE", start)
    assert found.current_billing_period_start > start
    told = check(stigg)
    assert told.usage_period_start == start + timedelta(days=40)
    use(stigg, 5, created_at=start + timedelta(days=3))
    assert check(stigg).current_usage == 0


def test_one_that_starts_in_the_future_grants_from_then_on(stigg: Any, site: Site) -> None:
    shop(stigg)
    start = time_of(site) + timedelta(days=2)
    made = stigg.v1.subscriptions.provision(
        customer_id="acme", plan_id="basic", start_date=start
    ).data
    assert (made.is_scheduled, made.subscription.status) == (True, "NOT_STARTED")
    assert check(stigg).access_denied_reason == "NoActiveSubscription"
    assert statuses(stigg) == {"basic": "NOT_STARTED"}
    later(site, days=2)
    assert retrieved(stigg, made.subscription).status == "ACTIVE"
    assert check(stigg).is_granted


def test_what_money_there_is_is_kept_and_decides_nothing(stigg: Any) -> None:
    shop(stigg)
    told: Any = {
        "billing_id": "b", "paying_customer_id": "acme", "payment_collection_method": "INVOICE",
        "metadata": {"a": "b"},
    }  # fmt: skip
    found = subscription(
        stigg,
        billing_period="ANNUALLY",
        budget={"limit": 0, "has_soft_limit": False},
        minimum_spend={"amount": 5, "currency": "usd"},
        charges=[{"id": "calls", "quantity": 3, "type": "FEATURE"}],
        unit_quantity=2,
        **told,
    )
    assert {name: getattr(found, name) for name in told} == told
    assert (found.budget.limit, found.minimum_spend.amount) == (0, 5)
    assert found.current_billing_period_end - found.start_date >= timedelta(days=365)
    assert (check(stigg).is_granted, check(stigg).usage_limit) == (True, 100)


# --- finding -----------------------------------------------------------------------------------


def test_c08_subscriptions_are_found_by_what_they_are(
    stigg: Any, clients: Clients, key: str, site: Site
) -> None:
    product(stigg, multiple_subscriptions=True)
    plan(stigg, "basic")
    plan(stigg, "pro", pricing_type="PAID")
    for name in ("acme", "other"):
        customer(stigg, name)
    first = subscription(stigg)
    then = later(site, seconds=1)
    trial: Any = {"is_trial": True, "trial_end_date": then + timedelta(days=7)}
    second = subscription(stigg, "pro", resource_id="one", trial_override_configuration=trial)
    third = subscription(stigg, "basic", "other")
    stigg.v1.subscriptions.cancel(third.id, cancellation_time="IMMEDIATE")

    def ids(**wanted: Any) -> list[str]:
        return [one.id for one in stigg.v1.subscriptions.list(**wanted)]

    assert set(ids()) == {first.id, second.id, third.id}
    assert ids(customer_id="acme", status=["ACTIVE", "IN_TRIAL"]) == [first.id, second.id]
    assert ids(status=["CANCELED"]) == [third.id]
    assert ids(plan_id="pro") == ids(pricing_type=["PAID", "CUSTOM"]) == [second.id]
    assert ids(resource_id="one") == [second.id]
    assert ids(created_at={"lt": then}) == [first.id]
    assert ids(customer_id="nobody") == []
    seen: list[httpx.Response] = []
    clients.watched(key, seen.append).v1.subscriptions.list(status=["ACTIVE", "IN_TRIAL"])
    assert b"status=ACTIVE%2CIN_TRIAL" in seen[0].request.url.query


# --- what a subscription states itself ----------------------------------------------------------


def test_c12_an_override_beats_the_plan_and_shows_where_one_is_asked_for(stigg: Any) -> None:
    shop(stigg, up_to(10, has_soft_limit=True, reset_period="DAY"))
    feature(stigg, "seats", meter_type="FLUCTUATING")
    found = subscription(stigg, entitlements=[up_to(50), up_to(3, "seats")])
    told = check(stigg)
    assert (told.usage_limit, told.reset_period) == (50, "DAY")
    assert check(stigg, requested_usage=51).is_granted  # the plan's limit is soft
    assert check(stigg, "seats", requested_usage=4).is_granted is False
    assert [one.id for one in retrieved(stigg, found).subscription_entitlements] == [
        "calls", "seats",
    ]  # fmt: skip
    (listed,) = stigg.v1.subscriptions.list().data
    assert listed.subscription_entitlements is None


def test_overrides_are_a_list_that_is_replaced_whole(stigg: Any) -> None:
    shop(stigg, up_to(10))
    feature(stigg, "seats")
    update = stigg.v1.subscriptions.update
    found = subscription(stigg, entitlements=[up_to(50), up_to(3, "seats")])
    weekly: Any = {"weekly_reset_period_configuration": {"according_to": "EveryMonday"}}
    update(found.id, entitlements=[granting("calls", reset_period="WEEK", **weekly)])
    told = check(stigg)
    assert (told.usage_limit, told.reset_period) == (10, "WEEK")
    assert told.usage_period_start.weekday() == 0
    assert check(stigg, "seats").access_denied_reason == "NoFeatureEntitlementInSubscription"
    update(found.id, entitlements=[granting("calls", has_unlimited_usage=True)])
    assert check(stigg, requested_usage=10**6).is_granted
    update(found.id, entitlements=[])
    assert check(stigg, requested_usage=11).is_granted is False
    assert retrieved(stigg, found).subscription_entitlements == []


def test_an_override_that_makes_no_sense_changes_nothing(stigg: Any) -> None:
    shop(stigg, up_to(10))
    flag(stigg)
    found = subscription(stigg)
    monthly: Any = {"monthly_reset_period_configuration": {"according_to": "StartOfTheMonth"}}
    for kind, code, item in (
        (NotFoundError, "FeatureNotFound", up_to(1, "none")),
        (BadRequestError, "UnsupportedFeatureType", up_to(1, "sso")),
        (BadRequestError, "InvalidEntitlementResetPeriod", granting(reset_period="DAY", **monthly)),
        (BadRequestError, "BadUserInput", up_to(-1)),
    ):
        with refused(kind, code):
            stigg.v1.subscriptions.update(
                found.id, metadata={"a": "b"}, entitlements=[up_to(99), item]
            )
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        stigg.v1.subscriptions.update(found.id, entitlements=[up_to(99), up_to(98)])
    assert check(stigg).usage_limit == 10
    assert retrieved(stigg, found).metadata == {}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([("seats-20", 20, "Increment", 2)], 50),  # H01
        ([("seats-25", 25, "Override", 1)], 25),  # H02
        ([("seats-25", 25, "Override", 2)], 50),
        ([("a", 20, "Increment", 1), ("b", 25, "Override", 1)], 25),  # H03
        ([("a", 30, "Override", 1), ("b", 25, "Override", 1)], 30),
        ([("a", 20, "Increment", 1), ("b", 5, "Increment", 3)], 45),
    ],
)
def test_h01_h02_h03_addons_add_to_or_replace_the_plan_s_limit(
    stigg: Any, items: list[tuple[str, int, str, int]], expected: int
) -> None:
    shop(stigg, up_to(10))
    for name, limit, behavior, _ in items:
        addon(stigg, name, up_to(limit, behavior=behavior))
    found = subscription(stigg, addons=[extra(count, name) for name, _, _, count in items])
    assert check(stigg).usage_limit == expected
    assert [(one.id, one.quantity) for one in found.addons] == [
        (name, count) for name, _, _, count in items
    ]


def test_addons_are_a_list_that_is_replaced_whole(stigg: Any, site: Site) -> None:
    shop(stigg, up_to(10))
    flag(stigg)
    choice(stigg)
    addon(stigg, "extra", up_to(5), granting("sso"))
    addon(stigg, "regions", granting("region", enum_values=["eu"]))
    found = subscription(stigg)
    update = stigg.v1.subscriptions.update
    assert check(stigg, "sso").is_granted is False
    both = update(found.id, addons=[extra(2), extra(1, "regions")]).data
    assert [(one.id, one.quantity) for one in both.addons] == [("extra", 2), ("regions", 1)]
    assert check(stigg).usage_limit == 20
    assert check(stigg, "sso").is_granted
    assert check(stigg, "region", requested_values=["eu"]).is_granted
    later(site, seconds=1)
    update(found.id, metadata={"a": "b"})
    assert check(stigg).usage_limit == 20  # what is omitted stays
    update(found.id, addons=[extra(1)])
    assert check(stigg).usage_limit == 15
    assert check(stigg, "region").is_granted is False
    assert update(found.id, addons=[]).data.addons == []
    assert check(stigg).usage_limit == 10


def test_metadata_is_replaced_whole_and_the_rest_stays(stigg: Any) -> None:
    shop(stigg)
    budget: Any = {"limit": 5, "has_soft_limit": True}
    found = subscription(stigg, metadata={"a": "b", "c": "d"}, budget=budget)
    changed = stigg.v1.subscriptions.update(found.id, metadata={"e": "f"}).data
    assert (changed.metadata, changed.budget.limit) == ({"e": "f"}, 5)
    assert changed.start_date == found.start_date
    cleared = stigg.v1.subscriptions.update(found.id, budget=None).data
    assert (cleared.metadata, cleared.budget) == ({"e": "f"}, None)


# --- handing over, bringing in, trying out --------------------------------------------------------


def test_a_transfer_moves_the_grant_and_leaves_the_usage(stigg: Any, site: Site) -> None:
    product(stigg, multiple_subscriptions=True)
    feature(stigg)
    plan(stigg, "basic", up_to(10))
    customer(stigg)
    found = subscription(stigg, resource_id="one")
    use(stigg, 4, resource_id="one")
    later(site, seconds=1)
    moved = stigg.v1.subscriptions.transfer(found.id, destination_resource_id="two").data
    assert (moved.id, moved.resource_id, moved.status) == (found.id, "two", "ACTIVE")
    told = check(stigg, resource_id="two")
    assert (told.current_usage, told.usage_limit) == (0, 10)
    assert check(stigg, resource_id="one").is_granted is False
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.subscriptions.transfer(found.id, destination_resource_id="two")


def test_a_delegation_moves_it_to_another_customer(stigg: Any, site: Site) -> None:
    shop(stigg)
    customer(stigg, "other")
    found = subscription(stigg)
    use(stigg, 4)
    later(site, seconds=1)
    moved = stigg.v1.subscriptions.delegate(found.id, target_customer_id="other").data
    assert (moved.customer_id, moved.paying_customer_id) == ("other", "acme")
    told = check(stigg, customer="other")
    assert (told.is_granted, told.current_usage) == (True, 0)
    assert check(stigg).access_denied_reason == "NoActiveSubscription"
    with refused(NotFoundError, "CustomerNotFound"):
        stigg.v1.subscriptions.delegate(found.id, target_customer_id="nobody")
    subscription(stigg)
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        stigg.v1.subscriptions.delegate(found.id, target_customer_id="acme")
    assert retrieved(stigg, found).customer_id == "other"


def test_a_preview_makes_nothing(stigg: Any, site: Site) -> None:
    shop(stigg)
    addon(stigg, "extra")
    start = time_of(site) + timedelta(days=1)
    told = stigg.v1.subscriptions.preview(
        customer_id="acme", plan_id="basic", addons=[extra(1)], start_date=start,
        billable_features=[{"feature_id": "calls", "quantity": 1}],
    ).data  # fmt: skip
    assert (told.immediate_invoice.total, told.has_scheduled_updates) == (0, True)
    assert told.billing_period_range.start == start
    with refused(NotFoundError, "AddonNotFound"):
        stigg.v1.subscriptions.preview(
            customer_id="acme", plan_id="basic", addons=[extra(1, "none")]
        )
    assert stigg.v1.subscriptions.list().data == []
    assert check(stigg).access_denied_reason == "NoActiveSubscription"


def test_an_import_makes_what_is_not_there_yet_all_or_none(stigg: Any, site: Site) -> None:
    shop(stigg)
    addon(stigg, "extra", up_to(5))
    customer(stigg, "other")
    start, end = (time_of(site) + timedelta(days=days) for days in (-40, 10))
    items: Any = [
        {"id": "one", "customer_id": "acme", "plan_id": "basic", "start_date": start,
         "end_date": end, "metadata": {"a": "b"}, "addons": [extra(1)], "billing_id": "b"},
        {"id": "two", "customer_id": "other", "plan_id": "basic", "billing_period": "ANNUALLY"},
    ]  # fmt: skip
    with refused(NotFoundError, "PlanNotFound"):
        wrong: Any = {"id": "three", "customer_id": "acme", "plan_id": "none"}
        stigg.v1.subscriptions.import_(subscriptions=[*items, wrong])
    assert stigg.v1.subscriptions.list().data == []
    for _ in range(2):  # the second time everything is there
        assert stigg.v1.subscriptions.import_(subscriptions=items).data.task_id
    one = stigg.v1.subscriptions.retrieve("one").data
    assert (one.start_date, one.end_date, one.metadata) == (start, end, {"a": "b"})
    assert check(stigg).usage_limit == 105
    assert statuses(stigg, "other") == {"basic": "ACTIVE"}


def test_what_is_not_there_is_not_found(stigg: Any) -> None:
    shop(stigg)
    subscriptions = stigg.v1.subscriptions
    for call in (subscriptions.retrieve, subscriptions.cancel, subscriptions.migrate):
        with refused(NotFoundError, "SubscriptionNotFound"):
            call("none")
    with refused(NotFoundError, "SubscriptionNotFound"):
        subscriptions.update("none", metadata={})
    with refused(NotFoundError, "CustomerNotFound"):
        subscription(stigg, "basic", "nobody")
    with refused(NotFoundError, "PlanNotFound"):
        subscription(stigg, "none")
    with refused(NotFoundError, "AddonNotFound"):
        subscription(stigg, addons=[extra(1, "none")])
    with refused(NotFoundError, "FeatureNotFound"):
        subscription(stigg, entitlements=[up_to(1, "none")])
    assert subscriptions.list().data == []


def test_a_refused_plan_change_leaves_the_subscription_as_it_was(stigg: Any) -> None:
    shop(stigg)
    plan(stigg, "pro", up_to(1000))
    found = subscription(stigg, metadata={"a": "b"})
    with refused(NotFoundError, "AddonNotFound"):
        subscription(stigg, "pro", addons=[extra(1, "none")])
    with refused(BadRequestError, "BadUserInput"):
        subscription(stigg, "pro", addons=[extra(0)])
    assert statuses(stigg) == {"basic": "ACTIVE"}
    assert retrieved(stigg, found).to_dict() == found.to_dict()
    assert check(stigg).usage_limit == 100
