"""The timestamps that callers give: read as instants, not too far ahead, and written for DuckDB.

Owns: the bound on the future, the sentences about a timestamp that is refused, and the form that
lines hold. What an instant looks like is said once, in ``clock.parse_instant``.

DuckDB's cast to TIMESTAMP wants ``T`` and ``Z`` in upper case, cuts digits beyond microseconds as
we do, and *ignores* an offset; so lines hold UTC only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from tallystick.clock import HOUR, SECOND, Instant, format_instant, from_datetime, parse_instant

_Moments: TypeAlias = list[datetime]
_SEVEN_DIGITS: Final = re.compile(r"(\.[0-9]{6})[0-9]+")


def instant_of(text: str, now: Instant, future_us: int) -> Instant:
    """The instant of ``text``, at most ``future_us`` microseconds ahead of ``now``.

    Raises ``ValueError`` with the reason otherwise.
    """
    instant = parse_instant(text)
    if instant is None:
        raise ValueError("expected an RFC 3339 date-time like 2026-01-31T12:00:00Z")
    if instant > now + future_us:
        raise ValueError(
            f"is more than {_length(future_us)} ahead of the clock, which reads "
            f"{format_instant(now)}"
        )
    return instant


def line_timestamp(instant: Instant) -> str:
    """A timestamp as lines hold it."""
    return format_instant(instant)


def line_timestamps(texts: list[str], latest: int) -> list[str]:
    """``texts`` as lines hold them, all at once; the same list when nothing had to change.

    Raises ``ValueError`` or ``OverflowError`` when one of them is none, or later than ``latest``.
    """
    joined = "\n".join(texts)
    odd = _SEVEN_DIGITS.search(joined)  # msgspec would round
    cut = _SEVEN_DIGITS.sub(r"\1", joined).split("\n") if odd else texts
    moments = msgspec.convert(cut, _Moments)
    usual = (
        joined.count("+") == joined.count("+00:00")
        and joined.count("-") == 2 * len(texts)
        and "t" not in joined
        and "z" not in joined
    )
    # Moments with an offset and moments without cannot be compared.
    if not usual or joined.count("Z") + joined.count("+") not in (0, len(texts)):
        moments = [_in_utc(moment) for moment in moments]
    if from_datetime(max(moments)) > latest:
        raise ValueError("one is too late")
    return texts if usual else [moment.isoformat() for moment in moments]


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _length(microseconds: int) -> str:
    for unit, name in ((HOUR, "h"), (SECOND, "s")):
        if microseconds % unit == 0:
            return f"{microseconds // unit} {name}"
    return f"{microseconds} µs"
