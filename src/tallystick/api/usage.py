"""``POST /api/v1/usage`` and ``/api/v2/usage``: reports that are counted when the call returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from tallystick.api.http import Reply, Request, Route, freshness_headers
from tallystick.clock import DAY, HOUR
from tallystick.ingest.usage import decode_usages
from tallystick.store import Transaction
from tallystick.usage.report import Measurement, report_usages

if TYPE_CHECKING:
    from tallystick.app import Services


class UsageReport(msgspec.Struct, rename="camel"):
    """Usage that the caller counted."""

    customer_id: str
    feature_id: str
    value: int | float
    update_behavior: Literal["DELTA", "SET"] = "DELTA"
    created_at: str | None = None
    dimensions: dict[str, str | int | float | bool] | None = None
    idempotency_key: str | None = None
    resource_id: str | None = None


class UsageRequest(msgspec.Struct):
    """1 to 100 usage reports, recorded or refused together."""

    usages: list[UsageReport]


class Usages(msgspec.Struct, frozen=True):
    """What was recorded, in the order of the request."""

    usages: list[Measurement]


def report_v1(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Record reports; the answer is the list of measurements."""
    return Reply(_report(services, transaction, request), headers=_freshness(request))


def report_v2(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Record reports; the answer names the list of measurements."""
    usages = Usages(_report(services, transaction, request))
    return Reply(usages, headers=_freshness(request))


def _report(services: Services, transaction: Transaction, request: Request) -> list[Measurement]:
    now, settings = services.clock.now(), services.settings
    items = decode_usages(request.body, now, settings.event_future_hours * HOUR)
    rules = services.rules()
    rules.refresh(transaction)
    window_us = settings.dedupe_window_days * DAY
    return report_usages(transaction, rules, request.environment, items, now, window_us)


def _freshness(request: Request) -> Mapping[str, str]:
    return freshness_headers(request.fresh)


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
        path="/api/v1/usage",
        handler=report_v1,
        runs="write",
        status=201,
        summary="Report usage (version 1)",
        description=_DESCRIPTION,
        tag="Usage",
        body=UsageRequest,
        reads_body=True,
        reply=list[Measurement],
    ),
    Route(
        method="POST",
        path="/api/v2/usage",
        handler=report_v2,
        runs="write",
        status=201,
        summary="Report usage",
        description=_DESCRIPTION,
        tag="Usage",
        body=UsageRequest,
        reads_body=True,
        reply=Usages,
    ),
)
