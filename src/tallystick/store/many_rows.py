"""One statement for many rows.

A statement lets go of Python's lock, and a thread beside a busy event loop waits to get it back; so
on the hot paths many rows share one statement, rather than ``run_many``, which takes one for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from tallystick.store.contract import Row, Transaction, Value

_EACH_UP_TO: Final = 16
SIZES: Final = (64, 32, *range(_EACH_UP_TO, 0, -1))
"""Rows of one statement. A usual group is one statement of each kind; more sizes than these would
crowd the engine's memory of prepared statements."""


def for_many(template: str, row: str) -> Mapping[int, str]:
    """A statement for each size: ``{rows}`` in the template becomes so many of ``row``."""
    return {size: template.format(rows=", ".join([row] * size)) for size in SIZES}


def run_rows(
    transaction: Transaction, statements: Mapping[int, str], rows: Sequence[Sequence[Value]]
) -> None:
    """Run a statement of ``for_many`` for all rows, in their order."""
    for part in _parts(rows):
        transaction.run(statements[len(part)], *chain.from_iterable(part))


def all_rows(
    transaction: Transaction, statements: Mapping[int, str], rows: Sequence[Sequence[Value]]
) -> Iterator[Row]:
    """Every row that a query of ``for_many`` gives for the rows asked with."""
    for part in _parts(rows):
        yield from transaction.all(statements[len(part)], *chain.from_iterable(part))


def _parts(rows: Sequence[Sequence[Value]]) -> Iterator[Sequence[Sequence[Value]]]:
    """The rows in their order, in parts that have a statement each."""
    place = 0
    while left := len(rows) - place:
        size = left if left <= _EACH_UP_TO else next(size for size in SIZES if size <= left)
        yield rows[place : place + size]
        place += size
