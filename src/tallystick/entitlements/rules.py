"""The rules that hold, kept in memory and never stale.

Owns: the caches of features, plans, customers and their periods, and when to drop what. A cache
follows ``changes``: each row names what to drop; a row that is missing or has another token than
the one remembered (a rolled-back transaction's number, used again) drops everything.

Promises: after ``refresh(transaction)`` every answer is what the transaction's snapshot says;
memory is bounded (``limits.RULES_*``); an answer from the cache costs microseconds. Whoever writes
what is cached here (generations of counters and recounts included) records a change in the same
transaction.

One ``Rules`` belongs to one thread. Inside a writing transaction that changes rules, what is not
committed yet must not be cached: ask a fresh ``Rules(store)`` there, and throw it away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from tallystick import limits
from tallystick.catalog.changes import EVERYONE
from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement, effective
from tallystick.core.periods import Segment, segments
from tallystick.core.timeline import active_entitlements, changes_of
from tallystick.entitlements.loading import (
    CustomerRules,
    FeatureRules,
    OpenRecounts,
    PlanVersion,
    load_customer,
    load_features,
    load_generations,
    load_plans,
    load_recounts,
)
from tallystick.store import Store, Transaction

NEWEST_CHANGE = "SELECT seq, token FROM changes ORDER BY seq DESC LIMIT 1"

# From the one remembered on, itself included, so that its token can be compared.
CHANGES_SINCE = """
SELECT seq, token, environment, customer FROM changes WHERE seq >= ? ORDER BY seq LIMIT ?
"""


@dataclass(slots=True)
class _Environment:
    features: Mapping[str, FeatureRules]
    metered: tuple[FeatureRules, ...]
    plans: Mapping[str, list[PlanVersion]]


@dataclass(slots=True)
class _Customer:
    rules: CustomerRules | None
    generations: Mapping[str, int]
    segments: dict[tuple[str, str], tuple[Segment, ...]] = field(default_factory=dict)


class Rules:
    """What was configured, as of the last ``refresh``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version: int | None = None
        self._seq: int | None = None
        self._token = 0
        self._environments: OrderedDict[str, _Environment] = OrderedDict()
        self._customers: OrderedDict[tuple[str, str], _Customer] = OrderedDict()
        self._recounts: dict[str, OpenRecounts] = {}

    def refresh(self, transaction: Transaction) -> int:
        """Drop what changed since the last refresh; returns the number of the newest change."""
        if self._seq is None:
            return self._start_anew(transaction)
        rows = cast(
            "list[tuple[int, int, str, str]]",
            transaction.all(CHANGES_SINCE, self._seq, limits.RULES_CHANGES_FOLLOWED_MAX + 2),
        )
        if self._seq > 0:
            if not rows or rows[0][:2] != (self._seq, self._token):
                return self._start_anew(transaction)
            del rows[0]
        if len(rows) > limits.RULES_CHANGES_FOLLOWED_MAX:
            return self._start_anew(transaction)
        for seq, token, environment, customer in rows:
            self._drop(environment, customer)
            self._seq, self._token = seq, token
        return self._seq

    def follow(self, transaction: Transaction) -> None:
        """``refresh``, but for next to nothing while nobody has committed.

        For threads that only read (the store need not tell a thread of its own commits), at the
        start of the transaction.
        """
        version = self._store.version()
        if version != self._version:
            self.refresh(transaction)
            self._version = version

    def branch(self) -> Rules:
        """Throwaway rules for after a change of customers, within its transaction: they share
        what is known of environments and know no customer yet."""
        branch = Rules(self._store)
        branch._environments = OrderedDict(self._environments)
        return branch

    def features(self, transaction: Transaction, environment: str) -> Mapping[str, FeatureRules]:
        """Every feature of an environment, by id."""
        return self._environment(transaction, environment).features

    def metered(self, transaction: Transaction, environment: str) -> tuple[FeatureRules, ...]:
        """The features that are fed by events, by id."""
        return self._environment(transaction, environment).metered

    def customer(
        self, transaction: Transaction, environment: str, customer: str
    ) -> CustomerRules | None:
        """A customer and all it ever subscribed to; None when it is unknown."""
        return self._customer(transaction, environment, customer).rules

    def segments(
        self, transaction: Transaction, environment: str, customer: str, resource: str, feature: str
    ) -> tuple[Segment, ...]:
        """The stretches of time with one period rule each; () when no rule ever held."""
        entry = self._customer(transaction, environment, customer)
        if entry.rules is None:
            return ()
        known = entry.segments.get((resource, feature))
        if known is None:
            known = segments(changes_of(entry.rules.spans, feature, resource, entry.rules.zones))
            entry.segments[resource, feature] = known
        return known

    def winner(
        self,
        transaction: Transaction,
        environment: str,
        customer: str,
        resource: str,
        feature: str,
        at: Instant,
    ) -> Entitlement | None:
        """The entitlement that decides at an instant: the most generous of those that hold."""
        rules = self._customer(transaction, environment, customer).rules
        if rules is None:
            return None
        return effective(active_entitlements(rules.spans, feature, resource, at))

    def generation(
        self, transaction: Transaction, environment: str, customer: str, feature: str
    ) -> int:
        """Which generation of a feature's counters is the valid one for a customer."""
        rules = self._environment(transaction, environment).features.get(feature)
        own = self._customer(transaction, environment, customer).generations.get(feature, 0)
        return max(own, 0 if rules is None else rules.generation)

    def pending(
        self, transaction: Transaction, environment: str, customer: str, feature: str
    ) -> Instant | None:
        """How fresh a value is that awaits a recount; None when it awaits none."""
        recounts = self._recounts.get(environment)
        if recounts is None:
            recounts = self._recounts[environment] = load_recounts(transaction, environment)
        if not recounts:
            return None
        open_ones = (*recounts.get(EVERYONE, ()), *recounts.get(customer, ()))
        return min((as_of for of, as_of in open_ones if of in ("", feature)), default=None)

    def _environment(self, transaction: Transaction, environment: str) -> _Environment:
        known = self._environments.get(environment)
        if known is None:
            features = load_features(transaction, environment)
            metered = tuple(rules for rules in features.values() if rules.fed_by == "events")
            known = _Environment(features, metered, load_plans(transaction, environment))
            self._environments[environment] = known
            if len(self._environments) > limits.RULES_ENVIRONMENTS_MAX:
                self._drop(next(iter(self._environments)), EVERYONE)
        return known

    def _customer(self, transaction: Transaction, environment: str, customer: str) -> _Customer:
        key = (environment, customer)
        known = self._customers.get(key)
        if known is not None:
            self._customers.move_to_end(key)
            return known
        plans = self._environment(transaction, environment).plans
        known = _Customer(
            load_customer(transaction, environment, customer, plans),
            load_generations(transaction, environment, customer),
        )
        self._customers[key] = known
        if len(self._customers) > limits.RULES_CUSTOMERS_MAX:
            self._customers.popitem(last=False)
        return known

    def _drop(self, environment: str, customer: str) -> None:
        self._recounts.pop(environment, None)
        if customer != EVERYONE:
            self._customers.pop((environment, customer), None)
            return
        self._environments.pop(environment, None)
        for key in [key for key in self._customers if key[0] == environment]:
            del self._customers[key]

    def _start_anew(self, transaction: Transaction) -> int:
        self._environments.clear()
        self._customers.clear()
        self._recounts.clear()
        row = transaction.one(NEWEST_CHANGE)
        self._seq, self._token = (0, 0) if row is None else cast("tuple[int, int]", row)
        return self._seq
