"""The ASGI application: from a connection's request to its answer.

Owns: the order of things (route, key, body, handler, answer), and where each kind of handler runs:
reads where ``Readers`` has them, writes in a store's group commit, queries elsewhere (``queries``).
Promises: whatever a handler raises becomes an answer; a write is answered after its commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from tallystick import limits
from tallystick.access import Access
from tallystick.api.answers import Answer, answer, error_answer, unexpected_answer
from tallystick.api.auth import KeyRing, carries_key
from tallystick.api.bodies import Bodies, ClientGone, Receive
from tallystick.api.http import (
    AsyncHandler,
    BodyReader,
    Handler,
    QueryString,
    Request,
    Route,
    decode_body,
)
from tallystick.api.metrics import RouteCounts, SharedCounts
from tallystick.api.queries import Queries
from tallystick.api.replay import KEY_HEADER, answer_once
from tallystick.api.router import Router
from tallystick.api.stigg_paths import STIGG_OPERATIONS
from tallystick.api.waiting import settled
from tallystick.errors import MethodNotAllowed, NotFound, NotSupported, TallystickError
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

Send = Callable[[dict[str, Any]], Awaitable[None]]
Scope = Mapping[str, Any]

_NOBODY = Access("", "public")


class Endpoint:
    """A route and what is counted about it."""

    __slots__ = ("counts", "reads_at_once", "route", "takes_body")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.takes_body = route.body is not None
        self.reads_at_once = route.runs == "read"
        self.counts = RouteCounts(route.method, route.path)


class Api:
    """The application of one API process."""

    def __init__(
        self, services: Services, routes: Iterable[Route], shared: SharedCounts, queries: Queries
    ) -> None:
        """``shared`` is told what this process counts; ``queries`` is closed with this."""
        endpoints = [Endpoint(route) for route in routes]
        assert not any(each.reads_at_once and each.takes_body for each in endpoints)
        self._services = services
        self._router = Router((each.route.method, each.route.path, each) for each in endpoints)
        self._stigg = Router((method, path, None) for method, path in STIGG_OPERATIONS)
        self._keys = KeyRing(services.state)
        self._bodies = Bodies()
        self._queries = queries
        self._unrouted = RouteCounts("", "none")
        self._shared = shared
        shared.own.routes = [*(each.counts for each in endpoints), self._unrouted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await _other_protocol(scope, receive, send)
            return
        began = time.perf_counter()
        counts = self._unrouted
        try:
            endpoint, args = self._find(scope["method"], scope["raw_path"])
            counts = endpoint.counts
            answered = await self._answer(endpoint, args, scope, receive)
        except TallystickError as error:
            answered = error_answer(error)
        except ClientGone:
            return
        except Exception as error:
            answered = unexpected_answer(error)
        status, headers, body = answered
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        counts.observe(status, time.perf_counter() - began)
        self._shared.changed()

    def close(self) -> None:
        """Take no more queries."""
        self._queries.close()

    def _find(self, method: str, raw_path: bytes) -> tuple[Endpoint, Mapping[str, str]]:
        try:
            return self._router.find(method, raw_path)
        except (NotFound, MethodNotAllowed):
            self._refuse_stigg_operation(method, raw_path)
            raise

    def _refuse_stigg_operation(self, method: str, raw_path: bytes) -> None:
        """Raise ``NotSupported`` for what Stigg has and this product has not."""
        try:
            self._stigg.find(method, raw_path)
        except (NotFound, MethodNotAllowed):
            return
        raise NotSupported("this part of Stigg's API is not part of Tallystick")

    async def _answer(
        self, endpoint: Endpoint, args: Mapping[str, str], scope: Scope, receive: Receive
    ) -> Answer:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        readers = self._services.readers
        if endpoint.reads_at_once:
            return await readers.run(partial(self._read, endpoint.route, args, scope, headers))
        access = self._recent(endpoint.route, headers)
        if access is None:
            access = await readers.run(partial(self._look_up, endpoint.route, headers))
        query = QueryString(scope["query_string"])
        body = b""
        if endpoint.takes_body:
            body = await self._bodies.read(receive, headers.get(b"content-length"))
        try:
            fresh = self._services.freshness.read()
            request = Request(scope["method"], args, query, headers, body, *access, fresh)
            return await self._work(endpoint.route, request, scope["raw_path"])
        finally:
            self._bodies.release(len(body))

    def _read(
        self, route: Route, args: Mapping[str, str], scope: Scope, headers: dict[bytes, bytes]
    ) -> Answer:
        """A read needs no waiting: the key and the answer come from one snapshot."""
        services, asked_at = self._services, time.monotonic()
        fresh = services.freshness.read()
        with services.state.reading() as transaction:
            access = self._recent(route, headers)
            if access is None:
                access = self._authenticate(transaction, route, headers, asked_at)
            query = QueryString(scope["query_string"])
            request = Request(scope["method"], args, query, headers, b"", *access, fresh)
            reply = cast("Handler", route.handler)(services, transaction, request)
        return answer(reply, route.status)

    def _look_up(self, route: Route, headers: Mapping[bytes, bytes]) -> Access:
        asked_at = time.monotonic()
        with self._services.state.reading() as transaction:
            return self._authenticate(transaction, route, headers, asked_at)

    def _recent(self, route: Route, headers: Mapping[bytes, bytes]) -> Access | None:
        if route.access == "public" or (route.access == "optional" and not carries_key(headers)):
            return _NOBODY
        return self._keys.recent(headers, route.access)

    def _authenticate(
        self,
        transaction: Transaction,
        route: Route,
        headers: Mapping[bytes, bytes],
        asked_at: float,
    ) -> Access:
        return self._keys.authenticate(transaction, headers, route.access, asked_at)

    async def _work(self, route: Route, request: Request, raw_path: bytes) -> Answer:
        services = self._services
        if route.runs == "query":
            return await self._queries.answer(route, request)
        if route.runs == "async":
            reply = await cast("AsyncHandler", route.handler)(services, request)
            return answer(reply, route.status)
        if route.decode is not None:
            request.payload = await self._decoded(route.decode, request)
        elif route.body is not None:
            request.payload = decode_body(route.body, request.body)
        return await self._write(route, request, raw_path)

    async def _decoded(self, decode: BodyReader, request: Request) -> object:
        if len(request.body) <= limits.BODY_AT_ONCE_BYTES_MAX:
            return decode(self._services, request)
        return await asyncio.to_thread(decode, self._services, request)

    async def _write(self, route: Route, request: Request, raw_path: bytes) -> Answer:
        services = self._services
        writer = services.state_writer if route.store == "state" else services.inbox_writer
        if KEY_HEADER in request.headers:
            kept = writer.submit(
                lambda transaction: answer_once(services, route, request, raw_path, transaction)
            )
            return await settled(kept)
        if route.gathered is not None:
            return answer(await route.gathered(services, request), route.status)
        written = writer.submit(lambda transaction: route.write(services, transaction, request))
        return answer(await settled(written), route.status)


async def _other_protocol(scope: Scope, receive: Receive, send: Send) -> None:
    """The server's start and end; anything else (a WebSocket) is closed."""
    if scope["type"] != "lifespan":
        await send({"type": "websocket.close"})
        return
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})
