"""Event requests read field by field: what is accepted, and why what is refused is refused.

Owns: the meaning of an event. Slower than ``events`` by an order of magnitude; asked for bodies
with an oddity, and for bad ones.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tallystick import limits
from tallystick.clock import Instant
from tallystick.ingest.fields import (
    Readers,
    read_dimensions,
    read_id,
    read_id_or_null,
    read_items,
    read_string,
)
from tallystick.ingest.timestamps import instant_of, line_timestamp

_REQUIRED: Final = ("customerId", "eventName", "idempotencyKey")


class _Spans(msgspec.Struct):
    events: list[msgspec.Raw]


def accept_explained(body: bytes, now: Instant, future_us: int) -> list[dict[str, Any]]:
    """The events of a body, ready to be encoded; raises ``BadInput`` naming what is wrong."""
    too_large = too_large_events(body)

    def read_timestamp(value: Any, _: str) -> str:
        return line_timestamp(instant_of(read_string(value), now, future_us))

    def inspect(index: int) -> str | None:
        return f"is larger than {limits.EVENT_BYTES_MAX} bytes" if index in too_large else None

    readers: Readers = {
        "customerId": read_id,
        "eventName": _read_event_name,
        "idempotencyKey": read_id,
        "dimensions": read_dimensions,
        "resourceId": read_id_or_null,
        "timestamp": read_timestamp,
    }
    most = limits.EVENTS_PER_REQUEST_MAX
    return read_items(body, "events", most, readers, _REQUIRED, inspect)


def too_large_events(body: bytes) -> set[int]:
    """Which events are, as they were sent, over the limit."""
    if len(body) <= limits.EVENT_BYTES_MAX:
        return set()
    try:
        spans = msgspec.json.decode(body, type=_Spans).events
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return set()  # what is wrong with the body as a whole will be named
    return {
        index
        for index, span in enumerate(spans)
        if memoryview(span).nbytes > limits.EVENT_BYTES_MAX
    }


def _read_event_name(value: Any, _: str) -> str:
    name = read_id(value)
    if name.startswith("$"):
        raise ValueError("must not start with $: such names are reserved")
    return name
