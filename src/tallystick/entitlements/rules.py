"""The rules that hold, kept in memory and never stale.

Owns: the caches of features, plans and add-ons, customers and their periods, and when to drop what.
Features are read together, each plan and add-on when a customer is first made of it, so that a
change of the catalog costs what it touches. A cache follows ``changes``: each row names what to
drop; a row that is missing or has another token than the one remembered (a rolled-back
transaction's number, used again) drops everything.

Promises: after ``refresh(transaction)`` every answer is what the transaction's snapshot says;
memory is bounded (``limits.RULES_*``); an answer from the cache costs microseconds. Whoever writes
what is cached here (generations of counters and recounts included) records a change in the same
transaction.

One ``Rules`` belongs to one thread. Inside a writing transaction that changes rules, what is not
committed yet must not be cached: ask fresh ``Rules()`` there, and throw it away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, cast

from tallystick import limits
from tallystick.catalog.changes import EVERYONE
from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement, effective
from tallystick.core.periods import Segment, segments
from tallystick.core.subscription import Version
from tallystick.core.timeline import (
    active_entitlements,
    changes_of,
    granted_features,
    next_turn,
)
from tallystick.entitlements.loading import (
    CustomerRules,
    FeatureRules,
    OpenRecounts,
    load_customer,
    load_features,
    load_generations,
    load_recounts,
)
from tallystick.entitlements.packages import Kind, PackageName, load_package
from tallystick.store import Transaction

T = TypeVar("T")

NEWEST_CHANGE = "SELECT seq, token FROM changes ORDER BY seq DESC LIMIT 1"

# From the one remembered on, itself included, so that its token can be compared.
CHANGES_SINCE = """
SELECT seq, token, environment, customer, what FROM changes WHERE seq >= ? ORDER BY seq LIMIT ?
"""


class Winner(NamedTuple):
    """What decides from ``since`` on: the effective entitlement, None when nothing is granted.

    ``until`` is when time alone may change that, None for never; the period's end is not meant.
    """

    since: Instant
    until: Instant | None
    entitlement: Entitlement | None

    def holds(self, at: Instant) -> bool:
        """Whether it is known to be what decides at an instant."""
        return self.since <= at and (self.until is None or at < self.until)


@dataclass(slots=True)
class _Environment:
    features: Mapping[str, FeatureRules]
    metered: tuple[FeatureRules, ...]


@dataclass(slots=True)
class _Customer:
    rules: CustomerRules | None
    generations: Mapping[str, int]
    segments: dict[tuple[str, str], tuple[Segment, ...]] = field(default_factory=dict)
    winners: dict[tuple[str, str], Winner] = field(default_factory=dict)
    made: dict[tuple[str, str], tuple[_Environment, object]] = field(default_factory=dict)

    def forget_answers(self) -> int:
        """Forget what was worked out; returns how much that was."""
        count = len(self.segments) + len(self.winners) + len(self.made)
        self.segments.clear()
        self.winners.clear()
        self.made.clear()
        return count


class Rules:
    """What was configured, as of the last ``refresh``."""

    def __init__(self) -> None:
        self._seq: int | None = None
        self._token = 0
        self._environments: OrderedDict[str, _Environment] = OrderedDict()
        self._customers: OrderedDict[tuple[str, str], _Customer] = OrderedDict()
        self._packages: OrderedDict[tuple[str, PackageName], tuple[Version, ...]] = OrderedDict()
        # By package, the customers in memory that are made of it.
        self._holders: dict[tuple[str, PackageName], set[str]] = {}
        self._recounts: dict[str, OpenRecounts] = {}
        # How many answers of customers are in memory.
        self._answers = 0

    def refresh(self, transaction: Transaction) -> int:
        """Drop what changed since the last refresh; returns the number of the newest change."""
        if self._seq is None:
            return self._start_anew(transaction)
        rows = cast(
            "list[tuple[int, int, str, str, str]]",
            transaction.all(CHANGES_SINCE, self._seq, limits.RULES_CHANGES_FOLLOWED_MAX + 2),
        )
        if self._seq > 0:
            if not rows or rows[0][:2] != (self._seq, self._token):
                return self._start_anew(transaction)
            del rows[0]
        if len(rows) > limits.RULES_CHANGES_FOLLOWED_MAX:
            return self._start_anew(transaction)
        for seq, token, environment, customer, what in rows:
            self._drop(environment, customer, what)
            self._seq, self._token = seq, token
        return self._seq

    def branch(self) -> Rules:
        """Throwaway rules for after a change of customers, within its transaction: they share
        what is known of the catalog and know no customer yet."""
        branch = Rules()
        branch._environments = OrderedDict(self._environments)
        branch._packages = OrderedDict(self._packages)
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
            known = _segments(entry.rules, resource, feature)
            # Anybody may ask about resources that never were: nothing is kept of them.
            if known or not resource:
                self._make_room()
                entry.segments[resource, feature] = known
        return known

    def deciding(
        self,
        transaction: Transaction,
        environment: str,
        customer: str,
        resource: str,
        feature: str,
        at: Instant,
    ) -> Winner:
        """What decides about a feature at an instant."""
        entry = self._customer(transaction, environment, customer)
        if entry.rules is None:
            return Winner(at, None, None)
        known = entry.winners.get((resource, feature))
        if known is None or not known.holds(at):
            known = _winner(entry.rules, resource, feature, at)
            if known.entitlement is not None or not resource:
                if (resource, feature) not in entry.winners:
                    self._make_room()
                entry.winners[resource, feature] = known
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
        """The effective entitlement to a feature at an instant; None when nothing is granted."""
        scope = (environment, customer, resource, feature, at)
        return self.deciding(transaction, *scope).entitlement

    def granted(
        self,
        transaction: Transaction,
        environment: str,
        customer: str,
        resource: str,
        at: Instant,
    ) -> list[str]:
        """Every feature that something grants at an instant, in order of their ids."""
        rules = self._customer(transaction, environment, customer).rules
        if rules is None:
            return []
        return sorted(granted_features(rules.spans, rules.grants, resource, at))

    def package(
        self, transaction: Transaction, environment: str, kind: Kind, package: str
    ) -> tuple[Version, ...]:
        """The published versions of a plan or an add-on, oldest first; () when it is unknown."""
        key = (environment, (kind, package))
        known = self._packages.get(key)
        if known is None:
            known = self._packages[key] = load_package(transaction, environment, kind, package)
            if len(self._packages) > limits.RULES_PACKAGES_MAX:
                self._packages.popitem(last=False)
        else:
            self._packages.move_to_end(key)
        return known

    def generation(
        self, transaction: Transaction, environment: str, customer: str, feature: str
    ) -> int:
        """Which generation of a feature's counters is the valid one for a customer."""
        rules = self._environment(transaction, environment).features.get(feature)
        own = self._customer(transaction, environment, customer).generations.get(feature, 0)
        return max(own, 0 if rules is None else rules.generation)

    def made_of(
        self,
        transaction: Transaction,
        environment: str,
        customer: str,
        resource: str,
        feature: str,
        make: Callable[[], T],
    ) -> T:
        """What ``make`` makes of the rules of a feature of a customer or resource, and of nothing
        else: made anew when one of them may have changed. There is one kind of it."""
        features = self._environment(transaction, environment)
        entry = self._customer(transaction, environment, customer)
        known = entry.made.get((resource, feature))
        if known is not None and known[0] is features:
            return cast("T", known[1])
        made = make()
        if not resource or (resource, feature) in entry.segments:  # as ``segments`` keeps them
            if known is None:
                self._make_room()
            entry.made[resource, feature] = features, made
        return made

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
            known = self._environments[environment] = _Environment(features, metered)
            if len(self._environments) > limits.RULES_ENVIRONMENTS_MAX:
                evicted, _ = self._environments.popitem(last=False)
                self._recounts.pop(evicted, None)
        else:
            self._environments.move_to_end(environment)
        return known

    def _customer(self, transaction: Transaction, environment: str, customer: str) -> _Customer:
        key = (environment, customer)
        known = self._customers.get(key)
        if known is not None:
            self._customers.move_to_end(key)
            return known

        def find(kind: Kind, package: str) -> tuple[Version, ...]:
            return self.package(transaction, environment, kind, package)

        known = _Customer(
            load_customer(transaction, environment, customer, find),
            load_generations(transaction, environment, customer),
        )
        self._customers[key] = known
        for name in () if known.rules is None else known.rules.packages:
            self._holders.setdefault((environment, name), set()).add(customer)
        if len(self._customers) > limits.RULES_CUSTOMERS_MAX:
            self._forget_customer(*next(iter(self._customers)))
        return known

    def _make_room(self) -> None:
        """For one more answer that was worked out; when there is none, all of them go."""
        if self._answers >= limits.RULES_ANSWERS_MAX:
            for known in self._customers.values():
                known.forget_answers()
            self._answers = 0
        self._answers += 1

    def _drop(self, environment: str, customer: str, what: str) -> None:
        """Forget what a change touched (``catalog.changes.record_change``)."""
        self._recounts.pop(environment, None)
        kind, _, name = what.partition(":")
        if customer != EVERYONE:
            self._forget_customer(environment, customer)
        elif kind == "feature":
            # Which periods there are and which generation a customer has does not depend on it.
            self._environments.pop(environment, None)
        elif kind in ("plan", "addon"):
            self._forget_package(environment, (cast("Kind", kind), name))
        else:
            self._forget_environment(environment)

    def _forget_customer(self, environment: str, customer: str) -> None:
        known = self._customers.pop((environment, customer), None)
        if known is None or known.rules is None:
            return
        self._answers -= known.forget_answers()
        for name in known.rules.packages:
            holders = self._holders[environment, name]
            holders.discard(customer)
            if not holders:
                del self._holders[environment, name]

    def _forget_package(self, environment: str, name: PackageName) -> None:
        self._packages.pop((environment, name), None)
        for customer in list(self._holders.get((environment, name), ())):
            self._forget_customer(environment, customer)

    def _forget_environment(self, environment: str) -> None:
        self._environments.pop(environment, None)
        for customer in [key[1] for key in self._customers if key[0] == environment]:
            self._forget_customer(environment, customer)
        for name in [key for key in self._packages if key[0] == environment]:
            del self._packages[name]

    def _start_anew(self, transaction: Transaction) -> int:
        self._environments.clear()
        self._customers.clear()
        self._packages.clear()
        self._holders.clear()
        self._recounts.clear()
        self._answers = 0
        row = transaction.one(NEWEST_CHANGE)
        self._seq, self._token = (0, 0) if row is None else cast("tuple[int, int]", row)
        return self._seq


def _segments(rules: CustomerRules, resource: str, feature: str) -> tuple[Segment, ...]:
    return segments(changes_of(rules.spans, rules.grants, feature, resource, rules.zones))


def _winner(rules: CustomerRules, resource: str, feature: str, at: Instant) -> Winner:
    scope = (rules.spans, rules.grants, feature, resource, at)
    return Winner(at, next_turn(*scope), effective(active_entitlements(*scope)))
