"""Parts: folding a list equals merging the folds of its pieces."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from functools import reduce
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.parts import Function, Part

VALUES = st.decimals(-(10**18) + 1, 10**18 - 1, places=9, allow_nan=False)


def nanos(value: Decimal) -> int:
    """A quantity as a whole number."""
    return int(Fraction(value) * 10**9)


def fold(values: list[Decimal]) -> Part:
    """What events with these numbers add up to, by the definition of each aggregate."""
    if not values:
        return Part()
    total = Decimal(f"{sum(map(nanos, values))}E-9")
    return Part(len(values), total, min(values), max(values))


@given(st.lists(st.lists(VALUES, max_size=8), max_size=8), st.randoms(use_true_random=False))
def test_merging_pieces_is_folding_the_whole(pieces: list[list[Decimal]], chance: Random) -> None:
    whole = fold([value for piece in pieces for value in piece])
    chance.shuffle(pieces)
    assert reduce(Part.merge, map(fold, pieces), Part()) == whole


@given(st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=5))
def test_merging_is_associative_and_has_a_neutral_part(
    a: list[Decimal], b: list[Decimal], c: list[Decimal]
) -> None:
    x, y, z = fold(a), fold(b), fold(c)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(y) == y.merge(x)
    assert x.merge(Part()) == x


@pytest.mark.parametrize(
    ("function", "value"),
    [("COUNT", 3), ("UNIQUE", 3), ("SUM", 2), ("MIN", -1), ("MAX", 2), ("AVG", "0.666666667")],
)
def test_values(function: Function, value: int | str) -> None:
    part = fold([Decimal(-1), Decimal(1), Decimal(2)])
    assert part.value(function) == Decimal(value)


@pytest.mark.parametrize("function", ["COUNT", "UNIQUE", "SUM", "MIN", "MAX", "AVG"])
def test_nothing_is_zero(function: Function) -> None:
    assert Part().value(function) == 0


def test_ten_times_a_tenth_is_one() -> None:
    assert reduce(Part.merge, [fold([Decimal("0.1")])] * 10).value("SUM") == 1


def test_an_average_rounds_half_away_from_zero() -> None:
    tiny = Decimal("1e-9")
    assert Part(2, tiny).value("AVG") == tiny
    assert Part(2, -tiny).value("AVG") == -tiny


def test_the_largest_sums_stay_exact() -> None:
    largest = Decimal("999999999999999999.999999999")
    part = reduce(lambda whole, _: whole.merge(whole), range(60), Part(1, largest))
    assert part.sum == Decimal(f"{nanos(largest) * 2**60}E-9")
