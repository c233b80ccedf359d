"""Lists a page at a time, in the order of creation.

Owns: cursors (opaque to callers: where a page ended), and filters by time of creation. A page is
stable against rows that come and go: a cursor names a place in the order, not a row.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from tallystick import limits
from tallystick.catalog.rows import Body
from tallystick.errors import BadInput
from tallystick.store import Row, Transaction, Value


class Cursor(NamedTuple):
    """A place in the order of creation."""

    created_at: int
    id: str


@dataclass(frozen=True, slots=True)
class Window:
    """Which page: the ``limit`` items after or before a cursor, or the first ones."""

    limit: int = limits.PAGE_ITEMS_DEFAULT
    after: Cursor | None = None
    before: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds on the time of creation; None is no bound."""

    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None

    def holds(self, created_at: int) -> bool:
        """Whether a time of creation is within the bounds."""
        return (
            (self.gt is None or created_at > self.gt)
            and (self.gte is None or created_at >= self.gte)
            and (self.lt is None or created_at < self.lt)
            and (self.lte is None or created_at <= self.lte)
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of a list: its place and what callers see."""

    place: Cursor
    data: Body


@dataclass(frozen=True, slots=True)
class Page:
    """Items of a list, and the cursors of its neighbours."""

    items: list[Body]
    next: str | None
    prev: str | None


Source = Callable[[Cursor | None, bool], Iterator[Listed]]
"""(start, forward) → the items beyond ``start`` (None: all), nearest first."""


def page_of(source: Source, window: Window) -> Page:
    """One page of a list."""
    forward = window.before is None
    start = window.after if forward else window.before
    found = list(islice(source(start, forward), window.limit + 1))
    more = len(found) > window.limit
    del found[window.limit :]
    if not forward:
        found.reverse()
    follows, precedes = (more, start is not None) if forward else (True, more)
    return Page(
        items=[item.data for item in found],
        next=cursor_text(found[-1].place) if found and follows else None,
        prev=cursor_text(found[0].place) if found and precedes else None,
    )


def of_items(items: Iterable[Listed]) -> Source:
    """A list that is in memory."""

    def source(start: Cursor | None, forward: bool) -> Iterator[Listed]:
        for item in sorted(items, key=lambda item: item.place, reverse=not forward):
            if start is None or (item.place > start if forward else item.place < start):
                yield item

    return source


# Added to a select that ends in its conditions.
_FORWARD = " AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
_BACKWARD = " AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?"
_ROWS_AT_A_TIME = limits.PAGE_ITEMS_MAX + 1
_FIRST = Cursor(-(2**62), "")
_LAST = Cursor(2**62, "")


def of_rows(
    transaction: Transaction,
    select: str,
    values: tuple[Value, ...],
    listed: Callable[[Row], Listed | None],
) -> Source:
    """A list in the store; ``listed`` makes an item of a row, or None to leave it out.

    ``select`` names (id, created_at, …) first and ends in its conditions.
    """

    def source(start: Cursor | None, forward: bool) -> Iterator[Listed]:
        sql = select + (_FORWARD if forward else _BACKWARD)
        place = start or (_FIRST if forward else _LAST)
        while rows := transaction.all(sql, *values, *place, _ROWS_AT_A_TIME):
            yield from (item for item in map(listed, rows) if item is not None)
            if len(rows) < _ROWS_AT_A_TIME:
                return
            place = Cursor(rows[-1][1], rows[-1][0])  # type: ignore[arg-type]

    return source


def cursor_text(place: Cursor) -> str:
    """A cursor as callers carry it."""
    return base64.urlsafe_b64encode(f"{place.created_at}:{place.id}".encode()).decode()


def cursor(name: str, text: str) -> Cursor:
    """The place that a caller's cursor names; raises ``BadInput`` when it is none of ours."""
    try:
        created_at, id_ = base64.urlsafe_b64decode(text.encode()).decode().split(":", 1)
        place = Cursor(int(created_at), id_)
        if not _FIRST < place < _LAST:
            raise ValueError
    except (binascii.Error, UnicodeError, ValueError):
        raise BadInput(f"{name}: not a cursor of this list; start without one") from None
    return place
