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

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

import msgspec

from tallystick import ids, limits
from tallystick.clock import Instant, format_instant
from tallystick.core.numbers import json_number
from tallystick.core.parts import CONTEXT, Part
from tallystick.core.periods import Period
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.errors import BadInput, NotFound, RequestError, TooManyRequests
from tallystick.ingest.usage import UsageItem
from tallystick.store import Transaction
from tallystick.usage.book import Book, Entry, Page
from tallystick.usage.counters import CounterKey
from tallystick.usage.keys import Claim, hash_of
from tallystick.usage.lookup import Asked
from tallystick.usage.totals import Account, in_units, open_account, resets

P = ParamSpec("P")
T = TypeVar("T")

Refusal: TypeAlias = RequestError | TooManyRequests
"""Why nothing of a call was recorded, though others of its group may be."""

TOTAL_MAX: Final = Decimal(limits.USAGE_INTEGER_MAX)


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


class Call(NamedTuple):
    """What one caller reports in one environment: all of it, or nothing."""

    environment: str
    items: Sequence[UsageItem]


def report_usages(
    transaction: Transaction,
    rules: Rules,
    environment: str,
    items: Sequence[UsageItem],
    now: Instant,
    window_us: int,
) -> list[Measurement]:
    """Count and record the reports of one call; see ``report_calls``.

    Raises ``NotFound`` for an unknown customer or feature, ``BadInput`` for a feature that takes
    no reports or a total out of range, and ``TooManyRequests`` when too many reports wait to be
    archived; nothing is recorded then.
    """
    call = Call(environment, items)
    (outcome,) = report_calls(transaction, rules, [call], now, window_us)
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


def report_calls(
    transaction: Transaction,
    rules: Rules,
    calls: Sequence[Call],
    now: Instant,
    window_us: int,
) -> list[list[Measurement] | Refusal]:
    """Count and record the reports of many calls, one after the other.

    ``rules`` is as of this transaction (``Rules.refresh``), ``window_us`` is how long an
    idempotency key is remembered. For each call its measurements, or why nothing of it was
    recorded.
    """
    reader = _Reader(transaction, rules, now, ids.new_ids(sum(len(call.items) for call in calls)))
    read = [_caught(reader.read, call) for call in calls]
    slips = [slip for each in read if not isinstance(each, Refusal) for slip in each]
    book = Book(transaction, _asked(slips), now - window_us)
    outcomes = [
        each if isinstance(each, Refusal) else _caught(_count, book, call.environment, each, now)
        for call, each in zip(calls, read, strict=True)
    ]
    book.write()
    return outcomes


def _caught(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Refusal:
    """What ``work`` returns, or why it cannot: one call's mistake is no other's."""
    try:
        return work(*args, **kwargs)
    except (RequestError, TooManyRequests) as error:
        return error


class _Slip(NamedTuple):
    """One report with what the rules say about it: whose usage, and which period it is of. ``id``
    becomes its own unless it turns out to be a repetition."""

    id: str
    item: UsageItem
    holder: _Holder
    created_at: Instant
    own: Period | None
    own_counter: CounterKey
    key: bytes | None


class _Holder:
    """Whose usage of what, and the period and counter that hold now. It outlives its report for as
    long as the rules it was made of (``Rules.made_of``), and follows the clock."""

    __slots__ = ("account", "counter", "current")

    def __init__(self, account: Account, now: Instant) -> None:
        self.account = account
        self.turn_to(now)

    def turn_to(self, now: Instant) -> None:
        """Stand in the period of another instant."""
        self.current = self.account.period_at(now)
        self.counter = self.account.counter(self.current)

    def is_at(self, now: Instant) -> bool:
        """Whether the period is known to be the one of an instant."""
        current = self.current
        return current is not None and current.counted_from <= now < current.counted_until


class _Reader:
    """Reads reports by the rules; changes nothing."""

    def __init__(
        self, transaction: Transaction, rules: Rules, now: Instant, fresh_ids: Iterator[str]
    ) -> None:
        self._transaction = transaction
        self._rules = rules
        self._now = now
        self._fresh_ids = fresh_ids

    def read(self, call: Call) -> list[_Slip]:
        """The slips of a call; raises what ``report_usages`` does about names."""
        return [self._slip(call.environment, item) for item in call.items]

    def _slip(self, environment: str, item: UsageItem) -> _Slip:
        scope = (environment, item.customer, item.resource, item.feature)
        holder = self._rules.made_of(self._transaction, *scope, lambda: self._holder(*scope))
        if not holder.is_at(self._now):
            holder.turn_to(self._now)
        created_at, own, counter = self._now, holder.current, holder.counter
        if item.created_at is not None and item.created_at != self._now:
            created_at = item.created_at
            own = holder.account.period_at(created_at)
            counter = holder.account.counter(own)
        key = None if item.key is None else hash_of(*scope, item.key)
        return _Slip(next(self._fresh_ids), item, holder, created_at, own, counter, key)

    def _holder(self, environment: str, customer: str, resource: str, feature: str) -> _Holder:
        rules, transaction = self._rules, self._transaction
        if rules.customer(transaction, environment, customer) is None:
            raise NotFound(f"customer {customer!r} does not exist", code="CustomerNotFound")
        known = _reported(rules.features(transaction, environment).get(feature), feature)
        account = open_account(transaction, rules, environment, customer, resource, known)
        return _Holder(account, self._now)


def _asked(slips: Iterable[_Slip]) -> list[Asked]:
    """What must be looked up to count slips: their counters, those they are answered with, and who
    claimed their keys."""
    asked: dict[Asked, None] = {}
    for slip in slips:
        asked[Asked(slip.own_counter, slip.key)] = None
        if slip.own_counter is not slip.holder.counter:
            asked[Asked(slip.holder.counter, None)] = None
    return list(asked)


def _count(book: Book, environment: str, slips: Sequence[_Slip], now: Instant) -> list[Measurement]:
    """Enter the reports of one call, or none of them."""
    page = Page(book, environment)
    measurements = [_count_one(page, slip, now) for slip in slips]
    book.enter(page)
    return measurements


def _count_one(page: Page, slip: _Slip, now: Instant) -> Measurement:
    claim = None if slip.key is None else page.claim(slip.key)
    own = slip.own
    if claim is not None:
        page.duplicates += 1
        own = slip.holder.account.period_at(claim.created_at)
    else:
        claim = _record(page, slip, now)
        if slip.key is not None:
            page.claims[slip.key] = claim
    return _measurement(slip, claim, own, page.part(slip.holder.counter).sum)


def _record(page: Page, slip: _Slip, now: Instant) -> Claim:
    item, part = slip.item, page.part(slip.own_counter)
    delta = item.value if item.behavior == "DELTA" else CONTEXT.subtract(item.value, part.sum)
    total = CONTEXT.add(part.sum, delta)
    _check_range(item, delta, total)
    claim = Claim(slip.id, format(delta, "f"), now, slip.created_at)
    page.count(slip.own_counter, Part(part.count + 1, total), Entry(
        claim.id, item.customer, item.resource, item.feature, claim.value, item.key,
        claim.created_at, now, item.dimensions,
    ))  # fmt: skip
    return claim


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


def _measurement(slip: _Slip, claim: Claim, own: Period | None, total: Decimal) -> Measurement:
    account, current = slip.holder.account, slip.holder.current
    start, end = _shown(own)
    return Measurement(
        id=claim.id,
        customer_id=account.customer,
        feature_id=account.feature.id,
        resource_id=account.resource or None,
        timestamp=format_instant(claim.received_at),
        created_at=format_instant(claim.created_at),
        value=json_number(Decimal(claim.value)),
        current_usage=json_number(in_units(account.feature, total)),
        usage_period_start=start,
        usage_period_end=end,
        next_reset_date=end if own is current else _shown(current)[1],
    )


def _shown(period: Period | None) -> tuple[str | None, str | None]:
    """Where a period begins and ends, as texts; None where nothing resets."""
    if not resets(period):
        return None, None
    return format_instant(period.start), format_instant(period.end)
