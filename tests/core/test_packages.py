"""What a plan, the overrides of a subscription and its add-ons grant together (STIGG.md 4.9)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement, decide
from tallystick.core.packages import Held, Override, Reset, overridden, with_addons

NOW = Instant(7)
DAILY: Any = {"reset_period": "DAY"}
MONTHLY: Any = {"reset_period": "MONTH", "according_to": "StartOfTheMonth"}


def says(limit: int | None = 10, **more: Any) -> Entitlement:
    """What a package says of seats."""
    return Entitlement("seats", usage_limit=limit, **more)


def adds(limit: int | None = 10, quantity: int = 1, addon: str = "more", **more: Any) -> Held:
    """An add-on that adds to the plan."""
    return Held(addon, quantity, says(limit, **more))


def instead(limit: int | None = 25, quantity: int = 1, addon: str = "other", **more: Any) -> Held:
    """An add-on that replaces what the plan grants."""
    return Held(addon, quantity, says(limit, behavior="Override", **more))


def limit_of(plan: Entitlement | None, *held: Held) -> int | None:
    found = with_addons(plan, held)
    assert found is not None
    assert found.behavior == "Increment"
    return found.usage_limit


# --- add-ons -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "held", "limit"),
    [
        (10, [adds(20, 2)], 50),
        (10, [adds(20), adds(5, addon="a")], 35),
        (10, [instead(25)], 25),
        (10, [instead(25), adds(20)], 25),
        (10, [instead(25), instead(10, 4, addon="a"), adds(20)], 40),
        (30, [instead(5)], 5),  # an override may be the smaller one
        (None, [adds(20)], 20),
        (None, [adds(None)], None),
        (10, [adds(None)], 10),
        (10, [instead(None)], None),
        (0, [adds(0)], 0),
        (10, [adds(20, 0)], 10),
        (10, [adds(20, is_granted=False)], 10),
    ],
)
def test_the_limit(plan: int | None, held: list[Held], limit: int | None) -> None:
    assert limit_of(says(plan), *held) == limit


def test_an_add_on_may_grant_what_the_plan_does_not() -> None:
    for plan in (None, says(99, is_granted=False)):
        assert limit_of(plan, adds(20, 2)) == 40
        assert limit_of(plan, instead(25)) == 25


def test_nothing_granted_is_nothing() -> None:
    assert with_addons(None, []) is None
    assert with_addons(says(is_granted=False), [adds(is_granted=False)]) is None
    assert with_addons(None, [adds(quantity=0)]) is None


@pytest.mark.parametrize(
    ("plan", "held"),
    [
        (says(None, unlimited=True), adds()),
        (says(), adds(None, unlimited=True)),
        (says(None, unlimited=True), instead()),
        (says(), instead(None, unlimited=True)),
    ],
)
def test_unlimited_is_never_taken_away(plan: Entitlement, held: Held) -> None:
    found = with_addons(plan, [held])
    assert found is not None
    assert found.unlimited


def test_a_soft_limit_counts_where_its_limit_does() -> None:
    soft = says(10, soft_limit=True)
    found = [with_addons(*case) for case in (
        (soft, [adds()]), (says(), [adds(soft_limit=True)]), (soft, [instead()]),
        (says(), [instead(soft_limit=True)]),
    )]  # fmt: skip
    assert [one is not None and one.soft_limit for one in found] == [True, True, False, True]


def test_values_add_up_or_are_replaced() -> None:
    plan = says(None, enum_values=("us",))
    more = [adds(None, enum_values=("eu", "us")), adds(None, addon="a", enum_values=("uk",))]
    other = instead(None, enum_values=("jp",))
    added, replaced = with_addons(plan, more), with_addons(plan, [*more, other])
    assert added is not None
    assert replaced is not None
    assert added.enum_values == ("us", "uk", "eu")
    assert replaced.enum_values == ("jp",)


def test_usage_resets_as_in_the_plan() -> None:
    plan = says(10, **MONTHLY)
    for held in ([adds(5, **DAILY)], [instead(5)]):
        found = with_addons(plan, held)
        assert found is not None
        assert (found.reset_period, found.according_to) == ("MONTH", "StartOfTheMonth")


def test_an_override_that_decides_may_state_how_usage_resets() -> None:
    plan = says(10, **MONTHLY)
    small, large = instead(5, addon="a", **DAILY), instead(25)
    assert [_unit(plan, small), _unit(plan, small, large)] == ["DAY", "MONTH"]
    assert _unit(plan, instead(5, addon="z", **DAILY), instead(5)) == "DAY"


def test_what_the_plan_does_not_grant_resets_as_in_the_first_add_on() -> None:
    held = [adds(addon="b", **DAILY), adds(addon="a", **MONTHLY)]
    assert _unit(None, *held) == _unit(says(is_granted=False), *held) == "MONTH"


def _unit(plan: Entitlement | None, *held: Held) -> str | None:
    found = with_addons(plan, held)
    assert found is not None
    return found.reset_period


def test_it_changed_when_the_last_of_them_did() -> None:
    found = with_addons(says(updated_at=Instant(3)), [adds(updated_at=Instant(9)), adds()])
    assert found is not None
    assert found.updated_at == 9


# --- overrides of a subscription ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "stated", "expected"),
    [
        (says(10), Override("seats", usage_limit=5), says(5)),
        (says(None, unlimited=True), Override("seats", usage_limit=5), says(5)),
        (says(10), Override("seats", unlimited=True), says(10, unlimited=True)),
        (says(10), Override("seats", usage_limit=5, unlimited=True), says(5, unlimited=True)),
        (says(10, soft_limit=True), Override("seats", soft_limit=False), says(10)),
        (says(10), Override("seats", soft_limit=True), says(10, soft_limit=True)),
        (says(10, **MONTHLY), Override("seats", usage_limit=5), says(5, **MONTHLY)),
        (says(10, **MONTHLY), Override("seats", reset=Reset("DAY", None)), says(10, **DAILY)),
        (says(10, **MONTHLY), Override("seats", reset=Reset(None, None)), says(10)),
        (says(10, is_granted=False), Override("seats"), says(10)),
        (says(None, enum_values=("us",)), Override("seats"), says(None, enum_values=("us",))),
        (None, Override("seats", usage_limit=5), says(5)),
        (None, Override("seats", reset=Reset("DAY", None)), says(None, **DAILY)),
    ],
)
def test_what_is_stated_stands_for_the_plan_s(
    plan: Entitlement | None, stated: Override, expected: Entitlement
) -> None:
    assert overridden(plan, stated, NOW) == replace(expected, updated_at=NOW)


# --- laws --------------------------------------------------------------------------------------

RULES: Any = st.sampled_from([(None, None), ("DAY", None), ("MONTH", "StartOfTheMonth")])
ENTITLEMENTS = st.builds(
    lambda rule, **fields: Entitlement(
        "seats", reset_period=rule[0], according_to=rule[1], **fields
    ),
    rule=RULES,
    usage_limit=st.none() | st.integers(0, 9),
    unlimited=st.booleans(),
    soft_limit=st.booleans(),
    behavior=st.sampled_from(["Increment", "Override"]),
    enum_values=st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple),
    is_granted=st.booleans(),
)
PLANS = st.none() | ENTITLEMENTS
ADDONS = st.lists(
    st.builds(Held, st.sampled_from("pqrst"), st.integers(0, 3), ENTITLEMENTS),
    max_size=4,
    unique_by=lambda one: one.addon,
)


@given(PLANS, ADDONS, st.randoms(use_true_random=False))
def test_the_order_of_add_ons_does_not_matter(
    plan: Entitlement | None, held: list[Held], chance: Random
) -> None:
    before = with_addons(plan, held)
    chance.shuffle(held)
    assert with_addons(plan, held) == before


@given(PLANS, ADDONS, st.data())
def test_more_of_anything_never_gives_less(
    plan: Entitlement | None, held: list[Held], data: st.DataObject
) -> None:
    """A larger limit or quantity, soft, unlimited: whatever was granted still is."""
    more = [_more(one, data) for one in held]
    larger = plan and _more(Held("", 1, plan), data).entitlement
    before, after = with_addons(plan, held), with_addons(larger, more)
    for wanted in range(40):
        if _grants(before, wanted):
            assert _grants(after, wanted)


@given(PLANS, ADDONS, st.integers(0, 9), st.integers(1, 3))
def test_one_more_increment_never_gives_less(
    plan: Entitlement | None, held: list[Held], limit: int, quantity: int
) -> None:
    before, after = with_addons(plan, held), with_addons(plan, [*held, adds(limit, quantity)])
    for wanted in range(40):
        if _grants(before, wanted):
            assert _grants(after, wanted)


@given(PLANS, ADDONS, st.integers(0, 4), st.sampled_from(["Increment", "Override"]))
def test_unlimited_beats_any_number(
    plan: Entitlement | None, held: list[Held], place: int, behavior: Any
) -> None:
    """Of the plan or of any add-on, beside whatever else there is."""
    free = says(None, unlimited=True)
    added = [*held[:place], Held("free", 1, replace(free, behavior=behavior)), *held[place:]]
    for found in (with_addons(free, held), with_addons(plan, added)):
        assert found is not None
        assert found.unlimited
        assert _grants(found, 10**15)


def _more(one: Held, data: st.DataObject) -> Held:
    limit, quantity = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 2))
    unlimited, soft = data.draw(st.booleans()), data.draw(st.booleans())
    before = one.entitlement
    after = replace(
        before, usage_limit=(before.usage_limit or 0) + limit,
        unlimited=before.unlimited or unlimited, soft_limit=before.soft_limit or soft,
    )  # fmt: skip
    return Held(one.addon, one.quantity + (quantity if one.quantity else 0), after)


def _grants(entitlement: Entitlement | None, wanted: int) -> bool:
    return decide("NUMBER", "FLUCTUATING", entitlement, Decimal(0), wanted, ()).granted
