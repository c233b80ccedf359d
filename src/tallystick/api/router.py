"""Which operation a method and a path mean.

Owns: matching on the raw path, segment by segment, each percent-decoded by itself (an id may
contain an encoded '/'). A literal segment wins over a parameter; where it lacks the method the
parameter still gets its turn, so ``GET /customers/import`` is a customer of that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeAlias, TypeVar

from tallystick import limits
from tallystick.api.http import percent_decoded
from tallystick.errors import BadInput, MethodNotAllowed, NotFound

T = TypeVar("T")

_NO_ARGS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Target(Generic[T]):
    names: tuple[str, ...]
    what: T


_Found: TypeAlias = tuple[_Target[T] | None, Sequence[str]]


class _Node(Generic[T]):
    __slots__ = ("literals", "parameter", "targets")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.targets: dict[str, _Target[T]] = {}


class Router(Generic[T]):
    """Finds what stands at a method and path. HEAD is answered as GET."""

    def __init__(self, entries: Iterable[tuple[str, str, T]]) -> None:
        """``entries``: (method, path with ``{names}``, what stands there)."""
        self._root: _Node[T] = _Node()
        self._whole: dict[tuple[str, bytes], T] = {}
        for method, path, what in entries:
            self._add(method, path, what)

    def find(self, method: str, raw_path: bytes) -> tuple[T, Mapping[str, str]]:
        """What stands there, and the values of its path's names.

        Raises ``NotFound``, ``MethodNotAllowed`` with the methods that would do, or ``BadInput``
        for a path that is not percent-encoded UTF-8 or an id that is too long.
        """
        if method == "HEAD":
            method = "GET"
        what = self._whole.get((method, raw_path))
        if what is not None:
            return what, _NO_ARGS
        segments = _segments(raw_path)
        target, values = self._straight(method, segments)
        if target is None:
            target, values = self._anywhere(method, segments)
        return target.what, _checked(dict(zip(target.names, values, strict=True)))

    def _straight(self, method: str, segments: list[str]) -> _Found[T]:
        """Literal segments wherever there is one: right for nearly every request."""
        node = self._root
        values: list[str] = []
        for segment in segments:
            following = node.literals.get(segment)
            if following is None:
                following = node.parameter
                if following is None or not segment:
                    return None, values
                values.append(segment)
            node = following
        return node.targets.get(method), values

    def _anywhere(self, method: str, segments: list[str]) -> tuple[_Target[T], Sequence[str]]:
        nodes = list(_matching(self._root, segments, 0, ()))
        for node, values in nodes:
            target = node.targets.get(method)
            if target is not None:
                return target, values
        raise self._complaint(method, [node for node, _ in nodes])

    def _add(self, method: str, path: str, what: T) -> None:
        node, names = self._root, []
        for segment in path.split("/")[1:]:
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        assert method not in node.targets, f"{method} {path} is there already"
        node.targets[method] = _Target(tuple(names), what)
        if not names:
            self._whole[method, path.encode()] = what

    @staticmethod
    def _complaint(method: str, nodes: list[_Node[T]]) -> NotFound | MethodNotAllowed:
        allowed = sorted({each for node in nodes for each in node.targets})
        if not allowed:
            return NotFound("there is nothing at this path; /docs lists what there is")
        return MethodNotAllowed(
            f"{method[:32]} is not possible here; {', '.join(allowed)} is", allowed=tuple(allowed)
        )


def _segments(raw_path: bytes) -> list[str]:
    """The segments after the first slash, each decoded by itself."""
    if b"%" in raw_path or b"\0" in raw_path or not raw_path.isascii():
        return [percent_decoded(segment, "path") for segment in raw_path.split(b"/")[1:]]
    return raw_path.decode().split("/")[1:]


def _matching(
    node: _Node[T], segments: list[str], depth: int, values: tuple[str, ...]
) -> Iterable[tuple[_Node[T], tuple[str, ...]]]:
    """Nodes at the whole path, those with the more literal segments first."""
    if depth == len(segments):
        yield node, values
        return
    segment = segments[depth]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _matching(literal, segments, depth + 1, values)
    if node.parameter is not None and segment:
        yield from _matching(node.parameter, segments, depth + 1, (*values, segment))


def _checked(args: dict[str, str]) -> dict[str, str]:
    for name, value in args.items():
        if len(value) > limits.ID_CHARS_MAX:
            raise BadInput(f"{name}: must have at most {limits.ID_CHARS_MAX} characters")
    return args
