"""What a change of rules recounts."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from decimal import Decimal

import pytest

from tallystick import limits
from tallystick.archive.query import QueryEngine, Session
from tallystick.catalog.changes import record_change
from tallystick.ingest.usage import UsageItem
from tallystick.usage.report import report_usages
from tests.catalog.building import NOW, Desk, limit, meter, monthly


def test_a_customer_without_archived_events_needs_no_recount(shop: Desk) -> None:
    shop.subscribe("basic")
    assert shop.recounts() == []


def test_subscribing_recounts_what_came_before(shop: Desk) -> None:
    shop.archive_events_of()
    shop.subscribe("basic")
    assert shop.recounts() == [("events", "acme")]


def test_every_feature_that_moved_is_recounted(shop: Desk) -> None:
    shop.add_feature("more", meter=meter())
    shop.add_plan("both", monthly("events"), monthly("more"))
    shop.archive_events_of()
    shop.subscribe("both")
    assert shop.recounts() == [("events", "acme"), ("more", "acme")]


def test_a_change_that_moves_no_event_recounts_nothing(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.archive_events_of()
    path = f"subscriptions/{made['id']}"
    shop.patch(path, {"metadata": {"a": "b"}})
    shop.patch(path, {"entitlements": [limit("events", 5)]})
    shop.patch("customers/acme", {"timezone": "Europe/Berlin"})
    assert shop.recounts() == []


def test_an_override_of_the_reset_period_recounts(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.archive_events_of()
    item = {"id": "events", "type": "FEATURE", "resetPeriod": "DAY"}
    shop.patch(f"subscriptions/{made['id']}", {"entitlements": [item]})
    assert shop.recounts() == [("events", "acme")]


def test_changes_before_it_ended_share_a_recount(shop: Desk) -> None:
    shop.archive_events_of()
    made = shop.subscribe("basic")
    shop.move("2026-01-11")
    shop.post(f"subscriptions/{made['id']}/cancel")
    assert shop.recounts() == [("events", "acme")]


def test_publishing_other_limits_recounts_nothing(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.archive_events_of()
    shop.renew("basic", "ALL_CUSTOMERS", events={"usageLimit": 5})
    assert shop.recounts() == []


def test_publishing_other_resets_for_all_recounts_the_feature(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.archive_events_of()
    shop.renew("basic", "NEW_CUSTOMERS", events={"resetPeriod": "DAY"})
    assert shop.recounts() == []
    shop.renew("basic", "ALL_CUSTOMERS", events={"resetPeriod": "WEEK"})
    assert shop.recounts() == [("events", "")]


def test_what_begins_later_is_placed_by_the_version_of_then(shop: Desk) -> None:
    """A lifetime counts from before its subscription begins, so that even events of now move."""
    shop.add_plan("life", limit("events", 5))
    shop.archive_events_of()
    shop.subscribe("life", startDate="2026-02-01T00:00:00Z")
    assert shop.recounts() == [("events", "acme")]
    with shop.services.state.writing() as transaction:
        transaction.run("DELETE FROM recounts")
    shop.move("2026-01-11")
    shop.renew("life", "NEW_CUSTOMERS", events={"resetPeriod": "DAY"})
    assert shop.recounts() == [("events", "acme")]


def test_publishing_a_new_feature_for_all_recounts_it(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.add_feature("more", meter=meter())
    shop.archive_events_of()
    shop.post("plans/basic/draft")
    shop.grant("basic", monthly("more"))
    shop.publish("basic", "ALL_CUSTOMERS")
    assert shop.recounts() == [("more", "")]


def test_nobody_subscribed_nothing_recounted(shop: Desk) -> None:
    shop.archive_events_of()
    shop.renew("basic", "ALL_CUSTOMERS", events={"resetPeriod": "WEEK"})
    assert shop.recounts() == []


def test_limits_move_events_where_they_decide_between_subscriptions(desk: Desk) -> None:
    desk.add_product(multipleSubscriptions=True)
    desk.add_feature("events", meter=meter())
    desk.add_plan("daily", limit("events", 5, resetPeriod="DAY"))
    desk.add_plan("basic", monthly("events", 10))
    desk.add_customer()
    desk.subscribe("basic")
    desk.subscribe("daily")
    desk.archive_events_of()
    desk.renew("daily", "ALL_CUSTOMERS", events={"usageLimit": 50})
    assert desk.recounts() == [("events", "")]


def report(desk: Desk, value: int, customer: str = "acme") -> None:
    item = UsageItem(
        customer=customer, feature="calls", resource="", value=Decimal(value), behavior="DELTA",
        created_at=None, key=None, dimensions="{}",
    )  # fmt: skip
    now = desk.services.clock.now()
    with desk.services.state.writing() as transaction:
        rules = desk.services.rules()
        rules.refresh(transaction)
        report_usages(transaction, rules, desk.environment, [item], now, 10**12)


def counted(desk: Desk) -> dict[int, str]:
    counters = "SELECT period_start, sum FROM counters JOIN counter_parts USING (id)"
    return dict(desk.rows(f"{counters} WHERE feature = 'calls'"))


def test_reported_usage_is_placed_anew_in_the_same_transaction(shop: Desk) -> None:
    made = shop.subscribe("basic")
    shop.move("2026-01-12T06:00:00")
    report(shop, 5)
    shop.move("2026-01-12T18:00:00")
    report(shop, 2)
    item = {"id": "calls", "type": "FEATURE", "resetPeriod": "DAY"}
    shop.patch(f"subscriptions/{made['id']}", {"entitlements": [item]})
    start = shop.counted_from("calls", "2026-01-12T18:00:00")
    assert start is not None
    assert sorted(counted(shop).values()) == ["2", "5"]
    assert counted(shop)[start] == "2"


def test_reported_usage_is_placed_anew_for_all_subscribers(shop: Desk) -> None:
    shop.subscribe("basic")
    shop.move("2026-01-12T06:00:00")
    report(shop, 5)
    shop.move("2026-01-12T18:00:00")
    report(shop, 2)
    shop.renew("basic", "ALL_CUSTOMERS", calls={"resetPeriod": "DAY"})
    start = shop.counted_from("calls", "2026-01-12T18:00:00")
    assert start is not None
    assert counted(shop)[start] == "2"


def test_the_record_is_read_once_for_all_subscribers(
    shop: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write lock is held meanwhile. In lots of two, because memory is bounded too."""
    monkeypatch.setattr(limits, "RECALCULATED_TOGETHER_MAX", 2)
    sessions: list[QueryEngine] = []
    begin = QueryEngine.session

    def watched(engine: QueryEngine) -> AbstractContextManager[Session]:
        sessions.append(engine)
        return begin(engine)

    monkeypatch.setattr(QueryEngine, "session", watched)
    for customer in "abcde":
        shop.add_customer(customer)
        shop.subscribe("basic", customer)
    shop.move("2026-01-12T06:00:00")
    for value, customer in enumerate("abcd", 1):
        report(shop, value, customer)
    shop.move("2026-01-12T18:00:00")
    report(shop, 10, "a")
    shop.renew("basic", "ALL_CUSTOMERS", calls={"resetPeriod": "DAY"})
    assert len(sessions) == 1
    counters = "SELECT customer, sum FROM counters JOIN counter_parts USING (id)"
    assert shop.rows(f"{counters} ORDER BY customer, period_start") == [
        ("a", "1"), ("a", "10"), ("b", "2"), ("c", "3"), ("d", "4"),
    ]  # fmt: skip


def test_publishing_reads_no_record_of_those_who_reported_nothing_that_moved(
    shop: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add_feature("seats")
    shop.post("plans/basic/draft")
    shop.grant("basic", limit("seats"))
    shop.publish("basic")
    shop.subscribe("basic")
    report(shop, 5)
    monkeypatch.setattr(QueryEngine, "session", None)
    shop.renew("basic", "ALL_CUSTOMERS", seats={"resetPeriod": "DAY"})
    assert list(counted(shop).values()) == ["5"]


def test_reported_usage_of_what_begins_later_is_placed_by_the_version_of_then(shop: Desk) -> None:
    shop.add_plan("life", limit("calls", 5))
    shop.subscribe("life", startDate="2026-02-01T00:00:00Z")
    shop.move("2026-01-12")
    shop.renew("life", "NEW_CUSTOMERS", calls={"resetPeriod": "DAY"})
    report(shop, 5)
    shop.move("2026-02-01T06:00:00")
    report(shop, 2)
    assert sorted(counted(shop).values()) == ["2", "5"]


def take_addon(desk: Desk, subscription: str, addon: str) -> None:
    """Pretend that a subscription had an add-on from its start."""
    with desk.services.state.writing() as transaction:
        transaction.run(
            "INSERT INTO subscription_addons (environment, addon, subscription, customer) "
            "VALUES (?, ?, ?, 'acme')",
            desk.environment, addon, subscription,
        )  # fmt: skip
        history = [{"at": NOW, "addons": [{"id": addon, "quantity": 1, "version": 1}]}]
        transaction.run(
            "UPDATE subscriptions SET body = json_set(body, '$.addonHistory', json(?)) "
            "WHERE id = ?",
            json.dumps(history),
            subscription,
        )
        record_change(transaction, desk.environment, "acme", desk.services.clock.now())


def test_publishing_an_addon_for_all_counts_anew_what_it_moves(shop: Desk) -> None:
    items = [limit(name, 50, behavior="Override") for name in ("calls", "events")]
    shop.add_addon("extra", *items)
    take_addon(shop, shop.subscribe("basic")["id"], "extra")
    shop.archive_events_of()
    shop.move("2026-01-12T06:00:00")
    report(shop, 5)
    shop.move("2026-01-12T18:00:00")
    report(shop, 2)
    shop.post("addons/extra/draft")
    for name in ("calls", "events"):
        change = {"type": "FEATURE", "resetPeriod": "DAY"}
        shop.patch(f"addons/extra/entitlements/{name}", change)
    shop.post("addons/extra/publish", {"migrationType": "ALL_CUSTOMERS"})
    assert sorted(counted(shop).values()) == ["2", "5"]
    assert shop.recounts() == [("events", "")]
