"""What operators and tests ask: sync, the test clock, readiness, metrics."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tallystick.clock import SECOND, Instant
from tests.api.door import NOW, Answered, Door
from tests.api.scene import event, meter, prepare

CLOCK = "/tally/v1/test-clock"
SAMPLE = re.compile(
    r'(?P<name>[a-z_]+)(\{(?P<labels>[a-z]+="[^"]*"(,[a-z]+="[^"]*")*)\})? (?P<value>[0-9.e+-]+)'
)


def accept(door: Door, key: str) -> str:
    answered = door.post("/api/v1/events", {"events": [event(key)]})
    return answered.headers["tally-position"]


# -------------------------------------------------------------------------------------------- sync


def test_sync_with_nothing_to_wait_for(door: Door) -> None:
    answered = door.get("/tally/v1/sync")
    assert answered.status == 200
    assert answered.data["position"] == 0
    assert "asOf" in answered.data


def test_sync_waits_until_a_position_is_counted(door: Door) -> None:
    first = accept(door, "1")

    async def wait_while_it_is_counted() -> Answered:
        waiting = asyncio.ensure_future(door.call("GET", f"/tally/v1/sync?position={first}"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await asyncio.to_thread(door.fold)
        return await waiting

    answered = door.run(wait_while_it_is_counted())
    assert (answered.status, answered.data["position"]) == (200, 1)


def test_sync_without_a_position_waits_for_everything_accepted(door: Door) -> None:
    accept(door, "1")
    refused = door.get("/tally/v1/sync?timeout_s=0.05")
    assert (refused.status, refused.code) == (504, "Timeout")
    door.fold()
    assert door.get("/tally/v1/sync?timeout_s=0").data["position"] == 1


def test_sync_waits_for_recounts_queued_before(door: Door) -> None:
    prepare(door)
    accept(door, "1")
    door.fold()
    changed = {"meter": meter("call", "SUM", "size")}
    assert door.run(door.call("PATCH", "/api/v1/features/calls", changed)).status == 200
    check = "/api/v1/customers/c/entitlements/check?featureId=calls"
    pending = door.get(check)
    assert (pending.data["currentUsage"], pending.headers["tally-recount"]) == (2, "pending")
    assert door.get("/tally/v1/sync?timeout_s=0").status == 504
    door.fold()
    assert door.get("/tally/v1/sync?timeout_s=0").status == 200
    done = door.get(check)
    assert done.data["currentUsage"] == 0
    assert "tally-recount" not in done.headers


@pytest.mark.parametrize("query", ["position=-1", "position=x", "timeout_s=61", "timeout_s=x"])
def test_sync_takes_numbers_in_range(door: Door, query: str) -> None:
    assert door.get(f"/tally/v1/sync?{query}").status == 400


# ------------------------------------------------------------------------------------------- clock


def test_the_test_clock_moves_forward_only(door: Door) -> None:
    assert door.get(CLOCK).data == {"now": "2026-01-20T12:00:00.000Z"}
    moved = door.post(CLOCK, {"now": "2026-01-20T13:00:00.5+00:30"})
    assert moved.data == {"now": "2026-01-20T12:30:00.500Z"}
    assert door.get(CLOCK).data == moved.data
    for now in ("2026-01-20T12:30:00Z", "yesterday", ""):
        assert door.post(CLOCK, {"now": now}).status == 400
    assert door.get(CLOCK).data == moved.data


def test_without_the_flag_there_is_no_test_clock(tmp_path: Path) -> None:
    with Door(tmp_path / "data", test_clock=None) as door:
        for answered in (door.get(CLOCK), door.post(CLOCK, {"now": "2026-01-20T12:00:00Z"})):
            assert (answered.status, answered.code) == (404, "NotFound")


# ------------------------------------------------------------------------------------------- ready


def test_health_needs_no_key(door: Door) -> None:
    answered = door.get("/health", key=None)
    assert (answered.status, answered.json) == (200, {"status": "ok"})


def test_ready_tells_what_waits(door: Door) -> None:
    accept(door, "1")
    accept(door, "2")
    door.move_clock("2026-01-20T12:00:03Z")
    answered = door.get("/ready", key=None)
    assert answered.status == 200
    assert answered.json["status"] == "ready"
    fold = answered.json["fold"]
    assert (fold["positions"], fold["seconds"], fold["waitingEvents"]) == (2, 3.0, 2)
    assert fold["waitingBytes"] > 0
    door.fold()
    assert door.get("/ready").json["fold"] == {
        "positions": 0,
        "seconds": 0,
        "waitingEvents": 0,
        "waitingBytes": 0,
    }


def test_a_server_whose_worker_is_gone_is_not_ready(tmp_path: Path) -> None:
    with Door(tmp_path / "data", test_clock=None) as door:
        door.services.freshness.write(0, Instant(door.services.clock.now() - 31 * SECOND))
        stale = door.get("/ready")
        assert (stale.status, stale.json["status"]) == (503, "not ready")
        assert stale.json["problems"]
        door.services.freshness.write(0, door.services.clock.now())
        assert door.get("/ready").status == 200


# ----------------------------------------------------------------------------------------- metrics


def samples(door: Door, key: str | None = None) -> dict[str, float]:
    """Every sample by name and labels; asserts that the text is what Prometheus reads."""
    answered = door.get("/metrics", key=key)
    assert answered.status == 200
    assert answered.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, float] = {}
    typed: set[str] = set()
    for line in answered.body.decode().splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed
            typed.add(name)
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name = re.sub("_(bucket|sum|count)$", "", match["name"])
            assert name in typed or match["name"] in typed, line
            found[f"{match['name']}{{{match['labels'] or ''}}}"] = float(match["value"])
    return found


def test_metrics_count_requests_and_events(door: Door) -> None:
    accept(door, "1")
    accept(door, "1")
    door.get("/nope")
    door.fold()
    found = samples(door)
    route = 'process="api-0",method="POST",route="/api/v1/events"'
    assert found[f'tallystick_requests_total{{{route},status="200"}}'] == 2
    assert found[f"tallystick_request_seconds_count{{{route}}}"] == 2
    assert found[f'tallystick_request_seconds_bucket{{{route},le="+Inf"}}'] == 2
    unrouted = 'process="api-0",method="",route="none",status="404"'
    assert found[f"tallystick_requests_total{{{unrouted}}}"] == 1
    assert found["tallystick_events_accepted_total{}"] == 2
    assert found["tallystick_counted_total{}"] == 1
    assert found["tallystick_events_duplicate_total{}"] == 1
    assert found["tallystick_fold_lag_positions{}"] == 0
    assert found['tallystick_process_resident_bytes{process="api-0"}'] > 1_000_000


def test_metrics_of_an_environment_are_told_to_its_server_keys(door: Door) -> None:
    other, client = door.new_key("other"), door.new_key("other", "client")
    accept(door, "1")
    for key in "12":
        assert door.post("/api/v1/events", {"events": [event(key)]}, key=other).status == 200
    name = "tallystick_events_accepted_total"
    assert samples(door)[f"{name}{{}}"] == 3
    assert samples(door, client)[f"{name}{{}}"] == 3
    assert samples(door, door.key)[f'{name}{{environment="default"}}'] == 1
    assert samples(door, other)[f'{name}{{environment="other"}}'] == 2
    assert samples(door, other)['tallystick_counted_total{environment="other"}'] == 0
    assert not any("environment" in name for name in {*samples(door), *samples(door, client)})
    assert not any("default" in name for name in samples(door, other))
    assert door.get("/metrics", key="nobody-has-this-key").status == 401


def test_metrics_of_all_processes_that_share_the_port(door: Door) -> None:
    (door.folder.run / "api-1.metrics").write_bytes(
        b'{"process":"api-1","routes":[{"method":"GET","route":"/health","statuses":{"200":7},'
        b'"seconds":1.5,"buckets":[7,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}],"resident_bytes":5}'
    )
    (door.folder.run / "api-2.metrics").write_bytes(b"torn")
    name = 'tallystick_requests_total{process="api-1",method="GET",route="/health",status="200"}'
    assert name not in samples(door)
    for number in (1, 2):
        (door.folder.run / f"api-{number}.pid").write_text("1")
    assert samples(door)[name] == 7


def test_each_process_leaves_its_numbers_for_the_others(door: Door) -> None:
    async def ask_and_wait() -> None:
        await door.call("GET", "/health")
        while not (door.folder.run / "api-0.metrics").exists():
            await asyncio.sleep(0.01)

    door.run(ask_and_wait())
    assert b'"/health"' in (door.folder.run / "api-0.metrics").read_bytes()


def test_the_clock_of_the_tests_stands(door: Door) -> None:
    assert door.services.clock.now() == NOW
