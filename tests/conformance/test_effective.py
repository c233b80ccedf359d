"""What several sources grant together: plans, add-ons, overrides, trials, promotions (H, 4.9)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from stigg import BadRequestError, NotFoundError

from tallystick.clock import to_datetime
from tests.conformance.driving import Site
from tests.conformance.selling import (
    CUSTOMER,
    Shop,
    granting,
    hard,
    moment,
    promised,
    resetting,
    unlimited,
)


@pytest.fixture(scope="module")
def site(site_of_its_own: Site) -> Site:
    """Time passes here."""
    return site_of_its_own


def instead(feature: str, limit: int, **more: Any) -> dict[str, Any]:
    """What an add-on states instead of the plan."""
    return hard(feature, limit, behavior="Override", **more)


def plus(feature: str, limit: int, **more: Any) -> dict[str, Any]:
    """What an add-on grants on top of the plan."""
    return hard(feature, limit, behavior="Increment", **more)


def taking(*addons: str | tuple[str, int]) -> list[dict[str, Any]]:
    """Add-ons as a subscription lists them; once unless it says otherwise."""
    pairs = [(one, 1) if isinstance(one, str) else one for one in addons]
    return [{"id": name, "quantity": quantity} for name, quantity in pairs]


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """Seats, a region and a switch; a plan of ten seats."""
    shop.product()
    shop.reported("seats")
    shop.reported("logins")
    shop.enum("region", "us", "eu", "jp")
    shop.boolean("sso")
    shop.plan("basic", hard("seats", 10), granting("region", enum_values=["us"]))
    return shop


@pytest.fixture
def later(site: Site) -> Callable[..., datetime]:
    """Let days pass; returns the instant that it is then."""

    def pass_days(days: float) -> datetime:
        now = to_datetime(site.now()) + timedelta(days=days)
        site.move(now.isoformat())
        return now

    return pass_days


# --- plans and add-ons --------------------------------------------------------------------------


def test_a_plan_inherits_what_its_parents_grant_unless_it_says_otherwise(shop: Shop) -> None:
    """H10."""
    shop.plan("middle", hard("logins", 5), parent_plan_id="basic")
    shop.plan("top", hard("seats", 20), granting("sso"), parent_plan_id="middle")
    shop.buyer("middle")
    assert (shop.limit("seats"), shop.limit("logins")) == (10, 5)
    assert shop.reason("sso") == "NoFeatureEntitlementInSubscription"
    shop.buyer("top", "cust-2")
    assert (shop.limit("seats", "cust-2"), shop.limit("logins", "cust-2")) == (20, 5)
    assert shop.reason("sso", "cust-2") is shop.reason("region", "cust-2") is None
    assert sorted(shop.listed("cust-2")) == ["logins", "region", "seats", "sso"]


def test_add_ons_add_to_the_plan_or_replace_it(shop: Shop) -> None:
    """H01, H02, H03; what is not listed any more is gone."""
    shop.addon("more", plus("seats", 20))
    shop.addon("some", plus("seats", 3), plus("logins", 7), granting("sso"))
    shop.addon("huge", instead("seats", 25))
    shop.addon("tiny", instead("seats", 4), granting("region", enum_values=["eu"]))
    shop.addon("free", unlimited("seats", behavior="Increment"))
    name = shop.buyer("basic", addons=taking(("more", 2)))
    assert shop.limit() == 50
    expected: list[tuple[list[dict[str, Any]], int | None]] = [
        (taking("more", ("some", 2)), 36),
        (taking(("some", 2), "more"), 36),  # in any order
        (taking("huge"), 25),
        (taking("tiny"), 4),  # also where it is less
        (taking("huge", ("more", 9)), 25),
        (taking("tiny", "huge"), 25),
        (taking("huge", ("tiny", 7)), 28),  # times the quantity
        (taking("free", "tiny", "more"), None),
        ([], 10),
    ]
    for addons, limit in expected:
        shop.v1.subscriptions.update(name, addons=addons)
        told = shop.check("seats")
        assert (told.usage_limit, told.has_unlimited_usage) == (limit, limit is None), addons
    shop.v1.subscriptions.update(name, addons=taking(("some", 3), "tiny"))
    assert (shop.limit("logins"), shop.reason("sso")) == (21, None)
    assert shop.reason("region", requested_values=["us", "eu"]) is None
    shop.v1.subscriptions.update(name, addons=[])
    assert shop.reason("logins") == shop.reason("sso") == "NoFeatureEntitlementInSubscription"
    assert shop.reason("region", requested_values=["eu"]) == "RequestedValuesMismatch"


def test_an_add_on_leaves_what_is_used_and_its_period(shop: Shop) -> None:
    """4.8: to raise a limit resets nothing."""
    shop.plan("monthly", hard("logins", 10, **resetting("MONTH", "StartOfTheMonth")))
    shop.addon("more", plus("logins", 5, **resetting("DAY")))
    name = shop.buyer("monthly")
    shop.report(12, feature="logins")
    assert shop.reason("logins") == "RequestedUsageExceedingLimit"
    before = shop.check("logins")
    shop.v1.subscriptions.update(name, addons=taking("more"))
    after = shop.check("logins", requested_usage=3)
    assert (after.is_granted, after.current_usage, after.usage_limit) == (True, 12, 15)
    assert after.reset_period == "MONTH"
    assert after.usage_period_start == before.usage_period_start


# --- subscriptions ------------------------------------------------------------------------------


def test_an_override_of_a_subscription_stands_for_the_plan_s(shop: Shop) -> None:
    """C12; add-ons come on top of it, and what it leaves out is the plan's."""
    shop.addon("more", plus("seats", 20))
    name = shop.buyer("basic", entitlements=[hard("seats", 50)])
    assert shop.limit() == 50
    shop.v1.subscriptions.update(name, addons=taking("more"))
    assert shop.limit() == 70
    shop.v1.subscriptions.update(name, addons=[], entitlements=[hard("seats", 3)])
    assert shop.limit() == 3
    shop.report(4)
    assert shop.reason("seats") == "RequestedUsageExceedingLimit"
    shop.v1.subscriptions.update(name, entitlements=[granting("seats", has_soft_limit=True)])
    assert (shop.limit(), shop.reason("seats")) == (10, None)
    shop.v1.subscriptions.update(name, entitlements=[unlimited("seats"), hard("logins", 2)])
    assert shop.check("seats", requested_usage=10**9).has_unlimited_usage
    assert shop.limit("logins") == 2  # which the plan does not grant at all
    weekly = hard("seats", 9, **resetting("WEEK", "EveryMonday"))
    shop.v1.subscriptions.update(name, entitlements=[weekly])
    told = shop.check("seats")
    assert (told.usage_limit, told.reset_period) == (9, "WEEK")
    assert told.usage_period_start.weekday() == 0
    shop.v1.subscriptions.update(name, entitlements=[])
    assert (shop.limit(), shop.reason("logins")) == (10, "NoFeatureEntitlementInSubscription")


def test_a_trial_grants_as_long_as_it_lasts(shop: Shop, later: Callable[..., datetime]) -> None:
    """4.9: of two trials, one ends and one becomes a subscription."""
    end = later(0) + timedelta(days=14)
    for customer, behavior in (("ends", "CANCEL_SUBSCRIPTION"), ("goes-on", "CONVERT_TO_PAID")):
        trial = {"is_trial": True, "trial_end_date": end, "trial_end_behavior": behavior}
        name = shop.buyer("basic", customer, trial_override_configuration=trial)
        assert shop.v1.subscriptions.retrieve(name).data.status == "IN_TRIAL"
        assert shop.limit("seats", customer) == 10
    assert shop.check("seats", "ends").valid_until == end
    later(14)
    assert shop.reason("seats", "ends") == "NoActiveSubscription"
    assert shop.limit("seats", "goes-on") == 10


def test_of_several_products_the_most_generous_grants(shop: Shop) -> None:
    """4.9, 4: limits are not added; unlimited beats any number, and values are those of all."""
    for name in ("side", "wide", "open"):
        shop.product(name)
    shop.plan(
        "side-plan", hard("seats", 4), granting("region", enum_values=["eu"]), product_id="side"
    )
    shop.plan("wide-plan", hard("seats", 12), granting("sso"), product_id="wide")
    shop.plan("open-plan", unlimited("seats"), product_id="open")
    shop.buyer("basic")
    shop.subscribe("side-plan")
    assert shop.limit() == 10
    assert shop.reason("region", requested_values=["us", "eu"]) is None
    wide = shop.subscribe("wide-plan")
    assert shop.limit() == 12
    opened = shop.subscribe("open-plan")
    shop.grant(promised("seats", usage_limit=10**9))
    assert (shop.limit(), shop.check("seats").has_unlimited_usage) == (None, True)
    shop.v1.customers.promotional_entitlements.revoke("seats", id=CUSTOMER)
    for name, limit in ((opened, 12), (wide, 10)):
        shop.v1.subscriptions.cancel(name, cancellation_time="IMMEDIATE")
        assert shop.limit() == limit
    assert shop.reason("sso") == "NoFeatureEntitlementInSubscription"


# --- promotions ---------------------------------------------------------------------------------


def test_a_promotion_raises_a_limit_and_never_adds(shop: Shop) -> None:
    """H04, H05."""
    shop.plan("hundred", hard("seats", 100))
    shop.buyer("hundred")
    for promise, limit in ((500, 500), (50, 100), (100, 100)):
        (told,) = shop.grant(promised("seats", usage_limit=promise))
        assert (told.feature_id, told.usage_limit, told.status) == ("seats", promise, "Active")
        assert shop.limit() == limit
    shop.grant(promised("seats", has_unlimited_usage=True))
    assert (shop.limit(), shop.check("seats").has_unlimited_usage) == (None, True)
    shop.grant(promised("seats", usage_limit=1, has_soft_limit=True))
    shop.report(101)
    assert (shop.limit(), shop.reason("seats", requested_usage=5)) == (100, None)


def test_promotions_of_every_kind_of_feature_need_no_subscription(shop: Shop) -> None:
    shop.feature("projects", meter_type="None")
    shop.customer()
    assert shop.reason("sso") == "NoActiveSubscription"
    shop.grant(
        promised("sso"), promised("projects", usage_limit=3),
        promised("region", enum_values=["jp"]),
        promised("seats", usage_limit=2, **resetting("MONTH", "StartOfTheMonth")),
    )  # fmt: skip
    assert sorted(shop.listed()) == ["projects", "region", "seats", "sso"]
    assert (shop.reason("sso"), shop.limit("projects")) == (None, 3)
    assert shop.reason("region", requested_values=["jp"]) is None
    assert shop.reason("region", requested_values=["us"]) == "RequestedValuesMismatch"
    assert (shop.limit(), shop.check("seats").reset_period) == (2, "MONTH")
    assert shop.reason("logins") == "NoActiveSubscription"
    assert shop.limit("seats", resource_id="res-1") == 2  # each of the customer's resources


def test_granting_again_overwrites_and_revoking_takes_away(shop: Shop) -> None:
    promotions = shop.v1.customers.promotional_entitlements
    shop.buyer("basic")
    shop.grant(promised("seats", usage_limit=20), promised("sso"))
    (second,) = shop.grant(promised("seats", usage_limit=15))
    assert shop.limit() == 15  # 20 was overwritten
    listed = {one.feature_id: one for one in promotions.list(CUSTOMER, limit=1)}
    assert sorted(listed) == ["seats", "sso"]
    assert (listed["seats"].id, listed["seats"].usage_limit) == (second.id, 15)
    assert promotions.revoke("seats", id=CUSTOMER).data.id == second.id
    assert (shop.limit(), shop.reason("sso")) == (10, None)
    with pytest.raises(NotFoundError, match="PromotionalEntitlementNotFoundError"):
        promotions.revoke("seats", id=CUSTOMER)
    for promise, error in (
        (promised("seats", period="2 days"), BadRequestError),
        (promised("seats", period="custom"), BadRequestError),
        (promised("seats", period="custom", custom_end_date=moment("2020-01-01")), BadRequestError),
        (promised("none"), NotFoundError),
    ):
        with pytest.raises(error):
            shop.grant(promise)


def test_promotions_of_every_period_expire_by_the_clock(site: Site, shop: Shop) -> None:
    """H08: granted on a 31st; months end on the last day of shorter ones."""
    year = to_datetime(site.now()).year + 1
    year += 3 - year % 4  # before a leap year
    site.move(f"{year}-08-31T10:00:00Z")
    ends = {
        "1 week": moment(f"{year}-09-07T10:00"),
        "1 month": moment(f"{year}-09-30T10:00"),
        "custom": moment(f"{year}-12-24T18:00"),
        "6 month": moment(f"{year + 1}-02-29T10:00"),
        "1 year": moment(f"{year + 1}-08-31T10:00"),
        "lifetime": None,
    }
    for period, end in ends.items():
        custom = {"custom_end_date": end} if period == "custom" else {}
        promise = promised("seats", period=period, usage_limit=99, **custom)
        shop.buyer("basic", named(period))
        (told,) = shop.grant(promise, customer=named(period))
        assert (told.period, told.end_date, told.status) == (period, end, "Active")
    for period, end in ends.items():
        if end is None:
            assert state(shop, period) == (99, "Active")
            continue
        site.move((end - timedelta(microseconds=1)).isoformat())
        assert state(shop, period) == (99, "Active")
        assert shop.check("seats", named(period)).valid_until == end
        site.move(end.isoformat())
        assert state(shop, period) == (10, "Expired")


def named(period: str) -> str:
    """The customer who was promised seats for a period."""
    return period.replace(" ", "-")


def state(shop: Shop, period: str) -> tuple[int | None, str]:
    """What is granted to a customer now, and what is told of the promise."""
    (listed,) = shop.v1.customers.promotional_entitlements.list(named(period))
    return shop.limit("seats", named(period)), listed.status


# --- resources ----------------------------------------------------------------------------------


def test_a_resource_has_what_it_subscribed_to_and_what_its_customer_was_promised(
    shop: Shop,
) -> None:
    """4.9: a resource is not granted what its customer subscribed to."""
    shop.addon("more", plus("seats", 5))
    shop.buyer("basic")
    shop.subscribe("basic", resource_id="res-1", addons=taking("more"))
    shop.subscribe("basic", resource_id="res-2", entitlements=[hard("seats", 2)])
    limits = [shop.limit(), *(shop.limit(resource_id=one) for one in ("res-1", "res-2"))]
    assert limits == [10, 15, 2]
    shop.report(3, resource_id="res-2")
    assert shop.reason("seats", resource_id="res-2") == "RequestedUsageExceedingLimit"
    assert shop.reason("seats") is shop.reason("seats", resource_id="res-1") is None
    shop.grant(promised("seats", usage_limit=12))
    limits = [shop.limit(), *(shop.limit(resource_id=one) for one in ("res-1", "res-2"))]
    assert limits == [12, 15, 12]
    resources = [one.id for one in shop.v1.customers.list_resources(CUSTOMER)]
    assert sorted(resources) == ["res-1", "res-2"]
