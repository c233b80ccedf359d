"""Subscriptions: which plan a customer, or a resource of it, has from when to when.

Owns: beginning, changing and ending them, and plan changes: another plan of a product that allows
one subscription replaces the active one. A chain of plan changes keeps its anchor (``chain_start``)
unless the product resets usage (``restarts``). Leaves to others: the rows (``subscription_rows``),
how one looks to callers (``subscription_view``), who holds it (``subscription_moves``).
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import UNSET

from tallystick import ids
from tallystick.catalog import (
    customers,
    grants,
    packages,
    products,
    subscription_addons,
    subscription_moves,
    subscription_schedule,
)
from tallystick.catalog.billing import billing_period, trial_end
from tallystick.catalog.rows import Body, given, instant, optional_instant
from tallystick.catalog.shapes.subscriptions import (
    CancelSubscription,
    MigrateSubscription,
    ProvisionSubscription,
    UpdateSubscription,
)
from tallystick.catalog.subscription_rows import (
    SELECT_OF_PRODUCT,
    SELECT_SUBSCRIPTION,
    Subscription,
    find_open,
    of_row,
    write,
)
from tallystick.clock import Instant
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.store import Transaction

_REPLACED = "UPGRADE_OR_DOWNGRADE"
_SCHEDULED = "ScheduledCancellation"
_TRIAL_ENDED = "TRIAL_ENDED"
_CANCELS = "CANCEL_SUBSCRIPTION"
_NOT_KEPT = (
    "id", "customerId", "planId", "resourceId", "startDate", "cancellationDate", "entitlements",
    "trialOverrideConfiguration", "trialEndDate", "checkoutOptions", "awaitPaymentConfirmation",
    "addons", "scheduleStrategy", "billingCycleAnchor",
)  # fmt: skip


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
    only_one = not product["multipleSubscriptions"]
    if only_one and request.start_date is UNSET:
        draft = _scheduled(transaction, environment, draft, request, now)
    draft = _with_ends(draft, request, version, now)
    if only_one:
        draft = _replacing(transaction, environment, draft, request, product, now)
    draft = _granting(transaction, environment, draft, request, Instant(draft.start))
    return write(transaction, environment, draft, now)


def update(
    transaction: Transaction,
    environment: str,
    subscription: str,
    request: UpdateSubscription,
    now: Instant,
) -> Subscription:
    """Change what the request states, now or when its schedule says; the past keeps its own.

    What is scheduled replaces what was scheduled before. The ends of a subscription and of its
    trial are dates already: they are no part of a schedule.
    """
    found = find_open(transaction, environment, subscription, now)
    at = subscription_schedule.moment(found, request.schedule_strategy, now)
    change = given(request, *_NOT_KEPT)
    if at > max(now, found.start):
        changed = subscription_schedule.without_pending(found, now)
        later = {"later": {"at": at, "change": change}} if change else {}
        changed = replace(changed, body=changed.body | later)
    else:
        changed = replace(found, body=found.body | change)
    if _changes_billing(found.body, found.body | change):
        changed = _resetting(transaction, environment, changed, at)
    if request.trial_end_date is not UNSET:
        end = instant("trialEndDate", request.trial_end_date)
        changed = _until_trial_end(changed, end, found.body.get("trialEndBehavior"), now)
    if request.cancellation_date is not UNSET:
        end_at = optional_instant("cancellationDate", request.cancellation_date)
        changed = _until(changed, end_at, now)
    if changed.end != found.end:
        changed = _before_successor(transaction, environment, found, changed)
    changed = _granting(transaction, environment, changed, request, at)
    changed = subscription_schedule.foreseeing(changed, at, now)
    return _write_with_end(transaction, environment, found, changed, now)


def cancel(
    transaction: Transaction,
    environment: str,
    subscription: str,
    request: CancelSubscription,
    now: Instant,
) -> Subscription:
    """End a subscription now, at the end of its billing period (of its trial, during that), or at a
    date; when the request does not say, as its product does, which is now unless it says otherwise.

    One that has not begun never holds, and what it would have replaced goes on. One that another
    plan is to replace ends no later than that begins, whatever is asked for.
    """
    found = find_open(transaction, environment, subscription, now)
    product = products.stored(transaction, environment, found.product)
    when = request.cancellation_time or products.cancellation_time(product)
    if when == "SPECIFIC_DATE":
        if request.end_date is UNSET:
            raise BadInput("endDate: needed with cancellationTime SPECIFIC_DATE")
        changed = _until(found, instant("endDate", request.end_date), now)
    elif when == "END_OF_BILLING_PERIOD":
        trial = found.body.get("trialEnd", now)
        end = trial if trial > now else billing_period(found.body, found.start, now).end
        changed = _until(found, end, now)
    else:
        end = max(now, found.start)
        changed = replace(found, end=end, body=found.body | {"cancelReason": "Immediate"})
    changed = _before_successor(transaction, environment, found, changed)
    return _write_with_end(transaction, environment, found, changed, now)


def call_off(
    transaction: Transaction, environment: str, subscription: str, now: Instant
) -> Subscription:
    """Let what is scheduled for a subscription not happen, another plan included.

    Raises ``NotFound`` when nothing is.
    """
    found = find_open(transaction, environment, subscription, now)
    if not subscription_schedule.is_pending(found, now):
        raise NotFound(
            f"nothing is scheduled for subscription {subscription!r}", code="FutureUpdateNotFound"
        )
    replaced = found.body.get("replaced")
    if replaced is not None:
        successor = find_open(transaction, environment, replaced["by"], now)
        body = successor.body | {"cancelReason": "Immediate"}
        write(transaction, environment, replace(successor, end=successor.start, body=body), now)
        _restore_replaced(transaction, environment, successor, now)
        found = find_open(transaction, environment, subscription, now)
    changed = subscription_schedule.without_pending(found, now)
    return write(transaction, environment, changed, now)


def migrate(
    transaction: Transaction,
    environment: str,
    subscription: str,
    request: MigrateSubscription,
    now: Instant,
) -> Subscription:
    """Move to the newest published versions of the plan and of the add-ons."""
    found = find_open(transaction, environment, subscription, now)
    newest = packages.subscribable(transaction, environment, "plan", found.plan)
    at = subscription_schedule.moment(found, request.subscription_migration_time, now)
    moves = {move["version"]: move["at"] for move in found.body.get("migrations", ())}
    moves[newest.number] = min(at, moves.get(newest.number, at))  # asked again, it changes nothing
    kept = [{"version": version, "at": moved_at} for version, moved_at in moves.items()]
    changed = replace(found, body=found.body | {"migrations": kept})
    changed = subscription_addons.migrated(transaction, environment, changed, at)
    changed = subscription_schedule.foreseeing(changed, at, now)
    return write(transaction, environment, changed, now)


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
        held_from=None,
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
    never holds, unless it began when the draft had ended already.
    """
    everyone = _of_product(transaction, environment, draft, now)
    others = [
        other
        for other in everyone
        if not other.ended(draft.start) and not (draft.ended(other.start) and other.start <= now)
    ]
    subscription_moves.require_not_shared(transaction, environment, draft, others)
    replaced = [other for other in others if other.start <= draft.start]
    if any(other.plan == draft.plan for other in replaced):
        raise Conflict(
            f"planId: {draft.customer!r} is subscribed to {draft.plan!r} already; update or "
            f"migrate that subscription instead"
        )
    void = {other.id for other in others if other.start >= draft.start}
    for other in everyone:
        was = other.body.get("replaced")
        if other in others or (was is not None and was["by"] in void):
            write(transaction, environment, _replaced_by(draft, other, void), now)
    return _continuing(draft, replaced[-1], request, product) if replaced else draft


def _replaced_by(draft: Subscription, other: Subscription, void: set[str]) -> Subscription:
    """A subscription that ends where a draft begins, and knows how it would end without it.

    One that never holds is gone for good. What that was to replace, the draft replaces.
    """
    if other.id in void:
        body = other.body | {"cancelReason": _REPLACED, "replaced": None}
        return replace(other, end=other.start, body=body)
    was = other.body.get("replaced")
    if was is None or was["by"] not in void:
        was = {"end": other.end, "cancelReason": other.body.get("cancelReason")}
    was = was | {"by": draft.id, "plan": draft.plan, "at": draft.start}
    body = other.body | {"replaced": was}
    if other.end is not None and other.end < draft.start:
        return replace(other, body=body)
    return replace(other, end=draft.start, body=body | {"cancelReason": _REPLACED})


def _before_successor(
    transaction: Transaction, environment: str, found: Subscription, changed: Subscription
) -> Subscription:
    """A subscription that was told another end, which is no later than another plan takes over;
    the end that it was told holds should that be called off."""
    if products.stored(transaction, environment, found.product)["multipleSubscriptions"]:
        return changed
    scope = (environment, found.customer, found.resource, found.product)
    others = [of_row(row) for row in transaction.all(SELECT_OF_PRODUCT, *scope)]
    later = [other for other in others if other.start > found.start and other.end != other.start]
    was = found.body.get("replaced")
    if not later or (was is None and changed.end is not None and changed.end <= later[0].start):
        return changed
    was = {"by": later[0].id, "plan": later[0].plan, "at": later[0].start, "end": changed.end,
           "cancelReason": changed.body.get("cancelReason")}  # fmt: skip
    body = changed.body | {"replaced": was}
    if changed.end is not None and changed.end < later[0].start:
        return replace(changed, body=body)
    return replace(changed, end=later[0].start, body=body | {"cancelReason": _REPLACED})


def _write_with_end(
    transaction: Transaction,
    environment: str,
    found: Subscription,
    changed: Subscription,
    now: Instant,
) -> Subscription:
    """Store a subscription that may have another end: where it never holds now, what it would have
    replaced goes on."""
    written = write(transaction, environment, changed, now)
    if found.start > now and changed.end == found.start:
        _restore_replaced(transaction, environment, found, now)
    return written


def _restore_replaced(
    transaction: Transaction, environment: str, cancelled: Subscription, now: Instant
) -> None:
    """Let what a subscription that never held replaced end as it would have without it. It is
    written as one that never held already."""
    scope = (environment, cancelled.customer, cancelled.resource, cancelled.product)
    for row in transaction.all(SELECT_OF_PRODUCT, *scope):
        other = of_row(row)
        was = other.body.get("replaced")
        if was is not None and was["by"] == cancelled.id:
            body = other.body | {"cancelReason": was["cancelReason"], "replaced": None}
            goes_on = replace(other, end=was["end"], body=body)
            goes_on = _before_successor(transaction, environment, goes_on, goes_on)
            write(transaction, environment, goes_on, now)


def _of_product(
    transaction: Transaction, environment: str, one: Subscription, now: Instant
) -> list[Subscription]:
    """All that whoever has a subscription ever had of its product, in order."""
    scope = (environment, one.customer, one.resource, one.product)
    return [of_row(row).as_of(now) for row in transaction.all(SELECT_OF_PRODUCT, *scope)]


def _scheduled(
    transaction: Transaction,
    environment: str,
    draft: Subscription,
    request: ProvisionSubscription,
    now: Instant,
) -> Subscription:
    """The draft at the end of the active subscription's billing period, if that was asked for."""
    if request.schedule_strategy in (UNSET, "IMMEDIATE"):
        return draft
    others = _of_product(transaction, environment, draft, now)
    active = [other for other in others if other.start <= now and not other.ended(now)]
    if not active:
        return draft
    start = subscription_schedule.moment(active[-1], request.schedule_strategy, now)
    return replace(draft, start=start, chain_start=start)


def _continuing(
    draft: Subscription, before: Subscription, request: ProvisionSubscription, product: Body
) -> Subscription:
    """The draft as the next link of the chain, resetting usage as the product says."""
    behavior = products.reset_behavior(product)
    resets = behavior == products.RESET_ALWAYS or (
        behavior == "BILLING_PERIOD_CHANGE" and _changes_billing(before.body, draft.body)
    )
    body = draft.body
    if request.billing_cycle_anchor == "UNCHANGED":
        body = body | {"billingAnchor": before.body.get("billingAnchor", before.start)}
    floor = before.body.get("floor") if before.held_from is None else before.held_from
    if not resets and floor is not None:
        body = body | {"floor": floor}
    return replace(draft, chain_start=before.anchor, restarts=int(resets), body=body)


def _changes_billing(before: Body, after: Body) -> bool:
    return any(before.get(name) != after.get(name) for name in ("pricingType", "billingPeriod"))


def _resetting(
    transaction: Transaction, environment: str, found: Subscription, at: Instant
) -> Subscription:
    """The subscription after its billing period changed at an instant: usage is reset then, unless
    its product never does."""
    product = products.stored(transaction, environment, found.product)
    if products.reset_behavior(product) == "NEVER_RESET":
        return found
    return replace(found, body=found.body | {"resets": [*found.body.get("resets", ()), at]})


def _with_ends(
    draft: Subscription, request: ProvisionSubscription, version: packages.Version, now: Instant
) -> Subscription:
    """The draft with its trial and its scheduled end."""
    end, behavior = trial_end(request, version.body, Instant(draft.start))
    if end is not None:
        if end <= draft.start:
            raise BadInput("trialOverrideConfiguration.trialEndDate: must be after the start")
        draft = _until_trial_end(draft, end, behavior, min(now, Instant(draft.start)))
    cancellation = optional_instant("cancellationDate", request.cancellation_date)
    return draft if cancellation is None else _until(draft, cancellation, Instant(draft.start))


def _until_trial_end(
    found: Subscription, end: Instant, behavior: str | None, now: Instant
) -> Subscription:
    if end < max(now, found.start):
        raise BadInput(
            "trialEndDate: must not be before now, or before the subscription starts",
            code="TrialMinDateError",
        )
    body = found.body | {"trialEnd": end, "trialEndBehavior": behavior or "CONVERT_TO_PAID"}
    if behavior != _CANCELS:
        return replace(found, body=body)
    return replace(found, end=end, body=body | {"cancelReason": _TRIAL_ENDED})


def _until(found: Subscription, end: Instant | int | None, now: Instant) -> Subscription:
    """The subscription with a scheduled end, or without one but that of its trial."""
    trial_end = found.body.get("trialEnd", now)
    if end is None and found.body.get("trialEndBehavior") == _CANCELS and trial_end > now:
        return replace(found, end=trial_end, body=found.body | {"cancelReason": _TRIAL_ENDED})
    if end is None:
        return replace(found, end=None, body=found.body | {"cancelReason": None})
    if end < max(now, found.start):
        raise BadInput("a subscription cannot end before now, or before it starts")
    return replace(found, end=int(end), body=found.body | {"cancelReason": _SCHEDULED})


def _granting(
    transaction: Transaction,
    environment: str,
    found: Subscription,
    request: ProvisionSubscription | UpdateSubscription,
    at: Instant,
) -> Subscription:
    """The subscription with the add-ons and overrides that a request states, from an instant on."""
    if request.addons is not UNSET:
        found = subscription_addons.with_addons(transaction, environment, found, request.addons, at)
    if request.entitlements is UNSET:
        return found
    items = grants.override_items(transaction, environment, request.entitlements)
    earlier = [made for made in found.body.get("overrides", ()) if made["at"] < at]
    return replace(
        found, body=found.body | {"overrides": [*earlier, {"at": at, "entitlements": items}]}
    )
