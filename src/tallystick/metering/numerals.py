"""Numbers in SQL: from text, and compared, exactly, whatever their size.

Owns: the SQL for what ``core.numbers`` says a number is. ``number`` gives DECIMAL(38, 9), rounded
half away from zero as DuckDB's cast does; NULL for what is no number and for what does not fit
(``fits``). Those too large are told apart by sign, order of magnitude and digits.

Every expression here is built from a column name of this package and constants.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tallystick.core.numbers import NUMBER_PATTERN, canonical_text, round_half_away
from tallystick.limits import QUANTITY_DECIMALS
from tallystick.metering.sql import Sql, param

_FITTING: Final = Decimal(10) ** (38 - QUANTITY_DECIMALS)
_TYPE: Final = f"DECIMAL(38, {QUANTITY_DECIMALS})"
# Below this order of magnitude a number rounds to 0.
_ADJUSTED_MIN: Final = -QUANTITY_DECIMALS - 1
_PARTS: Final = "^-?([0-9]+)(?:[.]([0-9]+))?(?:[eE](.*))?$"


def fits(number: Decimal) -> bool:
    """Whether a number, rounded, fits DECIMAL(38, 9)."""
    return abs(round_half_away(number, QUANTITY_DECIMALS)) < _FITTING


def literal(number: Decimal) -> Sql:
    """A fitting number as a parameter."""
    rounded = round_half_away(number, QUANTITY_DECIMALS)
    return "CAST(" + param(canonical_text(rounded)) + f" AS {_TYPE})"


def is_number(text: str) -> str:
    """Whether a text column holds a number."""
    return f"regexp_full_match({text}, '{NUMBER_PATTERN}')"


def number(text: str) -> str:
    """The number a text column holds, or NULL.

    DuckDB's cast refuses some spellings of fitting numbers (many digits with a negative exponent,
    a huge negative exponent), so what it refuses is tried again without an exponent. The grammar is
    checked first because the cast also takes ``+1``, `` 1`` and ``1_000``, and is slow to refuse.
    """
    plain = _plain(text)
    return (
        f"CASE WHEN {is_number(text)} "
        f"THEN coalesce(try_cast({text} AS {_TYPE}), try_cast({plain} AS {_TYPE})) END"
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
    shown = "".join(map(str, number.as_tuple().digits)).strip("0")
    sizes = (
        Sql(f"{_size(text)} {_mirrored(operator) if negative else operator} ")
        + "{'adjusted': CAST(" + param(number.adjusted()) + " AS BIGINT), 'digits': "
        + param(shown) + "}"
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
    """A number column's text as ``d.ddd0e±x``; too small for nine decimals is 0."""
    shown = (
        f"CASE WHEN s.digits = '' OR s.adjusted < {_ADJUSTED_MIN} THEN '0' "
        "ELSE s.digits[1] || '.' || s.digits[2:] || '0e' || s.adjusted END"
    )
    sign = f"CASE WHEN starts_with({text}, '-') THEN '-' ELSE '' END"
    return f"{sign} || list_transform([{_size(text)}], lambda s: {shown})[1]"


def _mirrored(operator: str) -> str:
    return operator.translate(str.maketrans("<>", "><"))


def _true(truth: bool) -> str:
    return "true" if truth else "false"
