"""The timestamps that callers give: read as instants, and not too far ahead of the clock.

Owns: the bound on the future and the sentences about a timestamp that is refused. What an instant
looks like is said once, in ``clock.parse_instant``.
"""

from __future__ import annotations

from tallystick.clock import HOUR, SECOND, Instant, format_instant, parse_instant


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
    """A timestamp as lines hold it. In UTC, because DuckDB's cast to TIMESTAMP ignores offsets."""
    return format_instant(instant)


def _length(microseconds: int) -> str:
    for unit, name in ((HOUR, "h"), (SECOND, "s")):
        if microseconds % unit == 0:
            return f"{microseconds // unit} {name}"
    return f"{microseconds} µs"
