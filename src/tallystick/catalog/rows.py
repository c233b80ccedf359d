"""Between requests, rows and answers.

Owns: the JSON kept in ``body`` columns, and instants as callers see them. Numbers of a body keep
their decimal digits (``Decimal``, never a float).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from tallystick.clock import Instant, format_instant, from_datetime
from tallystick.errors import BadInput

Body = dict[str, Any]
"""A JSON object as stored or answered."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)

_EARLIEST = from_datetime(datetime(1970, 1, 1))
_LATEST = from_datetime(datetime(9000, 1, 1))


def encode(body: Body | list[Body]) -> str:
    """The text of a ``body`` column."""
    return _ENCODER.encode(body).decode()


def text_of(value: str) -> str:
    """How a text stands in a ``body`` column, quotes included."""
    return _ENCODER.encode(value).decode()


def containing(text: str) -> str:
    """A pattern for ``LIKE ? ESCAPE '!'`` that every column with this text matches."""
    escaped = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


def decode(text: str) -> Body:
    """The object of a ``body`` column."""
    return cast("Body", _DECODER.decode(text))


def decode_list(text: str) -> list[Body]:
    """The list of an ``entitlements`` column."""
    return cast("list[Body]", _DECODER.decode(text))


def given(request: msgspec.Struct, *without: str) -> Body:
    """What a request states, by its wire names; ``without`` leaves some out."""
    body = cast("Body", msgspec.to_builtins(request, builtin_types=(Decimal,)))
    for name in without:
        body.pop(name, None)
    return body


def instant(name: str, moment: datetime) -> Instant:
    """An instant that a caller gave; raises ``BadInput`` outside the years 1970 to 8999."""
    found = from_datetime(moment)
    if not _EARLIEST <= found < _LATEST:
        raise BadInput(f"{name}: {moment.isoformat()} is not between the years 1970 and 8999")
    return found


def optional_instant(name: str, moment: datetime | UnsetType | None) -> Instant | None:
    """``instant``, or None when the caller gave none."""
    return None if moment is None or moment is UNSET else instant(name, moment)


def shown(moment: int | None) -> str | None:
    """An instant as callers see it."""
    return None if moment is None else format_instant(moment)
