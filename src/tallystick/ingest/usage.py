"""Usage reports: validated whole, with values decided on the number as it was written.

Owns: what a report may say (DESIGN 4.3, 4.6; STIGG 3.2). Leaves to others what exists and whether a
feature takes reports (``usage.report``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tallystick import limits
from tallystick.clock import Instant
from tallystick.core.numbers import parse_number, round_half_away
from tallystick.ingest.fields import (
    Readers,
    read_dimensions,
    read_id,
    read_id_or_null,
    read_items,
    read_string,
)
from tallystick.ingest.strict import Number, kind_of
from tallystick.ingest.timestamps import instant_of

Behavior = Literal["DELTA", "SET"]

_REQUIRED: Final = ("customerId", "featureId", "value")
_INTEGER_MAX: Final = Decimal(limits.USAGE_INTEGER_MAX)
_FRACTION_END: Final = Decimal(limits.USAGE_FRACTION_MAX)
_INTEGER_EXPONENT_MAX: Final = _INTEGER_MAX.adjusted()
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


def decode_usages(body: bytes, now: Instant, future_us: int) -> list[UsageItem]:
    """The reports of a request; ``createdAt`` may be ``future_us`` microseconds ahead of ``now``.

    Raises ``BadInput`` naming what is wrong with each bad one.
    """

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
    if len(value) > limits.NUMBER_LITERAL_CHARS_MAX:
        raise ValueError(f"is a number of more than {limits.NUMBER_LITERAL_CHARS_MAX} characters")
    exact = parse_number(value)
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
