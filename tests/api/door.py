"""The application of a real data folder, called in this process as uvicorn would call it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tallystick import access, limits
from tallystick.api.routes import build_app
from tallystick.app import open_services, open_worker
from tallystick.clock import Instant, TestClock, parse_instant
from tallystick.folder import DataFolder
from tallystick.settings import Settings

T = TypeVar("T")
Headers = Mapping[str, str]


def at(text: str) -> Instant:
    """The instant of an RFC 3339 text."""
    found = parse_instant(text)
    assert found is not None
    return found


NOW = at("2026-01-20T12:00:00Z")


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def code(self) -> str:
        """Of an error; asserts that it has the shape of one."""
        assert self.headers["content-type"] == "application/json"
        assert self.json.keys() == {"message", "code"}
        assert isinstance(self.json["message"], str)
        return str(self.json["code"])


class Door:
    """An application, its services and a server key; a context manager that closes them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = DataFolder(folder)
        self.folder.prepare()
        settings.setdefault("test_clock", NOW)
        self.settings = Settings(data_dir=folder, **settings)
        self.services = open_services(self.settings)
        self.api = build_app(self.services, "api-0")
        self.key = self.new_key()
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at_: TracebackType | None,
    ) -> None:
        self._loop.close()
        self.api.close()
        self.services.close()

    def new_key(self, environment: str = "default", kind: str = "server") -> str:
        """A key, made as ``tallystick keys create`` makes it."""
        with self.services.state.writing() as transaction:
            return access.create_key(transaction, environment, kind, self.services.clock.now())

    def revoke(self, key: str) -> None:
        """Revoke a key, as ``tallystick keys revoke`` does."""
        with self.services.state.writing() as transaction:
            access.revoke_key(transaction, key, self.services.clock.now())
        ended = time.monotonic() + limits.API_KEY_RECENT_SECONDS  # no command ends sooner
        while time.monotonic() <= ended:
            pass

    def move_clock(self, text: str) -> None:
        """Move the test clock."""
        clock = self.services.clock
        assert isinstance(clock, TestClock)
        clock.move(at(text))

    def fold(self) -> None:
        """Count everything that waits, as the worker does."""
        with open_worker(self.settings) as worker:
            worker.drain()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the door's event loop."""
        return self._loop.run(work)

    def get(self, target: str, **more: Any) -> Answered:
        return self.run(self.call("GET", target, **more))

    def post(self, target: str, body: object = None, **more: Any) -> Answered:
        return self.run(self.call("POST", target, body, **more))

    async def call(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        key: str | None = "",
        headers: Headers | None = None,
    ) -> Answered:
        """One request; ``key`` None sends none, '' the door's own; bytes are sent as they are."""
        sent = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            sent["x-api-key"] = key or self.key
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is None:
            content = b""
        sent.setdefault("content-length", str(len(content)))
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), text.encode()) for name, text in sent.items()],
        }
        return await self.answer(scope, [content])

    async def answer(self, scope: Mapping[str, Any], chunks: Sequence[bytes]) -> Answered:
        """The answer to a request whose body comes in ``chunks``."""
        messages = _messages(chunks)
        sent: list[dict[str, Any]] = []

        async def receive() -> Mapping[str, Any]:
            return next(messages)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.api(scope, receive, send)
        start, end = sent
        headers = {name.decode(): text.decode() for name, text in start["headers"]}
        assert int(headers["content-length"]) == len(end["body"])
        return Answered(start["status"], headers, end["body"])


def _messages(chunks: Sequence[bytes]) -> Iterator[Mapping[str, Any]]:
    for index, chunk in enumerate(chunks):
        yield {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
    yield {"type": "http.disconnect"}
