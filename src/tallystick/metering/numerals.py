"""Numbers in SQL: from text, and compared, exactly, whatever their size.

Owns: the SQL for what ``core.numbers`` says a number is. ``number`` gives DECIMAL(38, 9), rounded
half away from zero; NULL for what is no number and for what does not fit (``fits``). Those that are
too large are told apart by sign, order of magnitude and digits.

Every expression here is built from a column name of this package and constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from tallystick.core.numbers import NUMBER_PATTERN, canonical_text, round_half_away
from tallystick.limits import QUANTITY_DECIMALS
from tallystick.metering.sql import Sql, one_of, param

_FITTING: Final = Decimal(10) ** (38 - QUANTITY_DECIMALS)
_TYPE: Final = f"DECIMAL(38, {QUANTITY_DECIMALS})"
# Below this order of magnitude a number rounds to 0; above the other it does not fit.
_ADJUSTED_MIN: Final = -QUANTITY_DECIMALS - 1
_ADJUSTED_MAX: Final = 37 - QUANTITY_DECIMALS
_POSITIONAL: Final = "-?(0|[1-9][0-9]*)([.][0-9]+)?"
_PARTS: Final = "^-?([0-9]+)(?:[.]([0-9]+))?(?:[eE](.*))?$"


def fits(number: Decimal) -> bool:
    """Whether a number, rounded, fits DECIMAL(38, 9)."""
    if number.is_zero() or number.adjusted() < _ADJUSTED_MAX:
        return True
    if number.adjusted() > _ADJUSTED_MAX:
        return False
    return round_half_away(number, QUANTITY_DECIMALS).copy_abs() < _FITTING


def literal(number: Decimal) -> Sql:
    """A fitting number as a parameter."""
    return "CAST(" + param(_rounded(number)) + f" AS {_TYPE})"


def one_of_near(number: str, numbers: Sequence[Decimal]) -> Sql:
    """Whether a number column equals one of these, which fit."""
    return one_of(number, [_rounded(value) for value in numbers], _TYPE)


def one_of_far(text: str, numbers: Sequence[Decimal]) -> Sql:
    """Whether a text column equals one of these, which do not fit; false for what is no number."""
    signed = f"CASE WHEN starts_with({text}, '-') THEN '-' ELSE '' END"
    name = (
        f"{signed} || list_transform([{_size(text)}], lambda s: s.adjusted || ' ' || s.digits)[1]"
    )
    values = [f"{'-' if value < 0 else ''}{value.adjusted()} {_digits(value)}" for value in numbers]
    return (
        Sql(f"CASE WHEN {is_number(text)} THEN ") + one_of(f"({name})", values) + " ELSE false END"
    )


def is_number(text: str) -> str:
    """Whether a text column holds a number."""
    return f"regexp_full_match({text}, '{NUMBER_PATTERN}')"


def number(text: str) -> str:
    """The number a text column holds, or NULL.

    DuckDB's cast is given only what it takes exactly: it also takes ``+1``, `` 1`` and ``1_000``,
    is slow to refuse, and of a text with an exponent and many digits it loses what does not fit.
    """
    return (
        f"CASE WHEN regexp_full_match({text}, '{_POSITIONAL}') THEN try_cast({text} AS {_TYPE}) "
        f"WHEN {is_number(text)} THEN try_cast({_plain(text)} AS {_TYPE}) END"
    )


def beyond_stands(text: str, operator: str) -> str:
    """How a number too large to fit stands to any that fits: its sign says it."""
    negative = f"starts_with({text}, '-')"
    return negative if operator[0] == "<" else f"NOT {negative}"


def compared(text: str, operator: str, number: Decimal) -> Sql:
    """How a text column stands to a number that does not fit; false for what is no number.

    A number that fits is nearer to zero than any that does not, and its order of magnitude says so.
    """
    negative = number < 0
    sizes = (
        Sql(f"{_size(text)} {_mirrored(operator) if negative else operator} ")
        + "{'adjusted': CAST(" + param(number.adjusted()) + " AS BIGINT), 'digits': "
        + param(_digits(number)) + "}"
    )  # fmt: skip
    same_sign = f"starts_with({text}, '-') = {_true(negative)}"
    otherwise = _true(operator[0] == (">" if negative else "<"))
    return (
        Sql(f"CASE WHEN NOT {is_number(text)} THEN false WHEN {same_sign} THEN ")
        + sizes + f" ELSE {otherwise} END"
    )  # fmt: skip


def _size(text: str) -> str:
    """{adjusted, digits} of a number column's text, which order as its magnitude does.

    ``adjusted`` is the exponent of the first digit that is not zero; ``digits`` have no zeros at
    either end, so that they compare as text, and are '' for zero. The lambda only names the parts.
    """
    parts = f"regexp_extract({text}, '{_PARTS}', ['whole', 'fraction', 'exponent'])"
    adjusted = (
        "coalesce(try_cast(p.exponent AS BIGINT), 0) - 1 - length(p.fraction) "
        "+ length(ltrim(p.whole || p.fraction, '0'))"
    )
    digits = "trim(p.whole || p.fraction, '0')"
    size = f"{{'adjusted': {adjusted}, 'digits': {digits}}}"
    return f"list_transform([{parts}], lambda p: {size})[1]"


def _plain(text: str) -> str:
    """A number column's text without exponent; too small for nine decimals is 0.

    NULL when it is too large to fit.
    """
    shown = (
        f"CASE WHEN s.digits = '' OR s.adjusted < {_ADJUSTED_MIN} THEN '0' "
        f"WHEN s.adjusted > {_ADJUSTED_MAX} THEN NULL "
        "WHEN s.adjusted < 0 THEN '0.' || repeat('0', -1 - s.adjusted) || s.digits "
        "ELSE rpad(s.digits, CAST(s.adjusted AS INTEGER) + 1, '0') "
        "|| '.' || substr(s.digits, s.adjusted + 2) || '0' END"
    )
    sign = f"CASE WHEN starts_with({text}, '-') THEN '-' ELSE '' END"
    return f"{sign} || list_transform([{_size(text)}], lambda s: {shown})[1]"


def _rounded(number: Decimal) -> str:
    return canonical_text(round_half_away(number, QUANTITY_DECIMALS))


def _digits(number: Decimal) -> str:
    """Its digits without zeros at either end."""
    return "".join(map(str, number.as_tuple().digits)).strip("0")


def _mirrored(operator: str) -> str:
    return operator.translate(str.maketrans("<>", "><"))


def _true(truth: bool) -> str:
    return "true" if truth else "false"
