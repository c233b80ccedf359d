"""``GET /api/v1/usage/{customerId}/history/{featureId}``: totals over time, from the archive."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from tallystick import limits
from tallystick.api.http import QueryParam, Reply, Request, Route, Time, freshness_headers
from tallystick.archive.history import History, UsageHistory
from tallystick.clock import format_instant
from tallystick.core.numbers import json_number
from tallystick.errors import BadInput
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services


class TagReply(msgspec.Struct, frozen=True):
    """A dimension and its value."""

    key: str
    value: str


class PointReply(msgspec.Struct, frozen=True, rename="camel"):
    """The running total of a period at the end of the bucket that begins at ``timestamp``."""

    timestamp: Time
    value: int | Decimal
    is_reset_point: bool


class SeriesReply(msgspec.Struct, frozen=True):
    """The points of one combination of tags."""

    tags: list[TagReply]
    points: list[PointReply]


class MarkerReply(msgspec.Struct, frozen=True):
    """A reset."""

    timestamp: Time
    type: str


class HistoryReply(msgspec.Struct, frozen=True):
    """A usage history."""

    series: list[SeriesReply]
    markers: list[MarkerReply]


def read_history(services: Services, transaction: Transaction, request: Request) -> Reply:
    """The history that the query asks for."""
    args, query = request.args, request.query
    start = query.instant("startDate")
    if start is None:
        raise BadInput("startDate: is required")
    rules = services.rules()
    rules.refresh(transaction)
    environment, customer, feature = request.environment, args["customerId"], args["featureId"]
    history = UsageHistory(services.queries, services.folder.path).read(
        transaction,
        rules,
        environment,
        customer,
        query.id("resourceId") or "",
        feature,
        start,
        query.instant("endDate"),
        query.list("groupBy"),
        services.clock.now(),
    )
    pending = rules.pending(transaction, environment, customer, feature)
    return Reply(_shown(history), headers=freshness_headers(request.fresh, pending))


def _shown(history: History) -> HistoryReply:
    series = [
        SeriesReply(
            [TagReply(key, value) for key, value in each.tags],
            [
                PointReply(
                    format_instant(point.timestamp), json_number(point.value), point.is_reset_point
                )
                for point in each.points
            ],
        )
        for each in history.series
    ]
    markers = [MarkerReply(format_instant(each.timestamp), each.type) for each in history.markers]
    return HistoryReply(series, markers)


_TIME: Final = {"type": "string", "format": "date-time"}

ROUTES: Final = (
    Route(
        method="GET",
        path="/api/v1/usage/{customerId}/history/{featureId}",
        handler=read_history,
        runs="query",
        summary="Read a usage history",
        description="Running totals over [startDate, endDate), worked out from the record: hourly "
        f"up to {limits.HOURLY_HISTORY_DAYS_MAX} days, else daily, in UTC. A point is the total at "
        "its bucket's end; a reset is a marker and a point of 0. With `groupBy` there is a series "
        "for each combination of values.",
        tag="Usage",
        query=(
            QueryParam("startDate", "Where the history begins.", required=True, schema=_TIME),
            QueryParam("endDate", "Where it ends; without it, just after now.", schema=_TIME),
            QueryParam(
                "groupBy",
                f"Up to {limits.HISTORY_GROUP_KEYS_MAX} dimensions to split by.",
                schema={"type": "array", "items": {"type": "string"}},
            ),
            QueryParam(
                "resourceId",
                "The customer's resource that is meant; without it, the customer itself.",
            ),
        ),
        reply=HistoryReply,
    ),
)
