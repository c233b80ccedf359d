"""What the quick readers of events and of usage reports have in common.

A request has two readers with one meaning. The quick one lets msgspec do the work and either
accepts or gives up; the one that explains (``ingest.fields``) says what a request is, field by
field, and is asked whenever the other gave up. Owns: the reasons to give up, each a thing that
msgspec lets pass and we do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Protocol, TypeAlias

from msgspec import Meta, UnsetType

from tallystick import limits
from tallystick.ingest.literals import INTEGER_END

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARS_MAX)]
"""An id, a name or a key."""

# Escapes that hide a NUL, a colon from the count, or a dollar sign.
_HIDDEN: Final = re.compile(rb"\\u00(?:00|3[aA]|24)")


class HasDimensions(Protocol):
    """An event or a report."""

    dimensions: dict[str, Any] | UnsetType | None


def hides(body: bytes) -> bool:
    """Whether a body has an escape that these readers must not miss."""
    return b"\\u00" in body and _HIDDEN.search(body) is not None


def plain(items: Iterable[HasDimensions]) -> bool:
    """Whether dimensions hold no objects, no arrays and no integer of unusual length."""
    for item in items:
        if item.dimensions:
            for value in item.dimensions.values():
                kind = type(value)
                if kind is str:
                    continue
                if kind is int:
                    if not -INTEGER_END < value < INTEGER_END:
                        return False
                elif kind is dict or kind is list:
                    return False
    return True


def names_once(body: bytes, items: bytes) -> bool:
    """Whether no object of a body has a name twice, given its items as they are written again.

    Writing repeats each colon that was sent, in names, in values and between them, but for the one
    after the name of the items. A colon less: a name was given twice.
    """
    return items.count(b":") + 1 == body.count(b":")
