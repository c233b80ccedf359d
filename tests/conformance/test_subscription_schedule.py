"""Subscriptions in time: trials, ends, and what is scheduled for later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from stigg import BadRequestError, NotFoundError

from tests.conformance.building import (
    addon,
    at_the_end_of,
    check,
    customer,
    extra,
    later,
    plan,
    refused,
    renew,
    retrieved,
    shop,
    statuses,
    subscription,
    time_of,
    up_to,
)
from tests.conformance.driving import Site


@pytest.fixture(scope="module")
def site(site_of_its_own: Site) -> Site:
    """Time passes here."""
    return site_of_its_own


# --- trials ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behavior", "status", "granted"),
    [("CONVERT_TO_PAID", "ACTIVE", True), ("CANCEL_SUBSCRIPTION", "EXPIRED", False)],
)
def test_a_trial_ends_by_itself(
    stigg: Any, site: Site, behavior: str, status: str, granted: bool
) -> None:
    shop(stigg)
    end = time_of(site) + timedelta(days=7)
    trial: Any = {"is_trial": True, "trial_end_behavior": behavior, "trial_end_date": end}
    found = subscription(stigg, trial_override_configuration=trial)
    assert (found.status, found.trial_end_date) == ("IN_TRIAL", end)
    assert found.trial.trial_end_behavior == behavior
    assert check(stigg).is_granted
    later(site, days=7, seconds=-1)
    assert retrieved(stigg, found).status == "IN_TRIAL"
    later(site, seconds=1)
    assert retrieved(stigg, found).status == status
    assert check(stigg).is_granted is granted


def test_the_trial_of_a_plan_may_be_declined_or_prolonged(stigg: Any, site: Site) -> None:
    shop(stigg)
    customer(stigg, "eager")
    stigg.v1.plans.create_draft("basic")
    trial: Any = {"duration": 1, "units": "MONTH", "trial_end_behavior": "CANCEL_SUBSCRIPTION"}
    stigg.v1.plans.update("basic", default_trial_config=trial)
    stigg.v1.plans.publish("basic", migration_type="NEW_CUSTOMERS")
    found = subscription(stigg)
    assert (found.status, found.trial_end_date) == ("IN_TRIAL", found.current_billing_period_end)
    assert found.end_date == found.trial_end_date
    no: Any = {"is_trial": False}
    assert subscription(stigg, customer="eager", trial_override_configuration=no).status == "ACTIVE"
    prolonged = found.trial_end_date + timedelta(days=3)
    changed = stigg.v1.subscriptions.update(found.id, trial_end_date=prolonged).data
    assert (changed.trial_end_date, changed.end_date) == (prolonged, prolonged)
    with refused(BadRequestError, "TrialMinDateError"):
        past = time_of(site) - timedelta(days=1)
        stigg.v1.subscriptions.update(found.id, trial_end_date=past)
    assert retrieved(stigg, found).trial_end_date == prolonged


# --- ending ------------------------------------------------------------------------------------


def test_c09_cancelled_at_once(stigg: Any, site: Site) -> None:
    shop(stigg)
    found = subscription(stigg)
    now = later(site, seconds=1)
    ended = stigg.v1.subscriptions.cancel(found.id, cancellation_time="IMMEDIATE").data
    assert (ended.status, ended.end_date, ended.cancel_reason) == ("CANCELED", now, "Immediate")
    told = check(stigg)
    assert (told.is_granted, told.access_denied_reason) == (False, "NoActiveSubscription")
    entitlements = stigg.v1.customers.retrieve_entitlements("acme").data
    assert entitlements.access_denied_reason == "NoActiveSubscription"
    code = "SubscriptionAlreadyCanceledOrExpired"
    with refused(BadRequestError, code):
        stigg.v1.subscriptions.cancel(found.id)
    with refused(BadRequestError, code):
        stigg.v1.subscriptions.update(found.id, metadata={})
    with refused(BadRequestError, code):
        stigg.v1.subscriptions.migrate(found.id)
    assert subscription(stigg).status == "ACTIVE"  # the same plan again


def test_cancelled_at_the_end_of_the_billing_period(stigg: Any, site: Site) -> None:
    shop(stigg)
    found = subscription(stigg)
    cancelled = stigg.v1.subscriptions.cancel(
        found.id, cancellation_time="END_OF_BILLING_PERIOD", cancellation_action="DEFAULT"
    ).data
    assert (cancelled.status, cancelled.cancel_reason) == ("ACTIVE", "ScheduledCancellation")
    assert cancelled.end_date == cancelled.cancellation_date == found.current_billing_period_end
    assert check(stigg).is_granted
    at_the_end_of(site, found)
    assert retrieved(stigg, found).status == "CANCELED"
    assert check(stigg).access_denied_reason == "NoActiveSubscription"


def test_cancelled_at_a_date_and_not_after_all(stigg: Any, site: Site) -> None:
    shop(stigg)
    found = subscription(stigg)
    date = time_of(site) + timedelta(days=5)
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.subscriptions.cancel(found.id, cancellation_time="SPECIFIC_DATE")
    with refused(BadRequestError, "BadUserInput"):
        past = time_of(site) - timedelta(days=1)
        stigg.v1.subscriptions.cancel(found.id, cancellation_time="SPECIFIC_DATE", end_date=past)
    assert retrieved(stigg, found).end_date is None
    cancelled = stigg.v1.subscriptions.cancel(
        found.id, cancellation_time="SPECIFIC_DATE", end_date=date, prorate=False
    ).data
    assert (cancelled.status, cancelled.end_date) == ("ACTIVE", date)
    kept = stigg.v1.subscriptions.update(found.id, cancellation_date=None).data
    assert (kept.end_date, kept.cancel_reason) == (None, None)
    stigg.v1.subscriptions.update(found.id, cancellation_date=date)
    later(site, days=5)
    assert retrieved(stigg, found).status == "CANCELED"


def test_who_does_not_say_when_gets_what_the_product_says(stigg: Any) -> None:
    shop(stigg)
    settings: Any = {
        "subscription_cancellation_time": "END_OF_BILLING_PERIOD",
        "subscription_end_setup": "CANCEL_SUBSCRIPTION",
        "subscription_start_setup": "PLAN_SELECTION",
    }
    stigg.v1.products.update_product("main", product_settings=settings)
    found = subscription(stigg)
    cancelled = stigg.v1.subscriptions.cancel(found.id).data
    assert (cancelled.status, cancelled.end_date) == ("ACTIVE", found.current_billing_period_end)


def test_nothing_follows_a_subscription_that_was_cancelled(stigg: Any) -> None:
    """A declared deviation: the plan to fall back to is kept and begins nothing."""
    shop(stigg)
    plan(stigg, "free", up_to(1))
    settings: Any = {
        "subscription_cancellation_time": "IMMEDIATE",
        "subscription_end_setup": "DOWNGRADE_TO_FREE",
        "subscription_start_setup": "FREE_PLAN",
        "downgrade_plan_id": "free",
        "subscription_start_plan_id": "free",
    }
    stigg.v1.products.update_product("main", product_settings=settings)
    found = subscription(stigg)
    ended = stigg.v1.subscriptions.cancel(found.id, cancellation_action="REVOKE_ENTITLEMENTS").data
    assert ended.status == "CANCELED"
    assert statuses(stigg) == {"basic": "CANCELED"}


# --- scheduling --------------------------------------------------------------------------------


def test_a_scheduled_change_shows_and_holds_from_its_instant(stigg: Any, site: Site) -> None:
    shop(stigg, up_to(10))
    addon(stigg, "extra", up_to(5))
    found = subscription(stigg)
    changed = stigg.v1.subscriptions.update(
        found.id,
        addons=[extra(2)],
        metadata={"a": "b"},
        schedule_strategy="END_OF_BILLING_PERIOD",
    ).data
    end = found.current_billing_period_end
    assert {
        (one.subscription_schedule_type, one.schedule_status, one.scheduled_execution_time)
        for one in changed.future_updates
    } == {("ADDON", "SCHEDULED", end), ("ADDITIONAL_META_DATA", "SCHEDULED", end)}
    assert (changed.addons, changed.metadata, check(stigg).usage_limit) == ([], {}, 10)
    at_the_end_of(site, found)
    now = retrieved(stigg, found)
    assert ([one.quantity for one in now.addons], now.metadata) == ([2], {"a": "b"})
    assert (now.future_updates, check(stigg).usage_limit) == ([], 20)


def test_a_scheduled_change_may_be_called_off(stigg: Any, site: Site) -> None:
    shop(stigg, up_to(10))
    found = subscription(stigg)
    schedule = stigg.v1.subscriptions.future_update
    with refused(NotFoundError, "FutureUpdateNotFound"):
        schedule.cancel_schedule(found.id)
    with refused(NotFoundError, "FutureUpdateNotFound"):
        schedule.cancel_pending_payment(found.id)
    stigg.v1.subscriptions.update(
        found.id, entitlements=[up_to(99)], schedule_strategy="END_OF_BILLING_MONTH"
    )
    assert schedule.cancel_schedule(found.id).data.id == found.id
    at_the_end_of(site, found)
    assert check(stigg).usage_limit == 10


def test_a_scheduled_plan_change_shows_happens_and_may_be_called_off(
    stigg: Any, site: Site
) -> None:
    shop(stigg, up_to(10))
    plan(stigg, "pro", up_to(20))
    found = subscription(stigg)
    schedule: Any = {"schedule_strategy": "END_OF_BILLING_PERIOD"}
    end = found.current_billing_period_end
    assert subscription(stigg, "pro", **schedule).start_date == end
    (update,) = retrieved(stigg, found).future_updates
    assert (update.subscription_schedule_type, update.target_package.id) == ("PLAN", "pro")
    assert update.scheduled_execution_time == end
    stigg.v1.subscriptions.future_update.cancel_schedule(found.id)
    assert retrieved(stigg, found).future_updates == []
    assert (retrieved(stigg, found).end_date, statuses(stigg)["pro"]) == (None, "CANCELED")
    subscription(stigg, "pro", **schedule)
    assert check(stigg).usage_limit == 10
    at_the_end_of(site, found)
    assert check(stigg).usage_limit == 20
    assert retrieved(stigg, found).status == "CANCELED"


def test_c07_whatever_end_is_asked_for_the_plan_that_follows_takes_over(
    stigg: Any, site: Site
) -> None:
    shop(stigg, up_to(10))
    plan(stigg, "pro", up_to(20))
    plan(stigg, "max", up_to(30))
    found = subscription(stigg)
    schedule: Any = {"schedule_strategy": "END_OF_BILLING_PERIOD"}
    subscription(stigg, "pro", **schedule)
    subscription(stigg, "max", **schedule)
    end = found.current_billing_period_end
    kept = stigg.v1.subscriptions.update(found.id, cancellation_date=None).data
    assert (kept.end_date, [one.target_package.id for one in kept.future_updates]) == (
        end, ["max"],
    )  # fmt: skip
    at_the_end_of(site, found)
    assert statuses(stigg) == {"basic": "CANCELED", "pro": "CANCELED", "max": "ACTIVE"}
    assert check(stigg).usage_limit == 30


def test_a_plan_change_is_not_undone_by_cancelling_it_at_once(stigg: Any) -> None:
    shop(stigg)
    plan(stigg, "pro", up_to(1000))
    subscription(stigg)
    changed = subscription(stigg, "pro")
    stigg.v1.subscriptions.cancel(changed.id, cancellation_time="IMMEDIATE")
    assert set(statuses(stigg).values()) == {"CANCELED"}
    assert check(stigg).access_denied_reason == "NoActiveSubscription"


@pytest.mark.parametrize("when", ["IMMEDIATE", "END_OF_BILLING_PERIOD"])
def test_migration_moves_to_the_newest_version(stigg: Any, site: Site, when: str) -> None:
    shop(stigg)
    found = subscription(stigg)
    renew(stigg, "basic", "NEW_CUSTOMERS", up_to(500))
    assert check(stigg).usage_limit == 100
    moved = stigg.v1.subscriptions.migrate(found.id, subscription_migration_time=when).data
    if when == "END_OF_BILLING_PERIOD":
        assert [one.subscription_schedule_type for one in moved.future_updates] == [
            "MIGRATE_TO_LATEST"
        ]
        assert check(stigg).usage_limit == 100
        at_the_end_of(site, found)
    assert check(stigg).usage_limit == 500
