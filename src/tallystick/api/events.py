"""``POST /api/v1/events``: the hot path in. Answered once the inbox has it for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.api.http import Id, Reply, Request, Route, Time
from tallystick.clock import HOUR
from tallystick.inbox.inbox import Arrival
from tallystick.ingest.events import accept_events

if TYPE_CHECKING:
    from tallystick.app import Services


class EventItem(msgspec.Struct, rename="camel"):
    """Something that happened, as it is reported. ``ingest.events`` reads it."""

    customer_id: Id
    event_name: Id
    idempotency_key: Id
    dimensions: dict[str, str | int | float | bool | None] | UnsetType | None = UNSET
    resource_id: Id | UnsetType | None = UNSET
    timestamp: Time | UnsetType = UNSET


class EventsRequest(msgspec.Struct):
    """1 to 1,000 events, accepted or refused together."""

    events: Annotated[list[EventItem], Meta(min_length=1, max_length=limits.EVENTS_PER_REQUEST_MAX)]


class NoData(msgspec.Struct):
    """Nothing to tell."""


async def report_events(services: Services, request: Request) -> Reply:
    """Accept events: 2xx says that they survive anything from now on."""
    now = services.clock.now()
    future_us = services.settings.event_future_hours * HOUR
    body = request.body
    if len(body) <= limits.EVENTS_AT_ONCE_BYTES_MAX:
        accepted = accept_events(body, now, future_us)
    else:
        accepted = await asyncio.to_thread(accept_events, body, now, future_us)
    arrival = Arrival(request.environment, now, accepted.events, accepted.lines)
    position = await services.arrivals.submit(arrival)
    return Reply({}, headers={"Tally-Position": str(position)})


ROUTES: Final = (
    Route(
        method="POST",
        path="/api/v1/events",
        handler=report_events,
        runs="async",
        summary="Report events",
        description="Accepts raw events. A 200 says that all of them are on disk; they count "
        "within a second. One bad event refuses the request, and the message names each bad one. "
        "An idempotency key that was seen within the window counts once. The header "
        "`Tally-Position` is what `GET /tally/v1/sync` takes.",
        tag="Events",
        body=EventsRequest,
        reply=NoData,
    ),
)
