"""Where usage reports are handed in: calls in flight are counted together.

Owns: that one group commit, and one handful of statements, serve all of them. Promises what
``store.gathering`` does: measurements are told only after the commit that holds them, and a call
that is refused is refused alone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

from tallystick.clock import Clock
from tallystick.entitlements.rules import Rules
from tallystick.errors import RequestError
from tallystick.store import Transaction
from tallystick.store.gathering import Gathering
from tallystick.store.writer import GroupWriter
from tallystick.usage.report import Call, Measurement, report_calls

Measurements: TypeAlias = list[Measurement]


class ReportDesk:
    """The way in for usage reports, for any number of threads."""

    def __init__(
        self, writer: GroupWriter, rules: Callable[[], Rules], clock: Clock, window_us: int
    ) -> None:
        """``writer`` writes the state; ``rules`` gives the calling thread's own; ``window_us`` is
        how long an idempotency key is remembered."""
        self._rules = rules
        self._clock = clock
        self._window_us = window_us
        self._gathering: Gathering[Call, Measurements] = Gathering(writer, self._count)

    def report(self, call: Call) -> Future[Measurements]:
        """Hand in a call; its measurements arrive after the commit, or what ``report_usages``
        raises. Raises ``Unavailable`` once the writer is closed."""
        return self._gathering.submit(call)

    def _count(
        self, transaction: Transaction, calls: list[Call]
    ) -> list[Measurements | RequestError]:
        rules = self._rules()
        rules.refresh(transaction)
        return report_calls(transaction, rules, calls, self._clock.now(), self._window_us)
