"""What a check answers of promotional entitlements, add-ons, and of what will change by time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.clock import DAY, Instant, format_instant
from tallystick.entitlements.check import (
    EntitlementReply,
    EntitlementsReply,
    check,
    list_entitlements,
)
from tests.entitlements.scene import RichScene
from tests.usage.building import DEFAULT, NOW, START, at, limit, monthly, usage

LATER = Instant(NOW + DAY)


@pytest.fixture
def scene(tmp_path: Path) -> RichScene:
    """acme has a plan with calls, and nobody else has any."""
    scene = RichScene(tmp_path)
    scene.add_feature("sso", "BOOLEAN", "None")
    scene.add_feature("region", "ENUM", "None")
    scene.add_feature("seats", meter_type="FLUCTUATING")
    scene.add_feature("calls")
    scene.add_plan("basic", monthly("calls", 100), limit("sso", None))
    scene.add_customer()
    scene.add_customer("new")
    scene.subscribe("basic")
    return scene


def ask(
    scene: RichScene,
    feature: str,
    requested: int = 0,
    values: tuple[str, ...] = (),
    customer: str = "acme",
    resource: str = "",
) -> EntitlementReply:
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        return check(
            transaction, scene.rules, DEFAULT, customer, feature, resource, requested, values,
            scene.now,
        ).reply  # fmt: skip


def listed(scene: RichScene, customer: str = "acme", resource: str = "") -> EntitlementsReply:
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        return list_entitlements(
            transaction, scene.rules, DEFAULT, customer, resource, scene.now
        ).reply


def names(reply: EntitlementsReply) -> list[str]:
    return [each.feature.id for each in reply.entitlements if each.feature]


# --- grants ------------------------------------------------------------------------------------


def test_a_grant_needs_no_subscription(scene: RichScene) -> None:
    scene.grant("seats", customer="new", usageLimit=5)
    scene.report(usage(4, "seats", customer="new"))
    granted, denied = (ask(scene, "seats", wanted, customer="new") for wanted in (1, 2))
    assert (granted.is_granted, granted.current_usage, granted.usage_limit) == (True, 4, 5)
    assert denied.access_denied_reason == "RequestedUsageExceedingLimit"
    assert ask(scene, "calls", customer="new").access_denied_reason == "NoActiveSubscription"


def test_a_grant_is_for_every_resource(scene: RichScene) -> None:
    scene.grant("seats", usageLimit=5)
    assert ask(scene, "seats", resource="site-1").is_granted
    reason = ask(scene, "calls", resource="site-1").access_denied_reason
    assert reason == "CustomerResourceNotFound"


def test_a_grant_of_before_is_none(scene: RichScene) -> None:
    scene.grant("seats", LATER, usageLimit=5)
    assert ask(scene, "seats").is_granted
    scene.now = LATER
    assert ask(scene, "seats").access_denied_reason == "NoFeatureEntitlementInSubscription"


def test_an_archived_customer_has_no_use_of_a_grant(scene: RichScene) -> None:
    scene.add_customer("gone", archived_at=NOW)
    scene.grant("seats", customer="gone", usageLimit=5)
    assert ask(scene, "seats", customer="gone").access_denied_reason == "CustomerIsArchived"


def test_a_grant_raises_the_limit_and_leaves_what_is_used(scene: RichScene) -> None:
    scene.report(usage(90))
    scene.grant(
        "calls", usageLimit=500, resetPeriod="MONTH",
        resetPeriodConfiguration={"accordingTo": "SubscriptionStart"}, start=NOW,
    )  # fmt: skip
    reply = ask(scene, "calls")
    assert (reply.usage_limit, reply.current_usage) == (500, 90)
    assert reply.usage_period_end == "2026-02-10T10:00:00.000Z"


def test_values_of_a_grant_are_allowed_beside_the_plan_s(scene: RichScene) -> None:
    scene.add_plan("us", limit("region", None, enumValues=["us"]))
    scene.subscribe("us")
    scene.grant("region", enumValues=["eu"])
    assert ask(scene, "region", values=("us", "eu")).is_granted


def test_a_soft_limit_of_a_grant_grants_beyond(scene: RichScene) -> None:
    scene.grant("calls", usageLimit=5, hasSoftLimit=True)
    reply = ask(scene, "calls", 10**6)
    assert (reply.is_granted, reply.usage_limit) == (True, 100)


def test_the_list_names_what_is_granted(scene: RichScene) -> None:
    scene.grant("seats", usageLimit=5)
    scene.grant("region", NOW, enumValues=["eu"])
    scene.grant("forgotten")  # a feature that is no more
    assert names(listed(scene)) == ["calls", "seats", "sso"]
    assert names(listed(scene, resource="site-1")) == ["seats"]


def test_the_list_of_who_has_a_grant_alone_has_no_reason(scene: RichScene) -> None:
    assert listed(scene, "new").access_denied_reason == "NoActiveSubscription"
    scene.grant("seats", customer="new", usageLimit=5)
    found = listed(scene, "new")
    assert (names(found), found.access_denied_reason) == (["seats"], None)


def test_a_subscription_that_grants_nothing_is_one_all_the_same(scene: RichScene) -> None:
    scene.add_plan("empty")
    scene.subscribe("empty", "new")
    assert listed(scene, "new") == EntitlementsReply([], None)


# --- values ------------------------------------------------------------------------------------


def test_values_of_a_feature_without_values_are_denied(scene: RichScene) -> None:
    for feature in ("calls", "sso"):
        assert ask(scene, feature, values=("us",)).access_denied_reason == "FeatureTypeMismatch"
    reason = ask(scene, "seats", values=("us",)).access_denied_reason
    assert reason == "NoFeatureEntitlementInSubscription"


# --- until when an answer holds ----------------------------------------------------------------


def until(scene: RichScene, feature: str = "calls", customer: str = "acme") -> str | None:
    return ask(scene, feature, customer=customer).valid_until


def test_an_answer_holds_until_the_period_ends(scene: RichScene) -> None:
    assert until(scene) == "2026-02-10T10:00:00.000Z"


def test_an_answer_holds_until_a_grant_ends_or_begins(scene: RichScene) -> None:
    last = Instant(LATER + DAY)
    scene.grant("calls", last, start=LATER, usageLimit=500)
    assert until(scene) == format_instant(LATER)
    scene.now = LATER
    assert until(scene) == format_instant(last)
    scene.now = last
    assert until(scene) == "2026-02-10T10:00:00.000Z"


def test_an_answer_holds_until_the_subscription_ends(scene: RichScene) -> None:
    scene.end("basic", LATER)
    assert until(scene) == until(scene, "sso") == format_instant(LATER)


def test_an_answer_holds_until_an_arranged_change(scene: RichScene) -> None:
    scene.tell("basic", overrides=[
        {"at": LATER, "entitlements": [{"id": "calls", "type": "FEATURE", "usageLimit": 5}]}
    ])  # fmt: skip
    assert until(scene) == format_instant(LATER)


def test_a_denial_holds_until_something_begins(scene: RichScene) -> None:
    assert until(scene, customer="new") is None
    scene.subscribe("basic", "new", start=LATER)
    assert until(scene, customer="new") == format_instant(LATER)


def test_what_holds_for_good_says_so(scene: RichScene) -> None:
    assert until(scene, "sso") is None


def test_every_answer_is_right_until_it_says(scene: RichScene) -> None:
    scene.grant("calls", at("2026-02-03"), start=at("2026-01-25"), usageLimit=500)
    scene.end("basic", at("2026-02-20"))
    scene.report(usage(100))
    told: list[tuple[str | None, bool]] = []
    for _ in range(6):
        reply = ask(scene, "calls", 1)
        told.append((reply.valid_until, reply.is_granted))
        if reply.valid_until is None:
            break
        scene.now = at(reply.valid_until.removesuffix(".000Z"))
    assert told == [
        ("2026-01-25T00:00:00.000Z", False), ("2026-02-03T00:00:00.000Z", True),
        ("2026-02-10T10:00:00.000Z", False), ("2026-02-20T00:00:00.000Z", True), (None, False),
    ]  # fmt: skip


def test_the_clock_may_be_asked_about_the_past(scene: RichScene) -> None:
    """An answer that is remembered is not given for what was before it."""
    scene.grant("seats", start=NOW, usageLimit=5)
    assert ask(scene, "seats").is_granted
    scene.now = START
    assert not ask(scene, "seats").is_granted
