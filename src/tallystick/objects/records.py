"""One record of a file, read with care: the event that it is, or all that is wrong with it.

Owns: what a record may look like beside what an event request allows. Its columns may have other
names (``Columns``), its dimensions may be nested or flattened (``dimensions.region``), and a member
that is null or a cell that is empty is missing. What an event is, is ``ingest.explain``'s.

Slower than ``plain`` by an order of magnitude; asked for records with an oddity, and for bad ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tallystick import limits
from tallystick.clock import Instant
from tallystick.errors import BadInput
from tallystick.ingest.explain import read_event
from tallystick.ingest.strict import Members, parse_tree

FIELDS: Final = ("customerId", "eventName", "idempotencyKey", "resourceId", "timestamp")
"""The fields of a record that are no dimensions."""

DIMENSIONS: Final = "dimensions"
FLATTENED: Final = "dimensions."
"""What the name of a column that holds one dimension begins with."""


_ELSEWHERE: Final = "in another column than "
"""Before the name of a field that the mapping gives another column, so that it is none we know."""


class Problem(NamedTuple):
    """Why a record is refused: its field ('' for the record as a whole), and the reason."""

    field: str
    reason: str


class Columns:
    """How the columns of a source are named, by the names that we give them."""

    def __init__(self, renamed: Mapping[str, str] | None = None) -> None:
        """``renamed``: what a field is called in the file, ``{"customerId": "account_id"}``."""
        self._theirs = dict(renamed or {})
        self._ours = {theirs: ours for ours, theirs in self._theirs.items()}

    def theirs(self, ours: str) -> str:
        """The column that holds a field or a flattened dimension."""
        return self._theirs.get(ours, ours)

    def ours(self, theirs: str) -> str:
        """What a column holds; a field that has another column is nothing by its own name."""
        if theirs in self._ours:
            return self._ours[theirs]
        return _ELSEWHERE + theirs if theirs in self._theirs else theirs

    def problem(self, told: str) -> Problem:
        """What a sentence about a record says that begins with a path by our names."""
        path, _, reason = told.partition(": ")
        field = path.removeprefix(".")
        moved = field.removeprefix(f'["{_ELSEWHERE}').removesuffix('"]')
        if moved != field:
            other = self._theirs.get(moved, moved)
            return Problem(moved, f"is not read: the mapping says that {moved} is in {other}")
        return Problem(self.theirs(field), reason)


def read_line(
    line: bytes, columns: Columns, now: Instant, future_us: int
) -> dict[str, Any] | list[Problem]:
    """The event of a line of JSON, ready to be encoded, or what is wrong with it."""
    if len(line) > limits.EVENT_BYTES_MAX:
        return [Problem("", f"is larger than {limits.EVENT_BYTES_MAX} bytes")]
    try:
        tree = parse_tree(line)
    except BadInput as error:
        return [Problem("", error.message.removeprefix("body: "))]
    return read_tree(tree, columns, now, future_us)


def read_tree(
    tree: object, columns: Columns, now: Instant, future_us: int
) -> dict[str, Any] | list[Problem]:
    """The same of a record that was parsed: JSON's members, or a row's names and texts."""
    given = _gathered(tree, columns) if isinstance(tree, Members) else tree
    event, problems = read_event(given, now, future_us)
    return [columns.problem(each) for each in problems] if problems else event


def _gathered(members: Members, columns: Columns) -> Members:
    """The members by our names, without those that are null, and flattened dimensions as one."""
    kept, flattened = Members(), Members()
    for name, value in members:
        ours = columns.ours(name)
        if value is None:
            continue
        if ours.startswith(FLATTENED):
            flattened.append((ours.removeprefix(FLATTENED), value))
        else:
            kept.append((ours, value))
    if not flattened:
        return kept
    nested = next((value for name, value in kept if name == DIMENSIONS), Members())
    if not isinstance(nested, Members):
        return kept
    others = [(name, value) for name, value in kept if name != DIMENSIONS]
    return Members([*others, (DIMENSIONS, Members([*nested, *flattened]))])


def told(problems: Sequence[Problem]) -> str:
    """The problems of a record in one sentence."""
    return "; ".join(f"{each.field}: {each.reason}" if each.field else each.reason
                     for each in problems)  # fmt: skip
