"""Features over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.api.catalog_query import one_of
from tallystick.api.http import QueryParam, Reply, Request, Route
from tallystick.api.pagination import (
    CREATED_AT_PARAMS,
    PAGE_PARAMS,
    read_created_at,
    read_window,
)
from tallystick.catalog import features
from tallystick.catalog.features import FeatureFilter
from tallystick.catalog.pages import of_items, page_of
from tallystick.catalog.shapes.features import CreateFeature, UpdateFeature
from tallystick.catalog.shapes.replies import FeatureReply
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_TYPES: Final = ("BOOLEAN", "NUMBER", "ENUM")
_METER_TYPES: Final = ("None", "FLUCTUATING", "INCREMENTAL")
_STATUSES: Final = ("NEW", "SUSPENDED", "ACTIVE")


def create(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new feature."""
    body, now = request.read(CreateFeature), services.clock.now()
    as_of = services.freshness.read().as_of
    return Reply(features.create(transaction, request.environment, body, as_of, now))


def page(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Features, a page at a time."""
    query = request.query
    wanted = FeatureFilter(
        id=query.id("id"),
        feature_types=one_of(query, "featureType", _TYPES),
        meter_types=one_of(query, "meterType", _METER_TYPES),
        statuses=one_of(query, "status", _STATUSES),
    )
    created = read_created_at(query)
    found = features.listed(transaction, request.environment, wanted)
    source = of_items(item for item in found if created.holds(item.place.created_at))
    return Reply(page_of(source, read_window(query)))


def retrieve(services: Services, transaction: Transaction, request: Request) -> Reply:
    """One feature."""
    return Reply(features.answer(transaction, request.environment, request.args["id"]))


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed feature."""
    body, now = request.read(UpdateFeature), services.clock.now()
    as_of = services.freshness.read().as_of
    scope = (request.environment, request.args["id"])
    return Reply(features.update(transaction, *scope, body, as_of, now))


def archive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """An archived feature."""
    scope, now = (request.environment, request.args["id"]), services.clock.now()
    return Reply(features.set_archived(transaction, *scope, True, now))


def unarchive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A feature that is open again."""
    scope, now = (request.environment, request.args["id"]), services.clock.now()
    return Reply(features.set_archived(transaction, *scope, False, now))


ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/features", handler=create, runs="write", status=201,
        summary="Create a feature", tag="Features", body=CreateFeature, reply=FeatureReply,
        description="A NUMBER feature with a `meterType` is metered: by events if it has a "
        "`meter`, else by usage reports. A meter counts events of the past too.",
    ),
    Route(
        method="GET", path="/api/v1/features", handler=page, access="client", runs="query",
        page=True, summary="List features", tag="Features", reply=FeatureReply,
        description="In the order of creation.",
        query=(
            *PAGE_PARAMS,
            *CREATED_AT_PARAMS,
            QueryParam("id", "Only the feature with this id."),
            QueryParam("featureType", f"Only these types: {', '.join(_TYPES)}."),
            QueryParam("meterType", f"Only these: {', '.join(_METER_TYPES)}."),
            QueryParam("status", f"Only these statuses: {', '.join(_STATUSES)}."),
        ),
    ),
    Route(
        method="GET", path="/api/v1/features/{id}", handler=retrieve, access="client",
        summary="Get a feature", tag="Features", reply=FeatureReply,
        description="As it is configured now.",
    ),
    Route(
        method="PATCH", path="/api/v1/features/{id}", handler=update, runs="write",
        summary="Change a feature", tag="Features", body=UpdateFeature, reply=FeatureReply,
        description="What is omitted stays. A changed meter is recounted from all events; until "
        "that is done the old value stands. A feature with usage cannot switch between events "
        "and reports.",
    ),
    Route(
        method="POST", path="/api/v1/features/{id}/archive", handler=archive, runs="write",
        summary="Archive a feature", tag="Features", reply=FeatureReply,
        description="Refused while something grants it. Archived, it can be granted by nothing.",
    ),
    Route(
        method="POST", path="/api/v1/features/{id}/unarchive", handler=unarchive, runs="write",
        summary="Unarchive a feature", tag="Features", reply=FeatureReply,
        description="It can be granted again.",
    ),
)  # fmt: skip
