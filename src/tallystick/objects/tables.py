"""Rows of CSV and Parquet as records: which column is what, and what is not read.

Owns: what a header may say. A field has a column of its name (or of the name that the source maps
it to); dimensions have columns ``dimensions.region``, or one column ``dimensions`` with all of
them. Other columns are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.errors import BadInput
from tallystick.ingest.strict import Members, parse_tree
from tallystick.objects.errors import DamagedObject
from tallystick.objects.records import (
    DIMENSIONS,
    FIELDS,
    FLATTENED,
    Columns,
    Problem,
    read_tree,
)
from tallystick.objects.sent import Rules

_REQUIRED = ("customerId", "eventName", "idempotencyKey")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each thing stands among the columns of a table.

    ``fields`` are by our names; ``flattened`` are (dimension, column number); ``ignored`` are names
    of columns that are not read.
    """

    fields: dict[str, int]
    flattened: tuple[tuple[str, int], ...]
    ignored: tuple[str, ...]


def layout_of(header: Sequence[str], columns: Columns) -> Layout:
    """What the columns of a table are; raises ``DamagedObject`` for a header that will not do."""
    fields: dict[str, int] = {}
    flattened: dict[str, int] = {}
    ignored = []
    for number, theirs in enumerate(header):
        ours = columns.ours(theirs)
        if ours in (*FIELDS, DIMENSIONS):
            _put(fields, ours, number, theirs)
        elif ours.startswith(FLATTENED) and ours != FLATTENED:
            _put(flattened, ours.removeprefix(FLATTENED), number, theirs)
        else:
            ignored.append(theirs)
    missing = [columns.theirs(name) for name in _REQUIRED if name not in fields]
    if missing:
        raise DamagedObject(
            f"the column {', '.join(missing)} is missing; the header has {', '.join(header)}"[:1000]
        )
    return Layout(fields, tuple(flattened.items()), tuple(ignored))


def read_row(texts: Sequence[str | None], rules: Rules) -> dict[str, Any] | list[Problem]:
    """The event of a row, given as the columns of ``sent``; or what is wrong with it."""
    customer, resource, name, key, stamp, dimensions = texts
    given = Members()
    for field, text in zip(FIELDS, (customer, name, key, resource, stamp), strict=True):
        if text is not None:
            given.append((rules.columns.theirs(field), text))
    if dimensions is not None:
        given.append((rules.columns.theirs(DIMENSIONS), _tree(dimensions)))
    return read_tree(given, rules.columns, rules.now, rules.future_us)


def _tree(dimensions: str) -> Any:
    """An object where the text is one; else the text, which is then refused as what it is."""
    try:
        return parse_tree(dimensions.encode(errors="surrogatepass"))
    except BadInput:
        return dimensions


def _put(into: dict[str, int], name: str, number: int, theirs: str) -> None:
    if name in into:
        raise DamagedObject(f"the header has {theirs} twice")
    into[name] = number
