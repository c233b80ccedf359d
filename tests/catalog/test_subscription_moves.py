"""Subscriptions handed over, brought in, and tried out."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, Conflict, NotFound
from tests.catalog.building import Desk, at, limit, monthly


@pytest.fixture
def sites(desk: Desk) -> Desk:
    """A plan that resources subscribe to by themselves."""
    desk.add_product(multipleSubscriptions=True)
    desk.add_feature("calls")
    desk.add_plan("basic", monthly("calls", 100))
    desk.add_addon("more", limit("calls", 20))
    desk.add_customer()
    return desk


def test_a_transfer_moves_the_grant_and_leaves_the_usage(sites: Desk) -> None:
    made = sites.subscribe("basic", resourceId="one", addons=[{"id": "more", "quantity": 1}])
    sites.move("2026-01-15")
    told = sites.post(f"subscriptions/{made['id']}/transfer", {"destinationResourceId": "two"})
    assert (told["resourceId"], told["status"]) == ("two", "ACTIVE")
    assert sites.limit_of("calls", resource="two") == 120
    assert sites.limit_of("calls", resource="one") is None
    assert sites.limit_of("calls", resource="one", moment="2026-01-14") == 120
    assert sites.limit_of("calls", resource="two", moment="2026-01-14") is None
    period = sites.period_of("calls", "2026-01-16", resource="two")
    assert period is not None
    assert (period.counted_from, period.end) == (at("2026-01-15"), at("2026-02-10T12:00:00"))


def test_there_and_back_in_one_instant_is_no_move(sites: Desk) -> None:
    made = sites.subscribe("basic", resourceId="one")
    sites.move("2026-01-15")
    for resource in ("two", "one"):
        sites.post(f"subscriptions/{made['id']}/transfer", {"destinationResourceId": resource})
    assert sites.limit_of("calls", resource="one") == 100
    assert sites.limit_of("calls", resource="two") is None
    assert len(sites.rows("SELECT * FROM subscription_tenures")) == 1


def test_delegation_hands_it_to_another_customer(shop: Desk) -> None:
    shop.add_customer("globex")
    made = shop.subscribe("basic")
    shop.move("2026-01-15")
    told = shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    assert (told["customerId"], told["payingCustomerId"]) == ("globex", "acme")
    assert (shop.limit_of("calls", "globex"), shop.limit_of("calls")) == (100, None)
    assert [one["id"] for one in shop.get("subscriptions", customerId="globex")] == [made["id"]]
    assert shop.get("subscriptions", customerId="acme") == []


def test_an_addon_published_for_all_reaches_the_new_holder(shop: Desk) -> None:
    shop.add_addon("more", limit("calls", 20))
    shop.add_customer("globex")
    made = shop.subscribe("basic", addons=[{"id": "more", "quantity": 1}])
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    shop.post("addons/more/draft")
    shop.patch("addons/more/entitlements/calls", {"type": "FEATURE", "usageLimit": 50})
    shop.post("addons/more/publish", {"migrationType": "ALL_CUSTOMERS"})
    assert shop.limit_of("calls", "globex") == 150


def test_a_customer_that_has_one_of_the_product_gets_no_other(shop: Desk) -> None:
    shop.add_customer("globex")
    shop.subscribe("basic", "globex")
    made = shop.subscribe("basic")
    with pytest.raises(Conflict):
        shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    assert shop.limit_of("calls") == 100


def test_the_plan_that_is_to_follow_goes_along(shop: Desk) -> None:
    shop.add_plan("pro", monthly("calls", 500))
    shop.add_customer("globex")
    made = shop.subscribe("basic")
    later = shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    told = shop.get(f"subscriptions/{later['id']}")
    assert (told["customerId"], told["payingCustomerId"]) == ("globex", "acme")
    shop.move("2026-03-01")
    assert (shop.limit_of("calls", "globex"), shop.limit_of("calls")) == (500, None)


def test_what_is_to_follow_can_be_called_off_by_whoever_has_it_now(shop: Desk) -> None:
    shop.add_plan("pro", monthly("calls", 500))
    made = shop.subscribe("basic")
    shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    shop.post(f"subscriptions/{made['id']}/transfer", {"destinationResourceId": "one"})
    shop.delete(f"subscriptions/{made['id']}/future-update/schedule")
    told = shop.get(f"subscriptions/{made['id']}")
    assert (told["endDate"], told["futureUpdates"]) == (None, [])


def test_the_plan_that_is_to_follow_counts_nothing_of_before_the_move(shop: Desk) -> None:
    shop.call("PATCH", "products/main", {"usageResetCutoffRule": {"behavior": "NEVER_RESET"}})
    shop.add_plan("pro", monthly("calls", 500))
    shop.add_customer("globex")
    made = shop.subscribe("basic")
    later = shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    shop.move("2026-02-20")
    yearly = {"id": "calls", "type": "FEATURE", "resetPeriod": "YEAR"}
    shop.patch(f"subscriptions/{later['id']}", {"entitlements": [yearly]})
    assert shop.counted_from("calls", "2026-03-01", "globex") == at("2026-01-15")


def test_what_is_to_follow_goes_nowhere_alone(shop: Desk) -> None:
    shop.add_plan("pro", monthly("calls", 500))
    shop.subscribe("basic")
    later = shop.subscribe("pro", scheduleStrategy="END_OF_BILLING_PERIOD")
    with pytest.raises(BadInput, match="is to follow"):
        shop.post(f"subscriptions/{later['id']}/transfer", {"destinationResourceId": "one"})


def test_a_move_leaves_the_periods_of_the_former_holder(shop: Desk) -> None:
    shop.add_customer("globex")
    made = shop.subscribe("basic")
    shop.move("2026-01-12")
    weekly = {"id": "calls", "type": "FEATURE", "resetPeriod": "WEEK"}
    shop.patch(f"subscriptions/{made['id']}", {"entitlements": [weekly]})
    before = shop.period_of("calls", "2026-01-12T12:00:00")
    assert before is not None
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    assert shop.period_of("calls", "2026-01-12T12:00:00") == before._replace(
        counted_until=at("2026-01-15")
    )


def test_a_plan_change_counts_nothing_of_before_the_move(shop: Desk) -> None:
    shop.call("PATCH", "products/main", {"usageResetCutoffRule": {"behavior": "NEVER_RESET"}})
    shop.add_plan("pro", limit("calls", 500, resetPeriod="YEAR"))
    shop.add_customer("globex")
    made = shop.subscribe("basic")
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    shop.move("2026-01-20")
    shop.subscribe("pro", "globex")
    assert shop.counted_from("calls", "2026-01-21", "globex") == at("2026-01-15")


def test_a_plan_change_does_not_reach_into_the_time_of_another_holder(shop: Desk) -> None:
    shop.add_plan("pro", monthly("calls", 500))
    shop.add_customer("globex")
    made = shop.subscribe("basic")
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    with pytest.raises(BadInput, match="handed over at 2026-01-15"):
        shop.subscribe("pro", "globex", startDate="2026-01-12T00:00:00Z")
    assert shop.limit_of("calls", moment="2026-01-14") == 100


def test_a_new_plan_does_not_reach_into_the_time_of_one_that_was_handed_over(shop: Desk) -> None:
    shop.add_customer("globex")
    made = shop.subscribe("basic")
    shop.move("2026-01-15")
    shop.post(f"subscriptions/{made['id']}/delegate", {"targetCustomerId": "globex"})
    with pytest.raises(BadInput, match="handed over at 2026-01-15"):
        shop.subscribe("basic", startDate="2026-01-12T00:00:00Z")
    told = shop.subscribe("basic", startDate="2026-01-15T00:00:00Z")
    assert told["status"] == "ACTIVE"


def test_moves_that_make_no_sense(shop: Desk) -> None:
    made = shop.subscribe("basic")
    path = f"subscriptions/{made['id']}"
    with pytest.raises(BadInput):
        shop.post(f"{path}/delegate", {"targetCustomerId": "acme"})
    with pytest.raises(NotFound) as unknown:
        shop.post(f"{path}/delegate", {"targetCustomerId": "nobody"})
    assert unknown.value.code == "CustomerNotFound"
    with pytest.raises(BadInput):
        shop.post(f"{path}/transfer", {"destinationResourceId": ""})
    shop.post(f"{path}/cancel")
    with pytest.raises(BadInput) as ended:
        shop.post(f"{path}/transfer", {"destinationResourceId": "one"})
    assert ended.value.code == "SubscriptionAlreadyCanceledOrExpired"


def brought(subscription: str, **more: Any) -> dict[str, Any]:
    """A subscription as another system knows it."""
    return {"id": subscription, "customerId": "acme", "planId": "basic"} | more


def test_import_makes_what_does_not_exist_yet(shop: Desk) -> None:
    shop.add_customer("globex")
    items = [
        brought("s-1", startDate="2025-12-01T00:00:00Z", endDate="2026-06-01T00:00:00Z"),
        brought("s-2", customerId="globex", metadata={"k": "v"}),
    ]
    for _ in range(2):
        told = shop.post("subscriptions/import", {"subscriptions": items})
        assert told["taskId"]
    first = shop.get("subscriptions/s-1")
    assert (first["startDate"], first["effectiveEndDate"]) == (
        "2025-12-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z",
    )  # fmt: skip
    assert shop.get("subscriptions/s-2")["metadata"] == {"k": "v"}
    assert shop.counted_from("calls", "2026-01-10") == at("2026-01-01")
    assert len(shop.get("subscriptions")) == 2


def test_import_is_all_or_nothing(shop: Desk) -> None:
    items = [brought("s-1"), brought("s-2", customerId="nobody")]
    with pytest.raises(NotFound) as refused:
        shop.post("subscriptions/import", {"subscriptions": items})
    assert refused.value.code == "CustomerNotFound"
    assert refused.value.message.startswith("subscriptions[1]: ")
    assert shop.get("subscriptions") == []
    for wrong in ([], [brought("-bad")], [brought("s", endDate="2026-06-01T00:00:00Z")]):
        with pytest.raises(BadInput):
            shop.post("subscriptions/import", {"subscriptions": wrong})


def test_what_was_over_before_the_present_plan_began_is_brought_in_beside_it(shop: Desk) -> None:
    shop.add_plan("pro", monthly("calls", 500))
    made = shop.subscribe("pro")
    old = brought("old", startDate="2025-01-01T00:00:00Z", endDate="2025-06-01T00:00:00Z")
    shop.post("subscriptions/import", {"subscriptions": [old]})
    assert shop.get(f"subscriptions/{made['id']}")["status"] == "ACTIVE"
    limits = [
        shop.limit_of("calls", moment=on) for on in ("2025-05-01", "2025-07-01", "2026-02-01")
    ]
    assert limits == [100, None, 500]


def test_a_preview_leaves_nothing(shop: Desk) -> None:
    body = {"customerId": "acme", "planId": "basic", "startDate": "2026-02-01T00:00:00Z"}
    told = shop.post("subscriptions/preview", body)
    assert told["billingPeriodRange"] == {
        "start": "2026-02-01T00:00:00.000Z", "end": "2026-03-01T00:00:00.000Z",
    }  # fmt: skip
    assert told["hasScheduledUpdates"] is True
    assert told["immediateInvoice"]["total"] == 0
    assert shop.get("subscriptions") == []
    assert shop.limit_of("calls") is None


def test_a_preview_is_refused_as_the_real_one_would_be(shop: Desk) -> None:
    with pytest.raises(NotFound) as refused:
        shop.post("subscriptions/preview", {"customerId": "acme", "planId": "none"})
    assert refused.value.code == "PlanNotFound"
    shop.subscribe("basic")
    with pytest.raises(Conflict):
        shop.post("subscriptions/preview", {"customerId": "acme", "planId": "basic"})
