"""Queries that another process answers: the same answers, and what happens when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tallystick import local_socket
from tallystick.api.answers import Answer
from tallystick.api.http import Request, Route
from tallystick.api.queries import OwnQueries, QueryHost
from tallystick.api.routes import all_routes, build_app
from tallystick.api.waiting import MOST_AT_ONCE
from tests.api.door import NOW, Answered, Door

FEATURES = "/api/v1/features"


@pytest.fixture
def distant(tmp_path: Path) -> Iterator[Door]:
    """A door whose queries are answered elsewhere; see ``host``."""
    with Door(tmp_path / "d") as door:
        for name in ("b", "a", "c/d"):
            body = {"id": name, "displayName": name, "featureType": "NUMBER",
                    "meterType": "INCREMENTAL"}  # fmt: skip
            answered = door.post(FEATURES, body)
            assert answered.status < 300, answered.body
        door.api.close()
        door.api = build_app(door.services, "api-0", shares_queries=True)
        yield door


class Held:
    """Queries that wait until they may end."""

    def __init__(self, queries: OwnQueries) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self._queries = queries

    async def answer(self, route: Route, request: Request) -> Answer:
        self.begun += 1
        await self.may_end.wait()
        return await self._queries.answer(route, request)

    def close(self) -> None:
        self._queries.close()


@asynccontextmanager
async def host(door: Door, held: bool = False) -> AsyncIterator[Held]:
    """The other process's side, on the same loop."""
    queries = Held(OwnQueries(door.services))
    if not held:
        queries.may_end.set()
    routes = all_routes(door.api._shared)
    listener = local_socket.listen(door.folder.queries)
    connected: list[asyncio.StreamWriter] = []
    answered: list[None] = []
    serving = QueryHost(queries, routes, lambda: answered.append(None))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        await serving.serve(reader, writer)

    server = await asyncio.start_unix_server(serve, sock=listener)
    try:
        yield queries
    finally:
        server.close()
        for writer in connected:
            writer.transport.abort()
        queries.close()


def test_the_answer_is_the_same_as_from_this_process(distant: Door, tmp_path: Path) -> None:
    targets = (
        FEATURES, f"{FEATURES}?limit=1", f"{FEATURES}?id=c%2Fd&featureType=NUMBER,BOOLEAN",
        f"{FEATURES}?limit=0", "/api/v1/usage/nobody/history/a?startDate=2026-01-01T00:00:00Z",
    )  # fmt: skip

    async def scene() -> list[Answered]:
        async with host(distant):
            return [await distant.call("GET", target) for target in targets]

    there = distant.run(scene())
    distant.api.close()
    distant.api = build_app(distant.services, "api-0")
    here = [distant.get(target) for target in targets]
    assert here == there
    assert [each.status for each in there] == [200, 200, 200, 400, 404]


def test_two_at_once_get_their_own_answers(distant: Door) -> None:
    async def scene() -> list[Answered]:
        async with host(distant):
            calls = [distant.call("GET", f"{FEATURES}?id={name}") for name in "ab" * 4]
            return await asyncio.gather(*calls)

    found = distant.run(scene())
    assert [[each["id"] for each in one.data] for one in found] == [["a"], ["b"]] * 4


def test_without_the_other_process_a_query_is_to_be_tried_later(distant: Door) -> None:
    answered = distant.get(FEATURES)
    assert (answered.status, answered.code) == (503, "Unavailable")
    assert answered.headers["retry-after"] == "1"


@pytest.mark.parametrize(("ends", "status"), [(1, 200), (2, 503)])
def test_a_query_whose_process_ends_is_asked_once_more(
    distant: Door, ends: int, status: int
) -> None:
    async def scene() -> tuple[Answered, Answered]:
        asked = None
        for _ in range(ends):
            async with host(distant, held=True) as queries:
                asked = asked or asyncio.ensure_future(distant.call("GET", FEATURES))
                while not queries.begun:
                    await asyncio.sleep(0.001)
        assert asked is not None
        async with host(distant):
            return await asked, await distant.call("GET", FEATURES)

    first, later = distant.run(scene())
    assert first.status == status
    assert later.status == 200


def test_queries_beyond_what_may_wait_are_refused_before_they_are_sent(distant: Door) -> None:
    async def scene() -> tuple[Answered, list[Answered], int]:
        async with host(distant, held=True) as queries:
            calls = [distant.call("GET", FEATURES) for _ in range(MOST_AT_ONCE)]
            waiting = [asyncio.ensure_future(call) for call in calls]
            while queries.begun < MOST_AT_ONCE:
                await asyncio.sleep(0.001)
            refused = await distant.call("GET", FEATURES)
            queries.may_end.set()
            return refused, await asyncio.gather(*waiting), queries.begun

    refused, answered, begun = distant.run(scene())
    assert (refused.status, refused.code) == (429, "RateLimitExceeded")
    assert [each.status for each in answered] == [200] * MOST_AT_ONCE
    assert begun == MOST_AT_ONCE


def test_a_caller_that_left_leaves_no_place_taken(distant: Door) -> None:
    async def scene() -> Answered:
        async with host(distant, held=True) as queries:
            for _ in range(MOST_AT_ONCE + 3):
                call = asyncio.ensure_future(distant.call("GET", FEATURES))
                await asyncio.sleep(0.001)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            queries.may_end.set()
            return await distant.call("GET", FEATURES)

    assert distant.run(scene()).status in (200, 429)


def test_the_freshness_that_was_asked_with_is_what_the_answer_tells(distant: Door) -> None:
    distant.post("/api/v1/customers", {"id": "c"})
    distant.services.freshness.write(7, NOW)

    async def scene() -> Answered:
        async with host(distant):
            path = "/api/v1/usage/c/history/a?startDate=2026-01-01T00:00:00Z"
            return await distant.call("GET", path)

    assert distant.run(scene()).headers["tally-as-of"] == "2026-01-20T12:00:00.000Z"


def test_nobody_else_may_connect(tmp_path: Path) -> None:
    with local_socket.listen(tmp_path / "s"):
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    for _ in range(2):  # the second takes the first one's place
        with local_socket.listen(folder / "s") as listener, local_socket.connect(folder / "s"):
            listener.accept()[0].close()
