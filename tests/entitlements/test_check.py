"""What a check answers (DESIGN 4.3, 4.9, 4.10; STIGG.md 3.5, 3.6, 4.8, 4.10)."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tallystick.clock import DAY, Instant
from tallystick.core.parts import Part
from tallystick.core.periods import LIFETIME
from tallystick.entitlements.check import (
    CheckResult,
    EntitlementReply,
    ListResult,
    check,
    list_entitlements,
)
from tallystick.usage.counters import CounterKey, insert_counter
from tests.usage.building import DEFAULT, NOW, START, Scene, at, limit, monthly, usage

METER = {"filters": [{"conditions": []}], "aggregation": {"function": "AVG", "field": "x"}}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """The fixture of CONFORMANCE.md, with acme subscribed since 10 January, 10:00."""
    scene = Scene(tmp_path)
    scene.add_feature("sso", "BOOLEAN", "None")
    scene.add_feature("region", "ENUM", "None")
    scene.add_feature("projects", "NUMBER", "None")
    scene.add_feature("seats", meter_type="FLUCTUATING")
    scene.add_feature("calls")
    scene.add_feature("latency", meter=METER)
    scene.add_feature("unsold")
    scene.add_plan(
        "basic",
        limit("sso", None),
        limit("region", None, enumValues=["us"]),
        limit("projects", 5),
        limit("seats", 10),
        monthly("calls", 100),
        monthly("latency", 1000),
    )
    scene.add_customer()
    scene.subscribe("basic")
    return scene


def ask(
    scene: Scene,
    feature: str,
    requested: int = 0,
    *,
    values: tuple[str, ...] = (),
    customer: str = "acme",
    resource: str = "",
) -> EntitlementReply:
    """The answer at the scene's ``now``."""
    return checked(scene, feature, requested, values, customer, resource).reply


def checked(
    scene: Scene,
    feature: str,
    requested: int = 0,
    values: tuple[str, ...] = (),
    customer: str = "acme",
    resource: str = "",
) -> CheckResult:
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        return check(
            transaction, scene.rules, DEFAULT, customer, feature, resource, requested, values,
            scene.now,
        )  # fmt: skip


def listed(scene: Scene, customer: str = "acme", resource: str = "") -> ListResult:
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        return list_entitlements(transaction, scene.rules, DEFAULT, customer, resource, scene.now)


def reason(reply: EntitlementReply) -> str | None:
    assert reply.is_granted == (reply.access_denied_reason is None)
    return reply.access_denied_reason


def count(scene: Scene, feature: str, period_start: int, number: int, total: str) -> None:
    """Put an event-fed counter, as the fold would."""
    with scene.store.writing() as transaction:
        counter = CounterKey(DEFAULT, "acme", "", feature, 0, period_start)
        insert_counter(transaction, counter, Part(number, Decimal(total)))


def test_a_boolean_is_granted(scene: Scene) -> None:
    reply = ask(scene, "sso")
    assert reason(reply) is None
    assert reply.feature is not None
    assert reply.feature.feature_type == "BOOLEAN"
    assert reply.usage_limit is reply.current_usage is reply.has_unlimited_usage is None


def test_a_configuration_tells_its_number(scene: Scene) -> None:
    reply = ask(scene, "projects", 99)
    assert reason(reply) is None
    assert (reply.usage_limit, reply.current_usage) == (5, None)


@pytest.mark.parametrize(
    ("values", "told"),
    [((), None), (("us",), None), (("eu",), "RequestedValuesMismatch"),
     (("us", "eu"), "RequestedValuesMismatch")],
)  # fmt: skip
def test_an_enum_allows_its_values(scene: Scene, values: tuple[str, ...], told: str) -> None:
    assert reason(ask(scene, "region", values=values)) == told


@pytest.mark.parametrize(("requested", "told"), [(0, None), (1, None), (2, "over")])
def test_a_hard_limit_is_reached_and_not_passed(scene: Scene, requested: int, told: str) -> None:
    scene.report(usage(9, "seats"))
    told = told and "RequestedUsageExceedingLimit"
    assert reason(ask(scene, "seats", requested)) == told


def test_usage_over_the_limit_shows_and_denies(scene: Scene) -> None:
    scene.report(usage(11, "seats"))
    reply = ask(scene, "seats")
    assert reason(reply) == "RequestedUsageExceedingLimit"
    assert (reply.current_usage, reply.usage_limit) == (11, 10)


def test_unlimited_and_soft_limits_grant_beyond(scene: Scene) -> None:
    scene.add_plan(
        "open", limit("seats", None, hasUnlimitedUsage=True), limit("calls", 1, hasSoftLimit=True)
    )
    scene.add_customer("rich")
    scene.subscribe("open", "rich")
    scene.report(usage(10**6, "seats", customer="rich"), usage(7, customer="rich"))
    unlimited, soft = (ask(scene, name, 1, customer="rich") for name in ("seats", "calls"))
    assert (reason(unlimited), unlimited.has_unlimited_usage) == (None, True)
    assert (reason(soft), soft.current_usage, soft.usage_limit) == (None, 7, 1)


def test_the_period_is_told(scene: Scene) -> None:
    scene.now = at("2026-02-20")
    reply = ask(scene, "calls")
    assert reply.reset_period == "MONTH"
    assert reply.usage_period_anchor == "2026-01-10T10:00:00.000Z"
    assert reply.usage_period_start == "2026-02-10T10:00:00.000Z"
    assert reply.usage_period_end == reply.valid_until == "2026-03-10T10:00:00.000Z"


def test_a_calendar_period_is_its_own_anchor(scene: Scene) -> None:
    monday = {"accordingTo": "EveryMonday"}
    weekly = limit("calls", resetPeriod="WEEK", resetPeriodConfiguration=monday)
    scene.add_plan("weekly", weekly)
    scene.add_customer("other")
    scene.subscribe("weekly", "other")
    reply = ask(scene, "calls", customer="other")
    assert reply.usage_period_start == reply.usage_period_anchor == "2026-01-19T00:00:00.000Z"


def test_without_resets_there_is_no_period(scene: Scene) -> None:
    reply = ask(scene, "seats")
    assert reply.reset_period is reply.usage_period_start is reply.usage_period_end is None
    assert reply.usage_period_anchor is None


def test_usage_begins_anew_with_the_period(scene: Scene) -> None:
    scene.report(usage(100))
    assert reason(ask(scene, "calls", 1)) == "RequestedUsageExceedingLimit"
    scene.now = at("2026-02-10T10:00:00")
    assert (reason(ask(scene, "calls", 1)), ask(scene, "calls").current_usage) == (None, 0)


def test_event_fed_usage_is_the_aggregate(scene: Scene) -> None:
    count(scene, "latency", START, 3, "10")
    assert ask(scene, "latency").current_usage == Decimal("3.333333333")


def test_of_nothing_usage_is_nothing(scene: Scene) -> None:
    assert ask(scene, "latency").current_usage == ask(scene, "calls").current_usage == 0


@pytest.mark.parametrize(
    ("rounding", "requested", "current", "told"),
    [("UP", 8, 2, None), ("UP", 9, 2, "RequestedUsageExceedingLimit"), ("DOWN", 9, 1, None)],
)
def test_shown_units_are_compared(
    scene: Scene, rounding: str, requested: int, current: int, told: str
) -> None:
    scene.add_feature("storage", unitTransformation={"divide": 1000, "round": rounding})
    scene.add_plan("stored", limit("storage", 10))
    scene.add_customer("other")
    scene.subscribe("stored", "other")
    scene.report(usage(1500, "storage", customer="other"))
    reply = ask(scene, "storage", requested, customer="other")
    assert (reply.current_usage, reason(reply)) == (current, told)


def test_what_is_not_in_the_plan_is_denied(scene: Scene) -> None:
    assert reason(ask(scene, "unsold")) == "NoFeatureEntitlementInSubscription"


def test_what_a_plan_does_not_grant_is_denied(scene: Scene) -> None:
    scene.add_plan("closed", limit("sso", None, isGranted=False))
    scene.add_customer("other")
    scene.subscribe("closed", "other")
    assert reason(ask(scene, "sso", customer="other")) == "NoFeatureEntitlementInSubscription"


def test_unknown_names_are_reasons(scene: Scene) -> None:
    assert reason(ask(scene, "nothing")) == "FeatureNotFound"
    assert reason(ask(scene, "calls", customer="nobody")) == "CustomerNotFound"
    assert reason(ask(scene, "nothing", customer="nobody")) == "CustomerNotFound"
    assert ask(scene, "nothing").feature is None


def test_an_archived_customer_is_denied(scene: Scene) -> None:
    scene.add_customer("gone", archived_at=NOW)
    assert reason(ask(scene, "calls", customer="gone")) == "CustomerIsArchived"
    assert listed(scene, "gone").reply.access_denied_reason == "CustomerIsArchived"


def test_a_cancelled_subscription_grants_nothing_from_its_end_on(scene: Scene) -> None:
    scene.end("basic", Instant(NOW + DAY))
    assert reason(ask(scene, "calls")) is None
    scene.now = Instant(NOW + DAY)
    assert reason(ask(scene, "calls")) == "NoActiveSubscription"
    assert listed(scene).reply == msgspec.structs.replace(
        listed(scene).reply, entitlements=[], access_denied_reason="NoActiveSubscription"
    )


def test_a_resource_has_its_own_usage_and_entitlements(scene: Scene) -> None:
    scene.add_plan("small", limit("seats", 3))
    scene.subscribe("small", resource="site-1")
    scene.report(usage(4, "seats", resource="site-1"), usage(1, "seats"))
    site, whole = ask(scene, "seats", resource="site-1"), ask(scene, "seats")
    assert (site.current_usage, site.usage_limit) == (4, 3)
    assert (whole.current_usage, whole.usage_limit) == (1, 10)
    (only,) = listed(scene, resource="site-1").reply.entitlements
    assert only == site


def test_a_resource_without_subscription_is_denied_and_its_usage_told(scene: Scene) -> None:
    scene.report(usage(4, "seats", resource="site-1"))
    known, unknown = (ask(scene, "seats", resource=name) for name in ("site-1", "site-2"))
    assert (reason(known), known.current_usage) == ("NoActiveSubscription", 4)
    assert reason(unknown) == "CustomerResourceNotFound"
    assert listed(scene, resource="site-2").reply.access_denied_reason == "NoActiveSubscription"


def test_the_list_has_every_entitlement_once(scene: Scene) -> None:
    scene.report(usage(3))
    replies = listed(scene).reply.entitlements
    names = [each.feature.id for each in replies if each.feature]
    assert names == ["calls", "latency", "projects", "region", "seats", "sso"]
    assert all(each.is_granted for each in replies)
    assert replies[0].current_usage == 3
    assert listed(scene).reply.access_denied_reason is None


def test_what_awaits_a_recount_says_so(scene: Scene) -> None:
    assert checked(scene, "latency").pending is listed(scene).pending is None
    with scene.store.writing() as transaction:
        transaction.run(
            "INSERT INTO recounts (environment, feature, customer, reason, together, as_of, "
            "queued_at) VALUES (?, 'latency', '', 'test', 1, ?, ?)",
            DEFAULT, START, NOW,
        )  # fmt: skip
    scene.add_customer("another")  # any change makes the rules look again
    assert checked(scene, "latency").pending == listed(scene).pending == START
    assert checked(scene, "calls").pending is None


def test_a_check_writes_nothing(scene: Scene) -> None:
    before = _everything(scene)
    for _ in range(100):
        ask(scene, "calls", 1)
    assert _everything(scene) == before


def _everything(scene: Scene) -> list[Any]:
    tables = [name for (name,) in scene.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [scene.rows(f"SELECT * FROM {name}") for name in tables]


def test_the_answer_on_the_wire(scene: Scene) -> None:
    scene.report(usage("0.5"))
    told = msgspec.json.decode(
        msgspec.json.Encoder(decimal_format="number").encode(ask(scene, "calls"))
    )
    assert told == {
        "isGranted": True,
        "accessDeniedReason": None,
        "feature": {"id": "calls", "displayName": "Calls", "featureStatus": "ACTIVE",
                    "featureType": "NUMBER"},
        "usageLimit": 100,
        "currentUsage": 0.5,
        "hasUnlimitedUsage": False,
        "resetPeriod": "MONTH",
        "usagePeriodAnchor": "2026-01-10T10:00:00.000Z",
        "usagePeriodStart": "2026-01-10T10:00:00.000Z",
        "usagePeriodEnd": "2026-02-10T10:00:00.000Z",
        "entitlementUpdatedAt": None,
        "validUntil": "2026-02-10T10:00:00.000Z",
        "type": "FEATURE",
    }  # fmt: skip


def test_reports_without_subscription_show_in_a_lifetime(scene: Scene) -> None:
    """What came before the first subscription counts once a rule covers it (DESIGN 4.8)."""
    scene.add_customer("new")
    scene.report(usage(4, "seats", customer="new"))
    assert reason(ask(scene, "seats", customer="new")) == "NoActiveSubscription"
    scene.subscribe("basic", "new", start=NOW)
    assert ask(scene, "seats", customer="new").current_usage == 4
    assert scene.rows("SELECT period_start FROM counters WHERE customer = 'new'") == [(LIFETIME,)]
