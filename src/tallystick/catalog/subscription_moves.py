"""Who holds a subscription: handing it to another resource or another customer.

Owns: ``subscription_tenures`` (who held it before, from when to when) and the instant since which
it is held. Usage stays with whoever used; the new holder's periods go on where the former one's
were, and count from the instant of the move. What is scheduled for a subscription goes with it, the
plan that is to follow included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

from tallystick.catalog import customers, products
from tallystick.catalog.changes import record_change
from tallystick.catalog.rows import Body, shown
from tallystick.catalog.subscription_rows import (
    SELECT_OF_PRODUCT,
    Subscription,
    find,
    find_open,
    of_row,
    write,
)
from tallystick.clock import Instant
from tallystick.core.periods import FOREVER
from tallystick.errors import BadInput, Conflict
from tallystick.store import Transaction

ADD_TENURE = """
INSERT INTO subscription_tenures (environment, subscription, customer, resource, from_at, until_at)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (environment, subscription, from_at) DO NOTHING
"""

# A subscription of a product that a customer, or one of its resources, held in a span of time and
# then handed over.
HELD_ONCE = """
SELECT id, until_at FROM subscription_tenures AS tenure JOIN subscriptions
  ON subscriptions.environment = tenure.environment AND subscriptions.id = tenure.subscription
WHERE tenure.environment = ? AND tenure.customer = ? AND tenure.resource = ? AND product = ?
  AND until_at > ? AND (end_at IS NULL OR end_at > ?) AND from_at < ?
ORDER BY until_at DESC LIMIT 1
"""


def transfer(
    transaction: Transaction, environment: str, subscription: str, resource: str, now: Instant
) -> Subscription:
    """Hand a subscription to another resource of its customer.

    Raises ``NotFound``, ``BadInput`` (it has ended, is that resource's, or is to follow another)
    and ``Conflict`` (the resource has a subscription of that product).
    """
    found = find_open(transaction, environment, subscription, now)
    if found.resource == resource:
        raise BadInput(f"destinationResourceId: the subscription is that of {resource!r} already")
    return _move(transaction, environment, found, found.customer, resource, now)


def delegate(
    transaction: Transaction, environment: str, subscription: str, customer: str, now: Instant
) -> Subscription:
    """Hand a subscription to another customer; who pays for it stays the same.

    Raises ``NotFound``, ``BadInput`` (it has ended, is to follow another, the customer is archived,
    or has it already) and ``Conflict`` (the customer has a subscription of that product).
    """
    found = find_open(transaction, environment, subscription, now)
    customers.require_open(transaction, environment, customer)
    if found.customer == customer:
        raise BadInput(f"targetCustomerId: the subscription is that of {customer!r} already")
    payer = found.body.get("payingCustomerId") or found.customer
    terms = {"payingCustomerId": payer}
    return _move(transaction, environment, found, customer, found.resource, now, terms)


def require_not_shared(
    transaction: Transaction,
    environment: str,
    draft: Subscription,
    replaced: Iterable[Subscription],
) -> None:
    """Raises ``BadInput`` where a new subscription, which is to end others, begins in a time in
    which one of its product was handed over: what was held then is history of two."""
    for other in replaced:
        if other.held_from is not None and draft.start < other.held_from:
            raise _shared(other.id, other.held_from)
    scope = (environment, draft.customer, draft.resource, draft.product)
    end = FOREVER if draft.end is None else draft.end
    row = transaction.one(HELD_ONCE, *scope, draft.start, draft.start, end)
    if row is not None:
        raise _shared(*cast("tuple[str, int]", row))


def _shared(subscription: str, until: int) -> BadInput:
    return BadInput(
        f"startDate: subscription {subscription!r}, of the same product, was handed over at "
        f"{shown(until)}; begin no earlier than that"
    )


def _move(
    transaction: Transaction,
    environment: str,
    found: Subscription,
    customer: str,
    resource: str,
    now: Instant,
    terms: Body | None = None,
) -> Subscription:
    """Hand it over with what is to follow it; ``terms`` are what changes of them."""
    _require_first(transaction, environment, found, now)
    _require_room(transaction, environment, found, customer, resource, now)
    to_follow = list(_to_follow(transaction, environment, found))
    moved = replace(found, customer=customer, resource=resource, body=found.body | (terms or {}))
    since = found.start if found.held_from is None else found.held_from
    if since < now:
        # The first to hold it in an instant is whom its usage of that instant belongs to.
        transaction.run(
            ADD_TENURE, environment, found.id, found.customer, found.resource, since, now
        )
        moved = replace(moved, held_from=now)
    for one in to_follow:
        body = one.body | (terms or {}) | ({"floor": now} if since < now else {})
        later = replace(one, customer=customer, resource=resource, body=body)
        write(transaction, environment, later, now)
    record_change(transaction, environment, found.customer, now)
    return write(transaction, environment, moved, now)


def _to_follow(
    transaction: Transaction, environment: str, found: Subscription
) -> Iterator[Subscription]:
    """The subscriptions that are to replace it, one after the other."""
    while (replaced := found.body.get("replaced")) is not None:
        found = find(transaction, environment, replaced["by"])
        yield found


def _require_first(
    transaction: Transaction, environment: str, found: Subscription, now: Instant
) -> None:
    """Raises ``BadInput`` where another goes on until it begins: that would be left without it."""
    if found.start <= now:
        return
    scope = (environment, found.customer, found.resource, found.product)
    for other in map(of_row, transaction.all(SELECT_OF_PRODUCT, *scope)):
        replaced = other.body.get("replaced")
        if not other.ended(now) and replaced is not None and replaced["by"] == found.id:
            raise BadInput(
                f"subscription {found.id!r} is to follow {other.id!r}; hand that over, and it goes "
                "along"
            )


def _require_room(
    transaction: Transaction,
    environment: str,
    found: Subscription,
    customer: str,
    resource: str,
    now: Instant,
) -> None:
    """Raises ``Conflict`` where the new holder has one of a product that allows only one."""
    product = products.stored(transaction, environment, found.product)
    if product["multipleSubscriptions"]:
        return
    rows = transaction.all(SELECT_OF_PRODUCT, environment, customer, resource, found.product)
    taken = [other.id for other in map(of_row, rows) if not other.ended(max(now, found.start))]
    if taken:
        raise Conflict(
            f"{resource or customer!r} has subscription {taken[0]!r} of product {found.product!r}; "
            "cancel that first"
        )
