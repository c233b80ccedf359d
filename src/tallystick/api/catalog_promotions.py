"""Promotional entitlements over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from tallystick.api.catalog_query import one_of
from tallystick.api.http import QueryParam, Reply, Request, Route
from tallystick.api.pagination import (
    CREATED_AT_PARAMS,
    PAGE_PARAMS,
    read_created_at,
    read_window,
)
from tallystick.catalog import effects, promotions
from tallystick.catalog.shapes.promotions import GrantPromotions, GrantStatus
from tallystick.catalog.shapes.replies import PromotionReply
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_STATUSES: Final = get_args(GrantStatus)
_PATH: Final = "/api/v1/customers/{id}/promotional-entitlements"


def grant(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What is granted from now on."""
    asked = request.read(GrantPromotions).promotional_entitlements
    scope = (request.environment, request.args["id"])
    made, _ = effects.settled(
        services, transaction, request.environment, [request.args["id"]],
        lambda now: promotions.grant(transaction, *scope, asked, now),
    )  # fmt: skip
    return Reply(made)


def page(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What a customer was granted, a page at a time."""
    query, scope = request.query, (request.environment, request.args["id"])
    window, created = read_window(query), read_created_at(query)
    statuses, now = one_of(query, "status", _STATUSES), services.clock.now()
    return Reply(promotions.page(transaction, *scope, window, created, statuses, now))


def revoke(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What is granted no longer."""
    scope, feature = (request.environment, request.args["id"]), request.args["featureId"]
    revoked, _ = effects.settled(
        services, transaction, request.environment, [request.args["id"]],
        lambda now: promotions.revoke(transaction, *scope, feature, now),
    )  # fmt: skip
    return Reply(revoked)


ROUTES: Final = (
    Route(
        method="POST", path=_PATH, handler=grant, runs="write", status=201,
        summary="Grant a customer more", tag="Promotional entitlements", body=GrantPromotions,
        reply=list[PromotionReply],
        description="From now on, for the customer and each of its resources, with or without a "
        "subscription. Of a grant and a subscription the more generous decides; they never add "
        "up. Granting a feature again replaces what was granted of it.",
    ),
    Route(
        method="GET", path=_PATH, handler=page, page=True,
        summary="List what a customer was granted", tag="Promotional entitlements",
        reply=PromotionReply,
        description="In the order of creation. What is past its end is Expired; what was replaced "
        "or revoked is gone.",
        query=(
            *PAGE_PARAMS,
            *CREATED_AT_PARAMS,
            QueryParam("status", f"Only these statuses: {', '.join(_STATUSES)}."),
        ),
    ),
    Route(
        method="DELETE", path=f"{_PATH}/{{featureId}}", handler=revoke, runs="write",
        summary="Revoke what a customer was granted", tag="Promotional entitlements",
        reply=PromotionReply, description="It ends now, and is listed no longer.",
    ),
)  # fmt: skip
