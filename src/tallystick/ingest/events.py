"""Event requests: validated whole, and turned into the flat lines that the inbox keeps.

Owns: what an event is (DESIGN 4.2, 4.5, 4.7). Promises: a body is accepted whole or refused with
every bad event named by index, field and reason (the first 20); what is accepted is one JSON object
a line, with timestamps in UTC that DuckDB casts exactly and numbers as ``literals`` writes them.

There are two readers with one meaning (``ingest.quick``): ``_accept_at_once``, and
``ingest.explain``. A test holds the two against each other: whatever the first accepts, the second
accepts with the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.clock import Instant
from tallystick.errors import BadInput
from tallystick.ingest.explain import accept_explained
from tallystick.ingest.literals import line_number
from tallystick.ingest.quick import Text, hides, names_once, plain
from tallystick.ingest.spans import check_size, split_items
from tallystick.ingest.timestamps import line_timestamps


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    customerId: Text  # noqa: N815 - wire names
    eventName: Text  # noqa: N815
    idempotencyKey: Text  # noqa: N815
    # Any, because only of untyped numbers msgspec hands over the literal.
    dimensions: dict[str, Any] | UnsetType | None = UNSET
    resourceId: Text | UnsetType | None = UNSET  # noqa: N815
    timestamp: str | UnsetType = UNSET


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    events: Annotated[list[_Event], Meta(min_length=1, max_length=limits.EVENTS_PER_REQUEST_MAX)]


_DECODER: Final = msgspec.json.Decoder(_Body, float_hook=line_number)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class AcceptedEvents(NamedTuple):
    """What the inbox keeps of a request: NDJSON, one line an event, and how many there are."""

    lines: bytes
    events: int


def accept_events(body: bytes, now: Instant, future_us: int) -> AcceptedEvents:
    """The lines of an event request; timestamps may be ``future_us`` microseconds ahead of ``now``.

    Raises ``BadInput`` naming what is wrong with each bad event, or ``PayloadTooLarge``.
    """
    check_size(body)
    accepted = _accept_at_once(body, now, future_us)
    if accepted is None:
        lines = accept_explained(body, now, future_us)
        accepted = AcceptedEvents(_ENCODER.encode_lines(lines), len(lines))
    return accepted


def _accept_at_once(body: bytes, now: Instant, future_us: int) -> AcceptedEvents | None:
    """The lines of a body without any oddity, or None to have it explained."""
    if hides(body):
        return None
    try:
        events = _DECODER.decode(body).events
        if not plain(events) or (b"$" in body and _reserved(events)) or _too_large(body):
            return None
        lines = _ENCODER.encode_lines(events)
        if not names_once(body, lines):
            return None
        if _settle(events, now + future_us):
            lines = _ENCODER.encode_lines(events)
    except (BadInput, ValueError, OverflowError, RecursionError):  # msgspec's are ValueErrors
        return None
    return AcceptedEvents(lines, len(events))


def _reserved(events: Sequence[_Event]) -> bool:
    return any(event.eventName.startswith("$") for event in events)


def _too_large(body: bytes) -> bool:
    """Whether an event, as it was sent, is over the limit."""
    if len(body) <= limits.EVENT_BYTES_MAX:
        return False
    return any(span.nbytes > limits.EVENT_BYTES_MAX for span in split_items(body, "events"))


def _settle(events: Sequence[_Event], latest: int) -> bool:
    """Make timestamps what lines hold and drop nulls; whether anything changed."""
    changed = False
    for event in events:
        if event.resourceId is None:
            event.resourceId, changed = UNSET, True
        if event.dimensions is None:
            event.dimensions, changed = UNSET, True
    stamps = [event.timestamp for event in events if event.timestamp is not UNSET]
    if stamps:
        kept = line_timestamps(stamps, latest)
        if kept is not stamps:
            texts = iter(kept)
            for event in events:
                if event.timestamp is not UNSET:
                    event.timestamp = next(texts)
            changed = True
    return changed
