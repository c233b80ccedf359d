"""Handing subscriptions over, bringing them in and trying one out, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick import ids
from tallystick.api.catalog_subscriptions import the_subscription
from tallystick.api.http import Reply, Request, Route
from tallystick.catalog import (
    effects,
    subscription_import,
    subscription_moves,
    subscription_rows,
)
from tallystick.catalog import subscription_view as view
from tallystick.catalog.shapes.replies import ImportReply, PreviewReply, SubscriptionReply
from tallystick.catalog.shapes.subscription_moves import (
    DelegateSubscription,
    ImportSubscriptions,
    PreviewSubscription,
    TransferSubscription,
)
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services


def transfer(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A subscription that another resource has now."""
    environment, resource = request.environment, request.read(TransferSubscription)
    found = subscription_rows.find(transaction, environment, request.args["id"])
    moved, now = effects.settled(
        services, transaction, environment, [found.customer],
        lambda now: subscription_moves.transfer(
            transaction, environment, found.id, resource.destination_resource_id, now
        ),
    )  # fmt: skip
    return Reply(view.answer(moved, now))


def delegate(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A subscription that another customer has now."""
    environment, target = request.environment, request.read(DelegateSubscription).target_customer_id
    found = subscription_rows.find(transaction, environment, request.args["id"])
    moved, now = effects.settled(
        services, transaction, environment, sorted({found.customer, target}),
        lambda now: subscription_moves.delegate(transaction, environment, found.id, target, now),
    )  # fmt: skip
    return Reply(view.answer(moved, now))


def bring_in(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Subscriptions of another system."""
    items = request.read(ImportSubscriptions).subscriptions
    effects.settled(
        services, transaction, request.environment,
        list(dict.fromkeys(item.customer_id for item in items)),
        lambda now: subscription_import.bring_in(transaction, request.environment, items, now),
    )  # fmt: skip
    return Reply({"taskId": ids.new_id()})


def preview(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What a subscription would be; it is not made."""
    body, now = request.read(PreviewSubscription), services.clock.now()
    tried = subscription_import.try_out(transaction, request.environment, body, now)
    return Reply(view.preview(tried, now))


ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/subscriptions/{id}/transfer", handler=transfer, runs="write",
        entity=the_subscription,
        summary="Hand a subscription to another resource", tag="Subscriptions",
        body=TransferSubscription, reply=SubscriptionReply,
        description="From now on; what was used stays with the resource that used it.",
    ),
    Route(
        method="POST", path="/api/v1/subscriptions/{id}/delegate", handler=delegate, runs="write",
        entity=the_subscription,
        summary="Hand a subscription to another customer", tag="Subscriptions",
        body=DelegateSubscription, reply=SubscriptionReply,
        description="From now on; what was used stays with the customer who used it, and who pays "
        "stays the same (`payingCustomerId`).",
    ),
    Route(
        method="POST", path="/api/v1/subscriptions/import", handler=bring_in, runs="write",
        status=201, summary="Bring subscriptions in", tag="Subscriptions",
        body=ImportSubscriptions, reply=ImportReply,
        description="All or none, before the call returns. One whose id exists stays as it is.",
    ),
    Route(
        method="POST", path="/api/v1/subscriptions/preview", handler=preview, runs="write",
        status=201, summary="Try a subscription out", tag="Subscriptions",
        body=PreviewSubscription, reply=PreviewReply,
        description="The checks that a new subscription passes, and its billing period; nothing is "
        "stored. Amounts are 0: no money is computed here.",
    ),
)  # fmt: skip
