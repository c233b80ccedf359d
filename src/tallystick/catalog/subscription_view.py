"""A subscription as callers see it.

Owns: its status, which is a function of the clock and never stored, and lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tallystick.catalog.billing import billing_period
from tallystick.catalog.grants import summary
from tallystick.catalog.pages import Between, Cursor, Listed, Page, Window, of_rows, page_of
from tallystick.catalog.rows import Body, shown
from tallystick.catalog.subscription_addons import shown as shown_addons
from tallystick.catalog.subscription_rows import Subscription, of_row
from tallystick.catalog.subscription_schedule import future_updates
from tallystick.clock import Instant
from tallystick.store import Row, Transaction

SELECT_SUBSCRIPTIONS = """
SELECT id, created_at, customer, resource, product, plan, version, start_at, end_at, chain_start,
       restarts, held_from, body, updated_at
FROM subscriptions WHERE environment = ?
"""
_OF_CUSTOMER = " AND customer = ?"
_OF_PLAN = " AND plan = ?"
_OF_RESOURCE = " AND resource = ?"

# Kept in the body for ourselves; the rest is echoed as it was sent.
_OURS = frozenset({
    "addonHistory", "addonMigrations", "billingAnchor", "floor", "foreseen", "later", "migrations",
    "overrides", "replaced", "resets", "trialEnd", "trialEndBehavior",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Which subscriptions a list names; None and empty mean any."""

    customer: str | None = None
    plan: str | None = None
    resource: str | None = None
    statuses: set[str] = field(default_factory=set)
    pricing_types: set[str] = field(default_factory=set)
    created: Between = field(default_factory=Between)


def status(found: Subscription, now: Instant) -> str:
    """NOT_STARTED, IN_TRIAL, ACTIVE, CANCELED or EXPIRED at an instant."""
    if found.ended(now):
        return "EXPIRED" if found.body.get("cancelReason") == "TRIAL_ENDED" else "CANCELED"
    if now < found.start:
        return "NOT_STARTED"
    return "IN_TRIAL" if now < found.body.get("trialEnd", now) else "ACTIVE"


def answer(found: Subscription, now: Instant) -> Body:
    """A subscription; its ``subscriptionEntitlements`` are the overrides alone that hold now."""
    made = [one for one in found.body.get("overrides", ()) if one["at"] <= max(now, found.start)]
    return _answer(found, now) | {
        "subscriptionEntitlements": summary(made[-1]["entitlements"] if made else [])
    }


def preview(tried: Subscription, now: Instant) -> Body:
    """A subscription that was only tried out."""
    period = billing_period(tried.body, tried.start, now)
    span = {"start": shown(period.start), "end": shown(period.end)}
    invoice = {"subTotal": 0, "total": 0, "billingPeriodRange": span}
    return {
        "immediateInvoice": invoice,
        "recurringInvoice": invoice,
        "billingPeriodRange": span,
        "freeItems": [],
        "hasScheduledUpdates": tried.start > now,
        "isPlanDowngrade": None,
    }


def page(
    transaction: Transaction,
    environment: str,
    wanted: SubscriptionFilter,
    window: Window,
    now: Instant,
) -> Page:
    """The subscriptions that a filter names, without their overrides."""

    def listed(row: Row) -> Listed | None:
        id_, created_at, *columns, body, updated_at = row
        found = of_row((id_, *columns, body, created_at, updated_at))
        if not wanted.created.holds(found.created_at):
            return None
        if wanted.statuses and status(found, now) not in wanted.statuses:
            return None
        if wanted.pricing_types and found.body["pricingType"] not in wanted.pricing_types:
            return None
        return Listed(Cursor(found.created_at, found.id), _answer(found, now))

    select, values = SELECT_SUBSCRIPTIONS, [environment]
    for condition, value in (
        (_OF_CUSTOMER, wanted.customer),
        (_OF_PLAN, wanted.plan),
        (_OF_RESOURCE, wanted.resource),
    ):
        if value is not None:
            select += condition
            values.append(value)
    return page_of(of_rows(transaction, select, tuple(values), listed), window)


def _answer(found: Subscription, now: Instant) -> Body:
    found = found.as_of(now)
    body = found.body
    period = None if found.ended(now) else billing_period(body, found.start, now)
    behavior = body.get("trialEndBehavior")
    end = shown(found.end)
    return {name: value for name, value in body.items() if name not in _OURS} | {
        "id": found.id,
        "customerId": found.customer,
        "resourceId": found.resource or None,
        "planId": found.plan,
        "productId": found.product,
        "status": status(found, now),
        "pricingType": body["pricingType"],
        "paymentCollection": "NOT_REQUIRED",
        "startDate": shown(found.start),
        "endDate": end,
        "effectiveEndDate": end,
        "cancellationDate": end,
        "cancelReason": body.get("cancelReason"),
        "addons": shown_addons(found, now),
        "futureUpdates": [] if found.ended(now) else future_updates(found, now),
        "billingCycleAnchor": shown(body.get("billingAnchor", found.start)),
        "currentBillingPeriodStart": period and shown(period.start),
        "currentBillingPeriodEnd": period and shown(period.end),
        "trial": behavior and {"trialEndBehavior": behavior},
        "trialEndDate": shown(body.get("trialEnd")),
        "metadata": body.get("metadata", {}),
        "createdAt": shown(found.created_at),
        "updatedAt": shown(found.updated_at),
    }
