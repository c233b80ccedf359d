"""Where the matches of a customer go: the counter of its present period, kept in memory.

Owns: a cache from (environment, customer, resource, feature) to the counter that the next match
most likely adds to, with what that counter holds. The fold is the only writer of event-fed
counters, so what it wrote need not be read again. Promises: after ``follow`` nothing stale is left
(it reads the same ``changes`` as every cache of rules); memory is bounded by forgetting the
customers that were quiet the longest, however many resources one has.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from tallystick import limits
from tallystick.clock import Instant
from tallystick.core.periods import Segment, period_at
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.fold.standing import Standing
from tallystick.keys.hashing import key_hash
from tallystick.store import Transaction
from tallystick.usage.counters import CounterKey, StoredCounter, find_counter

CHANGES_SINCE = "SELECT environment, customer FROM changes WHERE seq > ?"


class Slot:
    """A counter that stands ready: [start, stop) are the event times it counts, in microseconds.

    ``stored`` is its row by the last commit, kept for UNIQUE counters only: the others stand in
    ``standing``, and what was stored here would not follow.
    """

    __slots__ = ("_name", "key", "segments", "start", "stop", "stored", "unique")

    def __init__(self, key: CounterKey, segments: tuple[Segment, ...], *, unique: bool) -> None:
        """``key`` names the counter but for its period, which ``turn_to`` sets."""
        self.key = key
        self.segments = segments
        self.unique = unique
        self.start = 0
        self.stop = 0
        self.stored: StoredCounter | None = None
        self._name = ""

    def turn_to(self, instant: int) -> bool:
        """Stand ready for the period of an instant; False when no rule holds then."""
        period = period_at(self.segments, instant)
        if period is None:
            return False
        self.start, self.stop = period.counted_from, period.counted_until
        self.key = CounterKey(*self.key[:-1], period_start=self.start)
        self.stored = None
        self._name = ""
        return True

    def key_at(self, start: int) -> CounterKey:
        """The counter of the period in which counting began at ``start``."""
        return self.key if start == self.start else CounterKey(*self.key[:-1], period_start=start)

    def name_at(self, start: int) -> str:
        """A short name of that counter, with which its UNIQUE values are hashed."""
        if start != self.start:
            return name_of(self.key_at(start))
        if not self._name:
            self._name = name_of(self.key)
        return self._name

    def counter(self, transaction: Transaction, key: CounterKey) -> StoredCounter | None:
        """The row of counter ``key`` of this slot, read only when it is not known."""
        return self.stored if self.knows(key) else find_counter(transaction, key)

    def knows(self, key: CounterKey) -> bool:
        """Whether the row of counter ``key`` of this slot need not be read."""
        return self.stored is not None and key == self.key


def name_of(key: CounterKey) -> str:
    """A short name of a counter: a hash, in hexadecimal."""
    return key_hash(*map(str, key)).hex()


def counts_values(feature: FeatureRules) -> bool:
    """Whether a feature's meter counts values once each, rather than adding up."""
    return feature.meter is not None and feature.meter.aggregation.function == "UNIQUE"


class Slots:
    """The slots of one worker."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._seq = -1
        self._customers: OrderedDict[tuple[str, str], dict[tuple[str, str], Slot | None]] = (
            OrderedDict()
        )
        self._count = 0

    def follow(self, transaction: Transaction, standing: Standing) -> int:
        """Forget what changed, here and there; returns the number of the newest change."""
        seq = self._rules.refresh(transaction)
        if not self._seq <= seq <= self._seq + limits.RULES_CHANGES_FOLLOWED_MAX or self._seq < 0:
            # So many changes later the first of them may be gone (``archive/garbage.py``).
            self._forget_all()
            standing.forget_all()
        elif seq > self._seq:
            changes = transaction.all(CHANGES_SINCE, self._seq)
            for environment, customer in cast("list[tuple[str, str]]", changes):
                self._forget(environment, customer)
            standing.forget(cast("list[tuple[str, str]]", changes))
        self._seq = seq
        return seq

    def find(
        self,
        transaction: Transaction,
        environment: str,
        customer: str,
        resource: str,
        feature: FeatureRules,
    ) -> Slot | None:
        """The slot of a customer's feature; None when nothing may be counted now: no rule ever
        held, or a recount is open, which reads the same events from the archive."""
        owner = (environment, customer)
        slots = self._customers.get(owner)
        if slots is None:
            slots = self._customers[owner] = {}
        else:
            self._customers.move_to_end(owner)
        place = (resource, feature.id)
        if place in slots:
            return slots[place]
        slot = slots[place] = self._make(transaction, environment, customer, resource, feature)
        self._count += 1
        self._shrink()
        return slot

    def _make(
        self,
        transaction: Transaction,
        environment: str,
        customer: str,
        resource: str,
        feature: FeatureRules,
    ) -> Slot | None:
        rules = self._rules
        if rules.pending(transaction, environment, customer, feature.id) is not None:
            return None
        segments = rules.segments(transaction, environment, customer, resource, feature.id)
        if not segments:
            return None
        generation = rules.generation(transaction, environment, customer, feature.id)
        key = CounterKey(environment, customer, resource, feature.id, generation, Instant(0))
        return Slot(key, segments, unique=counts_values(feature))

    def _forget(self, environment: str, customer: str) -> None:
        if customer:
            self._count -= len(self._customers.pop((environment, customer), ()))
            return
        for owner in [owner for owner in self._customers if owner[0] == environment]:
            self._count -= len(self._customers.pop(owner))

    def _forget_all(self) -> None:
        self._customers.clear()
        self._count = 0

    def _shrink(self) -> None:
        """Forget whoever was quiet the longest; all of one customer, if it alone is too many."""
        while self._count > limits.SLOTS_MAX:
            _, slots = self._customers.popitem(last=False)
            self._count -= len(slots)
