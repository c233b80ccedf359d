"""Event requests read field by field: what is accepted, and why what is refused is refused.

Owns: the meaning of an event. Slower than ``events`` by an order of magnitude; asked for bodies
with an oddity, and for bad ones.
"""

from __future__ import annotations

from typing import Any, Final

from tallystick import limits
from tallystick.clock import Instant
from tallystick.ingest.fields import (
    Readers,
    read_dimensions,
    read_id,
    read_id_or_null,
    read_item,
    read_items,
    read_string,
)
from tallystick.ingest.timestamps import instant_of, line_timestamp

_REQUIRED: Final = ("customerId", "eventName", "idempotencyKey")


def accept_explained(body: bytes, now: Instant, future_us: int) -> list[dict[str, Any]]:
    """The events of a body, ready to be encoded; raises ``BadInput`` naming what is wrong."""
    readers = _readers(now, future_us)
    return read_items(body, "events", limits.EVENTS_PER_REQUEST_MAX, readers, _REQUIRED)


def read_event(given: object, now: Instant, future_us: int) -> tuple[dict[str, Any], list[str]]:
    """One event, given as a tree; and what is wrong with it, as ``.field: reason`` each."""
    return read_item(given, "", _readers(now, future_us), _REQUIRED)


def _readers(now: Instant, future_us: int) -> Readers:
    """What reads each field of an event."""

    def read_timestamp(value: Any, _: str) -> str:
        return line_timestamp(instant_of(read_string(value), now, future_us))

    return {
        "customerId": read_id,
        "eventName": _read_event_name,
        "idempotencyKey": read_id,
        "dimensions": read_dimensions,
        "resourceId": read_id_or_null,
        "timestamp": read_timestamp,
    }


def _read_event_name(value: Any, _: str) -> str:
    name = read_id(value)
    if name.startswith("$"):
        raise ValueError("must not start with $: such names are reserved")
    return name
