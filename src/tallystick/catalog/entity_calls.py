"""Changes of one entity in a minute: so many, and no more.

Owns: the table ``entity_calls``. Stigg lets 30 calls a minute through for each entity, shared by
the endpoints that target it; so does this, in any minute, not from one full minute to the next.
Promises: it holds across all processes, because a call is counted in the transaction of its change;
what is refused changes nothing and is told when to come back; a change of another entity costs a
lookup in an index and no more.

Calls that fail for another reason are not counted, since their transaction leaves nothing: whoever
corrects a request is not locked out by its mistakes, and names that exist nowhere fill no table.
They are refused as soon as the entity's minute is full, before anybody looks at what they ask.

Time is real: the product's clock may be a test clock that stands, and a minute would never pass. A
clock that was set back forgets the calls that are then more than a minute ahead.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, cast

from tallystick import limits
from tallystick.clock import MINUTE, SECOND, Clock
from tallystick.errors import TooManyRequests
from tallystick.store import Transaction

# The call that has to be a minute old before the next is let through; none while there is room.
IN_THE_WAY: Final = """
SELECT real_at FROM entity_calls
WHERE environment = ? AND kind = ? AND id = ? AND resource = ? AND real_at > ? AND real_at <= ?
ORDER BY real_at DESC LIMIT 1 OFFSET ?
"""
ADD: Final = """
INSERT INTO entity_calls (environment, kind, id, resource, real_at) VALUES (?, ?, ?, ?, ?)
"""
# Of the oldest calls, whoever made them, those that no minute contains any more.
SWEEP: Final = """
DELETE FROM entity_calls
WHERE seq IN (SELECT seq FROM entity_calls ORDER BY seq LIMIT ?)
  AND (real_at <= ? OR real_at > ?)
"""


class Entity(NamedTuple):
    """What a call targets. ``resource`` is of a customer, '' for the customer itself."""

    kind: Literal["customer", "subscription"]
    id: str
    resource: str = ""

    def __str__(self) -> str:
        resource = f" (resource {self.resource!r})" if self.resource else ""
        return f"{self.kind} {self.id!r}{resource}"


class EntityCalls:
    """Counts calls. Safe to use from several threads."""

    def __init__(self, per_minute: int, real_clock: Clock) -> None:
        """``per_minute`` calls are let through for each entity; 0 is any number."""
        self._per_minute = per_minute
        self._real_clock = real_clock

    def admit(self, transaction: Transaction, environment: str, entity: Entity) -> None:
        """Count a call; it stays counted if the transaction commits.

        Raises ``TooManyRequests`` when the minute that ends now has seen as many as may be.
        """
        if not self._per_minute:
            return
        now = self._real_clock.now()
        past, ahead = now - MINUTE, now + MINUTE
        found = transaction.one(IN_THE_WAY, environment, *entity, past, ahead, self._per_minute - 1)
        if found is not None:
            raise self._refusal(entity, cast("int", found[0]) - past)
        transaction.run(SWEEP, limits.ENTITY_CALLS_SWEPT_MAX, past, ahead)
        transaction.run(ADD, environment, *entity, now)

    def _refusal(self, entity: Entity, wait_us: int) -> TooManyRequests:
        seconds = min(-(-wait_us // SECOND), limits.RETRY_AFTER_SECONDS_MAX)
        return TooManyRequests(
            f"{entity} was changed {self._per_minute} times within a minute, which is the limit; "
            f"try again in {seconds} s. Changes of others go on; the operator may raise "
            "ENTITY_CALLS_PER_MINUTE",
            retry_after_seconds=seconds,
        )
