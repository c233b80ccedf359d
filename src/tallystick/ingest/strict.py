"""JSON read strictly: what other readers would take in two ways is refused.

Owns: the refusal of duplicate names, invalid UTF-8, lone surrogates, NUL in strings, NaN and
Infinity, which RFC 8259 leaves to the reader or forbids; and the path in each refusal
(``usages[0].value: expected number, got string``). ``decode_strict`` gives a typed value;
``parse_tree`` the document as it was sent, for readers that report everything that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from tallystick.errors import BadInput
from tallystick.ingest.spans import check_size

T = TypeVar("T")

_SHOWN_CHARS_MAX: Final = 64
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_$-]{1,64}")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_LENGTH = re.compile(r"Expected `(\w+)` of length (<=|>=) (\d+)")
_ENUM = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_QUOTED = re.compile(r"`([^`]*)`")
_WORD = re.compile(r"\w+")
_JSON_NAMES: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "decimal": "number",
    "bool": "boolean",
    "datetime": "date-time",
}


class Members(list[tuple[str, Any]]):
    """The members of an object in the order sent, duplicates included."""

    __slots__ = ()


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class NotJson(str):
    """``NaN``, ``Infinity`` or ``-Infinity`` where a value belongs."""

    __slots__ = ()


_TREE = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=NotJson
)


def decode_strict(body: bytes, type: type[T]) -> T:
    """``body`` as a ``type`` that msgspec knows.

    Raises ``BadInput`` naming the path of the first thing that is wrong, or ``PayloadTooLarge``.
    """
    check_size(body)
    _check(body)
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as error:
        raise BadInput(_sentence(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"body: is not valid JSON: {error}") from None


def parse_tree(body: bytes) -> Any:
    """The document as sent: ``Members``, lists, ``str``, ``Number``, ``NotJson``, bool, None.

    Raises ``BadInput`` when it is no JSON text; the contents of strings are not looked at.
    """
    try:
        return _TREE.decode(body.decode())
    except UnicodeDecodeError as error:
        raise BadInput(f"body: is not valid UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"body: is not valid JSON: {error}") from None
    except RecursionError:
        raise BadInput("body: is nested too deeply") from None


def problem_of_text(text: str) -> str | None:
    """Why ``text`` cannot be kept, or None: NUL and lone surrogates have no place in a database."""
    if "\0" in text:
        return "contains a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains a lone surrogate, which is not valid Unicode"
    return None


def kind_of(value: Any) -> str:
    """What JSON calls a value of ``parse_tree``."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case NotJson():
            return str(value)
        case Number():
            return "number"
        case str():
            return "string"
        case Members():
            return "object"
        case _:
            return "array"


def at(path: str, name: str) -> str:
    """The path of a member: ``path.name``, or ``path["odd name"]``."""
    if _PLAIN_NAME.fullmatch(name):
        return f"{path}.{name}" if path else name
    cut = name if len(name) <= _SHOWN_CHARS_MAX else name[:_SHOWN_CHARS_MAX] + "…"
    shown = json.dumps(cut.encode(errors="backslashreplace").decode(), ensure_ascii=False)
    return f"{path}[{shown}]"


def repeated_names(members: Members) -> Iterator[str]:
    """Each name that an object has more than once, once."""
    if len({name for name, _ in members}) == len(members):
        return
    times: dict[str, int] = {}
    for name, _ in members:
        times[name] = times.get(name, 0) + 1
        if times[name] == 2:
            yield name


class _Suspicious(Exception):
    """There is something to find with ``_first_problem``."""


def _suspect(_: str) -> None:
    raise _Suspicious


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Suspicious


# Builds nothing: objects and numbers become None at once.
_GLANCE = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=lambda _: None,
    parse_float=lambda _: None,
    parse_constant=_suspect,
)


def _check(body: bytes) -> None:
    """Look only at what msgspec would let pass; name a path when there is something."""
    try:
        # NUL and lone surrogates can only come escaped: raw ones are no JSON and no UTF-8.
        if b"\\u0000" in body or b"\\ud" in body or b"\\uD" in body:
            raise _Suspicious
        _GLANCE.decode(body.decode())
    except (_Suspicious, ValueError, RecursionError):
        tree = parse_tree(body)
        try:
            for problem in _problems(tree, ""):
                raise BadInput(problem) from None
        except RecursionError:
            raise BadInput("body: is nested too deeply") from None


def _problems(value: Any, path: str) -> Iterator[str]:
    """What is wrong in a tree, whatever its type should be."""
    if isinstance(value, NotJson):
        yield f"{path or 'body'}: {value} is not JSON"
    elif isinstance(value, Members):
        for name in repeated_names(value):
            yield f"{at(path, name)}: is given more than once"
        for name, member in value:
            reason = problem_of_text(name)
            if reason is not None:
                yield f"{at(path, name)}: the name {reason}"
            yield from _problems(member, at(path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(item, f"{path}[{index}]")
    elif isinstance(value, str):
        reason = problem_of_text(value)
        if reason is not None:
            yield f"{path or 'body'}: {reason}"


def _sentence(message: str) -> str:
    """msgspec's message as ours: the path first, then what is wrong."""
    reason, _, path = message.partition(" - at `$")
    path = path.removesuffix("`").removeprefix(".")
    if found := _MISSING.fullmatch(reason):
        return f"{at(path, found[1])}: is required"
    if found := _UNKNOWN.fullmatch(reason):
        return f"{at(path, found[1])}: is not a known field"
    return f"{path or 'body'}: {_reason(reason)}"


def _reason(reason: str) -> str:
    """Python's names of types as JSON's."""
    if found := _LENGTH.fullmatch(reason):
        most = "fewer" if found[2] == "<=" else "more"
        unit = {"str": "character", "array": "item"}.get(found[1], "member")
        return f"must have {found[3]} {unit}{'' if found[3] == '1' else 's'} or {most}"
    if found := _ENUM.fullmatch(reason):
        return f"{found[1]} is not one of its values"
    words = _QUOTED.sub(lambda quoted: _WORD.sub(_in_json, quoted[1]), reason)
    words = words.replace(" | ", " or ").replace("got integer", "got number")
    return words[:1].lower() + words[1:]


def _in_json(word: re.Match[str]) -> str:
    return _JSON_NAMES.get(word[0], word[0])
