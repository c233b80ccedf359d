"""Instants as people write them."""

from __future__ import annotations

from datetime import datetime

from tallystick.clock import Instant, format_instant, from_datetime


def at(text: str) -> Instant:
    """``2026-01-31`` or ``2026-01-31T10:00``, in UTC unless it has an offset."""
    return from_datetime(datetime.fromisoformat(text))


def shown(instant: int) -> str:
    """An instant to the second, without the zeros that say nothing."""
    return format_instant(instant).removesuffix(".000Z").removesuffix("T00:00:00")
