"""The parameters every list takes: ``limit``, ``after`` and ``before``.

The pages themselves, and what a cursor means, are the catalog's (``catalog/pages.py``).
"""

from __future__ import annotations

from typing import Final

from tallystick import limits
from tallystick.api.http import QueryParam, QueryString
from tallystick.catalog.pages import Between, Cursor, Window, cursor
from tallystick.errors import BadInput

PAGE_PARAMS: Final = (
    QueryParam(
        "limit",
        f"How many items a page has: 1 to {limits.PAGE_ITEMS_MAX}.",
        schema={
            "type": "integer",
            "minimum": 1,
            "maximum": limits.PAGE_ITEMS_MAX,
            "default": limits.PAGE_ITEMS_DEFAULT,
        },
    ),
    QueryParam("after", "The page that follows this cursor, `pagination.next` of another page."),
    QueryParam("before", "The page that precedes this cursor, `pagination.prev` of another page."),
)

CREATED_AT_PARAMS: Final = tuple(
    QueryParam(
        f"createdAt[{operator}]",
        f"Only what was created {meaning} this time.",
        schema={"type": "string", "format": "date-time"},
    )
    for operator, meaning in (
        ("gt", "after"),
        ("gte", "at or after"),
        ("lt", "before"),
        ("lte", "at or before"),
    )
)


def read_window(query: QueryString) -> Window:
    """Which page is asked for; raises ``BadInput``."""
    limit = query.integer("limit", 1, limits.PAGE_ITEMS_MAX) or limits.PAGE_ITEMS_DEFAULT
    after, before = _cursor(query, "after"), _cursor(query, "before")
    if after is not None and before is not None:
        raise BadInput("after: cannot be combined with before")
    return Window(limit, after, before)


def read_created_at(query: QueryString) -> Between:
    """The bounds that ``createdAt[gt|gte|lt|lte]`` state; raises ``BadInput``."""
    bounds = query.nested_instants("createdAt")
    for operator in bounds:
        if operator not in ("gt", "gte", "lt", "lte"):
            raise BadInput(f"createdAt[{operator}]: must be one of gt, gte, lt, lte")
    return Between(**bounds)


def _cursor(query: QueryString, name: str) -> Cursor | None:
    text = query.get(name)
    return None if text is None else cursor(name, text)
