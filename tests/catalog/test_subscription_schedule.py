"""What is scheduled for a subscription: when it holds, how it shows, and calling it off."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, NotFound
from tests.catalog.building import Desk, at, limit, monthly

PERIOD_END = "2026-02-10T12:00:00.000Z"


def take(addon: str, quantity: int = 1) -> dict[str, Any]:
    """An add-on as a subscription lists it."""
    return {"id": addon, "quantity": quantity}


@pytest.fixture
def shop(shop: Desk) -> Desk:
    """With an add-on and a greater plan."""
    shop.add_addon("more", limit("calls", 20))
    shop.add_plan("pro", monthly("calls", 500))
    shop.add_plan("max", monthly("calls", 900))
    return shop


def path_of(made: Any) -> str:
    """Where a subscription is."""
    return f"subscriptions/{made['id']}"


def test_a_scheduled_change_holds_from_its_instant(shop: Desk) -> None:
    made = shop.subscribe("basic")
    change = {
        "addons": [take("more")],
        "entitlements": [limit("events", 7)],
        "metadata": {"tier": "gold"},
        "scheduleStrategy": "END_OF_BILLING_PERIOD",
    }
    told = shop.patch(path_of(made), change)
    assert (told["addons"], told["metadata"]) == ([], {})
    assert [
        (one["subscriptionScheduleType"], one["scheduledExecutionTime"])
        for one in told["futureUpdates"]
    ] == [("ADDON", PERIOD_END), ("ADDITIONAL_META_DATA", PERIOD_END)]
    assert (shop.limit_of("calls"), shop.limit_of("events")) == (100, 1000)
    shop.move("2026-02-10T12:00:00")
    later = shop.get(path_of(made))
    assert (later["addons"], later["metadata"]) == ([take("more")], {"tier": "gold"})
    assert later["futureUpdates"] == []
    assert (shop.limit_of("calls"), shop.limit_of("events")) == (120, 7)


def test_the_end_of_the_billing_month_of_a_yearly_subscription(shop: Desk) -> None:
    made = shop.subscribe("basic", billingPeriod="ANNUALLY")
    month, year = (
        shop.patch(path_of(made), {"addons": [take("more")], "scheduleStrategy": strategy})
        for strategy in ("END_OF_BILLING_MONTH", "END_OF_BILLING_PERIOD")
    )
    assert [one["scheduledExecutionTime"] for one in month["futureUpdates"]] == [PERIOD_END]
    (only,) = year["futureUpdates"]  # a new schedule replaces the former
    assert only["scheduledExecutionTime"] == "2027-01-10T12:00:00.000Z"


def test_what_is_scheduled_can_be_called_off(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.patch(
        path_of(made), {"addons": [take("more")], "scheduleStrategy": "END_OF_BILLING_PERIOD"}
    )
    assert shop.delete(f"{path_of(made)}/future-update/schedule") == {"id": made["id"]}
    shop.move("2026-02-11")
    assert shop.limit_of("calls") == 100
    with pytest.raises(NotFound) as refused:
        shop.delete(f"{path_of(made)}/future-update/schedule")
    assert refused.value.code == "FutureUpdateNotFound"


def test_a_plan_that_follows_shows_and_can_be_called_off(shop: Desk) -> None:
    made = shop.subscribe("basic")
    follower = shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    (update,) = shop.get(path_of(made))["futureUpdates"]
    assert update == {
        "subscriptionScheduleType": "PLAN", "scheduleStatus": "SCHEDULED",
        "scheduledExecutionTime": PERIOD_END, "targetPackage": {"id": "pro"},
    }  # fmt: skip
    shop.delete(f"{path_of(made)}/future-update/schedule")
    shop.move("2026-03-01")
    assert shop.limit_of("calls") == 100
    assert shop.get(path_of(made))["status"] == "ACTIVE"
    assert shop.get(path_of(follower))["status"] == "CANCELED"


def test_another_plan_takes_the_place_of_the_one_that_was_to_follow(shop: Desk) -> None:
    made = shop.subscribe("basic")
    first = shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    second = shop.subscribe("max", scheduleStrategy="END_OF_BILLING_PERIOD")
    (update,) = shop.get(path_of(made))["futureUpdates"]
    assert (update["targetPackage"], update["scheduledExecutionTime"]) == (
        {"id": "max"},
        PERIOD_END,
    )
    assert [shop.get(path_of(one))["status"] for one in (first, second)] == [
        "CANCELED", "NOT_STARTED",
    ]  # fmt: skip
    shop.delete(f"{path_of(made)}/future-update/schedule")
    told = shop.get(path_of(made))
    assert (told["futureUpdates"], told["endDate"], told["cancelReason"]) == ([], None, None)
    shop.move("2026-03-01")
    assert shop.limit_of("calls") == 100


def test_one_that_takes_over_earlier_is_called_off_with_all_that_was_to_come(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    sooner = shop.subscribe("max", startDate="2026-01-20T00:00:00Z")
    assert shop.get(path_of(made))["endDate"] == "2026-01-20T00:00:00.000Z"
    shop.post(f"{path_of(sooner)}/cancel")
    assert shop.get(path_of(made))["endDate"] is None


@pytest.mark.parametrize(
    ("change", "end"),
    [({"cancellationDate": None}, None),
     ({"cancellationDate": "2026-12-01T00:00:00Z"}, "2026-12-01T00:00:00.000Z")],
)  # fmt: skip
def test_two_plans_of_a_product_never_hold_at_once_whatever_end_is_asked_for(
    shop: Desk, change: dict[str, Any], end: str | None
) -> None:
    made = shop.subscribe("basic")
    shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    told = shop.patch(path_of(made), change)
    assert (told["endDate"], told["cancelReason"]) == (PERIOD_END, "UPGRADE_OR_DOWNGRADE")
    shop.delete(f"{path_of(made)}/future-update/schedule")
    assert shop.get(path_of(made))["endDate"] == end


def test_an_end_that_is_put_off_meets_what_was_to_begin_after_it(shop: Desk) -> None:
    made = shop.subscribe("basic", cancellationDate="2026-01-20T00:00:00Z")
    shop.subscribe("pro", startDate="2026-02-01T00:00:00Z")
    told = shop.patch(path_of(made), {"cancellationDate": None})
    assert told["endDate"] == "2026-02-01T00:00:00.000Z"
    assert [one["targetPackage"] for one in told["futureUpdates"]] == [{"id": "pro"}]


def test_what_goes_on_meets_the_next_that_is_to_begin(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.subscribe("pro", startDate="2026-02-01T00:00:00Z")
    shop.subscribe("max", startDate="2026-03-01T00:00:00Z")
    shop.delete(f"{path_of(made)}/future-update/schedule")
    told = shop.get(path_of(made))
    assert told["endDate"] == "2026-03-01T00:00:00.000Z"
    assert [one["targetPackage"] for one in told["futureUpdates"]] == [{"id": "max"}]


def test_one_that_ends_before_its_successor_begins_ends_then(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    end = "2026-01-20T00:00:00.000Z"
    told = shop.post(
        f"{path_of(made)}/cancel", {"cancellationTime": "SPECIFIC_DATE", "endDate": end}
    )
    (update,) = told["futureUpdates"]
    assert (told["endDate"], update["scheduledExecutionTime"]) == (end, PERIOD_END)
    shop.delete(f"{path_of(made)}/future-update/schedule")
    assert shop.get(path_of(made))["endDate"] == end
    shop.move("2026-03-01")
    assert shop.limit_of("calls") is None


def test_who_is_told_that_the_plan_to_follow_ends_as_it_begins_keeps_what_he_has(
    shop: Desk,
) -> None:
    made = shop.subscribe("basic")
    follower = shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    shop.patch(path_of(follower), {"cancellationDate": PERIOD_END})
    told = shop.get(path_of(made))
    assert (told["endDate"], told["futureUpdates"]) == (None, [])
    shop.move("2026-03-01")
    assert shop.limit_of("calls") == 100


def test_a_plan_change_that_began_is_not_undone_by_cancelling_it_at_once(shop: Desk) -> None:
    made = shop.subscribe("basic")
    follower = shop.subscribe("pro")
    shop.post(f"{path_of(follower)}/cancel")
    assert [shop.get(path_of(one))["status"] for one in (made, follower)] == ["CANCELED"] * 2
    assert shop.limit_of("calls") is None


def test_a_migration_at_the_end_of_the_period(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.move("2026-01-12")
    shop.renew("basic", "NEW_CUSTOMERS", calls={"usageLimit": 300})
    told = shop.post(
        f"{path_of(made)}/migrate", {"subscriptionMigrationTime": "END_OF_BILLING_PERIOD"}
    )
    (update,) = told["futureUpdates"]
    assert update["subscriptionScheduleType"] == "MIGRATE_TO_LATEST"
    assert shop.limit_of("calls") == 100
    shop.move("2026-02-10T12:00:00")
    assert shop.limit_of("calls") == 300


def test_a_changed_billing_period_resets_usage(shop: Desk) -> None:
    made = shop.subscribe("basic", billingPeriod="MONTHLY")
    shop.move("2026-01-20")
    shop.patch(path_of(made), {"billingPeriod": "ANNUALLY"})
    assert shop.counted_from("calls", "2026-01-21") == at("2026-01-20")
    assert shop.counted_from("calls", "2026-01-15") == at("2026-01-10T12:00:00")


def test_a_changed_billing_period_resets_nothing_where_the_product_never_does(shop: Desk) -> None:
    shop.patch("products/main", {"usageResetCutoffRule": {"behavior": "NEVER_RESET"}})
    made = shop.subscribe("basic", billingPeriod="MONTHLY")
    shop.move("2026-01-20")
    shop.patch(path_of(made), {"billingPeriod": "ANNUALLY"})
    assert shop.counted_from("calls", "2026-01-21") == at("2026-01-10T12:00:00")


def test_nothing_waits_for_a_payment(shop: Desk) -> None:
    made = shop.subscribe("basic")
    with pytest.raises(NotFound) as refused:
        shop.delete(f"{path_of(made)}/future-update/pending-payment")
    assert refused.value.code == "FutureUpdateNotFound"


@pytest.mark.parametrize(
    ("setting", "status"), [("END_OF_BILLING_PERIOD", "ACTIVE"), ("IMMEDIATE", "CANCELED")]
)
def test_who_cancels_without_a_time_gets_the_product_s(
    shop: Desk, setting: str, status: str
) -> None:
    shop.patch("products/main", {"productSettings": {
        "subscriptionCancellationTime": setting, "subscriptionEndSetup": "CANCEL_SUBSCRIPTION",
        "subscriptionStartSetup": "PLAN_SELECTION",
    }})  # fmt: skip
    made = shop.subscribe("basic")
    assert shop.post(f"{path_of(made)}/cancel")["status"] == status


def test_a_trial_that_is_cancelled_ends_with_the_trial(shop: Desk) -> None:
    trial = {"isTrial": True, "trialEndDate": "2026-01-20T00:00:00Z"}
    made = shop.subscribe("basic", trialOverrideConfiguration=trial)
    told = shop.post(f"{path_of(made)}/cancel", {"cancellationTime": "END_OF_BILLING_PERIOD"})
    assert told["cancellationDate"] == "2026-01-20T00:00:00.000Z"


@pytest.mark.parametrize("way", ["plan", "override", "migration"])
def test_what_is_still_to_come_decides_nothing_now(shop: Desk, way: str) -> None:
    """Usage is counted by the day until another rule holds, though that was told long before."""
    shop.call("PATCH", "products/main", {"usageResetCutoffRule": {"behavior": "NEVER_RESET"}})
    shop.add_plan("daily", limit("calls", 10, resetPeriod="DAY"))
    shop.add_plan("yearly", limit("calls", 1000, resetPeriod="YEAR"))
    yearly = {"id": "calls", "type": "FEATURE", "usageLimit": 1000, "resetPeriod": "YEAR"}
    made = shop.subscribe("daily")
    if way == "plan":
        shop.subscribe("yearly", scheduleStrategy="END_OF_BILLING_PERIOD")
    elif way == "override":
        terms = {"scheduleStrategy": "END_OF_BILLING_PERIOD", "entitlements": [yearly]}
        shop.patch(path_of(made), terms)
    else:
        shop.renew("daily", "NEW_CUSTOMERS", calls={"resetPeriod": "YEAR"})
        shop.post(
            f"{path_of(made)}/migrate", {"subscriptionMigrationTime": "END_OF_BILLING_PERIOD"}
        )
    assert shop.counted_from("calls", "2026-01-20T13:00:00") == at("2026-01-20T12:00:00")
    for now in ("2026-01-12", "2026-03-01"):
        shop.move(now)  # and nothing of that changes as time goes by
        assert shop.counted_from("calls", "2026-02-09T13:00:00") == at("2026-02-09T12:00:00")
        assert shop.counted_from("calls", "2026-03-01") == at("2026-02-10T12:00:00")


def test_a_trial_cannot_end_before_it_begins(shop: Desk) -> None:
    shop.subscribe("basic")
    trial = {"isTrial": True, "trialEndBehavior": "CANCEL_SUBSCRIPTION",
             "trialEndDate": "2026-02-10T00:00:00Z"}  # fmt: skip
    made = shop.subscribe("pro", startDate="2026-02-01T00:00:00Z", trialOverrideConfiguration=trial)
    with pytest.raises(BadInput) as refused:
        shop.patch(path_of(made), {"trialEndDate": "2026-01-20T00:00:00Z"})
    assert refused.value.code == "TrialMinDateError"
    assert shop.get(path_of(made))["status"] == "NOT_STARTED"


def test_a_trial_cannot_end_in_the_past(shop: Desk) -> None:
    trial = {"isTrial": True, "trialEndDate": "2026-01-20T00:00:00Z"}
    made = shop.subscribe("basic", trialOverrideConfiguration=trial)
    shop.move("2026-01-15")
    with pytest.raises(BadInput) as refused:
        shop.patch(path_of(made), {"trialEndDate": "2026-01-14T00:00:00Z"})
    assert refused.value.code == "TrialMinDateError"
    told = shop.patch(path_of(made), {"trialEndDate": "2026-02-14T00:00:00Z"})
    assert told["trialEndDate"] == "2026-02-14T00:00:00.000Z"
