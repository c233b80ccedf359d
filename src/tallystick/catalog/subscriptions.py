"""Subscriptions: which plan a customer, or a resource of it, has from when to when.

Owns: the rows of ``subscriptions``, and plan changes: another plan of a product that allows one
subscription replaces the active one. A chain of plan changes keeps its anchor (``chain_start``)
unless the product resets usage (``restarts``). Nothing is ever removed: ended subscriptions are
the history that periods are made of. How one looks to callers is ``subscription_view``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from msgspec import UNSET

from tallystick import ids
from tallystick.catalog import customers, grants, packages, products
from tallystick.catalog.billing import billing_period, trial_end
from tallystick.catalog.changes import record_change
from tallystick.catalog.rows import Body, decode, encode, given, instant, optional_instant
from tallystick.catalog.shapes.subscriptions import (
    CancelSubscription,
    MigrateSubscription,
    ProvisionSubscription,
    UpdateSubscription,
)
from tallystick.clock import Instant
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.store import Row, Transaction

_COLUMNS = """
    id, customer, resource, product, plan, version, start_at, end_at, chain_start, restarts, body,
    created_at, updated_at
"""
SELECT_SUBSCRIPTION = f"SELECT {_COLUMNS} FROM subscriptions WHERE environment = ? AND id = ?"

# Those of one product that a customer, or one of its resources, ever had.
SELECT_OF_PRODUCT = f"""
SELECT {_COLUMNS} FROM subscriptions
WHERE environment = ? AND customer = ? AND resource = ? AND product = ? ORDER BY start_at, id
"""

WRITE_SUBSCRIPTION = f"""
INSERT INTO subscriptions (environment, {_COLUMNS})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (environment, id)
DO UPDATE SET end_at = excluded.end_at, body = excluded.body, updated_at = excluded.updated_at
"""

_REPLACED = "UPGRADE_OR_DOWNGRADE"
_SCHEDULED = "ScheduledCancellation"
_TRIAL_ENDED = "TRIAL_ENDED"
_NOT_KEPT = (
    "id", "customerId", "planId", "resourceId", "startDate", "cancellationDate", "entitlements",
    "trialOverrideConfiguration", "trialEndDate", "checkoutOptions", "awaitPaymentConfirmation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription, as stored. ``end`` is exclusive; equal to ``start`` when it never held."""

    id: str
    customer: str
    resource: str
    product: str
    plan: str
    version: int
    start: int
    end: int | None
    chain_start: int
    restarts: int
    body: Body
    created_at: int
    updated_at: int

    def ended(self, at: int) -> bool:
        """Whether it no longer holds at an instant, or never will."""
        return self.end is not None and self.end <= max(at, self.start)

    @property
    def anchor(self) -> int:
        """Where its usage periods are counted from."""
        return self.start if self.restarts else self.chain_start


def provision(
    transaction: Transaction, environment: str, request: ProvisionSubscription, now: Instant
) -> Subscription:
    """Subscribe a customer or a resource to the newest published version of a plan.

    Raises ``NotFound`` (customer, plan, feature), ``BadInput`` (archived, unpublished, dates that
    do not fit) and ``Conflict`` (the id is taken, or the plan is the active one already).
    """
    customers.require_open(transaction, environment, request.customer_id)
    version = packages.subscribable(transaction, environment, "plan", request.plan_id)
    product = products.require_open(transaction, environment, version.product)
    draft = _draft(request, version, now)
    if transaction.one(SELECT_SUBSCRIPTION, environment, draft.id) is not None:
        raise Conflict(f"id: a subscription {draft.id!r} exists already")
    if not product["multipleSubscriptions"]:
        draft = _replacing(transaction, environment, draft, request, product, now)
    draft = _with_ends(draft, request, version)
    draft = _with_overrides(transaction, environment, draft, request, Instant(draft.start))
    return write(transaction, environment, draft, now)


def update(
    transaction: Transaction,
    environment: str,
    subscription: str,
    request: UpdateSubscription,
    now: Instant,
) -> Subscription:
    """Change what the request states; overrides hold from now on, the past keeps its own."""
    found = find_open(transaction, environment, subscription, now)
    changed = replace(found, body=found.body | given(request, *_NOT_KEPT))
    if request.trial_end_date is not UNSET:
        end = instant("trialEndDate", request.trial_end_date)
        changed = _until_trial_end(changed, end, found.body.get("trialEndBehavior"))
    if request.cancellation_date is not UNSET:
        end_at = optional_instant("cancellationDate", request.cancellation_date)
        changed = _until(changed, end_at, now)
    at = Instant(max(now, found.start))
    changed = _with_overrides(transaction, environment, changed, request, at)
    return write(transaction, environment, changed, now)


def cancel(
    transaction: Transaction,
    environment: str,
    subscription: str,
    request: CancelSubscription,
    now: Instant,
) -> Subscription:
    """End a subscription now, at the end of its billing period, or at a date (default: now).

    What it would have replaced goes on, if it had not begun.
    """
    found = find_open(transaction, environment, subscription, now)
    if request.cancellation_time == "SPECIFIC_DATE":
        if request.end_date is UNSET:
            raise BadInput("endDate: needed with cancellationTime SPECIFIC_DATE")
        changed = _until(found, instant("endDate", request.end_date), now)
    elif request.cancellation_time == "END_OF_BILLING_PERIOD":
        changed = _until(found, billing_period(found.body, found.start, now).end, now)
    else:
        end = max(now, found.start)
        changed = replace(found, end=end, body=found.body | {"cancelReason": "Immediate"})
    if changed.end == found.start:
        _restore_replaced(transaction, environment, found, now)
    return write(transaction, environment, changed, now)


def migrate(
    transaction: Transaction,
    environment: str,
    subscription: str,
    request: MigrateSubscription,
    now: Instant,
) -> Subscription:
    """Move to the newest published version of the plan."""
    found = find_open(transaction, environment, subscription, now)
    newest = packages.subscribable(transaction, environment, "plan", found.plan)
    at = max(now, found.start)
    if request.subscription_migration_time == "END_OF_BILLING_PERIOD":
        at = billing_period(found.body, found.start, now).end
    moves = {move["version"]: move["at"] for move in found.body.get("migrations", ())}
    moves[newest.number] = min(at, moves.get(newest.number, at))  # asked again, it changes nothing
    kept = [{"version": version, "at": moved_at} for version, moved_at in moves.items()]
    changed = replace(found, body=found.body | {"migrations": kept})
    return write(transaction, environment, changed, now)


def find(transaction: Transaction, environment: str, subscription: str) -> Subscription:
    """A subscription; raises ``NotFound``."""
    row = transaction.one(SELECT_SUBSCRIPTION, environment, subscription)
    if row is None:
        raise NotFound(f"no subscription {subscription!r}", code="SubscriptionNotFound")
    return of_row(row)


def find_open(
    transaction: Transaction, environment: str, subscription: str, now: Instant
) -> Subscription:
    """``find`` one that has not ended; raises ``BadInput`` for one that has."""
    found = find(transaction, environment, subscription)
    if found.ended(now):
        raise BadInput(
            f"subscription {subscription!r} has ended", code="SubscriptionAlreadyCanceledOrExpired"
        )
    return found


def of_row(row: Row) -> Subscription:
    """A row of ``_COLUMNS``."""
    *columns, text, created_at, updated_at = row
    body = decode(cast("str", text))
    return Subscription(*columns, body, created_at, updated_at)  # type: ignore[call-arg, arg-type]


def _draft(request: ProvisionSubscription, version: packages.Version, now: Instant) -> Subscription:
    """The subscription as if it were the only one, without an end."""
    start = now
    if request.start_date is not UNSET:
        start = instant("startDate", request.start_date)
    body = given(request, *_NOT_KEPT) | {"pricingType": version.pricing_type}
    return Subscription(
        id=ids.new_id() if request.id is UNSET else request.id,
        customer=request.customer_id,
        resource=request.resource_id or "",
        product=version.product,
        plan=version.id,
        version=version.number,
        start=start,
        end=None,
        chain_start=start,
        restarts=0,
        body=body,
        created_at=now,
        updated_at=now,
    )


def _replacing(
    transaction: Transaction,
    environment: str,
    draft: Subscription,
    request: ProvisionSubscription,
    product: Body,
    now: Instant,
) -> Subscription:
    """End what the draft replaces, and continue its chain.

    A draft that starts in the past or future takes over at its start; what would start later on
    never holds.
    """
    scope = (environment, draft.customer, draft.resource, draft.product)
    others = [of_row(row) for row in transaction.all(SELECT_OF_PRODUCT, *scope)]
    if request.start_date is UNSET:
        draft = _scheduled(draft, request, others, now)
    others = [other for other in others if not other.ended(draft.start)]
    replaced = [other for other in others if other.start <= draft.start]
    if any(other.plan == draft.plan for other in replaced):
        raise Conflict(
            f"planId: {draft.customer!r} is subscribed to {draft.plan!r} already; update or "
            f"migrate that subscription instead"
        )
    for other in others:
        was = {"by": draft.id, "end": other.end, "cancelReason": other.body.get("cancelReason")}
        body = other.body | {"cancelReason": _REPLACED, "replaced": was}
        ended = replace(other, end=max(draft.start, other.start), body=body)
        write(transaction, environment, ended, now)
    return _continuing(draft, replaced[-1], product) if replaced else draft


def _restore_replaced(
    transaction: Transaction, environment: str, cancelled: Subscription, now: Instant
) -> None:
    """Let what a subscription that never held replaced end as it would have without it."""
    scope = (environment, cancelled.customer, cancelled.resource, cancelled.product)
    for row in transaction.all(SELECT_OF_PRODUCT, *scope):
        other = of_row(row)
        was = other.body.get("replaced")
        if was is not None and was["by"] == cancelled.id:
            body = other.body | {"cancelReason": was["cancelReason"], "replaced": None}
            write(transaction, environment, replace(other, end=was["end"], body=body), now)


def _scheduled(
    draft: Subscription,
    request: ProvisionSubscription,
    others: Sequence[Subscription],
    now: Instant,
) -> Subscription:
    """The draft at the end of the active subscription's billing period, if that was asked for."""
    active = [other for other in others if other.start <= now and not other.ended(now)]
    if request.schedule_strategy in (UNSET, "IMMEDIATE") or not active:
        return draft
    terms = dict(active[-1].body)
    if request.schedule_strategy == "END_OF_BILLING_MONTH":
        terms["billingPeriod"] = "MONTHLY"
    start = billing_period(terms, active[-1].start, now).end
    return replace(draft, start=start, chain_start=start)


def _continuing(draft: Subscription, before: Subscription, product: Body) -> Subscription:
    """The draft as the next link of the chain, resetting usage as the product says."""
    behavior = products.reset_behavior(product)
    billing_changes = before.body["pricingType"] != draft.body["pricingType"] or (
        before.body.get("billingPeriod") != draft.body.get("billingPeriod")
    )
    resets = behavior == products.RESET_ALWAYS or (
        behavior == "BILLING_PERIOD_CHANGE" and billing_changes
    )
    return replace(draft, chain_start=before.anchor, restarts=int(resets))


def _with_ends(
    draft: Subscription, request: ProvisionSubscription, version: packages.Version
) -> Subscription:
    """The draft with its trial and its scheduled end."""
    end, behavior = trial_end(request, version.body, Instant(draft.start))
    if end is not None:
        if end <= draft.start:
            raise BadInput("trialOverrideConfiguration.trialEndDate: must be after the start")
        draft = _until_trial_end(draft, end, behavior)
    cancellation = optional_instant("cancellationDate", request.cancellation_date)
    return draft if cancellation is None else _until(draft, cancellation, Instant(draft.start))


def _until_trial_end(found: Subscription, end: Instant, behavior: str | None) -> Subscription:
    body = found.body | {"trialEnd": end, "trialEndBehavior": behavior or "CONVERT_TO_PAID"}
    if behavior != "CANCEL_SUBSCRIPTION":
        return replace(found, body=body)
    return replace(found, end=end, body=body | {"cancelReason": _TRIAL_ENDED})


def _until(found: Subscription, end: Instant | int | None, now: Instant) -> Subscription:
    """The subscription with a scheduled end, or without one."""
    if end is None:
        return replace(found, end=None, body=found.body | {"cancelReason": None})
    if end < max(now, found.start):
        raise BadInput("a subscription cannot end before now, or before it starts")
    return replace(found, end=int(end), body=found.body | {"cancelReason": _SCHEDULED})


def _with_overrides(
    transaction: Transaction,
    environment: str,
    found: Subscription,
    request: ProvisionSubscription | UpdateSubscription,
    at: Instant,
) -> Subscription:
    if request.entitlements is UNSET:
        return found
    items = grants.override_items(transaction, environment, request.entitlements)
    earlier = [made for made in found.body.get("overrides", ()) if made["at"] < at]
    return replace(
        found, body=found.body | {"overrides": [*earlier, {"at": at, "entitlements": items}]}
    )


def write(
    transaction: Transaction, environment: str, found: Subscription, now: Instant
) -> Subscription:
    """Store a subscription, new or changed, as of now."""
    transaction.run(
        WRITE_SUBSCRIPTION, environment, found.id, found.customer, found.resource, found.product,
        found.plan, found.version, found.start, found.end, found.chain_start, found.restarts,
        encode(found.body), found.created_at, now,
    )  # fmt: skip
    record_change(transaction, environment, found.customer, now)
    return replace(found, updated_at=now)
