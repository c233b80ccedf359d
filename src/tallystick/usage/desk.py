"""Where usage reports are handed in: calls in flight are counted together.

Owns: that one handful of statements, in one transaction, serves all calls of a group. Leaves to
others who shares a group (``api.gathering``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tallystick.clock import Clock
from tallystick.entitlements.rules import Rules
from tallystick.store import Transaction
from tallystick.usage.report import Call, Measurement, Refusal, report_calls

Measurements: TypeAlias = list[Measurement]


class ReportDesk:
    """Counts the usage reports of many calls. Safe to use from several threads."""

    def __init__(self, rules: Callable[[], Rules], clock: Clock, window_us: int) -> None:
        """``rules`` gives the calling thread's own; ``window_us`` is how long an idempotency key
        is remembered."""
        self._rules = rules
        self._clock = clock
        self._window_us = window_us

    def count(
        self, transaction: Transaction, calls: Sequence[Call]
    ) -> list[Measurements | Refusal]:
        """For each call its measurements, or why nothing of it was recorded."""
        rules = self._rules()
        rules.refresh(transaction)
        return report_calls(transaction, rules, calls, self._clock.now(), self._window_us)
