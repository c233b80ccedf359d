"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from tallystick import limits


def backoff_seconds(failures: int) -> float:
    """How long to wait after the ``failures``-th failure in a row, counted from 0."""
    return float(
        min(limits.RESTART_SECONDS_MAX, limits.RESTART_SECONDS_MIN * 2 ** min(failures, 16))
    )
