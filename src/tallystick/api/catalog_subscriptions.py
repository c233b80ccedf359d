"""Subscriptions over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tallystick.api.catalog_query import one_of
from tallystick.api.http import QueryParam, Reply, Request, Route
from tallystick.api.pagination import (
    CREATED_AT_PARAMS,
    PAGE_PARAMS,
    read_created_at,
    read_window,
)
from tallystick.catalog import effects, subscription_rows, subscriptions
from tallystick.catalog import subscription_view as view
from tallystick.catalog.entity_calls import Entity
from tallystick.catalog.shapes.replies import IdReply, ProvisionReply, SubscriptionReply
from tallystick.catalog.shapes.subscriptions import (
    CancelSubscription,
    MigrateSubscription,
    ProvisionSubscription,
    UpdateSubscription,
)
from tallystick.catalog.subscription_rows import Subscription
from tallystick.clock import Instant
from tallystick.errors import NotFound
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_STATUSES: Final = (
    "PAYMENT_PENDING", "ACTIVE", "EXPIRED", "IN_TRIAL", "CANCELED", "NOT_STARTED",
)  # fmt: skip
_PRICING_TYPES: Final = ("FREE", "PAID", "CUSTOM")


def the_subscription(request: Request) -> Entity:
    """The subscription that the path names."""
    return Entity("subscription", request.args["id"])


def _the_subscriber(request: Request) -> Entity:
    """The customer, or its resource, that is to have a plan."""
    body = request.read(ProvisionSubscription)
    return Entity("customer", body.customer_id, body.resource_id or "")


def provision(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new subscription."""
    body = request.read(ProvisionSubscription)

    def change(now: Instant) -> Subscription:
        return subscriptions.provision(transaction, request.environment, body, now)

    made, now = effects.settled(
        services, transaction, request.environment, [body.customer_id], change
    )
    return Reply(
        {
            "id": made.id,
            "status": "SUCCESS",
            "subscription": view.answer(made, now),
            "isScheduled": made.start > now,
        }
    )


def retrieve(services: Services, transaction: Transaction, request: Request) -> Reply:
    """One subscription."""
    found = subscription_rows.find(transaction, request.environment, request.args["id"])
    return Reply(view.answer(found, services.clock.now()))


def page(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Subscriptions, a page at a time."""
    query = request.query
    wanted = view.SubscriptionFilter(
        customer=query.id("customerId"),
        plan=query.id("planId"),
        resource=query.id("resourceId"),
        statuses=one_of(query, "status", _STATUSES),
        pricing_types=one_of(query, "pricingType", _PRICING_TYPES),
        created=read_created_at(query),
    )
    now, window = services.clock.now(), read_window(query)
    return Reply(view.page(transaction, request.environment, wanted, window, now))


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed subscription."""
    body = request.read(UpdateSubscription)
    return _changed(
        services, transaction, request,
        lambda id_, now: subscriptions.update(transaction, request.environment, id_, body, now),
    )  # fmt: skip


def cancel(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A subscription that ends."""
    body = request.read(CancelSubscription)
    return _changed(
        services, transaction, request,
        lambda id_, now: subscriptions.cancel(transaction, request.environment, id_, body, now),
    )  # fmt: skip


def migrate(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A subscription to the newest version of its plan."""
    body = request.read(MigrateSubscription)
    return _changed(
        services, transaction, request,
        lambda id_, now: subscriptions.migrate(transaction, request.environment, id_, body, now),
    )  # fmt: skip


def call_off(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A subscription for which nothing is scheduled any more."""
    found = subscription_rows.find(transaction, request.environment, request.args["id"])
    changed, _ = effects.settled(
        services, transaction, request.environment, [found.customer],
        lambda now: subscriptions.call_off(transaction, request.environment, found.id, now),
    )  # fmt: skip
    return Reply({"id": changed.id})


def no_pending_payment(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Nothing ever waits for a payment here."""
    found = subscription_rows.find(transaction, request.environment, request.args["id"])
    raise NotFound(
        f"no change of subscription {found.id!r} waits for a payment", code="FutureUpdateNotFound"
    )


def _changed(
    services: Services,
    transaction: Transaction,
    request: Request,
    change: Callable[[str, Instant], Subscription],
) -> Reply:
    """A change of the subscription that the path names."""
    found = subscription_rows.find(transaction, request.environment, request.args["id"])
    changed, now = effects.settled(
        services, transaction, request.environment, [found.customer],
        lambda now: change(found.id, now),
    )  # fmt: skip
    return Reply(view.answer(changed, now))


ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/subscriptions", handler=provision, runs="write", status=201,
        entity=_the_subscriber,
        summary="Subscribe a customer to a plan", tag="Subscriptions",
        body=ProvisionSubscription, reply=ProvisionReply,
        description="It starts now, or at `startDate`, past or future. Another plan of a product "
        "that allows one subscription replaces the active one (a plan change). What concerns "
        "money is stored and echoed.",
    ),
    Route(
        method="GET", path="/api/v1/subscriptions", handler=page, runs="query", page=True,
        summary="List subscriptions", tag="Subscriptions", reply=SubscriptionReply,
        description="In the order of creation, ended ones included.",
        query=(
            *PAGE_PARAMS,
            *CREATED_AT_PARAMS,
            QueryParam("customerId", "Only this customer's."),
            QueryParam("planId", "Only those to this plan."),
            QueryParam("resourceId", "Only those of this resource."),
            QueryParam("status", f"Only these statuses: {', '.join(_STATUSES)}."),
            QueryParam("pricingType", f"Only these: {', '.join(_PRICING_TYPES)}."),
        ),
    ),
    Route(
        method="GET", path="/api/v1/subscriptions/{id}", handler=retrieve,
        summary="Get a subscription", tag="Subscriptions", reply=SubscriptionReply,
        description="`subscriptionEntitlements` are its overrides alone.",
    ),
    Route(
        method="PATCH", path="/api/v1/subscriptions/{id}", handler=update, runs="write",
        entity=the_subscription,
        summary="Change a subscription", tag="Subscriptions", body=UpdateSubscription,
        reply=SubscriptionReply,
        description="What is omitted stays; lists and objects are replaced whole. Add-ons and "
        "overrides hold from now on, or from when `scheduleStrategy` says.",
    ),
    Route(
        method="POST", path="/api/v1/subscriptions/{id}/cancel", handler=cancel, runs="write",
        entity=the_subscription,
        summary="End a subscription", tag="Subscriptions", body=CancelSubscription,
        reply=SubscriptionReply,
        description="Now (the default), at the end of the billing period, or at `endDate`.",
    ),
    Route(
        method="POST", path="/api/v1/subscriptions/{id}/migrate", handler=migrate, runs="write",
        entity=the_subscription,
        summary="Move to the newest version of the plan", tag="Subscriptions",
        body=MigrateSubscription, reply=SubscriptionReply,
        description="Now (the default) or at the end of the billing period; so do its add-ons.",
    ),
    Route(
        method="DELETE", path="/api/v1/subscriptions/{id}/future-update/schedule",
        handler=call_off, runs="write", summary="Call off what is scheduled", tag="Subscriptions",
        entity=the_subscription, reply=IdReply,
        description="The plan change, the migration and the changes that `futureUpdates` lists do "
        "not happen; 404 when nothing is scheduled.",
    ),
    Route(
        method="DELETE", path="/api/v1/subscriptions/{id}/future-update/pending-payment",
        handler=no_pending_payment, runs="write", summary="Call off what awaits a payment",
        tag="Subscriptions", entity=the_subscription, reply=IdReply,
        description="Always 404: nothing waits for a payment here.",
    ),
)  # fmt: skip
