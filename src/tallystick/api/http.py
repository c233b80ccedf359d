"""What a request, a reply and a route are.

Owns: the types that handlers see, the reading of query strings and JSON bodies (every complaint
names the field), and percent-decoding. A handler is a plain function of the services, one
transaction and the request; how it is run is the route's business, and ``asgi.py`` does it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeVar,
    cast,
)

import msgspec

from tallystick import limits
from tallystick.catalog.entity_calls import Entity
from tallystick.catalog.pages import Page
from tallystick.clock import Instant, format_instant, parse_instant
from tallystick.errors import BadInput
from tallystick.freshness import Fresh
from tallystick.ingest.strict import decode_strict
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

__all__ = [
    "AsyncHandler",
    "Handler",
    "Id",
    "Page",
    "QueryParam",
    "QueryString",
    "Raw",
    "Reply",
    "Request",
    "Route",
    "Time",
    "decode_body",
    "freshness_headers",
    "percent_decoded",
]

T = TypeVar("T")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
AccessKind = Literal["server", "client", "optional", "public"]
"""Who may call: server keys alone; client keys too; everyone, and who sends a key may be told more;
everyone, and keys are not looked at."""
Runs = Literal["read", "write", "query", "async"]
"""``read``: at once, in one snapshot; ``write``: in the group commit of the route's
store; ``query``: in a bounded pool of threads, in one snapshot; ``async``: an ``AsyncHandler`` on
the event loop."""


Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.ID_CHARS_MAX)]
"""A name that the caller chose, in the documentation of bodies."""
Time: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339, in the documentation of bodies and answers."""


class QueryString:
    """The parameters of one request. Those that a handler does not ask for are ignored."""

    __slots__ = ("values",)

    def __init__(self, raw: bytes) -> None:
        """Raises ``BadInput`` for an encoding that is not percent-encoded UTF-8, or a NUL."""
        self.values: Mapping[str, list[str]] = (
            _values_again(raw) if len(raw) <= _QUERY_REMEMBERED_BYTES else _values(raw)
        )

    @classmethod
    def of(cls, values: Mapping[str, list[str]]) -> QueryString:
        """The parameters that another one's ``values`` tell."""
        made = cls(b"")
        made.values = values
        return made

    def get(self, name: str) -> str | None:
        """The value, None when it is absent; one that is empty or given twice is ``BadInput``."""
        values = self.values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise BadInput(f"{name}: given {len(values)} times; one value is expected")
        if not values[0]:
            raise BadInput(f"{name}: must not be empty; leave it out instead")
        return values[0]

    def id(self, name: str) -> str | None:
        """An id of 1 to 255 characters, None when it is absent."""
        value = self.get(name)
        if value is not None and len(value) > limits.ID_CHARS_MAX:
            raise BadInput(f"{name}: must have at most {limits.ID_CHARS_MAX} characters")
        return value

    def list(self, name: str) -> tuple[str, ...]:
        """All values, whether joined by commas or repeated; () when it is absent."""
        values = self.values.get(name, ())
        return tuple(each for value in values for each in value.split(",") if each)

    def integer(self, name: str, least: int, most: int) -> int | None:
        """A whole number within [least, most], None when it is absent."""
        value = self.get(name)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
            raise BadInput(f"{name}: must be a whole number")
        if not least <= int(value) <= most:
            raise BadInput(f"{name}: must be from {least} to {most}")
        return int(value)

    def seconds(self, name: str, most: int) -> float | None:
        """A duration within [0, most] seconds, None when it is absent."""
        value = self.get(name)
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= most:
            raise BadInput(f"{name}: must be a number of seconds from 0 to {most}")
        return seconds

    def instant(self, name: str) -> Instant | None:
        """An RFC 3339 time, UTC when it states no offset; None when it is absent."""
        value = self.get(name)
        return None if value is None else _instant(name, value)

    def nested(self, name: str) -> dict[str, str]:
        """``{"gte": …}`` of ``name[gte]=…``, empty when there is none."""
        prefix = f"{name}["
        return {
            key[len(prefix) : -1]: cast("str", self.get(key))
            for key in self.values
            if key.startswith(prefix) and key.endswith("]")
        }

    def nested_instants(self, name: str) -> dict[str, Instant]:
        """``nested``, with values that are RFC 3339 times."""
        return {key: _instant(f"{name}[{key}]", value) for key, value in self.nested(name).items()}


class Request:
    """One call, authenticated and read."""

    __slots__ = (
        "args",
        "body",
        "environment",
        "fresh",
        "headers",
        "key_kind",
        "method",
        "payload",
        "query",
    )

    def __init__(
        self,
        method: str,
        args: Mapping[str, str],
        query: QueryString,
        headers: Mapping[bytes, bytes],
        body: bytes,
        environment: str,
        key_kind: str,
        fresh: Fresh,
        payload: object = None,
    ) -> None:
        self.method = method
        self.args = args
        """The ``{names}`` of the route's path, percent-decoded, 1 to 255 characters each."""
        self.query = query
        self.headers = headers
        """Names in lower case."""
        self.body = body
        self.environment = environment
        """Of the key; '' where a route is public."""
        self.key_kind = key_kind
        self.fresh = fresh
        """How fresh the counters are at least: read before the handler's transaction began."""
        self.payload = payload

    def read(self, kind: type[T]) -> T:
        """The decoded body of a route whose ``body`` is ``kind``."""
        assert isinstance(self.payload, kind), f"the route does not declare the body {kind}"
        return self.payload


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is not the usual envelope."""

    content: bytes
    media_type: str = "application/json"


class Reply(NamedTuple):
    """``data`` is answered as ``{"data": …}``, a ``Page`` with its cursors, a ``Raw`` as it is.

    ``status`` None is the route's own.
    """

    data: object
    status: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})


def freshness_headers(fresh: Fresh, pending: Instant | None = None) -> Mapping[str, str]:
    """How fresh an answer about usage is; ``pending``: it awaits a recount and is of that instant.

    Every event accepted before ``Tally-As-Of`` is in the answer (DESIGN 4.12).
    """
    if pending is None:
        return _as_of(fresh.as_of)
    return {**_as_of(Instant(min(pending, fresh.as_of))), "Tally-Recount": "pending"}


@lru_cache(maxsize=64)
def _as_of(instant: Instant) -> Mapping[str, str]:
    return MappingProxyType({"Tally-As-Of": format_instant(instant)})


Handler: TypeAlias = "Callable[[Services, Transaction, Request], Reply]"
AsyncHandler: TypeAlias = "Callable[[Services, Request], Awaitable[Reply]]"


BodyReader: TypeAlias = "Callable[[Services, Request], object]"
"""Makes ``Request.payload`` of ``Request.body``; of a large body on a thread."""


@dataclass(frozen=True, slots=True)
class QueryParam:
    """A documented parameter; ``schema`` is its JSON Schema, a list is joined by commas."""

    name: str
    description: str
    required: bool = False
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation: where it is, who may call it, how it runs, and how it is documented.

    ``body`` is decoded before the handler runs, and before a write transaction begins: by
    ``decode`` if there is one. ``store`` is what a write changes, ``entity`` tells what it targets
    where only so many changes a minute are let through. ``gathered`` does what a write's handler
    does, sharing its statements with other requests. ``reply`` is the type of ``data`` (of one item
    of it for a ``page``, of the whole answer without ``envelope``).
    """

    method: Method
    path: str
    handler: Handler | AsyncHandler
    summary: str
    description: str
    tag: str
    access: AccessKind = "server"
    runs: Runs = "read"
    store: Literal["state", "inbox"] = "state"
    body: Any = None
    decode: BodyReader | None = None
    entity: Callable[[Request], Entity] | None = None
    gathered: AsyncHandler | None = None
    query: tuple[QueryParam, ...] = ()
    reply: Any = None
    page: bool = False
    envelope: bool = True
    media_type: str = "application/json"
    status: int = 200

    def write(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """What a write's handler does, unless what it targets was changed too often already."""
        if self.entity is not None:
            services.entity_calls.admit(transaction, request.environment, self.entity(request))
        return cast("Handler", self.handler)(services, transaction, request)


_HEX: Final = {
    (high + low).encode(): bytes([int(high + low, 16)])
    for high in "0123456789abcdefABCDEF"
    for low in "0123456789abcdefABCDEF"
}


def percent_decoded(raw: bytes, where: str) -> str:
    """The text that ``raw`` encodes; raises ``BadInput`` when it is none, or has a NUL."""
    if b"%" in raw:
        raw = _unescaped(raw, where)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadInput(f"{where}: is not UTF-8") from None
    if "\0" in text:
        raise BadInput(f"{where}: must not contain a NUL")
    return text


def _values(raw: bytes) -> Mapping[str, list[str]]:
    """The values of a query string, by name; nobody changes them."""
    values: dict[str, list[str]] = {}
    for name, value in _pairs(raw) if raw else ():
        values.setdefault(name, []).append(value)
    return values


# A feature that is gated is asked for in the same words again and again.
_values_again: Final = lru_cache(maxsize=1024)(_values)
_QUERY_REMEMBERED_BYTES: Final = 256


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    """The names and values of a query string."""
    if b"%" in raw or b"+" in raw:
        split = (part.replace(b"+", b" ").partition(b"=") for part in raw.split(b"&"))
        return [
            (percent_decoded(name, "query"), percent_decoded(value, "query"))
            for name, _, value in split
        ]
    plain = (part.partition("=") for part in percent_decoded(raw, "query").split("&"))
    return [(name, value) for name, _, value in plain]


def _unescaped(raw: bytes, where: str) -> bytes:
    first, *rest = raw.split(b"%")
    parts = [first]
    for piece in rest:
        byte = _HEX.get(piece[:2])
        if byte is None:
            raise BadInput(f"{where}: '%' must be followed by two hexadecimal digits")
        parts += byte, piece[2:]
    return b"".join(parts)


def _instant(name: str, text: str) -> Instant:
    # A '+' that was not escaped arrives as a space: "…T00:00:00+02:00" as curl users write it.
    found = parse_instant(text[:19] + text[19:].replace(" ", "+"))
    if found is None:
        raise BadInput(f"{name}: must be an RFC 3339 time like 2026-01-31T12:00:00Z")
    return found


def decode_body(kind: type[T], body: bytes) -> T:
    """The body as ``kind``; nothing at all counts as ``{}``. Raises ``BadInput``."""
    return decode_strict(body or b"{}", kind)
