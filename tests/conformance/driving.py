"""Both clients of the SDK behind one face, and a server for them that many tests share.

A test is written once, as if there were a synchronous client only. ``Driven`` runs what the
asynchronous one returns on an event loop, and makes its pages iterable.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from stigg import AsyncStigg, DefaultAsyncHttpxClient, DefaultHttpxClient, Stigg

from tallystick import access
from tallystick.app import open_services
from tallystick.clock import Instant, format_instant
from tallystick.settings import Settings
from tests.serving import API_KEY, NO_TLS, Server


class Driven:
    """A client, a resource of it or a page, with every method as an ordinary call."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return self._tame(getattr(self._target, name))

    def __iter__(self) -> Iterator[Any]:
        """The items of all pages, each fetched as it is needed."""
        items = aiter(self._target)
        while True:
            try:
                yield self._runner.run(_awaited(anext(items)))
            except StopAsyncIteration:
                return

    def _tame(self, found: Any) -> Any:
        if type(found).__module__.startswith("stigg.resources") or type(found).__name__ in (
            "AsyncStigg",
        ):
            return Driven(found, self._runner)
        return self._calling(found) if inspect.ismethod(found) or callable(found) else found

    def _calling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            made = call(*args, **named)
            answer = self._runner.run(_awaited(made)) if inspect.isawaitable(made) else made
            return Driven(answer, self._runner) if hasattr(answer, "__aiter__") else answer

        return run


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


class Clients:
    """Clients of one kind for one server; a context manager that closes them."""

    def __init__(self, url: str, kind: str) -> None:
        """``kind``: ``sync`` or ``async``."""
        self._url = url
        self._kind = kind
        self._runner = asyncio.Runner()
        self._open: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._open:
            closed = each.close()
            if inspect.isawaitable(closed):
                self._runner.run(_awaited(closed))
        self._runner.close()

    def of(self, key: str, **settings: Any) -> Any:
        """A strict client that repeats nothing, unless ``settings`` say otherwise."""
        about: dict[str, Any] = {
            "api_key": key,
            "base_url": self._url,
            "max_retries": 0,
            "_strict_response_validation": True,
        } | settings
        if "http_client" not in about:
            about["http_client"] = self._http()
        client = Stigg(**about) if self._kind == "sync" else AsyncStigg(**about)
        self._open.append(client)
        return client if self._kind == "sync" else Driven(client, self._runner)

    def _http(self, **settings: Any) -> DefaultHttpxClient | DefaultAsyncHttpxClient:
        if self._kind == "sync":
            return DefaultHttpxClient(verify=NO_TLS, **settings)
        return DefaultAsyncHttpxClient(verify=NO_TLS, **settings)

    def watched(self, key: str, see: Callable[[httpx.Response], object], **settings: Any) -> Any:
        """The same as ``of``; ``see`` is shown every response, and with it what was sent."""

        async def seen(response: httpx.Response) -> None:
            see(response)

        hook = see if self._kind == "sync" else seen
        return self.of(key, http_client=self._http(event_hooks={"response": [hook]}), **settings)


class Site:
    """A real server whose clock stands, and environments on it; a context manager that ends it."""

    def __init__(
        self, folder: Path, now: str, *flags: str, database_url: str | None = None, **variables: str
    ) -> None:
        """``now``: where the clock begins, RFC 3339. ``database_url``: a database of PostgreSQL."""
        if database_url is not None:
            variables["TALLYSTICK_DATABASE_URL"] = database_url
        self.server = Server(folder, f"--test-clock={now}", *flags, **variables)
        self.url = self.server.url
        self._services = open_services(
            Settings(data_dir=folder, test_clock="now", database_url=database_url)
        )
        headers = {"X-API-KEY": API_KEY}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=40, verify=NO_TLS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()
        self._services.close()
        self.server.__exit__(kind, error, trace)

    def key(self, environment: str, kind: str = "server") -> str:
        """A new key of an environment, which is made too: what ``tallystick keys create`` does."""
        with self._services.state.writing() as transaction:
            return access.create_key(transaction, environment, kind, self._services.clock.now())

    def move(self, now: str) -> None:
        """Let it be later, in every process."""
        answer = self._http.post("/tally/v1/test-clock", json={"now": now})
        assert answer.status_code == 200, answer.text

    def now(self) -> Instant:
        """Where the clock stands."""
        return self._services.clock.now()

    def now_text(self) -> str:
        """The same as RFC 3339."""
        return format_instant(self.now())

    def sync(self) -> None:
        """Return once everything accepted is counted and recounts are done."""
        answer = self._http.get("/tally/v1/sync?timeout_s=30")
        assert answer.status_code == 200, answer.text

    def raw(self, method: str, path: str, key: str | None, **more: Any) -> httpx.Response:
        """One request that the SDK would not send so."""
        headers = {} if key is None else {"X-API-KEY": key}
        headers |= more.pop("headers", {})
        url = self.url + path
        return httpx.request(method, url, headers=headers, timeout=30, verify=NO_TLS, **more)
