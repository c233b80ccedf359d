"""The reads that gate a feature: one check, or every entitlement of a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick import limits
from tallystick.api.http import QueryParam, Reply, Request, Route, freshness_headers
from tallystick.entitlements.check import (
    EntitlementReply,
    EntitlementsReply,
    check,
    list_entitlements,
)
from tallystick.errors import BadInput, NotSupported
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services


def check_entitlement(services: Services, transaction: Transaction, request: Request) -> Reply:
    """May the customer use the feature now? Changes nothing."""
    query = request.query
    rules = services.rules()
    rules.refresh(transaction)
    result = check(
        transaction,
        rules,
        request.environment,
        request.args["id"],
        _feature(request),
        query.id("resourceId") or "",
        query.integer("requestedUsage", 0, limits.USAGE_INTEGER_MAX) or 0,
        query.list("requestedValues"),
        services.clock.now(),
    )
    return Reply(result.reply, headers=freshness_headers(request.fresh, result.pending))


def _feature(request: Request) -> str:
    feature, currency = request.query.id("featureId"), request.query.id("currencyId")
    if (feature is None) == (currency is None):
        raise BadInput("featureId: exactly one of featureId and currencyId is needed")
    if feature is None:
        raise NotSupported("currencyId: credits are not part of Tallystick")
    return feature


def read_entitlements(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Every entitlement that the customer, or its resource, has now."""
    rules = services.rules()
    rules.refresh(transaction)
    result = list_entitlements(
        transaction,
        rules,
        request.environment,
        request.args["id"],
        request.query.id("resourceId") or "",
        services.clock.now(),
    )
    return Reply(result.reply, headers=freshness_headers(request.fresh, result.pending))


_RESOURCE: Final = QueryParam(
    "resourceId", "The customer's resource that is meant; without it, the customer itself."
)

ROUTES: Final = (
    Route(
        method="GET",
        path="/api/v1/customers/{id}/entitlements/check",
        handler=check_entitlement,
        summary="Check an entitlement",
        description="Whether a customer may use a feature now, how much is used and what the "
        "limit is. A denial is an answer with `isGranted: false` and the reason; so is an unknown "
        "customer or feature. Never changes usage. `Tally-As-Of` tells how fresh the usage is.",
        tag="Entitlements",
        access="client",
        query=(
            QueryParam("featureId", "The feature that is asked for.", required=True),
            _RESOURCE,
            QueryParam(
                "requestedUsage",
                "How much is about to be used; granted if it still fits the limit.",
                schema={"type": "integer", "minimum": 0, "default": 0},
            ),
            QueryParam(
                "requestedValues",
                "Of an enum feature: the values that are about to be used.",
                schema={"type": "array", "items": {"type": "string"}},
            ),
        ),
        reply=EntitlementReply,
    ),
    Route(
        method="GET",
        path="/api/v1/customers/{id}/entitlements",
        handler=read_entitlements,
        summary="List a customer's entitlements",
        description="Every entitlement that a customer or one of its resources has now, with its "
        "usage.",
        tag="Entitlements",
        access="client",
        query=(_RESOURCE,),
        reply=EntitlementsReply,
    ),
)
