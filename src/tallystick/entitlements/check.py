"""The check: may this customer use this feature now, and how much is used.

Owns: the answer's shape and the order of reasons. Promises: a check never changes anything; a
denial is an answer, never an error; what it tells is one snapshot (the caller's transaction), with
``rules`` as of that snapshot. Leaves the decision itself to ``core/entitlements``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from tallystick.clock import Instant, format_instant
from tallystick.core.entitlements import Entitlement, decide
from tallystick.core.numbers import json_number
from tallystick.core.parts import ZERO
from tallystick.core.periods import FROM_START, Period
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.store import Transaction
from tallystick.usage.totals import Account, in_units, open_account, resets, total_of

# Whether anything was ever counted for a resource.
RESOURCE_COUNTED: Final = """
SELECT 1 FROM counters WHERE environment = ? AND customer = ? AND resource = ? LIMIT 1
"""

_OF_CUSTOMER: Final = ("CustomerNotFound", "CustomerIsArchived")


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
    if closed in _OF_CUSTOMER:
        return CheckResult(EntitlementReply(False, closed, _feature(known)))
    if known is None:
        return CheckResult(EntitlementReply(False, "FeatureNotFound", None))
    return asker.ask(known, closed, requested_usage, requested_values)


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
        # The list has fewer reasons than the check.
        told = closed if closed in _OF_CUSTOMER else "NoActiveSubscription"
        return ListResult(EntitlementsReply([], told))
    results = [
        asker.ask(feature)
        for feature in rules.features(transaction, environment).values()
        if asker.entitlement(feature) is not None
    ]
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
        known = False
        for span in rules.spans:
            if span.resource == self._resource:
                if span.holds(self._now):
                    return None
                known = True
        if self._resource and not known and not self._resource_counted():
            return "CustomerResourceNotFound"
        return "NoActiveSubscription"

    def entitlement(self, feature: FeatureRules) -> Entitlement | None:
        """The one that decides about a feature."""
        return self._rules.winner(
            self._transaction, self._environment, self._customer, self._resource, feature.id,
            self._now,
        )  # fmt: skip

    def ask(
        self,
        feature: FeatureRules,
        closed: str | None = None,
        requested_usage: int = 0,
        requested_values: Sequence[str] = (),
    ) -> CheckResult:
        """The answer about a feature that exists, for a customer who exists."""
        entitlement = self.entitlement(feature) if closed is None else None
        if feature.fed_by == "nothing":
            used, period, anchor = None, None, None
        else:
            account = self._account(feature)
            period = account.period_at(self._now)
            used = self._used(account, period)
            anchor = _anchor(account, period, self._now)
        decision = decide(
            feature.feature_type, feature.meter_type, entitlement, used or ZERO, requested_usage,
            requested_values,
        )  # fmt: skip
        reason = closed or decision.reason
        reply = _reply(feature, entitlement, reason, used, period, anchor)
        return CheckResult(reply, self._pending(feature))

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
    entitlement: Entitlement | None,
    reason: str | None,
    used: Decimal | None,
    period: Period | None,
    anchor: Instant | None,
) -> EntitlementReply:
    current = None if used is None else json_number(used)
    if entitlement is None:
        return EntitlementReply(False, reason, _feature(feature), current_usage=current)
    updated_at = entitlement.updated_at
    ends = format_instant(period.end) if resets(period) else None
    numeric = feature.feature_type == "NUMBER"
    return EntitlementReply(
        is_granted=reason is None,
        access_denied_reason=reason,
        feature=_feature(feature),
        usage_limit=entitlement.usage_limit if numeric and not entitlement.unlimited else None,
        current_usage=current,
        has_unlimited_usage=entitlement.unlimited if numeric else None,
        reset_period=entitlement.reset_period,
        usage_period_anchor=None if anchor is None else format_instant(anchor),
        usage_period_start=format_instant(period.start) if resets(period) else None,
        usage_period_end=ends,
        entitlement_updated_at=None if updated_at is None else format_instant(updated_at),
        valid_until=ends,
    )


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
