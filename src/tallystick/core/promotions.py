"""Promotional entitlements: how long one lasts.

Owns: the end of a grant's period (STIGG.md 3.12). That grants raise what subscriptions grant and
never add to it is ``entitlements.effective``; where their periods begin is ``timeline``.
"""

from __future__ import annotations

from typing import Final

from tallystick.clock import DAY, Instant
from tallystick.core.periods import months_after
from tallystick.errors import BadInput

LIFETIME: Final = "lifetime"
CUSTOM: Final = "custom"
_WEEK: Final = "1 week"
_MONTHS: Final = {"1 month": 1, "6 month": 6, "1 year": 12}

PERIODS: Final = (_WEEK, *_MONTHS, LIFETIME, CUSTOM)
"""The periods that a grant may have, as they are sent and told."""


def end_of(period: str, start: Instant, custom_end: Instant | None) -> Instant | None:
    """Where a grant of one of ``PERIODS`` ends, exclusive; None for one that lasts for life.

    Months and years are those of the calendar: from a 31st they end on the last day of a shorter
    month. Raises ``BadInput`` for a custom period without an end after ``start``.
    """
    if period == LIFETIME:
        return None
    if period == _WEEK:
        return Instant(start + 7 * DAY)
    if period in _MONTHS:
        return months_after(start, _MONTHS[period])
    if custom_end is None:
        raise BadInput("customEndDate: needed with period custom")
    if custom_end <= start:
        raise BadInput("customEndDate: must be after the start")
    return custom_end
