"""Exact numbers: what is one, how it is written, how it is rounded."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.numbers import canonical_text, json_number, parse_number, round_half_away

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"), ("-0", "0"), ("1", "1"), ("1.0", "1"), ("1e0", "1"), ("1E+2", "100"),
        ("-1.5e-3", "-0.0015"), ("12345678901234567890", "12345678901234567890"),
        ("1e400", "1e400"), ("1e0000000000000000000000003", "1000"),
    ],
)  # fmt: skip
def test_numbers(text: str, number: str) -> None:
    assert parse_number(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 ", " 1", "1\n", "+1", "01", "-01", "1.", ".5", "-", "1e", "e1", "1e1.5", "0x10",
     "1_000", "1,5", "NaN", "Infinity", "-Infinity", "inf", "true", "null", "--1", "١", "½",
     "1e100000000000000000"],
)  # fmt: skip
def test_no_numbers(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1", "1"), ("1.0", "1"), ("1e0", "1"), ("100", "100"), ("1e2", "100"), ("-0", "0"),
        ("0e5", "0"), ("-0.0", "0"), ("1.50", "1.5"), ("-1.50", "-1.5"), ("0.1", "0.1"),
        ("1e-3", "0.001"), ("12.5e1", "125"), ("12345678901234567890", "12345678901234567890"),
        ("1e40", "1" + "0" * 40), ("1e41", "1E+41"), ("1e-40", "0." + "0" * 39 + "1"),
        ("1e-41", "1E-41"), ("12e400", "1.2E+401"), ("-120e-400", "-1.2E-398"),
    ],
)  # fmt: skip
def test_canonical_text(text: str, canonical: str) -> None:
    assert canonical_text(Decimal(text)) == canonical


@given(DECIMALS)
def test_canonical_text_keeps_the_number(number: Decimal) -> None:
    assert parse_number(canonical_text(number)) == number


@given(DECIMALS, st.integers(0, 30))
def test_equal_numbers_have_one_text(number: Decimal, zeros: int) -> None:
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    longer = Decimal((sign, digits + (0,) * zeros, exponent - zeros))
    assert canonical_text(longer) == canonical_text(number)


@pytest.mark.parametrize(
    ("value", "places", "rounded"),
    [
        ("-1.234565", 5, "-1.23457"), ("1.234565", 5, "1.23457"), ("1.234564999", 5, "1.23456"),
        ("0.5", 0, "1"), ("-0.5", 0, "-1"), ("2.5", 0, "3"), ("1", 5, "1"), ("9.999995", 5, "10"),
        ("1e-400", 9, "0"), ("1e400", 9, "1e400"), ("0." + "4" * 200, 2, "0.44"),
    ],
)  # fmt: skip
def test_ties_round_away_from_zero(value: str, places: int, rounded: str) -> None:
    assert round_half_away(Decimal(value), places) == Decimal(rounded)


@given(st.decimals(-(10**30), 10**30, allow_nan=False), st.integers(0, 12))
def test_rounding_moves_by_half_a_step_at_most(value: Decimal, places: int) -> None:
    rounded = round_half_away(value, places)
    exponent = rounded.as_tuple().exponent
    assert isinstance(exponent, int)
    assert exponent >= -places
    assert abs(rounded - value) * 2 <= Decimal(10) ** -places
    assert round_half_away(-value, places) == -rounded


@given(st.decimals(-(10**25), 10**25, places=9, allow_nan=False))
def test_json_numbers_say_the_number(value: Decimal) -> None:
    encoder = msgspec.json.Encoder(decimal_format="number")
    written = encoder.encode(json_number(value))
    assert Decimal(written.decode()) == value
    assert b"E" not in written or abs(value) < Decimal("1e-6")


@pytest.mark.parametrize(
    ("value", "shown"), [("1.0", 1), ("1e3", 1000), ("-0", 0), ("9007199254740993", 2**53 + 1)]
)
def test_whole_json_numbers_are_ints(value: str, shown: int) -> None:
    found = json_number(Decimal(value))
    assert found == shown
    assert type(found) is int


def test_json_numbers_beyond_64_bits_stay_exact() -> None:
    encoder = msgspec.json.Encoder(decimal_format="number")
    assert encoder.encode(json_number(Decimal(10) ** 20 + 1)) == b"100000000000000000001"
