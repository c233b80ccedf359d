"""Queries: reads that take longer than the event loop may, and where they run.

Owns: the two places. A server has a process of its own for them (``QueryHost`` there,
``DistantQueries`` in each API process), so that neither Python's lock nor a big answer makes a
check wait; an API process that runs alone has threads (``OwnQueries``). Promises: the answer is the
same in either place; beyond a bound a query is refused at once; when the other process ends, its
successor is asked once more.

Between the processes go frames over a local socket: four bytes of length, then MessagePack.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

import msgspec

from tallystick import local_socket
from tallystick.api.answers import Answer, answer, error_answer, unexpected_answer
from tallystick.api.http import AccessKind, Handler, QueryString, Request, Route
from tallystick.api.waiting import MOST_AT_ONCE, QueryPool
from tallystick.clock import Instant
from tallystick.errors import TallystickError, TooManyRequests, Unavailable
from tallystick.freshness import Fresh

if TYPE_CHECKING:
    from tallystick.app import Services

T = TypeVar("T")

_LENGTH_BYTES: Final = 4


class Queries(Protocol):
    """Where a query runs."""

    async def answer(self, route: Route, request: Request) -> Answer:
        """The answer of a route that ``runs="query"``; raises what its handler raises, and
        ``TooManyRequests`` when too many wait already."""
        ...

    def close(self) -> None:
        """Take no more."""
        ...


class OwnQueries:
    """Queries in threads of this process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pool = QueryPool(services.state)

    async def answer(self, route: Route, request: Request) -> Answer:
        services, handler = self._services, cast("Handler", route.handler)
        return await self._pool.run(
            lambda transaction: answer(handler(services, transaction, request), route.status)
        )

    def close(self) -> None:
        self._pool.close()


class _Asked(msgspec.Struct, array_like=True):
    """A query on its way; ``path`` is its route's, the rest is of its ``Request``."""

    number: int
    method: str
    path: str
    args: Mapping[str, str]
    query: Mapping[str, list[str]]
    environment: str
    key_kind: str
    position: int
    as_of: int


class _Told(msgspec.Struct, array_like=True):
    """The answer to the query of that number."""

    number: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class _ProcessEnded(Unavailable):
    """The other process ended before it answered."""

    def __init__(self) -> None:
        super().__init__("the process that runs queries ended; try again in a second")


class DistantQueries:
    """Queries in another process. Used from one event loop."""

    def __init__(self, address: Path) -> None:
        """``address``: of the socket on which the other process listens."""
        self._address = address
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[_Told]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._connecting = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def answer(self, route: Route, request: Request) -> Answer:
        if len(self._waiting) >= MOST_AT_ONCE:
            raise TooManyRequests("too many queries are running; try again in a second")
        try:
            return await self._ask(route, request)
        except _ProcessEnded:
            # It only reads, so it may be asked again; once, since it may be what ended the process.
            return await self._ask(route, request)

    def close(self) -> None:
        if self._writer is not None:
            with suppress(RuntimeError):  # the loop may have ended
                self._writer.close()

    async def _ask(self, route: Route, request: Request) -> Answer:
        number = next(self._numbers)
        told = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            writer = await self._connected()
            writer.write(_frame(_asked(number, route, request)))
            found = await told
        finally:
            del self._waiting[number]
        return Answer(found.status, found.headers, found.body)

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is None:
                try:
                    connection = local_socket.connect(self._address)
                    reader, self._writer = await asyncio.open_unix_connection(sock=connection)
                except OSError as error:
                    raise Unavailable(f"queries cannot run now: {error.strerror}") from error
                self._reading = asyncio.get_running_loop().create_task(self._read(reader))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand the answers out until the other process ends."""
        try:
            async for told in _frames(reader, _Told):
                waiter = self._waiting.get(told.number)
                if waiter is not None and not waiter.done():
                    waiter.set_result(told)
        finally:
            self._writer = None
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_exception(_ProcessEnded())


class QueryHost:
    """The other side: answers what API processes ask."""

    def __init__(
        self, queries: Queries, routes: Iterable[Route], answered: Callable[[], None]
    ) -> None:
        """``answered`` is called after each answer."""
        self._queries = queries
        self._routes: dict[tuple[str, str], Route] = {
            (each.method, each.path): each for each in routes if each.runs == "query"
        }
        self._answered = answered
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one API process until it ends, or this one does."""
        # The end of the loop cancels it, of which Python 3.11 would tell stderr.
        with suppress(asyncio.CancelledError):
            async for asked in _frames(reader, _Asked):
                task = asyncio.get_running_loop().create_task(self._tell(asked, writer))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
        writer.close()

    async def _tell(self, asked: _Asked, writer: asyncio.StreamWriter) -> None:
        told = _Told(asked.number, *await self._answer(asked))
        with suppress(OSError):  # whoever asked has ended
            writer.write(_frame(told))
            await writer.drain()
        self._answered()

    async def _answer(self, asked: _Asked) -> Answer:
        try:
            route = self._routes[asked.method, asked.path]
            return await self._queries.answer(route, _request(asked))
        except TallystickError as error:
            return error_answer(error)
        except Exception as error:
            return unexpected_answer(error)


def _asked(number: int, route: Route, request: Request) -> _Asked:
    return _Asked(
        number, route.method, route.path, dict(request.args), request.query.values,
        request.environment, request.key_kind, *request.fresh,
    )  # fmt: skip


def _request(asked: _Asked) -> Request:
    return Request(
        asked.method, asked.args, QueryString.of(asked.query), {}, b"", asked.environment,
        cast("AccessKind", asked.key_kind), Fresh(asked.position, Instant(asked.as_of)),
    )  # fmt: skip


def _frame(message: msgspec.Struct) -> bytes:
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


async def _frames(reader: asyncio.StreamReader, kind: type[T]) -> AsyncIterator[T]:
    """What comes until the other side ends."""
    decode = msgspec.msgpack.Decoder(kind).decode
    with suppress(asyncio.IncompleteReadError, OSError):
        while True:
            length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
            yield decode(await reader.readexactly(length))
