"""A proxy in front of a store, which can fail, deny and count on demand.

It passes on whatever it is sent and answers as the store does, but for the faults that a test asks
for. In front of the fake GCS it also turns a PUT of the XML interface, which that lacks, into an
upload of the JSON interface.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import quote, unquote


class Asked(NamedTuple):
    """A request as the proxy got it."""

    method: str
    path: str
    headers: dict[str, str]


class Answer(NamedTuple):
    """What the proxy answers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Front:
    """The proxy: ``upstream`` is where it passes requests on to; ``fault`` answers in its place."""

    def __init__(self, *, uploads_as_json: bool = False) -> None:
        self.upstream_port = 0
        self.asked: list[Asked] = []
        self.fault: Callable[[Asked], Answer | None] = _no_fault
        self._uploads_as_json = uploads_as_json
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def failing(self, status: int, *, code: str = "", times: int = 10**9) -> Iterator[list[int]]:
        """Answer the next requests with a status; yields how many are left to be failed."""
        left = [times]
        body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""

        def fault(_: Asked) -> Answer | None:
            if left[0] <= 0:
                return None
            left[0] -= 1
            return Answer(status, body, (("content-type", "application/xml"),))

        with self.faulty(fault):
            yield left

    @contextmanager
    def faulty(self, fault: Callable[[Asked], Answer | None]) -> Iterator[None]:
        """Let ``fault`` answer in the store's place, where it does."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = _no_fault

    def answer(self, asked: Asked, body: bytes) -> Answer:
        self.asked.append(asked)
        fault = self.fault(asked)
        if fault is not None:
            return fault
        if self._uploads_as_json and asked.method == "PUT":
            _, bucket, name = asked.path.split("/", 2)
            path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name="
            passed = asked._replace(method="POST", path=path + quote(unquote(name), safe=""))
            uploaded = self._pass_on(passed, body)
            return uploaded._replace(body=b"", headers=(("etag", '"uploaded"'),))
        return self._pass_on(asked, body)

    def _pass_on(self, asked: Asked, body: bytes) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=60)
        try:
            connection.request(asked.method, asked.path, body, asked.headers)
            response = connection.getresponse()
            kept = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in ("transfer-encoding", "connection", "date", "server")
            ]
            return Answer(response.status, response.read(), tuple(kept))
        finally:
            connection.close()


def _no_fault(_: Asked) -> Answer | None:
    return None


def _handler(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name: value for name, value in self.headers.items() if name != "connection"}
            answer = front.answer(Asked(self.command, self.path, headers), body)
            self.send_response(answer.status)
            for name, value in answer.headers:
                if name.lower() != "content-length" or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._serve)
    return Handler
