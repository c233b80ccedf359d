"""Large bodies taken apart into items, so that only one item at a time is held as a tree.

The tree of a hostile body is forty times its size. Here msgspec skims the body for its syntax and
for where items begin and end.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tallystick import limits
from tallystick.errors import BadInput, PayloadTooLarge

_BEFORE: Final = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*', re.DOTALL)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def check_size(body: bytes) -> None:
    """Raise ``PayloadTooLarge`` when a body would take too much memory to read."""
    if len(body) > limits.BODY_BYTES_MAX:
        raise PayloadTooLarge(f"the body is larger than {limits.BODY_BYTES_MAX} bytes")
    # Each value but the first of its object or array has a comma before it.
    if len(body) > limits.BODY_VALUES_MAX and body.count(b",") > limits.BODY_VALUES_MAX:
        raise PayloadTooLarge(f"the body holds more than {limits.BODY_VALUES_MAX} values")


def split_items(body: bytes, name: str) -> list[memoryview]:
    """The items of ``{"name": [...]}`` as they were sent.

    Raises ``BadInput`` when the body is not JSON, or holds anything else.
    """
    wrapper = msgspec.defstruct("Wrapper", [(name, msgspec.Raw)], forbid_unknown_fields=True)
    try:
        array = getattr(msgspec.json.decode(body, type=wrapper), name)
        items = _ITEMS.decode(array)
    except msgspec.ValidationError as error:
        raise BadInput(f"body: expected an object with an array of {name}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"body: is not valid JSON: {error}") from None
    if not _BEFORE.fullmatch(body.rstrip()[:-1].rstrip().removesuffix(array)):
        raise BadInput(f"{name}: is given more than once")
    return [memoryview(item) for item in items]
