"""Subscriptions as stored.

Owns: the rows of ``subscriptions``, and of ``subscription_addons``, by which the subscribers of an
add-on are found. What a subscription was told is a history in its body, which
``entitlements/loading`` documents and reads. Nothing is ever removed: ended subscriptions are the
history that periods are made of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from tallystick.catalog.changes import record_change
from tallystick.catalog.rows import Body, decode, encode
from tallystick.clock import Instant
from tallystick.errors import BadInput, NotFound
from tallystick.store import Row, Transaction

_COLUMNS = """
    id, customer, resource, product, plan, version, start_at, end_at, chain_start, restarts,
    held_from, body, created_at, updated_at
"""
SELECT_SUBSCRIPTION = f"SELECT {_COLUMNS} FROM subscriptions WHERE environment = ? AND id = ?"

# Those of one product that a customer, or one of its resources, ever had.
SELECT_OF_PRODUCT = f"""
SELECT {_COLUMNS} FROM subscriptions
WHERE environment = ? AND customer = ? AND resource = ? AND product = ? ORDER BY start_at, id
"""

WRITE_SUBSCRIPTION = f"""
INSERT INTO subscriptions (environment, {_COLUMNS})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (environment, id)
DO UPDATE SET customer = excluded.customer, resource = excluded.resource, end_at = excluded.end_at,
              held_from = excluded.held_from, body = excluded.body,
              updated_at = excluded.updated_at
"""

# Who holds the subscription now, of every add-on that it ever had or will have.
WRITE_ADDON = """
INSERT INTO subscription_addons (environment, addon, subscription, customer) VALUES (?, ?, ?, ?)
ON CONFLICT (environment, addon, subscription) DO UPDATE SET customer = excluded.customer
"""


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
    held_from: int | None
    """Since when by its customer and resource; None: since its start."""
    body: Body
    created_at: int
    updated_at: int

    def ended(self, at: int) -> bool:
        """Whether it no longer holds at an instant, or never will."""
        return self.end is not None and self.end <= max(at, self.start)

    def as_of(self, now: int) -> Subscription:
        """The subscription with what was scheduled and is due."""
        later = self.body.get("later")
        if later is None or later["at"] > now:
            return self
        kept = {name: value for name, value in self.body.items() if name != "later"}
        return replace(self, body=kept | later["change"])

    @property
    def anchor(self) -> int:
        """Where its usage periods are counted from."""
        return self.start if self.restarts else self.chain_start


def find(transaction: Transaction, environment: str, subscription: str) -> Subscription:
    """A subscription; raises ``NotFound``."""
    row = transaction.one(SELECT_SUBSCRIPTION, environment, subscription)
    if row is None:
        raise NotFound(f"no subscription {subscription!r}", code="SubscriptionNotFound")
    return of_row(row)


def find_open(
    transaction: Transaction, environment: str, subscription: str, now: Instant
) -> Subscription:
    """``find`` one that has not ended, as of now; raises ``BadInput`` for one that has."""
    found = find(transaction, environment, subscription)
    if found.ended(now):
        raise BadInput(
            f"subscription {subscription!r} has ended", code="SubscriptionAlreadyCanceledOrExpired"
        )
    return found.as_of(now)


def of_row(row: Row) -> Subscription:
    """A row of ``_COLUMNS``."""
    *columns, text, created_at, updated_at = row
    body = decode(cast("str", text))
    return Subscription(*columns, body, created_at, updated_at)  # type: ignore[call-arg, arg-type]


def write(
    transaction: Transaction, environment: str, found: Subscription, now: Instant
) -> Subscription:
    """Store a subscription, new or changed, as of now."""
    transaction.run(
        WRITE_SUBSCRIPTION, environment, found.id, found.customer, found.resource, found.product,
        found.plan, found.version, found.start, found.end, found.chain_start, found.restarts,
        found.held_from, encode(found.body), found.created_at, now,
    )  # fmt: skip
    addons = {one["id"] for entry in found.body.get("addonHistory", ()) for one in entry["addons"]}
    transaction.run_many(
        WRITE_ADDON, [(environment, addon, found.id, found.customer) for addon in sorted(addons)]
    )
    record_change(transaction, environment, found.customer, now)
    return replace(found, updated_at=now)
