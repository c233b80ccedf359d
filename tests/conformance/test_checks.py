"""The check: what is granted, and of the reasons that apply the one that is given (D, 4.10)."""

from __future__ import annotations

from typing import Any

import pytest
from stigg import BadRequestError

from tests.conformance.driving import Site
from tests.conformance.selling import Shop, granting, hard, moment, resetting, unlimited

LIMITS = (
    granting("sso"),
    granting("region", enum_values=["us"]),
    hard("projects", 5),
    hard("seats", 10),
    hard("disk", 10, has_soft_limit=True),
    unlimited("logins"),
    hard("calls", 100, **resetting("MONTH", "StartOfTheMonth")),
)


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A customer who is subscribed to one feature of every kind."""
    shop.product(multiple_subscriptions=True)
    shop.boolean("sso")
    shop.enum("region")
    shop.feature("projects", meter_type="None")
    for name in ("seats", "disk", "logins", "unsold"):
        shop.reported(name)
    shop.metered("calls")
    shop.plan("basic", *LIMITS)
    shop.buyer("basic")
    return shop


def test_what_a_plan_grants_and_what_it_does_not(shop: Shop) -> None:
    """D01, D02, D03, D07."""
    assert shop.check("sso").is_granted
    assert shop.check("sso").feature.feature_type == "BOOLEAN"
    assert shop.reason("unsold") == "NoFeatureEntitlementInSubscription"
    assert shop.reason("none") == "FeatureNotFound"
    projects = shop.check("projects", requested_usage=99)
    assert (projects.is_granted, projects.usage_limit, projects.current_usage) == (True, 5, None)


def test_a_check_names_one_feature(shop: Shop) -> None:
    """D06."""
    for asked in ({}, {"feature_id": "sso", "currency_id": "coins"}):
        with pytest.raises(BadRequestError):
            shop.v1.customers.check_entitlement("cust-1", **asked)
    with pytest.raises(BadRequestError):
        shop.check("seats", requested_usage=-1)


def test_requested_values_are_among_those_allowed(shop: Shop) -> None:
    """D08."""
    for values in (["us"], []):
        assert shop.reason("region", requested_values=values) is None
    for values in (["eu"], ["us", "eu"], ["US"]):
        assert shop.reason("region", requested_values=values) == "RequestedValuesMismatch"


def test_a_hard_limit_grants_up_to_itself_and_a_soft_one_beyond(shop: Shop) -> None:
    """D10, D14; 4.10: exactly at the limit there is room for nothing more."""
    shop.report(9)
    assert shop.reason("seats", requested_usage=1) is None
    assert shop.reason("seats", requested_usage=2) == "RequestedUsageExceedingLimit"
    shop.report(1)
    assert shop.reason("seats") is None
    assert shop.reason("seats", requested_usage=1) == "RequestedUsageExceedingLimit"
    shop.report(0.00001)
    assert shop.reason("seats") == "RequestedUsageExceedingLimit"
    shop.report(99, feature="disk")
    soft = shop.check("disk", requested_usage=1)
    assert (soft.is_granted, soft.current_usage, soft.usage_limit) == (True, 99, 10)
    shop.report(10**6, feature="logins")
    free = shop.check("logins", requested_usage=1)
    assert (free.is_granted, free.has_unlimited_usage, free.current_usage) == (True, True, 10**6)


def test_the_period_of_what_resets_and_none_of_what_never_does(shop: Shop) -> None:
    """D16, G08."""
    told = shop.check("calls")
    assert told.usage_period_start == told.usage_period_anchor == moment("2026-01-01")
    assert told.usage_period_end == told.valid_until == moment("2026-02-01")
    assert (told.reset_period, told.current_usage) == ("MONTH", 0)
    never = shop.check("seats")
    assert never.reset_period is None
    assert never.usage_period_start is never.usage_period_end is never.usage_period_anchor is None


def test_the_list_has_every_entitlement_once_as_its_check_tells_it(shop: Shop) -> None:
    """D17."""
    shop.report(3)
    listed = shop.listed()
    assert sorted(listed) == sorted(one["id"] for one in LIMITS)
    for name, one in listed.items():
        assert one.to_dict() == shop.check(name).to_dict()


def test_a_resource_has_entitlements_and_usage_of_its_own(shop: Shop) -> None:
    """D18."""
    shop.plan("small", hard("seats", 2))
    shop.subscribe("small", resource_id="res-x")
    shop.report(2, resource_id="res-x")
    shop.report(7)
    (only,) = shop.listed(resource_id="res-x").values()
    assert (only.usage_limit, only.current_usage) == (2, 2)
    assert shop.reason("seats", resource_id="res-x", requested_usage=1) is not None
    assert shop.reason("sso", resource_id="res-x") == "NoFeatureEntitlementInSubscription"
    assert (shop.used(), shop.limit()) == (7, 10)


def test_checks_change_nothing(shop: Shop) -> None:
    """D19."""
    shop.report(5)
    for _ in range(100):
        shop.check("seats", requested_usage=1)
    assert shop.used() == 5


def test_of_the_reasons_that_apply_the_first_is_given(shop: Shop) -> None:
    """D04, C09: who asks, then which feature, then whether anything holds, then the limit."""
    assert shop.reason("none", "nobody") == "CustomerNotFound"
    assert shop.reason("seats", "nobody") == "CustomerNotFound"

    # Nothing subscribed to.
    shop.customer("visitor")
    assert shop.reason("none", "visitor") == "FeatureNotFound"
    assert shop.reason("seats", "visitor", requested_usage=11) == "NoActiveSubscription"
    assert shop.reason("seats", "visitor", resource_id="res-1") == "CustomerResourceNotFound"
    assert shop.reason("seats", resource_id="res-1") == "CustomerResourceNotFound"

    # Subscribed, asked for too much of what is not granted, then of what is.
    asked: Any = {"requested_usage": 11, "requested_values": ["us"]}
    assert shop.reason("unsold", **asked) == "NoFeatureEntitlementInSubscription"
    assert shop.reason("seats", **asked) == "FeatureTypeMismatch"
    assert shop.reason("seats", requested_usage=11) == "RequestedUsageExceedingLimit"

    # Cancelled; then archived, which comes before everything but an unknown customer.
    gone = shop.buyer("basic", "leaver")
    assert shop.reason("sso", "leaver") is None
    shop.v1.subscriptions.cancel(gone, cancellation_time="IMMEDIATE")
    assert shop.reason("sso", "leaver") == "NoActiveSubscription"
    shop.v1.customers.archive("leaver")
    shop.v1.customers.archive("cust-1")
    for customer in ("leaver", "cust-1"):
        for feature in ("sso", "none", "seats"):
            assert shop.reason(feature, customer) == "CustomerIsArchived"
    shop.v1.customers.unarchive("cust-1")
    assert shop.reason("sso") is None


def test_the_list_of_whom_nothing_is_granted_is_empty_and_says_why(shop: Shop) -> None:
    shop.customer("visitor")
    shop.customer("gone")
    shop.v1.customers.archive("gone")
    reasons = {
        "nobody": "CustomerNotFound",
        "gone": "CustomerIsArchived",
        "visitor": "NoActiveSubscription",
    }
    for customer, reason in reasons.items():
        told = shop.v1.customers.retrieve_entitlements(customer).data
        assert (told.entitlements, told.access_denied_reason) == ([], reason)


def test_unknown_questions_are_errors_and_denials_are_not(site: Site, key: str, shop: Shop) -> None:
    path = "/api/v1/customers/cust-1/entitlements/check"
    assert site.raw("GET", f"{path}?featureId=none", key).status_code == 200
    wrong = site.raw("GET", f"{path}?featureId=seats&requestedUsage=1.5", key)
    assert (wrong.status_code, set(wrong.json())) == (400, {"message", "code"})
