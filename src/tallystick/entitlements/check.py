"""The check: may this customer use this feature now, and how much is used.

Owns: the answer's shape and the order of reasons. Promises: a check never changes anything; a
denial is an answer, never an error; what it tells is one snapshot (the caller's transaction), with
``rules`` as of that snapshot. Leaves the decision itself to ``core/entitlements``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from tallystick.clock import Instant, format_instant
from tallystick.core.entitlements import decide
from tallystick.core.numbers import json_number
from tallystick.core.parts import ZERO
from tallystick.core.periods import FROM_START, Period
from tallystick.core.timeline import Span
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules, Winner
from tallystick.store import Transaction
from tallystick.usage.totals import Account, in_units, open_account, resets, total_of

# Whether anything was ever counted for a resource.
RESOURCE_COUNTED: Final = """
SELECT 1 FROM counters WHERE environment = ? AND customer = ? AND resource = ? LIMIT 1
"""


class CheckedFeature(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The feature of an entitlement."""

    id: str
    display_name: str
    feature_status: str
    feature_type: str


class EntitlementReply(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An entitlement as a check or a list tells it. Usage and limit are in shown units; what does
    not apply is null."""

    is_granted: bool
    access_denied_reason: str | None
    feature: CheckedFeature | None
    usage_limit: int | None = None
    current_usage: int | Decimal | None = None
    has_unlimited_usage: bool | None = None
    reset_period: str | None = None
    usage_period_anchor: str | None = None
    usage_period_start: str | None = None
    usage_period_end: str | None = None
    entitlement_updated_at: str | None = None
    # The first instant at which time alone may change the answer: a period, a subscription or a
    # grant ends or begins, or a change that is arranged already takes effect.
    valid_until: str | None = None
    type: Literal["FEATURE"] = "FEATURE"


class EntitlementsReply(msgspec.Struct, frozen=True, rename="camel"):
    """Every entitlement of a customer or resource."""

    entitlements: list[EntitlementReply]
    access_denied_reason: str | None


class CheckResult(NamedTuple):
    """The answer. ``pending`` is how fresh its usage is while that awaits a recount, else None."""

    reply: EntitlementReply
    pending: Instant | None = None


class ListResult(NamedTuple):
    """The list. ``pending`` is the least fresh of its usages that await a recount."""

    reply: EntitlementsReply
    pending: Instant | None = None


def check(
    transaction: Transaction,
    rules: Rules,
    environment: str,
    customer: str,
    feature: str,
    resource: str,
    requested_usage: int,
    requested_values: Sequence[str],
    now: Instant,
) -> CheckResult:
    """May ``customer`` (of ``resource``, '' for the customer itself) use ``feature`` now?

    ``requested_usage`` is in shown units, 0 or more; ``requested_values`` are of enum features.
    """
    asker = _Asker(transaction, rules, environment, customer, resource, now)
    known = rules.features(transaction, environment).get(feature)
    closed = asker.closed()
    if closed is not None:
        return CheckResult(EntitlementReply(False, closed, _feature(known)))
    if known is None:
        return CheckResult(EntitlementReply(False, "FeatureNotFound", None))
    return asker.ask(known, requested_usage, requested_values)


def list_entitlements(
    transaction: Transaction,
    rules: Rules,
    environment: str,
    customer: str,
    resource: str,
    now: Instant,
) -> ListResult:
    """Every entitlement that ``customer`` (or its ``resource``) has now, by feature id."""
    asker = _Asker(transaction, rules, environment, customer, resource, now)
    closed = asker.closed()
    if closed is not None:
        return ListResult(EntitlementsReply([], closed))
    features = rules.features(transaction, environment)
    granted = rules.granted(transaction, environment, customer, resource, now)
    results = [asker.ask(features[name]) for name in granted if name in features]
    if not results and not asker.subscribed():
        # The list has fewer reasons than the check.
        return ListResult(EntitlementsReply([], "NoActiveSubscription"))
    pending = min((r.pending for r in results if r.pending is not None), default=None)
    return ListResult(EntitlementsReply([result.reply for result in results], None), pending)


class _Asker:
    """Who asks, when, and by which rules."""

    __slots__ = ("_customer", "_environment", "_now", "_resource", "_rules", "_transaction")

    def __init__(
        self,
        transaction: Transaction,
        rules: Rules,
        environment: str,
        customer: str,
        resource: str,
        now: Instant,
    ) -> None:
        self._transaction = transaction
        self._rules = rules
        self._environment = environment
        self._customer = customer
        self._resource = resource
        self._now = now

    def closed(self) -> str | None:
        """Why nothing at all is granted; None when something may be."""
        rules = self._rules.customer(self._transaction, self._environment, self._customer)
        if rules is None:
            return "CustomerNotFound"
        if rules.archived_at is not None and rules.archived_at <= self._now:
            return "CustomerIsArchived"
        return None

    def subscribed(self) -> bool:
        """Whether a subscription of the customer, or the resource that is meant, holds."""
        return any(span.holds(self._now) for span in self._spans())

    def ask(
        self,
        feature: FeatureRules,
        requested_usage: int = 0,
        requested_values: Sequence[str] = (),
    ) -> CheckResult:
        """The answer about a feature that exists, for a customer who exists."""
        winner = self._rules.deciding(
            self._transaction, self._environment, self._customer, self._resource, feature.id,
            self._now,
        )  # fmt: skip
        if feature.fed_by == "nothing":
            used, period, anchor = None, None, None
        else:
            account = self._account(feature)
            period = account.period_at(self._now)
            used = self._used(account, period)
            anchor = _anchor(account, period, self._now)
        decision = decide(
            feature.feature_type, feature.meter_type, winner.entitlement, used or ZERO,
            requested_usage, requested_values,
        )  # fmt: skip
        reason: str | None = decision.reason
        if winner.entitlement is None:
            reason = self._nothing_granted() or reason
        reply = _reply(feature, winner, reason, used, period, anchor)
        return CheckResult(reply, self._pending(feature))

    def _nothing_granted(self) -> str | None:
        """Why nothing is granted of a feature, unless it is that the subscriptions name it not."""
        if self.subscribed():
            return None
        if self._resource and not any(self._spans()) and not self._resource_counted():
            return "CustomerResourceNotFound"
        return "NoActiveSubscription"

    def _spans(self) -> Iterator[Span]:
        """Every subscription that the customer, or the resource that is meant, ever had."""
        rules = self._rules.customer(self._transaction, self._environment, self._customer)
        assert rules is not None, "a customer who exists"
        return (span for span in rules.spans if span.resource == self._resource)

    def _account(self, feature: FeatureRules) -> Account:
        return open_account(
            self._transaction, self._rules, self._environment, self._customer, self._resource,
            feature,
        )  # fmt: skip

    def _used(self, account: Account, period: Period | None) -> Decimal | None:
        """What is used now, in shown units; None of events while no rule says how to count them."""
        if period is None and account.feature.fed_by == "events":
            return None
        total = total_of(self._transaction, account, period)
        return in_units(account.feature, total)

    def _pending(self, feature: FeatureRules) -> Instant | None:
        if feature.fed_by != "events":
            return None
        return self._rules.pending(self._transaction, self._environment, self._customer, feature.id)

    def _resource_counted(self) -> bool:
        row = self._transaction.one(
            RESOURCE_COUNTED, self._environment, self._customer, self._resource
        )
        return row is not None


def _reply(
    feature: FeatureRules,
    winner: Winner,
    reason: str | None,
    used: Decimal | None,
    period: Period | None,
    anchor: Instant | None,
) -> EntitlementReply:
    current = None if used is None else json_number(used)
    ends = period.end if resets(period) else None
    entitlement = winner.entitlement
    if entitlement is None:
        return EntitlementReply(
            False, reason, _feature(feature), current_usage=current,
            valid_until=_text(winner.until),
        )  # fmt: skip
    numeric = feature.feature_type == "NUMBER"
    return EntitlementReply(
        is_granted=reason is None,
        access_denied_reason=reason,
        feature=_feature(feature),
        usage_limit=entitlement.usage_limit if numeric and not entitlement.unlimited else None,
        current_usage=current,
        has_unlimited_usage=entitlement.unlimited if numeric else None,
        reset_period=entitlement.reset_period,
        usage_period_anchor=_text(anchor),
        usage_period_start=_text(period.start) if resets(period) else None,
        usage_period_end=_text(ends),
        entitlement_updated_at=_text(entitlement.updated_at),
        valid_until=_text(min((at for at in (ends, winner.until) if at is not None), default=None)),
    )


def _text(at: Instant | None) -> str | None:
    return None if at is None else format_instant(at)


def _anchor(account: Account, period: Period | None, now: Instant) -> Instant | None:
    """What the period's boundaries are computed from; a calendar rule has no other than itself."""
    if not resets(period):
        return None
    rule = account.rule_at(now)
    return rule.anchor if rule is not None and rule.according_to == FROM_START else period.start


def _feature(feature: FeatureRules | None) -> CheckedFeature | None:
    if feature is None:
        return None
    return CheckedFeature(feature.id, feature.display_name, feature.status, feature.feature_type)
