"""From rows to what the core takes: add-ons, grants, handovers, histories of a subscription."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tallystick.clock import DAY, Instant
from tallystick.core.periods import Period, period_at
from tallystick.core.timeline import Grant
from tests.entitlements.scene import RichScene
from tests.usage.building import DEFAULT, NOW, START, at, limit, monthly

FROM_START = {"accordingTo": "SubscriptionStart"}


@pytest.fixture
def scene(tmp_path: Path) -> RichScene:
    """acme has a plan with ten seats and a hundred calls a month; add-ons and another customer."""
    scene = RichScene(tmp_path)
    scene.add_feature("seats", meter_type="FLUCTUATING")
    scene.add_feature("calls")
    scene.add_plan("basic", limit("seats", 10), monthly("calls", 100))
    scene.add_addon("more", limit("seats", 20))
    scene.add_addon("other", limit("seats", 25, behavior="Override"))
    scene.add_customer()
    scene.add_customer("other")
    scene.subscribe("basic")
    return scene


def listed(*addons: tuple[str, int], when: Instant = START, version: int = 1) -> dict[str, Any]:
    """A list of add-ons from an instant on."""
    held = [{"id": name, "quantity": many, "version": version} for name, many in addons]
    return {"at": when, "addons": held}


def period_of(
    scene: RichScene, when: Instant, customer: str = "acme", resource: str = ""
) -> Period | None:
    """The period of calls that contains an instant."""
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        found = scene.rules.segments(transaction, DEFAULT, customer, resource, "calls")
    return period_at(found, when)


def counted_from(scene: RichScene, when: Instant, **whose: str) -> Instant | None:
    period = period_of(scene, when, **whose)
    return None if period is None else period.counted_from


# --- add-ons -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addons", "seats"),
    [
        ([], 10),
        ([("more", 2)], 50),
        ([("other", 1)], 25),
        ([("more", 1), ("other", 1)], 25),
        ([("nobody", 1)], 10),
    ],
)
def test_add_ons_are_combined(scene: RichScene, addons: list[tuple[str, int]], seats: int) -> None:
    scene.tell("basic", addonHistory=[listed(*addons)])
    assert scene.limit_of("seats", NOW) == seats


def test_add_ons_may_come_and_go_later(scene: RichScene) -> None:
    later, last = Instant(NOW + DAY), Instant(NOW + 2 * DAY)
    scene.tell(
        "basic",
        addonHistory=[listed(("more", 1)), listed(("more", 3), when=later), listed(when=last)],
    )
    assert [scene.limit_of("seats", when) for when in (NOW, later, last)] == [30, 70, 10]


def test_an_add_on_is_migrated_at_its_instant(scene: RichScene) -> None:
    later = Instant(NOW + DAY)
    scene.add_addon("young", limit("seats", 1))
    with scene.store.writing() as transaction:
        transaction.run("UPDATE addons SET published_at = ? WHERE id = 'young'", START)
    scene.add_addon("young", limit("seats", 2), version=2)
    with scene.store.writing() as transaction:
        transaction.run("UPDATE addons SET published_at = ? WHERE version = 2", START)
    scene.tell(
        "basic",
        addonHistory=[listed(("young", 1))],
        addonMigrations=[{"addon": "young", "version": 2, "at": later}],
    )
    assert [scene.limit_of("seats", when) for when in (NOW, later)] == [11, 12]


def test_a_draft_of_an_add_on_grants_nothing(scene: RichScene) -> None:
    scene.tell("basic", addonHistory=[listed(("more", 1), version=2)])
    scene.add_addon("more", limit("seats", 99), version=2)
    with scene.store.writing() as transaction:
        transaction.run("UPDATE addons SET published_at = NULL WHERE version = 2")
    assert scene.limit_of("seats", NOW) == 10


def test_what_a_subscription_is_made_of_is_known(scene: RichScene) -> None:
    later = listed(("other", 1), when=Instant(NOW + DAY))
    scene.tell("basic", addonHistory=[listed(("more", 1)), later])
    assert scene.rules_of().packages == {("plan", "basic"), ("addon", "more"), ("addon", "other")}


# --- overrides, resets -------------------------------------------------------------------------


def test_overrides_replace_the_plan_s_and_add_ons_add(scene: RichScene) -> None:
    item = {"id": "seats", "type": "FEATURE", "usageLimit": 7}
    credit = {"id": "tokens", "type": "CREDIT", "amount": 5}
    scene.tell(
        "basic",
        overrides=[{"at": START, "entitlements": [item, credit]}],
        addonHistory=[listed(("more", 1))],
    )
    assert scene.limit_of("seats", NOW) == 27
    assert scene.winner("tokens", NOW) is None


def test_an_override_of_the_reset_alone_keeps_the_limit(scene: RichScene) -> None:
    item = {"id": "calls", "type": "FEATURE", "resetPeriod": "WEEK",
            "resetPeriodConfiguration": {"accordingTo": "EveryMonday"}}  # fmt: skip
    scene.tell("basic", overrides=[{"at": START, "entitlements": [item]}])
    winner = scene.winner("calls", NOW)
    assert winner is not None
    assert (winner.usage_limit, winner.reset_period, winner.according_to) == (
        100, "WEEK", "EveryMonday",
    )  # fmt: skip


def test_a_reset_inside_of_a_subscription_starts_over(scene: RichScene) -> None:
    reset = at("2026-01-15T09:00:00")
    scene.tell("basic", resets=[reset])
    assert counted_from(scene, NOW) == reset
    assert counted_from(scene, at("2026-01-14")) == START
    assert counted_from(scene, at("2026-02-20")) == at("2026-02-15T09:00:00")


# --- handovers ---------------------------------------------------------------------------------


def test_a_subscription_is_each_holder_s_while_it_is(scene: RichScene) -> None:
    turn = at("2026-01-15")
    scene.hand_over("basic", turn, to="other")
    assert scene.limit_of("calls", Instant(turn - 1)) == 100
    assert scene.limit_of("calls", turn) is None
    assert scene.limit_of("calls", turn, "other") == 100
    assert scene.limit_of("calls", Instant(turn - 1), "other") is None


def test_usage_stays_with_the_old_holder_and_days_of_the_month_go_on(scene: RichScene) -> None:
    turn = at("2026-01-15")
    scene.hand_over("basic", turn, to="acme", resource="site-1")
    old = period_of(scene, Instant(turn - 1))
    new = period_of(scene, turn, resource="site-1")
    assert old is not None
    assert new is not None
    assert (old.counted_from, old.counted_until) == (START, turn)
    assert new.counted_from == turn
    assert old.end == new.end == at("2026-02-10T10:00:00")


def test_a_subscription_may_come_back(scene: RichScene) -> None:
    away, back = at("2026-01-15"), at("2026-01-18")
    scene.hand_over("basic", away, to="other")
    scene.hand_over("basic", back, to="acme")
    held = [(scene.limit_of("calls", Instant(when)) or 0) for when in (away - 1, away, back)]
    assert held == [100, 0, 100]
    assert scene.limit_of("calls", away, "other") == 100
    assert scene.limit_of("calls", back, "other") is None
    assert counted_from(scene, NOW) == back


def test_a_chain_that_was_handed_over_counts_from_there(scene: RichScene) -> None:
    """Also after a plan change, and a change of the rule."""
    turn, change = at("2026-01-15"), at("2026-01-18")
    scene.hand_over("basic", turn, to="acme")
    by_month = {"accordingTo": "StartOfTheMonth"}
    scene.add_plan("pro", limit("calls", resetPeriod="MONTH", resetPeriodConfiguration=by_month))
    scene.end("basic", change)
    scene.subscribe("pro", start=change, chain_start=START)
    assert counted_from(scene, NOW) == START
    scene.tell("pro", floor=turn)
    assert counted_from(scene, NOW) == turn


# --- grants ------------------------------------------------------------------------------------


def test_a_grant_is_loaded_as_it_is_stored(scene: RichScene) -> None:
    scene.grant(
        "calls", at("2026-03-01"), usageLimit=500, hasUnlimitedUsage=None, hasSoftLimit=True,
        resetPeriod="MONTH", resetPeriodConfiguration=FROM_START, enumValues=None, updatedAt=NOW,
        period="custom", isVisible=None, anchor=START - 5,
    )  # fmt: skip
    (found,) = scene.rules_of().grants
    assert isinstance(found, Grant)
    assert (found.feature, found.start, found.end, found.anchor) == (
        "calls", START, at("2026-03-01"), START - 5,
    )  # fmt: skip
    entitlement = found.entitlement
    assert (entitlement.usage_limit, entitlement.unlimited, entitlement.soft_limit) == (
        500, False, True,
    )  # fmt: skip
    assert (entitlement.reset_period, entitlement.updated_at) == ("MONTH", NOW)
    assert scene.rules_of("other").grants == ()


def test_a_grant_for_life_has_no_end_unless_it_was_ended(scene: RichScene) -> None:
    scene.grant("calls")
    scene.grant("seats", at("2026-03-01"), start=Instant(START + 1), ended=NOW)
    assert [one.end for one in scene.rules_of().grants] == [None, NOW]


@pytest.mark.parametrize(("promised", "limit_now"), [(500, 500), (50, 100)])
def test_a_grant_is_no_addition(scene: RichScene, promised: int, limit_now: int) -> None:
    scene.grant("calls", usageLimit=promised)
    assert scene.limit_of("calls", NOW) == limit_now
