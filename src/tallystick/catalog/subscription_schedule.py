"""What is to become of a subscription later.

Owns: the instants that schedule strategies mean, what of a subscription is still to come, and
calling that off. A change that is scheduled is a part of the subscription's history that lies in
the future (``addonHistory``, ``overrides``, ``migrations``…), or ``later`` in its body where it
grants nothing; so nothing has to run when its time comes. There is one schedule: a new one replaces
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from msgspec import UNSET, UnsetType

from tallystick.catalog.billing import billing_period
from tallystick.catalog.rows import Body, shown
from tallystick.catalog.subscription_rows import Subscription
from tallystick.clock import Instant

_HISTORIES: Final = ("addonHistory", "overrides", "migrations", "addonMigrations")

# What a scheduled change is called; what changes anything else has no name of its own.
_TYPES: Final = (
    ("billingPeriod", "BILLING_PERIOD"),
    ("charges", "UNIT_AMOUNT"),
    ("priceOverrides", "PRICE_OVERRIDE"),
    ("appliedCoupon", "COUPON"),
    ("metadata", "ADDITIONAL_META_DATA"),
    ("billingInformation", "BILLING_INFO_METADATA"),
)


def moment(found: Subscription, strategy: str | UnsetType, now: Instant) -> Instant:
    """When a change takes effect: now, or at the end of the billing period or month."""
    if strategy is UNSET or strategy == "IMMEDIATE":
        return Instant(max(now, found.start))
    terms = dict(found.body)
    if strategy == "END_OF_BILLING_MONTH":
        terms["billingPeriod"] = "MONTHLY"
    return billing_period(terms, found.start, now).end


def without_pending(found: Subscription, now: Instant) -> Subscription:
    """The subscription as if nothing had been scheduled for it; another plan is not meant."""
    body: Body = {name: value for name, value in found.body.items() if name != "later"}
    for name in _HISTORIES:
        if name in body:
            body[name] = [entry for entry in body[name] if entry["at"] <= max(now, found.start)]
    for name in ("resets", "foreseen"):
        if name in body:
            body[name] = [at for at in body[name] if at <= max(now, found.start)]
    return replace(found, body=body)


def foreseeing(found: Subscription, at: Instant, now: Instant) -> Subscription:
    """The subscription that remembers of what it was told for an instant whether that was still to
    come: if so, time before keeps its usage periods."""
    known = found.body.get("foreseen", [])
    entries = [entry for name in _HISTORIES for entry in found.body.get(name, ())]
    to_come = at > max(now, found.start) and any(entry["at"] == at for entry in entries)
    if to_come == (at in known):
        return found
    others = [one for one in known if one != at]
    told = others if at in known else [*others, at]
    return replace(found, body=found.body | {"foreseen": told})


def is_pending(found: Subscription, now: Instant) -> bool:
    """Whether anything is scheduled for a subscription, another plan included."""
    replaced = found.body.get("replaced") is not None and found.end is not None and found.end > now
    return replaced or without_pending(found, now).body != found.body


def future_updates(found: Subscription, now: Instant) -> list[Body]:
    """What is to come, in order of time."""
    return sorted(_updates(found, now), key=lambda update: str(update["scheduledExecutionTime"]))


def _updates(found: Subscription, now: Instant) -> Iterator[Body]:
    body, since = found.body, max(now, found.start)
    for entry in body.get("addonHistory", ()):
        if entry["at"] > since:
            yield _update("ADDON", entry["at"])
    for at in {move["at"] for name in _HISTORIES[2:] for move in body.get(name, ())}:
        if at > since:
            yield _update("MIGRATE_TO_LATEST", at, found.plan)
    later = body.get("later")
    if later is not None and later["at"] > now:
        for name, kind in _TYPES:
            if name in later["change"]:
                yield _update(kind, later["at"])
    replaced = body.get("replaced")
    if replaced is not None and found.end is not None and found.end > now:
        yield _update("PLAN", replaced["at"], replaced["plan"])


def _update(kind: str, at: int, target: str | None = None) -> Body:
    return {
        "subscriptionScheduleType": kind,
        "scheduleStatus": "SCHEDULED",
        "scheduledExecutionTime": shown(at),
        "targetPackage": target and {"id": target},
    }
