"""Which entitlement wins, and whether it grants."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.entitlements import (
    Decision,
    Entitlement,
    decide,
    effective,
    generosity,
)

MISMATCH = Decision(granted=False, reason="RequestedValuesMismatch")
EXCEEDED = Decision(granted=False, reason="RequestedUsageExceedingLimit")
MISSING = Decision(granted=False, reason="NoFeatureEntitlementInSubscription")
GRANTED = Decision(granted=True)


def grant(limit: int | None = 10, **more: object) -> Entitlement:
    """An entitlement to seats."""
    return Entitlement("seats", usage_limit=limit, **more)  # type: ignore[arg-type]


ENTITLEMENTS = st.builds(
    Entitlement,
    feature=st.just("seats"),
    usage_limit=st.none() | st.integers(0, 5),
    unlimited=st.booleans(),
    soft_limit=st.booleans(),
    enum_values=st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple),
    is_granted=st.booleans(),
)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (grant(1), grant(2)),
        (grant(None), grant(1)),
        (grant(10**9), grant(None, unlimited=True)),
        (grant(5), grant(5, soft_limit=True)),
        (grant(9, is_granted=False), grant(1)),
    ],
)
def test_the_most_generous_wins(less: Entitlement, more: Entitlement) -> None:
    assert effective([less, more]) == more
    assert effective([more, less]) == more


def test_a_soft_limit_stays_soft_beside_a_larger_hard_one() -> None:
    soft = grant(5, soft_limit=True, reset_period="DAY")
    assert effective([soft, grant(6)]) == grant(6, soft_limit=True)


def test_of_equals_the_first_wins() -> None:
    monthly, daily = grant(reset_period="MONTH"), grant(reset_period="DAY")
    assert effective([monthly, daily]) == monthly


def test_nothing_granted_is_nothing() -> None:
    assert effective([]) is None
    assert effective([grant(is_granted=False)]) is None


def test_enum_values_of_all_are_allowed() -> None:
    both = effective([grant(None, enum_values=("us", "eu")), grant(None, enum_values=("eu", "uk"))])
    assert both is not None
    assert both.enum_values == ("us", "eu", "uk")


@given(st.lists(ENTITLEMENTS, max_size=5), st.randoms(use_true_random=False))
def test_order_does_not_change_generosity(ones: list[Entitlement], chance: Random) -> None:
    before = effective(ones)
    chance.shuffle(ones)
    after = effective(ones)
    assert (before is None) == (after is None)
    if before and after:
        assert generosity(before) == generosity(after)
        assert set(before.enum_values) == set(after.enum_values)


@given(st.lists(ENTITLEMENTS, max_size=5), ENTITLEMENTS, st.integers(0, 6))
def test_one_more_entitlement_never_denies(
    ones: list[Entitlement], another: Entitlement, wanted: int
) -> None:
    before = decide("NUMBER", "INCREMENTAL", effective(ones), Decimal(0), wanted, ())
    after = decide("NUMBER", "INCREMENTAL", effective([*ones, another]), Decimal(0), wanted, ())
    assert after.granted or not before.granted


@given(st.lists(ENTITLEMENTS, max_size=5), st.data(), st.integers(0, 12))
def test_more_generous_ones_never_give_less(
    ones: list[Entitlement], data: st.DataObject, wanted: int
) -> None:
    """Each may be larger, softer, unlimited or name more values: what was granted still is."""
    larger = [_more(one, data) for one in ones]
    for kind, values in (("NUMBER", ()), ("ENUM", ("a", "b"))):
        before = decide(kind, "INCREMENTAL", effective(ones), Decimal(2), wanted, values)
        after = decide(kind, "INCREMENTAL", effective(larger), Decimal(2), wanted, values)
        assert after.granted or not before.granted


def _more(one: Entitlement, data: st.DataObject) -> Entitlement:
    return replace(
        one,
        usage_limit=(one.usage_limit or 0) + data.draw(st.integers(0, 5)),
        unlimited=one.unlimited or data.draw(st.booleans()),
        soft_limit=one.soft_limit or data.draw(st.booleans()),
        enum_values=(*one.enum_values, *data.draw(st.sampled_from([(), ("a",), ("b", "c")]))),
        is_granted=one.is_granted or data.draw(st.booleans()),
    )


@given(
    st.lists(ENTITLEMENTS, max_size=5), st.integers(0, 5), st.integers(0, 10**15),
    st.none() | st.integers(0, 5),
)  # fmt: skip
def test_unlimited_beats_any_number(
    ones: list[Entitlement], place: int, number: int, limit: int | None
) -> None:
    """Whatever stands beside it, in whatever order, and however much is used."""
    ones.insert(place, grant(limit, unlimited=True))
    winner = effective([*ones, grant(number)])
    assert winner is not None
    assert winner.unlimited
    assert decide("NUMBER", "INCREMENTAL", winner, Decimal(10**17), number, ()) == GRANTED


@pytest.mark.parametrize(
    ("entitlement", "current", "requested", "decision"),
    [
        (grant(10), "9", 1, GRANTED),
        (grant(10), "10", 0, GRANTED),  # exactly at the limit
        (grant(10), "10", 1, EXCEEDED),
        (grant(10), "11", 0, EXCEEDED),
        (grant(10), "9.00001", 1, EXCEEDED),
        (grant(10), "-5", 15, GRANTED),
        (grant(None), "0", 0, GRANTED),
        (grant(None), "0", 1, EXCEEDED),
        (grant(None, unlimited=True), "1e6", 1, GRANTED),
        (grant(10, soft_limit=True), "99", 1, GRANTED),
        (grant(is_granted=False), "0", 0, MISSING),
        (None, "0", 0, MISSING),
    ],
)
def test_metered(
    entitlement: Entitlement | None, current: str, requested: int, decision: Decision
) -> None:
    assert decide("NUMBER", "FLUCTUATING", entitlement, Decimal(current), requested, ()) == decision


@pytest.mark.parametrize(
    ("allowed", "requested", "decision"),
    [
        (("us",), ("us",), GRANTED),
        (("us", "eu"), ("us", "eu"), GRANTED),
        (("us",), ("eu",), MISMATCH),
        (("us",), ("us", "eu"), MISMATCH),
        (("us",), (), GRANTED),
        ((), ("us",), MISMATCH),
        (("us",), ("US",), MISMATCH),
    ],
)
def test_enum(allowed: tuple[str, ...], requested: tuple[str, ...], decision: Decision) -> None:
    entitlement = grant(None, enum_values=allowed)
    assert decide("ENUM", "None", entitlement, Decimal(0), 0, requested) == decision


def test_boolean_and_configuration_grant_whatever_is_asked() -> None:
    assert decide("BOOLEAN", "None", grant(None), Decimal(5), 5, ()) == GRANTED
    assert decide("NUMBER", "None", grant(1), Decimal(5), 5, ()) == GRANTED
    assert decide("BOOLEAN", "None", None, Decimal(0), 0, ()) == MISSING
