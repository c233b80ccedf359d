"""Usage reports: validated whole, with values decided on the number as it was written.

Owns: what a report may say (DESIGN 4.3, 4.6; STIGG 3.2). Leaves to others what exists and whether a
feature takes reports (``usage.report``).

There are two readers with one meaning (``ingest.quick``), ``_decode_at_once`` and
``decode_explained``; a test holds them against each other.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from tallystick import limits
from tallystick.clock import Instant
from tallystick.core.numbers import parse_number, round_half_away
from tallystick.errors import BadInput
from tallystick.ingest.fields import (
    Readers,
    read_dimensions,
    read_id,
    read_id_or_null,
    read_items,
    read_string,
)
from tallystick.ingest.literals import line_number
from tallystick.ingest.quick import Text, hides, names_once, plain
from tallystick.ingest.strict import Number, kind_of
from tallystick.ingest.timestamps import instant_of

Behavior = Literal["DELTA", "SET"]

_REQUIRED: Final = ("customerId", "featureId", "value")
_INTEGER_MAX: Final = Decimal(limits.USAGE_INTEGER_MAX)
_FRACTION_END: Final = Decimal(limits.USAGE_FRACTION_MAX)
_INTEGER_EXPONENT_MAX: Final = _INTEGER_MAX.adjusted()
_PLAIN_DIGITS: Final = 15
"""A number of so many digits is a whole one within range."""
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class UsageItem(NamedTuple):
    """One report. ``resource`` is '' for the customer itself; ``value`` has at most 5 decimals;
    ``created_at`` is None for now; ``dimensions`` is the text of a JSON object."""

    customer: str
    feature: str
    resource: str
    value: Decimal
    behavior: Behavior
    created_at: Instant | None
    key: str | None
    dimensions: str


class _Usage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    customerId: Text  # noqa: N815 - wire names
    featureId: Text  # noqa: N815
    value: Raw  # because it is decided on the number as it was written
    updateBehavior: Behavior | UnsetType = UNSET  # noqa: N815
    createdAt: str | UnsetType = UNSET  # noqa: N815
    dimensions: dict[str, Any] | UnsetType | None = UNSET
    idempotencyKey: Text | UnsetType = UNSET  # noqa: N815
    resourceId: Text | UnsetType | None = UNSET  # noqa: N815


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    usages: Annotated[list[_Usage], Meta(min_length=1, max_length=limits.USAGES_PER_REQUEST_MAX)]


_DECODER: Final = msgspec.json.Decoder(_Body, float_hook=line_number)


def decode_usages(body: bytes, now: Instant, future_us: int) -> list[UsageItem]:
    """The reports of a request; ``createdAt`` may be ``future_us`` microseconds ahead of ``now``.

    Raises ``BadInput`` naming what is wrong with each bad one, or ``PayloadTooLarge``.
    """
    items = _decode_at_once(body, now, future_us)
    return decode_explained(body, now, future_us) if items is None else items


def _decode_at_once(body: bytes, now: Instant, future_us: int) -> list[UsageItem] | None:
    """The reports of a body without any oddity, or None to have it explained."""
    if len(body) > limits.EVENT_BYTES_MAX or hides(body):
        return None
    try:
        usages = _DECODER.decode(body).usages
        if not plain(usages) or not names_once(body, _ENCODER.encode(usages)):
            return None
        return [_item_at_once(usage, now, future_us) for usage in usages]
    except (BadInput, ValueError, OverflowError, RecursionError):  # msgspec's are ValueErrors
        return None


def _item_at_once(usage: _Usage, now: Instant, future_us: int) -> UsageItem:
    created_at = usage.createdAt
    return UsageItem(
        usage.customerId,
        usage.featureId,
        usage.resourceId or "",
        _value_of(str(usage.value, "ascii")),
        usage.updateBehavior or "DELTA",
        None if created_at is UNSET else instant_of(created_at, now, future_us),
        usage.idempotencyKey or None,
        _ENCODER.encode(usage.dimensions).decode() if usage.dimensions else "{}",
    )


def decode_explained(body: bytes, now: Instant, future_us: int) -> list[UsageItem]:
    """``decode_usages``, slower by far, and the one that says what is wrong."""

    def read_created_at(value: Any, _: str) -> Instant:
        return instant_of(read_string(value), now, future_us)

    readers: Readers = {
        "customerId": read_id,
        "featureId": read_id,
        "value": _read_value,
        "updateBehavior": _read_behavior,
        "createdAt": read_created_at,
        "dimensions": read_dimensions,
        "idempotencyKey": read_id,
        "resourceId": read_id_or_null,
    }
    items = read_items(body, "usages", limits.USAGES_PER_REQUEST_MAX, readers, _REQUIRED)
    return [_item(item) for item in items]


def _item(given: dict[str, Any]) -> UsageItem:
    return UsageItem(
        given["customerId"],
        given["featureId"],
        given.get("resourceId", ""),
        given["value"],
        given.get("updateBehavior", "DELTA"),
        given.get("createdAt"),
        given.get("idempotencyKey"),
        _ENCODER.encode(given.get("dimensions", {})).decode(),
    )


def _read_value(value: Any, _: str) -> Decimal:
    if not isinstance(value, Number):
        raise ValueError(f"expected number, got {kind_of(value)}")  # noqa: TRY004 - a value
    return _value_of(value)


def _value_of(literal: str) -> Decimal:
    """What a number is taken for; raises ``ValueError`` when it is none, or out of range."""
    if len(literal) <= _PLAIN_DIGITS and literal.isdigit():  # nearly every report, quickly
        return Decimal(literal)
    if len(literal) > limits.NUMBER_LITERAL_CHARS_MAX:
        raise ValueError(f"is a number of more than {limits.NUMBER_LITERAL_CHARS_MAX} characters")
    exact = parse_number(literal)
    # The order of magnitude first: nothing is computed with an absurd exponent.
    if exact is None or exact.adjusted() > _INTEGER_EXPONENT_MAX:
        raise ValueError(_OUT_OF_RANGE)
    rounded = round_half_away(exact, limits.USAGE_DECIMALS)
    whole = exact == exact.to_integral_value()
    if abs(exact) > _INTEGER_MAX or (not whole and abs(exact) >= _FRACTION_END):
        raise ValueError(_OUT_OF_RANGE)
    return rounded if rounded else Decimal(0)


_OUT_OF_RANGE: Final = (
    f"is out of range: integers within ±{limits.USAGE_INTEGER_MAX}, "
    f"fractions smaller than {limits.USAGE_FRACTION_MAX} in magnitude"
)


def _read_behavior(value: Any, _: str) -> Behavior:
    match read_string(value):
        case "DELTA":
            return "DELTA"
        case "SET":
            return "SET"
        case other:
            raise ValueError(f"expected DELTA or SET, got {other[:20]!r}")
