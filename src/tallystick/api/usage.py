"""``POST /api/v1/usage`` and ``/api/v2/usage``: reports that are counted when the call returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.api.http import Id, Reply, Request, Route, Time, freshness_headers
from tallystick.clock import DAY, HOUR
from tallystick.ingest.usage import UsageItem, decode_usages
from tallystick.store import Transaction
from tallystick.usage.report import Call, Measurement, report_usages

if TYPE_CHECKING:
    from tallystick.app import Services


class UsageReport(msgspec.Struct, rename="camel"):
    """Usage that the caller counted. ``ingest.usage`` reads it."""

    customer_id: Id
    feature_id: Id
    value: int | float
    update_behavior: Literal["DELTA", "SET"] = "DELTA"
    created_at: Time | UnsetType = UNSET
    dimensions: dict[str, str | int | float | bool | None] | UnsetType | None = UNSET
    idempotency_key: Id | UnsetType = UNSET
    resource_id: Id | UnsetType | None = UNSET


class UsageRequest(msgspec.Struct):
    """1 to 100 usage reports, recorded or refused together."""

    usages: Annotated[
        list[UsageReport], Meta(min_length=1, max_length=limits.USAGES_PER_REQUEST_MAX)
    ]


class Usages(msgspec.Struct, frozen=True):
    """What was recorded, in the order of the request."""

    usages: list[Measurement]


def report_v1(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Record reports; the answer is the list of measurements."""
    return _told_v1(request, _report(services, transaction, request))


def report_v2(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Record reports; the answer names the list of measurements."""
    return _told_v2(request, _report(services, transaction, request))


async def gathered_v1(services: Services, request: Request) -> Reply:
    """``report_v1``, together with whoever reports at the same moment."""
    return _told_v1(request, await services.reports.submit(_call(request)))


async def gathered_v2(services: Services, request: Request) -> Reply:
    """``report_v2``, together with whoever reports at the same moment."""
    return _told_v2(request, await services.reports.submit(_call(request)))


def read_items(services: Services, request: Request) -> list[UsageItem]:
    """The reports of a request."""
    future_us = services.settings.event_future_hours * HOUR
    return decode_usages(request.body, services.clock.now(), future_us)


def _report(services: Services, transaction: Transaction, request: Request) -> list[Measurement]:
    rules = services.rules()
    rules.refresh(transaction)
    window_us = services.settings.dedupe_window_days * DAY
    now = services.clock.now()
    return report_usages(transaction, rules, *_call(request), now, window_us)


def _call(request: Request) -> Call:
    return Call(request.environment, cast("list[UsageItem]", request.payload))


def _told_v1(request: Request, measurements: list[Measurement]) -> Reply:
    return Reply(measurements, headers=freshness_headers(request.fresh))


def _told_v2(request: Request, measurements: list[Measurement]) -> Reply:
    return Reply(Usages(measurements), headers=freshness_headers(request.fresh))


_DESCRIPTION: Final = (
    "Records usage that the caller counted: `DELTA` adds to the total of the period that contains "
    "`createdAt`, `SET` sets it. All reports of a call are recorded or none. The next check sees "
    "them as soon as the call returns. `currentUsage` is the total right after that report; "
    "`value` of a SET is the difference that was recorded. A repeated idempotency key changes "
    "nothing."
)

ROUTES: Final = (
    Route(
        method="POST",
        path="/api/v2/usage",
        handler=report_v2,
        gathered=gathered_v2,
        runs="write",
        status=201,
        summary="Report usage",
        description=_DESCRIPTION,
        tag="Usage",
        body=UsageRequest,
        decode=read_items,
        reply=Usages,
    ),
    Route(
        method="POST",
        path="/api/v1/usage",
        handler=report_v1,
        gathered=gathered_v1,
        runs="write",
        status=201,
        summary="Report usage (version 1)",
        description=_DESCRIPTION,
        tag="Usage",
        body=UsageRequest,
        decode=read_items,
        reply=list[Measurement],
    ),
)
