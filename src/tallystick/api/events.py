"""``POST /api/v1/events``: the hot path in. Answered once the inbox has it for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.api.http import Id, Reply, Request, Route, Time
from tallystick.clock import HOUR
from tallystick.inbox.inbox import Arrival
from tallystick.ingest.events import accept_events
from tallystick.store import Transaction

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


def read_arrival(services: Services, request: Request) -> Arrival:
    """What the inbox keeps of a request."""
    now = services.clock.now()
    accepted = accept_events(request.body, now, services.settings.event_future_hours * HOUR)
    return Arrival(request.environment, now, accepted.events, accepted.lines)


def report_events(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Accept events: 2xx says that they survive anything from now on."""
    return _told(services.inbox.add(transaction, *request.read(Arrival)))


async def gathered_events(services: Services, request: Request) -> Reply:
    """``report_events``, together with whoever reports at the same moment."""
    return _told(await services.arrivals.submit(request.read(Arrival)))


def _told(position: int) -> Reply:
    return Reply({}, headers={"Tally-Position": str(position)})


ROUTES: Final = (
    Route(
        method="POST",
        path="/api/v1/events",
        handler=report_events,
        gathered=gathered_events,
        runs="write",
        store="inbox",
        summary="Report events",
        description="Accepts raw events. A 200 says that all of them are on disk; they count "
        "within a second. One bad event refuses the request, and the message names each bad one. "
        "An idempotency key that was seen within the window counts once. The header "
        "`Tally-Position` is what `GET /tally/v1/sync` takes.",
        tag="Events",
        body=EventsRequest,
        decode=read_arrival,
        reply=NoData,
    ),
)
