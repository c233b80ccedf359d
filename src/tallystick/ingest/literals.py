"""How the numbers of events are written in the inbox.

An event's numbers are exact decimals, and text to some meters (DESIGN 4.7). So a line holds each
number in a form that DuckDB's JSON reads back as its canonical text: an integer as its digits; a
fraction as a number where a double prints just these digits; every other number as a string of its
canonical text, which counts as the same number.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tallystick import limits
from tallystick.core.numbers import PLAIN_EXPONENT_MAX, canonical_text, parse_number

INTEGER_END: Final = 10 ** (PLAIN_EXPONENT_MAX + 1)
"""Integers smaller in magnitude are written as their digits."""

_FLOAT_CHARS_MAX: Final = 16
"""A literal of a point and 15 digits is what a double of that value prints."""
_INT64_MAX: Final = 2**63 - 1


def line_number(literal: str) -> int | float | Decimal | str:
    """What a line holds for a JSON number written as ``literal``.

    Raises ``ValueError`` with the reason when the literal is too long or its exponent beyond
    reckoning.
    """
    if len(literal) <= _FLOAT_CHARS_MAX and "." in literal:  # the common case, quickly
        number = float(literal)
        if 1e-4 <= abs(number) < 1e15 and "e" not in literal and "E" not in literal:
            return int(number) if number.is_integer() else number
    elif len(literal) > limits.NUMBER_LITERAL_CHARS_MAX:
        raise ValueError(f"is a number of more than {limits.NUMBER_LITERAL_CHARS_MAX} characters")
    exact = parse_number(literal)
    if exact is None:
        raise ValueError("is a number with an exponent out of range")
    text = canonical_text(exact)
    return _integer(text) if text.lstrip("-").isdigit() else text


def _integer(text: str) -> int | Decimal:
    """The encoder of older msgspec refuses integers beyond 64 bits, but writes any Decimal."""
    number = int(text)
    return number if abs(number) <= _INT64_MAX else Decimal(text)
