"""Usage reports: counted, recorded and visible when the transaction that holds them commits.

Owns: what a report does. Within one write transaction it changes the counter of its period, waits
in ``reports_waiting`` for the archive, claims its idempotency key and is entered in the ledger of
accepted reports. Promises: all items of a call or none; results in the order of the items, each
with the current period's total right after it; nothing is clamped; a repeated key changes nothing
and answers the first measurement with today's total.

Leaves to others: the shape and range of what was sent (``ingest/usage``), durability (the caller's
transaction), moving reports to the archive (``fold/reports``).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from tallystick import ids, limits
from tallystick.clock import Instant, format_instant
from tallystick.core.numbers import json_number
from tallystick.core.parts import CONTEXT, Part
from tallystick.core.periods import Period
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.errors import BadInput, NotFound
from tallystick.ingest.usage import UsageItem
from tallystick.store import Transaction, Value
from tallystick.usage.counters import CounterKey, find_counter, rewrite_counters, write_counters
from tallystick.usage.keys import Claim, claim_key, hash_of
from tallystick.usage.totals import Account, in_units, open_account, resets

TOTAL_MAX: Final = Decimal(limits.USAGE_INTEGER_MAX)

INSERT_WAITING: Final = """
INSERT INTO reports_waiting (environment, id, customer, resource, feature, value, key, created_at,
                             received_at, dimensions)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

ADD_TO_LEDGER: Final = """
UPDATE totals SET accepted_reports = accepted_reports + ?,
                  duplicate_reports = duplicate_reports + ?
WHERE environment = ?
"""

OPEN_LEDGER: Final = """
INSERT INTO totals (environment, accepted_reports, duplicate_reports) VALUES (?, ?, ?)
"""


class Measurement(msgspec.Struct, frozen=True, rename="camel"):
    """What a report is answered with. ``value`` is the recorded delta, the usage period is the one
    that contains ``created_at``; ``current_usage`` and ``next_reset_date`` are of the period that
    holds now. Period fields are None where nothing resets."""

    id: str
    customer_id: str
    feature_id: str
    resource_id: str | None
    timestamp: str
    created_at: str
    value: int | Decimal
    current_usage: int | Decimal
    usage_period_start: str | None
    usage_period_end: str | None
    next_reset_date: str | None
    credit: None = None


def report_usages(
    transaction: Transaction,
    rules: Rules,
    environment: str,
    items: Sequence[UsageItem],
    now: Instant,
    window_us: int,
) -> list[Measurement]:
    """Count and record reports; ``rules`` is as of this transaction (``Rules.refresh``).

    ``window_us`` is how long an idempotency key is remembered. Raises ``NotFound`` for an unknown
    customer or feature and ``BadInput`` for a feature that takes no reports or a total out of
    range; nothing is recorded then, if the caller lets the error end its part of the transaction.
    """
    batch = _Batch(transaction, rules, environment, now, now - window_us)
    measurements = [batch.report(item) for item in items]
    batch.write()
    return measurements


class _Batch:
    """One call: totals read once, changed in memory, written at the end."""

    def __init__(
        self,
        transaction: Transaction,
        rules: Rules,
        environment: str,
        now: Instant,
        first_live: int,
    ) -> None:
        self._transaction = transaction
        self._rules = rules
        self._environment = environment
        self._now = now
        self._first_live = first_live
        self._features = rules.features(transaction, environment)
        self._accounts: dict[tuple[str, str, str], Account] = {}
        self._parts: dict[CounterKey, Part] = {}
        self._stored: dict[CounterKey, int] = {}
        self._changed: set[CounterKey] = set()
        self._waiting: list[tuple[Value, ...]] = []
        self._duplicates = 0

    def report(self, item: UsageItem) -> Measurement:
        """Count one item, unless its key was counted before."""
        account = self._account(item)
        current = account.period_at(self._now)
        created_at = self._now if item.created_at is None else item.created_at
        own = current if created_at == self._now else account.period_at(created_at)
        counter = account.counter(own)
        part = self._part(counter)
        delta = item.value if item.behavior == "DELTA" else CONTEXT.subtract(item.value, part.sum)
        claim = Claim(ids.new_id(), format(delta, "f"), self._now, created_at)
        first = self._claim(item, claim)
        if first is None:
            self._count(item, claim, delta, counter, part)
        else:
            self._duplicates += 1
            claim, own = first, account.period_at(first.created_at)
        return _measurement(account, claim, own, current, self._part(account.counter(current)).sum)

    def write(self) -> None:
        """Everything that the items changed."""
        transaction = self._transaction
        stored = [key for key in self._changed if key in self._stored]
        rewrite_counters(transaction, ((self._stored[key], self._parts[key]) for key in stored))
        if len(stored) < len(self._changed):
            new = self._changed.difference(stored)
            write_counters(transaction, ((key, self._parts[key]) for key in new))
        transaction.run_many(INSERT_WAITING, self._waiting)
        accepted = len(self._waiting) + self._duplicates
        if not transaction.run(ADD_TO_LEDGER, accepted, self._duplicates, self._environment):
            transaction.run(OPEN_LEDGER, self._environment, accepted, self._duplicates)

    def _account(self, item: UsageItem) -> Account:
        scope = (item.customer, item.resource, item.feature)
        known = self._accounts.get(scope)
        if known is None:
            if self._rules.customer(self._transaction, self._environment, item.customer) is None:
                raise NotFound(
                    f"customer {item.customer!r} does not exist", code="CustomerNotFound"
                )
            known = self._accounts[scope] = open_account(
                self._transaction, self._rules, self._environment, item.customer, item.resource,
                _reported(self._features.get(item.feature), item.feature),
            )  # fmt: skip
        return known

    def _claim(self, item: UsageItem, claim: Claim) -> Claim | None:
        """The first claim of the item's key; None when this is it, or there is no key."""
        if item.key is None:
            return None
        key = hash_of(self._environment, item.customer, item.resource, item.feature, item.key)
        return claim_key(self._transaction, self._environment, key, claim, self._first_live)

    def _count(
        self, item: UsageItem, claim: Claim, delta: Decimal, counter: CounterKey, part: Part
    ) -> None:
        total = CONTEXT.add(part.sum, delta)
        _check_range(item, delta, total)
        self._parts[counter] = Part(part.count + 1, total)
        self._changed.add(counter)
        self._waiting.append((
            self._environment, claim.id, item.customer, item.resource, item.feature, claim.value,
            item.key, claim.created_at, self._now, item.dimensions,
        ))  # fmt: skip

    def _part(self, counter: CounterKey) -> Part:
        known = self._parts.get(counter)
        if known is None:
            found = find_counter(self._transaction, counter)
            if found is not None:
                self._stored[counter] = found.id
            known = self._parts[counter] = Part() if found is None else found.part
        return known


def _reported(feature: FeatureRules | None, name: str) -> FeatureRules:
    """The feature, if usage of it can be reported."""
    if feature is None:
        raise NotFound(f"feature {name!r} does not exist", code="FeatureNotFound")
    if feature.fed_by == "events":
        raise BadInput(
            f"feature {name!r} has a meter: report events, not usage",
            code="CannotReportUsageForEntitlementWithMeterError",
        )
    if feature.fed_by != "reports":
        raise BadInput(
            f"feature {name!r} is not metered: it has no usage to report",
            code="MeteringNotAvailableForFeatureType",
        )
    return feature


def _check_range(item: UsageItem, delta: Decimal, total: Decimal) -> None:
    if abs(delta) > TOTAL_MAX:
        raise BadInput(
            f"setting usage of {item.feature!r} by {item.customer!r} to {item.value:f} would "
            f"record a difference of {delta:f}; it must stay within ±{TOTAL_MAX}",
            code="UsageMeasurementDiffOutOfRangeError",
        )
    if abs(total) > TOTAL_MAX:
        raise BadInput(
            f"usage of {item.feature!r} by {item.customer!r} would become {total:f}; "
            f"it must stay within ±{TOTAL_MAX}",
            code="EntitlementUsageOutOfRangeError",
        )


def _measurement(
    account: Account, claim: Claim, own: Period | None, current: Period | None, total: Decimal
) -> Measurement:
    return Measurement(
        id=claim.id,
        customer_id=account.customer,
        feature_id=account.feature.id,
        resource_id=account.resource or None,
        timestamp=format_instant(claim.received_at),
        created_at=format_instant(claim.created_at),
        value=json_number(Decimal(claim.value)),
        current_usage=json_number(in_units(account.feature, total)),
        usage_period_start=format_instant(own.start) if resets(own) else None,
        usage_period_end=format_instant(own.end) if resets(own) else None,
        next_reset_date=format_instant(current.end) if resets(current) else None,
    )
