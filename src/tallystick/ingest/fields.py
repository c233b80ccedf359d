"""Items of a request read field by field, so that everything that is wrong gets named.

Owns: what an id, a name and a set of dimensions may be, for events and usage reports alike, and how
problems are told: item, field and reason, of the first items that have any. A reader of a field
raises ``ValueError`` with the reason, or ``Refused`` with whole sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from tallystick import limits
from tallystick.errors import BadInput
from tallystick.ingest.literals import line_number
from tallystick.ingest.spans import check_size, split_items
from tallystick.ingest.strict import (
    Members,
    NotJson,
    Number,
    at,
    kind_of,
    parse_tree,
    problem_of_text,
    repeated_names,
)

_PROBLEMS_OF_ITEM_MAX: Final = 5

Readers: TypeAlias = Mapping[str, Callable[[Any, str], Any]]
"""Of each known field, what reads its value (and is told its path)."""


class Refused(Exception):
    """What is wrong inside a field: sentences that begin with a path."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)
        self.problems = problems


class Unread(NamedTuple):
    """An item that was not even taken apart."""

    reason: str


def read_items(
    body: bytes, name: str, most: int, readers: Readers, required: Sequence[str]
) -> list[dict[str, Any]]:
    """The items of ``{"name": [1 to most objects]}``, each as its fields that are not None.

    Raises ``BadInput`` with all that is wrong with the items, or ``PayloadTooLarge``.
    """
    check_size(body)
    items, bad = [], []
    for index, given in enumerate(_items(body, name, most)):
        item, problems = read_item(given, f"{name}[{index}]", readers, required)
        items.append(item)
        if problems:
            bad.append(problems)
    if bad:
        raise BadInput(_told(bad, name))
    return items


def read_item(
    given: Any, path: str, readers: Readers, required: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """The fields of an item that are not None, and what is wrong with it: path and reason."""
    if isinstance(given, Unread):
        return {}, [f"{path}: {given.reason}"]
    if not isinstance(given, Members):
        return {}, [f"{path}: expected object, got {kind_of(given)}"]
    item: dict[str, Any] = {}
    problems = [f"{at(path, name)}: is given more than once" for name in repeated_names(given)]
    for name, value in given:
        reader = readers.get(name)
        if reader is None:
            problems.append(f"{at(path, name)}: is not a known field")
            continue
        try:
            kept = reader(value, f"{path}.{name}")
        except Refused as refused:
            problems += refused.problems
        except ValueError as error:
            problems.append(f"{path}.{name}: {error}")
        else:
            if kept is not None:
                item[name] = kept
    names = {name for name, _ in given}
    problems += [f"{path}.{name}: is required" for name in required if name not in names]
    return item, problems[:_PROBLEMS_OF_ITEM_MAX]


def read_string(value: Any, _: str = "") -> str:
    """Any string."""
    if not isinstance(value, str) or isinstance(value, Number | NotJson):
        raise ValueError(f"expected string, got {kind_of(value)}")  # noqa: TRY004 - a value
    return value


def read_id(value: Any, _: str = "") -> str:
    """An id, a name or a key: not empty and not too long."""
    text = read_string(value)
    if not text:
        raise ValueError("must not be empty")
    if len(text) > limits.ID_CHARS_MAX:
        raise ValueError(f"is longer than {limits.ID_CHARS_MAX} characters")
    return _sound(text)


def read_id_or_null(value: Any, _: str = "") -> str | None:
    """An id; null is none."""
    return None if value is None else read_id(value)


def read_dimensions(value: Any, path: str) -> dict[str, Any] | None:
    """Names with strings, numbers (as ``literals`` writes them), booleans or null; null is none."""
    if value is None:
        return None
    if not isinstance(value, Members):
        raise ValueError(f"expected object, got {kind_of(value)}")  # noqa: TRY004 - a value
    problems = [f"{at(path, name)}: is given more than once" for name in repeated_names(value)]
    kept: dict[str, Any] = {}
    for name, dimension in value:
        try:
            kept[_sound(name, "the name ")] = _dimension(dimension)
        except ValueError as error:
            problems.append(f"{at(path, name)}: {error}")
    if problems:
        raise Refused(problems)
    return kept


def _items(body: bytes, name: str, most: int) -> Iterable[Any]:
    """The items of a body as trees, or as ``Unread`` with the reason."""
    if len(body) <= limits.EVENT_BYTES_MAX:
        items = _items_of_tree(parse_tree(body), name)
        _check_number(len(items), name, most)
        return items
    spans = split_items(body, name)
    _check_number(len(spans), name, most)
    return map(_item_of_span, spans)


def _check_number(number: int, name: str, most: int) -> None:
    if not 1 <= number <= most:
        raise BadInput(f"{name}: expected 1 to {most} items, got {number}")


def _items_of_tree(tree: Any, name: str) -> list[Any]:
    if not isinstance(tree, Members):
        raise BadInput(f"body: expected object, got {kind_of(tree)}")
    problems = [f"{at('', twice)}: is given more than once" for twice in repeated_names(tree)]
    problems += [f"{at('', other)}: is not a known field" for other, _ in tree if other != name]
    if problems:
        raise BadInput("; ".join(problems[: limits.ERRORS_LISTED_MAX]))
    if not tree:
        raise BadInput(f"{name}: is required")
    items = tree[0][1]
    if not isinstance(items, list) or isinstance(items, Members):
        raise BadInput(f"{name}: expected array, got {kind_of(items)}")
    return items


def _item_of_span(span: memoryview) -> Any:
    if span.nbytes > limits.EVENT_BYTES_MAX:
        return Unread(f"is larger than {limits.EVENT_BYTES_MAX} bytes")
    try:
        return parse_tree(bytes(span))
    except BadInput as error:
        return Unread(error.message.removeprefix("body: "))


def _told(bad: list[list[str]], name: str) -> str:
    listed = bad[: limits.ERRORS_LISTED_MAX]
    told = "; ".join(problem for problems in listed for problem in problems)
    more = len(bad) - len(listed)
    return f"{told}; and {more} more bad {name}" if more else told


def _sound(text: str, prefix: str = "") -> str:
    problem = problem_of_text(text)
    if problem is not None:
        raise ValueError(prefix + problem)
    return text


def _dimension(value: Any) -> Any:
    match value:
        case Number():
            return line_number(str(value))
        case NotJson():
            raise ValueError(f"{value} is not JSON")
        case str():
            return _sound(value)
        case None | bool():
            return value
        case _:
            raise ValueError(f"expected string, number or boolean, got {kind_of(value)}")
