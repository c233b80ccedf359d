"""HTTP as uvicorn speaks it, with less work for each request.

Owns: what uvicorn does anew for every request and one caller after the other need not pay for. An
answer is written whole: uvicorn writes its head and then its body, and uvloop sends each at once,
which is two system calls, two packets and two wake-ups of the caller. And a connection has one
timer, which looks how long it was idle, instead of one for each pause between two requests.

Leaves to others: everything else. What is not the usual goes uvicorn's own way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from tallystick.api.answers import error_answer
from tallystick.errors import BadInput

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent, HTTPScope


class Exchange(RequestResponseCycle):
    """Uvicorn's handling of one request, which writes an answer at once.

    The headers are the application's own (``api/answers.py``), never a caller's words, and tell
    the length of the body.
    """

    _head: Mapping[str, Any] | None = None

    async def send(self, message: ASGISendEvent) -> None:
        """Keep the head until the body is there; what comes in pieces uvicorn writes."""
        told = cast("Mapping[str, Any]", message)
        if not self.response_started and told["type"] == "http.response.start":
            self.response_started = True
            self._head = told
            return
        head, self._head = self._head, None
        if head is None or told.get("more_body", False):
            if head is not None:
                self.response_started = False
                await super().send(cast("Any", head))
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected:
            self._answer(head, told["body"])

    def _answer(self, head: Mapping[str, Any], body: bytes) -> None:
        parts = [STATUS_LINE[head["status"]]]
        for name, value in (*self.default_headers, *head["headers"]):
            parts += name, b": ", value, b"\r\n"
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        if self.scope["method"] != "HEAD":
            parts.append(body)
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(parts))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol of one connection, whose requests are ``Exchange``s."""

    _idle_since: float | None = None

    def on_message_begin(self) -> None:
        """A request comes in."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Begin a request, or let it wait for those before it. Of ASGI's scope it has what
        ``api/asgi.py`` reads."""
        parser, before = self.parser, self.cycle
        url = httptools.parse_url(self.url)
        version = parser.get_http_version()
        scope = {
            "type": "http",
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "path": url.path.decode("ascii"),
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self.headers,
        }
        self.cycle = Exchange(
            scope=cast("HTTPScope", scope),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as every other error is answered, and hang up."""
        status, headers, body = error_answer(BadInput(msg))
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += name, b": ", value, b"\r\n"
        self.transport.write(b"".join([*parts, b"connection: close\r\n\r\n", body]))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()

    def on_response_complete(self) -> None:
        """An answer was written: whoever waits behind it is next."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Something came in. The timer goes on; it finds that the connection is not idle."""
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for long enough; else look again."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # the next answer begins a new wait
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again_in(left)
        elif not self.transport.is_closing():
            self.transport.close()

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )
