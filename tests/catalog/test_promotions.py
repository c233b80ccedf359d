"""Promotional entitlements: granted, listed, replaced, revoked, and what they do to usage."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, NotFound
from tests.catalog.building import Desk, limit, meter, monthly
from tests.catalog.test_effects import counted, report

PATH = "customers/acme/promotional-entitlements"


def grant(desk: Desk, feature: str = "calls", period: str = "lifetime", **more: Any) -> Any:
    """Grant one, with a limit of 500 unless told otherwise."""
    item = {"featureId": feature, "period": period, "usageLimit": 500} | more
    (made,) = desk.post(PATH, {"promotionalEntitlements": [item]})
    return made


def statuses(desk: Desk) -> list[tuple[str, str]]:
    return [(item["featureId"], item["status"]) for item in desk.get(PATH)]


def test_one_that_is_more_generous_raises_the_limit(shop: Desk) -> None:
    shop.subscribe("basic")
    grant(shop, usageLimit=500, resetPeriod="MONTH")
    assert shop.limit_of("calls") == 500


def test_one_that_is_less_generous_changes_nothing(shop: Desk) -> None:
    shop.subscribe("basic")
    grant(shop, usageLimit=50)
    assert shop.limit_of("calls") == 100


def test_it_needs_no_subscription_and_holds_for_each_resource(shop: Desk) -> None:
    grant(shop)
    assert [shop.limit_of("calls", resource=name) for name in ("", "site")] == [500, 500]


@pytest.mark.parametrize(
    ("period", "end"),
    [
        ("1 week", "2026-01-17T12:00:00.000Z"),
        ("1 month", "2026-02-10T12:00:00.000Z"),
        ("6 month", "2026-07-10T12:00:00.000Z"),
        ("1 year", "2027-01-10T12:00:00.000Z"),
        ("lifetime", None),
    ],
)
def test_how_long_each_period_lasts(shop: Desk, period: str, end: str | None) -> None:
    made = grant(shop, period=period)
    assert (made["startDate"], made["endDate"]) == ("2026-01-10T12:00:00.000Z", end)


def test_what_is_past_its_own_end_is_expired_and_the_limit_reverts(shop: Desk) -> None:
    shop.subscribe("basic")
    made = grant(shop, period="custom", customEndDate="2026-01-20T00:00:00Z")
    assert made["status"] == "Active"
    shop.move("2026-01-20")
    assert shop.limit_of("calls") == 100
    assert statuses(shop) == [("calls", "Expired")]


@pytest.mark.parametrize(
    "item",
    [
        {"period": "custom"},
        {"period": "custom", "customEndDate": None},
        {"period": "custom", "customEndDate": "2026-01-10T12:00:00Z"},
        {"period": "1 week", "customEndDate": "2026-02-01T00:00:00Z"},
        {"resetPeriod": "MONTH", "weeklyResetPeriodConfiguration": {"accordingTo": "EveryMonday"}},
    ],
)
def test_what_does_not_fit_is_refused(shop: Desk, item: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        grant(shop, **item)
    assert statuses(shop) == []


def test_a_feature_is_granted_once_in_a_request(shop: Desk) -> None:
    item = {"featureId": "calls", "period": "lifetime"}
    with pytest.raises(BadInput, match="twice"):
        shop.post(PATH, {"promotionalEntitlements": [item, item]})


def test_unknown_features_and_customers_are_not_found(shop: Desk) -> None:
    with pytest.raises(NotFound, match="feature"):
        grant(shop, "nope")
    for call in (shop.get, shop.delete):
        with pytest.raises(NotFound, match="customer"):
            call("customers/nobody/promotional-entitlements" + "/calls" * (call == shop.delete))


def test_archived_features_and_customers_are_granted_nothing(shop: Desk) -> None:
    shop.add_feature("old")
    shop.post("features/old/archive")
    with pytest.raises(BadInput, match="archived"):
        grant(shop, "old")
    shop.post("customers/acme/archive")
    with pytest.raises(BadInput, match="archived"):
        grant(shop)


def test_values_of_an_enum_must_be_its_own(desk: Desk) -> None:
    desk.add_customer()
    values = [{"value": "us", "displayName": "US"}]
    desk.post("features", {
        "id": "region", "displayName": "Region", "featureType": "ENUM", "enumConfiguration": values,
    })  # fmt: skip
    with pytest.raises(BadInput, match="moon"):
        grant(desk, "region", usageLimit=None, enumValues=["moon"])
    assert grant(desk, "region", usageLimit=None, enumValues=["us"])["enumValues"] == ["us"]


def test_a_second_grant_replaces_the_first(shop: Desk) -> None:
    first = grant(shop)
    shop.move("2026-01-11")
    second = grant(shop, usageLimit=7)
    assert [item["id"] for item in shop.get(PATH)] == [second["id"]] != [first["id"]]
    assert shop.limit_of("calls") == 7
    assert shop.limit_of("calls", moment="2026-01-10T13:00:00") == 500
    assert len(shop.rows("SELECT id FROM promotional_entitlements")) == 2


def test_one_that_replaces_another_goes_on_with_its_periods(shop: Desk) -> None:
    grant(shop, resetPeriod="MONTH")
    for day in ("2026-01-20", "2026-01-25"):
        shop.move(day)
        grant(shop, resetPeriod="MONTH")
    period = shop.period_of("calls", "2026-01-26")
    first = shop.period_of("calls", "2026-01-11")
    assert period == first is not None


def test_one_that_replaces_an_expired_one_begins_anew(shop: Desk) -> None:
    grant(shop, period="1 week")
    shop.move("2026-02-01")
    assert grant(shop)["status"] == "Active"
    assert statuses(shop) == [("calls", "Active")]
    assert shop.limit_of("calls", moment="2026-01-25") is None


def test_plan_changes_leave_it(shop: Desk) -> None:
    grant(shop)
    shop.add_plan("other", monthly("calls", 5))
    shop.subscribe("basic")
    shop.subscribe("other")
    assert shop.limit_of("calls") == 500


def test_revoking_ends_it_and_revoking_again_finds_nothing(shop: Desk) -> None:
    grant(shop)
    shop.move("2026-01-11")
    revoked = shop.delete(f"{PATH}/calls")
    assert (revoked["status"], revoked["endDate"]) == ("Expired", "2026-01-11T00:00:00.000Z")
    assert (shop.limit_of("calls"), statuses(shop)) == (None, [])
    with pytest.raises(NotFound) as refused:
        shop.delete(f"{PATH}/calls")
    assert refused.value.code == "PromotionalEntitlementNotFoundError"


def test_lists_are_filtered_by_status_and_come_in_pages(shop: Desk) -> None:
    grant(shop, "calls", period="1 week")
    shop.move("2026-01-12")
    grant(shop, "events")
    shop.move("2026-02-01")
    assert [item["featureId"] for item in shop.get(PATH, status="Expired")] == ["calls"]
    assert [item["featureId"] for item in shop.get(PATH, status="Active,Paused")] == ["events"]
    first = shop.page(PATH, limit=1)
    second = shop.page(PATH, limit=1, after=first.next)
    assert [item["featureId"] for item in first.items + second.items] == ["calls", "events"]
    created = {"createdAt[gte]": "2026-01-12T00:00:00Z"}
    assert [item["featureId"] for item in shop.get(PATH, **created)] == ["events"]


def test_a_grant_that_moves_events_recounts_them_also_beside_subscriptions(shop: Desk) -> None:
    shop.archive_events_of()
    grant(shop, "events", resetPeriod="DAY")
    assert shop.recounts() == [("events", "acme")]


def test_resources_that_never_had_a_subscription_are_recounted_too(shop: Desk) -> None:
    """The customer itself has the same periods before and after."""
    shop.add_plan("daily", limit("events", 1000, resetPeriod="DAY"))
    shop.subscribe("daily")
    shop.archive_events_of()
    grant(shop, "events", usageLimit=5, resetPeriod="DAY")
    assert shop.recounts() == [("events", "acme")]


def test_a_grant_that_wins_nothing_anywhere_recounts_nothing(shop: Desk) -> None:
    shop.archive_events_of()
    grant(shop, "calls", resetPeriod="DAY")
    assert shop.recounts() == []


def test_reported_usage_is_right_when_the_change_returns(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.move("2026-01-12T06:00:00")
    report(shop, 5)
    shop.move("2026-01-12T18:00:00")
    report(shop, 2)
    assert list(counted(shop).values()) == ["7"]
    grant(shop, resetPeriod="DAY")
    start = shop.counted_from("calls", "2026-01-12T18:00:00")
    assert start is not None
    assert counted(shop)[start] == "2"


def test_raising_a_limit_forgets_no_usage(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.move("2026-01-12")
    report(shop, 60)
    before = counted(shop)
    grant(shop, resetPeriod="MONTH")
    assert counted(shop) == before


def test_limits_published_for_all_move_events_where_a_grant_stands_beside(desk: Desk) -> None:
    desk.add_product()
    desk.add_feature("events", meter=meter())
    desk.add_plan("basic", monthly("events", 10))
    desk.add_customer()
    desk.subscribe("basic")
    grant(desk, "events", usageLimit=50, resetPeriod="DAY")
    desk.archive_events_of()
    desk.renew("basic", "ALL_CUSTOMERS", events={"usageLimit": 100})
    assert desk.recounts() == [("events", "")]
