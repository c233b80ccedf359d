"""Keys, bodies, errors: what holds for every operation."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.api.asgi import Api
from tallystick.api.http import Reply, Request, Route
from tallystick.api.metrics import SharedCounts
from tallystick.api.queries import OwnQueries
from tallystick.app import Services, open_state
from tallystick.errors import DamagedData, TallystickError, TimedOut, TooManyRequests, Unavailable
from tallystick.store import Transaction
from tests.api.door import Answered, Door

FEATURES = "/api/v1/features"
CHECK = "/api/v1/customers/c/entitlements/check?featureId=f"


def test_without_a_key(door: Door) -> None:
    answered = door.get(FEATURES, key=None)
    assert (answered.status, answered.code) == (401, "Unauthenticated")


@pytest.mark.parametrize("key", ["bad", "sérver-é", "x" * 10_000])
def test_with_an_unknown_key(door: Door, key: str) -> None:
    answered = door.get(FEATURES, key=key)
    assert (answered.status, answered.code) == (401, "Unauthenticated")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_key_as_bearer_token(door: Door, scheme: str) -> None:
    assert (
        door.get(FEATURES, key=None, headers={"Authorization": f"{scheme} {door.key}"}).status
        == 200
    )


def test_another_scheme_is_no_key(door: Door) -> None:
    assert (
        door.get(FEATURES, key=None, headers={"Authorization": f"Basic {door.key}"}).status == 401
    )


def test_a_key_made_or_revoked_elsewhere_counts_from_the_next_request_on(door: Door) -> None:
    assert door.get(FEATURES).status == 200
    key = door.new_key()
    assert door.get(FEATURES, key=key).status == 200
    door.revoke(key)
    assert door.get(FEATURES, key=key).status == 401
    assert door.get(FEATURES).status == 200


def test_a_key_reads_its_own_environment_whatever_the_headers_say(door: Door) -> None:
    door.post("/api/v1/customers", {"id": "c"})
    other = door.new_key("other")
    headers = {"X-Environment-Id": "default", "X-Account-Id": "x", "X-Stainless-Lang": "python"}
    answered = door.get("/api/v1/customers/c", key=other, headers=headers)
    assert (answered.status, answered.code) == (404, "CustomerNotFound")
    assert door.get("/api/v1/customers/c").data["id"] == "c"


def test_a_client_key_may_check_and_nothing_more(door: Door) -> None:
    client = door.new_key(kind="client")
    assert door.get(CHECK, key=client).status == 200
    assert door.get("/api/v1/customers/c/entitlements", key=client).status == 200
    for method, path in (
        ("GET", "/api/v1/customers"),
        ("POST", "/api/v1/events"),
        ("POST", "/api/v1/usage"),
        ("POST", "/api/v2/usage"),
        ("GET", "/api/v1/usage/c/history/f?startDate=2026-01-01T00:00:00Z"),
        ("GET", "/tally/v1/sync"),
        ("POST", "/tally/v1/test-clock"),
    ):
        answered = door.run(door.call(method, path, key=client))
        assert (answered.status, answered.code) == (403, "AccessDeniedError"), path


@pytest.mark.parametrize(
    ("status", "code", "method", "path"),
    [
        (404, "NotFound", "GET", "/"),
        (404, "NotFound", "GET", "/api/v1/nope"),
        (404, "NotFound", "GET", "/api/v1/customers/"),
        (405, "MethodNotAllowed", "DELETE", "/api/v1/customers"),
        (405, "MethodNotAllowed", "GET", "/api/v1/events"),
        (501, "NotImplemented", "GET", "/api/v1/credits/ledger"),
        (501, "NotImplemented", "POST", "/api/v1/credits/grants/g%2F1/void"),
        (501, "NotImplemented", "GET", "/api/v1/coupons"),
        (501, "NotImplemented", "POST", "/api/v1/usage/estimate"),
        (501, "NotImplemented", "PUT", "/api/v1-beta/entity-types"),
        (400, "BadUserInput", "GET", "/api/v1/customers/%ff"),
        (400, "BadUserInput", "GET", "/api/v1/customers?x=%ff"),
    ],
)
def test_what_is_not_there(door: Door, status: int, code: str, method: str, path: str) -> None:
    answered = door.run(door.call(method, path))
    assert (status, code) == (answered.status, answered.code)
    assert (status == 405) == ("allow" in answered.headers)


def test_unknown_query_parameters_are_ignored(door: Door) -> None:
    assert door.get(f"{FEATURES}?x-y=1&_=2").status == 200


def test_a_list_filter_is_joined_or_repeated(door: Door) -> None:
    values = {"enumConfiguration": [{"value": "us", "displayName": "US"}]}
    for index, (kind, more) in enumerate((("NUMBER", {}), ("ENUM", values), ("BOOLEAN", {}))):
        feature = {"id": f"f{index}", "displayName": kind, "featureType": kind} | more
        assert door.post(FEATURES, feature).status == 201
    joined = door.get(f"{FEATURES}?featureType=NUMBER,BOOLEAN")
    assert joined.json == door.get(f"{FEATURES}?featureType=NUMBER&featureType=BOOLEAN").json
    assert [item["id"] for item in joined.data] == ["f0", "f2"]
    assert joined.json["pagination"] == {"next": None, "prev": None}


def test_an_unknown_body_field_is_named(door: Door) -> None:
    answered = door.post("/api/v1/customers", {"id": "c", "nmae": "x"})
    assert (answered.status, answered.code) == (400, "BadUserInput")
    assert "nmae" in answered.json["message"]


def test_head_is_answered_as_get(door: Door) -> None:
    assert door.run(door.call("HEAD", "/health")).status == 200


# ------------------------------------------------------------------------------------ large bodies


def sent(door: Door, chunks: Sequence[bytes], length: int | None = None) -> Answered:
    headers = [(b"x-api-key", door.key.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": b"/api/v1/events",
        "query_string": b"",
        "headers": headers,
    }
    return door.run(door.answer(scope, chunks))


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(door: Door) -> None:
    answered = sent(door, [], limits.BODY_BYTES_MAX + 1)
    assert (answered.status, answered.code) == (413, "PayloadTooLarge")


def test_a_body_that_becomes_too_large_is_refused(door: Door) -> None:
    chunk = b" " * limits.MIB
    assert sent(door, [chunk] * 17).status == 413
    assert sent(door, [chunk] * 16).status == 400  # blanks are no events, but they are not too many


def test_bodies_in_flight_are_bounded_and_the_bound_is_given_back(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODIES_BYTES_MAX", 1000)
    for _ in range(3):
        answered = sent(door, [b" " * 600, b" " * 600])
        assert (answered.status, answered.code) == (429, "RateLimitExceeded")
        assert sent(door, [b" " * 500, b" " * 500]).status == 400


def test_a_caller_that_leaves_gets_no_answer(door: Door) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": b"/api/v1/events",
        "query_string": b"",
        "headers": [(b"x-api-key", door.key.encode())],
    }
    door.run(door.api(scope, receive, send))


# ------------------------------------------------------------------------- what a handler may raise


def api_with(door: Door, handler: Callable[[], Reply], runs: str) -> Api:
    """An application of one route that does ``handler``."""

    def handle(services: Services, transaction: Transaction, request: Request) -> Reply:
        return handler()

    async def handle_async(services: Services, request: Request) -> Reply:
        return handler()

    route = Route(
        method="GET",
        path="/x",
        handler=handle_async if runs == "async" else handle,
        runs=runs,  # type: ignore[arg-type]
        summary="",
        description="",
        tag="",
    )
    shared = SharedCounts(door.folder.run, "x")
    return Api(door.services, [route], shared, OwnQueries(door.services))


def raised(door: Door, error: Exception, runs: str) -> Answered:
    def fail() -> Reply:
        raise error

    door.api, usual = api_with(door, fail, runs), door.api
    try:
        return door.get("/x")
    finally:
        door.api.close()
        door.api = usual


RUNS = pytest.mark.parametrize("runs", ["read", "write", "query", "async"])


@RUNS
@pytest.mark.parametrize(
    ("status", "retry_after", "error"),
    [
        (429, "7", TooManyRequests("full", retry_after_seconds=7)),
        (503, "1", Unavailable("locked")),
        (504, "1", TimedOut("slow")),
    ],
)
def test_try_later_says_when(
    door: Door, runs: str, status: int, retry_after: str, error: TallystickError
) -> None:
    answered = raised(door, error, runs)
    assert (status, error.code) == (answered.status, answered.code)
    assert retry_after == answered.headers["retry-after"]


@RUNS
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UnexpectedError", ValueError("the secret detail")),
        ("DamagedData", DamagedData("/the/secret/path")),
    ],
)
def test_an_unforeseen_error_tells_a_trace_id_and_logs_the_rest(
    door: Door, runs: str, code: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "tallystick"):
        answered = raised(door, error, runs)
    assert (500, code) == (answered.status, answered.code)
    trace_id = answered.headers["x-trace-id"]
    assert trace_id in answered.json["message"]
    assert "secret" not in answered.body.decode()
    assert trace_id in caplog.text
    assert "secret" in caplog.text


def test_a_store_that_is_locked_is_unavailable_and_comes_back(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STORE_BUSY_SECONDS_MAX", 0.05)
    other = open_state(door.settings)
    with other.writing():
        answered = door.post("/api/v1/customers", {"id": "c"})
        assert (answered.status, answered.code) == (503, "Unavailable")
        assert "retry-after" in answered.headers
    other.close()
    assert door.post("/api/v1/customers", {"id": "c"}).status == 201


def test_queries_beyond_what_may_wait_are_refused(door: Door) -> None:
    may_end = threading.Event()
    running = threading.Semaphore(0)

    def wait() -> Reply:
        running.release()
        assert may_end.wait(30)
        return Reply("done")

    door.api.close()
    door.api = api_with(door, wait, "query")
    most = limits.QUERY_CONCURRENCY_MAX + limits.QUERY_QUEUE_MAX

    async def scene() -> tuple[Answered, list[Answered]]:
        waiting = [asyncio.ensure_future(door.call("GET", "/x")) for _ in range(most)]
        await asyncio.to_thread(
            lambda: [running.acquire() for _ in range(limits.QUERY_CONCURRENCY_MAX)]
        )
        refused = await door.call("GET", "/x")
        may_end.set()
        return refused, await asyncio.gather(*waiting)

    refused, answered = door.run(scene())
    assert (refused.status, refused.code) == (429, "RateLimitExceeded")
    assert "retry-after" in refused.headers
    assert [200] * most == [each.status for each in answered]
    assert door.get("/x").status == 200


def test_a_caller_that_is_cancelled_does_not_stop_its_commit(tmp_path: Path) -> None:
    with Door(tmp_path / "d") as door:

        async def scene() -> None:
            call = asyncio.ensure_future(door.call("POST", "/api/v1/customers", {"id": "c"}))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

        door.run(scene())
        assert door.post("/api/v1/customers", {"id": "d"}).status == 201
