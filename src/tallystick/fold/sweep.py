"""Sweeps away counters that a recount replaced.

A recount makes its counters valid by moving a generation, in one short transaction however many
there are; what they replaced is deleted here afterwards, a bounded stretch of rows at a time.
"""

from __future__ import annotations

from typing import cast

from tallystick import limits
from tallystick.fold.owner import Owner
from tallystick.store import Store, Transaction

NEWEST_FINISHED = "SELECT coalesce(max(ended), 0) FROM recount_runs"
LARGEST_ID = "SELECT coalesce(max(id), 0) FROM counters"

# Counters in a stretch of ids whose feature or customer has a younger generation.
STALE = """
SELECT counters.id
FROM counters
JOIN features
  ON features.environment = counters.environment AND features.id = counters.feature
LEFT JOIN customer_generations AS of_customer
  ON of_customer.environment = counters.environment
 AND of_customer.customer = counters.customer AND of_customer.feature = counters.feature
WHERE counters.id > ? AND counters.id <= ?
  AND (counters.generation < features.generation
       OR counters.generation < coalesce(of_customer.generation, 0))
"""

# A number that was freed since it was read may be another counter's by now: asked again.
DELETE_COUNTER = """
DELETE FROM counters
WHERE id = ?
  AND (generation < (SELECT generation FROM features
                     WHERE features.environment = counters.environment
                       AND features.id = counters.feature)
       OR generation < (SELECT generation FROM customer_generations AS of_customer
                        WHERE of_customer.environment = counters.environment
                          AND of_customer.customer = counters.customer
                          AND of_customer.feature = counters.feature))
"""
DELETE_PART = """
DELETE FROM counter_parts
WHERE id = ? AND NOT EXISTS (SELECT 1 FROM counters WHERE counters.id = counter_parts.id)
"""


class Sweeper:
    """Walks over the counters once after each recount, and once after each start."""

    def __init__(self, state: Store, owner: Owner) -> None:
        self._state = state
        self._owner = owner
        self._swept_for = -1
        self._sweeping_for = -1
        self._next = 0

    @property
    def swept_for(self) -> int:
        """What recounts up to this one replaced is deleted; negative before the first walk."""
        return self._swept_for

    def step(self) -> bool:
        """Sweep one stretch; False when nothing was replaced since the last walk."""
        with self._state.reading() as transaction:
            newest = _number(transaction, NEWEST_FINISHED)
            last = _number(transaction, LARGEST_ID)
            if newest == self._swept_for:
                return False
            if newest != self._sweeping_for:
                self._sweeping_for, self._next = newest, 0
            stop = self._next + limits.SWEEP_STEP_ROWS
            stale = transaction.all(STALE, self._next, stop)
        if stale:
            with self._state.writing() as transaction:
                self._owner.confirm(transaction)
                transaction.run_many(DELETE_COUNTER, stale)
                transaction.run_many(DELETE_PART, stale)
        self._next = stop
        if stop >= last:
            self._swept_for = self._sweeping_for
        return True


def _number(transaction: Transaction, sql: str) -> int:
    return cast("tuple[int]", transaction.one(sql))[0]
