"""Exact numbers and their texts.

Owns: which texts are numbers, how a number is written as text, and rounding. Quantities are
``Decimal`` throughout; no float is made or read here. The SQL of ``metering.compile`` follows the
same grammar (``NUMBER_PATTERN``), and one table of test cases runs through both.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

NUMBER_PATTERN: Final = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?0*[0-9]{1,17})?"
"""JSON's number grammar, whole; it means the same to Python's ``re`` and to DuckDB's RE2.

Only an exponent beyond 17 significant digits is not taken for a number: nothing could compare it.
"""

PLAIN_EXPONENT_MAX: Final = 40
"""Numbers up to this order of magnitude, and down to its inverse, are written without exponent."""

_NUMBER = re.compile(NUMBER_PATTERN, re.ASCII)
_INT64_MAX: Final = 2**63 - 1
_INT64_DIGITS: Final = 18
"""A number of at most so many digits fits."""


def parse_number(text: str) -> Decimal | None:
    """The number that ``text`` is, whole, in JSON's grammar; None when it is none."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def canonical_text(value: Decimal) -> str:
    """The one text of a number: ``1`` for 1, 1.0 and 1e0; -0 is ``0``; never rounded.

    Positional up to ``PLAIN_EXPONENT_MAX`` orders of magnitude either way, else ``1.5E+400``.
    """
    sign, digits, exponent = _shortest(value)
    adjusted = len(digits) - 1 + exponent
    if abs(adjusted) > PLAIN_EXPONENT_MAX:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}E{adjusted:+d}"
    if exponent >= 0:
        return sign + digits + "0" * exponent
    padded = digits.rjust(1 - exponent, "0")
    return f"{sign}{padded[:exponent]}.{padded[exponent:]}"


def round_half_away(value: Decimal, places: int) -> Decimal:
    """``value`` to at most ``places`` decimals, ties away from zero."""
    if _exponent(value) >= -places:
        return value
    digits = max(1, value.adjusted() + places + 2)
    return value.quantize(Decimal((0, (1,), -places)), context=_context(digits))


def json_number(value: Decimal) -> int | Decimal:
    """What the JSON encoder writes as the shortest plain number.

    An int where it fits 64 bits; else a Decimal, because the encoder refuses longer ints.
    """
    if value.adjusted() < _INT64_DIGITS and value == (whole := int(value)):
        return whole  # nearly every number, without taking it apart
    sign, digits, exponent = _shortest(value)
    if exponent < 0:
        return Decimal(f"{sign}{digits}E{exponent}")
    plain = Decimal(sign + digits + "0" * exponent)
    return int(plain) if abs(plain) <= _INT64_MAX else plain


def _shortest(value: Decimal) -> tuple[str, str, int]:
    """(sign, digits, exponent) without trailing zeros; zero is ('', '0', 0)."""
    parts = value.as_tuple()
    digits = "".join(map(str, parts.digits)).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return "", "0", 0
    exponent = _exponent(value) + len(digits) - len(kept)
    return "-" if parts.sign else "", kept, exponent


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not a finite number")  # noqa: TRY004 - a value, not a type
    return exponent


def _context(digits: int) -> Context:
    return Context(prec=digits, rounding=ROUND_HALF_UP)
