"""Poison: a request that cannot be folded, or that kills who folds it, harms nobody else.

It is set aside with its bytes, seen by the operator, and counts once when it is tried again on a
fold that can take it. The ledger holds at every moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tallystick import failpoints, limits
from tallystick.app import open_inbox
from tallystick.clock import SystemClock
from tallystick.fold.attempts import Isolation
from tallystick.fold.quarantine import Quarantined, ask_retry, list_quarantined
from tallystick.inbox.inbox import Inbox
from tallystick.settings import Settings
from tests.crash.trouble import CUSTOMER, EVENTS, call, calls, ledgers, sell, stopped_worker
from tests.proof.selling import raw, sdk, synced, usage
from tests.serving import Server, command, wait_until
from tests.simulation.world import Crash, World


def line(key: str, **more: Any) -> bytes:
    """A call as the inbox holds it."""
    return json.dumps(call(key, **more)).encode() + b"\n"


GARBAGE: dict[str, tuple[int, bytes]] = {
    "no JSON": (1, b"garbage\n"),
    "no text": (1, b"\x00\xff\xfe\x80\n"),
    "no object": (1, b'[1, "call"]\n'),
    "cut short": (1, line("cut")[:-12] + b"\n"),
    "no customer": (1, b'{"eventName":"call","idempotencyKey":"nobody"}\n'),
    "no time": (1, line("never", timestamp="yesterday")),
    "fewer lines than its row says": (5, line("few-1") + line("few-2")),
    "more lines than its row says": (1, line("many-1") + line("many-2")),
    "nothing": (3, b""),
}
"""Bytes that no door lets in, and how many events their row says."""


# ------------------------------------------------------------------------------- on a live server


def put_into_inbox(folder: Path, environment: str, events: int, body: bytes) -> None:
    """Accept a request past the door."""
    with closing(open_inbox(Settings(data_dir=folder))) as store, store.writing() as transaction:
        Inbox(store).add(transaction, environment, SystemClock().now(), events, body)


def quarantine(server: Server, verb: str, *arguments: str) -> Any:
    """What ``tallystick quarantine`` says beside a live server."""
    told = command("quarantine", verb, *arguments, "--json", "--data-dir", str(server.folder))
    assert told.returncode in (0, 1), told.stderr
    return json.loads(told.stdout)


def set_aside(server: Server) -> int:
    """How many requests are, by ``/ready``."""
    return int(server.ask("/ready", key=None)[1]["quarantinedRequests"])


def assert_told(server: Server, requests: int, events: dict[str, int]) -> None:
    """``/ready``, ``/metrics``, the list and the ledger agree on what is set aside."""
    with raw(server) as http:
        ready = http.get("/ready")
        mine = http.get("/metrics").text.splitlines()
        of_all = httpx.get(f"{server.url}/metrics").text.splitlines()
    assert ready.status_code == 200
    assert ready.json()["quarantinedRequests"] == requests
    assert ready.json()["quarantinedEvents"] == sum(events.values())
    assert f"tallystick_quarantined_requests {requests}" in of_all
    assert f"tallystick_events_quarantined {sum(events.values())}" in of_all
    sample = f'tallystick_events_quarantined{{environment="default"}} {events["default"]}'
    assert sample in mine
    assert len(quarantine(server, "list")) == requests
    found = ledgers(server)
    for environment, lost in events.items():
        assert found[environment]["quarantined"] == lost
        assert found[environment]["waiting"] == 0


def test_bytes_that_cannot_be_folded_are_set_aside_alone(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        sell(sdk(server))
        folder = server.folder
        command("keys", "create", "--environment", "other", "--data-dir", str(folder))
        with stopped_worker(server):
            # Good and bad together, so that they meet in one step.
            for number, (events, body) in enumerate(GARBAGE.values()):
                assert server.ask(EVENTS, calls(f"good-{number}"))[0] == 200
                put_into_inbox(folder, "default", events, body)
            put_into_inbox(folder, "other", 2, line("elsewhere"))
        synced(server)
        assert usage(sdk(server), CUSTOMER, "calls") == len(GARBAGE)
        lost = {"default": sum(events for events, _ in GARBAGE.values()), "other": 2}
        assert_told(server, len(GARBAGE) + 1, lost)
        listed = quarantine(server, "list")
        assert all(each["reason"] for each in listed)

        # Bytes do not mend themselves: each comes back to the place it had.
        assert quarantine(server, "retry") == {"asked": len(listed)}
        synced(server)
        places = [(each["id"], each["position"]) for each in listed]
        again = quarantine(server, "list")
        assert [(each["id"], each["position"]) for each in again] == places
        assert usage(sdk(server), CUSTOMER, "calls") == len(GARBAGE)
        assert_told(server, len(GARBAGE) + 1, lost)


def test_a_request_that_kills_the_worker_is_found_and_set_aside(tmp_path: Path) -> None:
    requests, killer = 100, 60
    deadly = f"worker/fold.request/{killer}:1"
    with Server(tmp_path / "data", TALLYSTICK_FAIL_POINT=deadly) as server:
        sell(sdk(server))
        with stopped_worker(server):
            for number in range(requests):
                assert server.ask(EVENTS, calls(f"{number}"))[0] == 200
        wait_until(lambda: set_aside(server) == 1, "the killer to be found", seconds=60)
        waits = re.findall(
            r"worker-0 ended with code -9; again in (.+) s", server.errors.read_text()
        )
        assert set(waits) == {f"{limits.RESTART_SECONDS_MIN}"}, "nothing is counted meanwhile"
        synced(server)
        assert usage(sdk(server), CUSTOMER, "calls") == requests - 1
        assert_told(server, 1, {"default": 1})
        (found,) = quarantine(server, "list")
        assert found["position"] == killer
        assert "ended the worker process" in found["reason"]

        # At its new position it kills nobody, and counts.
        assert quarantine(server, "retry", str(found["id"])) == {"asked": 1}
        synced(server)
        assert usage(sdk(server), CUSTOMER, "calls") == requests
        assert_told(server, 0, {"default": 0})


# -------------------------------------------------------------------------------- in this process


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data", seed=0)
    made.set_up(meters=("calls",))
    made.add_customer(CUSTOMER, days_ago=1)
    yield made
    made.close()


def accept(world: World, requests: int) -> None:
    """So many requests of one call each."""
    for number in range(requests):
        assert world.door.post(EVENTS, calls(f"call-{number}", dimensions={})).status == 200


def assert_ledger(world: World, *, accepted: int, counted: int, quarantined: int) -> None:
    """The ledger is equal and says so."""
    report = world.verify()
    assert report.equal, "\n".join(report.lines())
    (environment,) = report.environments
    assert environment.accepted == accepted
    assert (environment.counted, environment.quarantined) == (counted, quarantined)
    assert environment.waiting == accepted - counted - quarantined
    assert environment.duplicates == 0


def listed(world: World) -> list[Quarantined]:
    """What is set aside."""
    with world.door.services.state.reading() as transaction:
        return list_quarantined(transaction)


def retry(world: World, quarantine_id: int | None = None) -> int:
    """Ask for another try, as the command does."""
    services = world.door.services
    return ask_retry(services.state, services.inbox, services.inbox_store, quarantine_id)


def failing_at(positions: set[int], error: Callable[[str], BaseException]) -> Callable[[str], None]:
    """An action that raises when the request at one of the positions is folded."""
    points = {f"fold.request/{position}" for position in positions}

    def action(point: str) -> None:
        if point in points:
            raise error(point)

    return action


def test_a_request_that_was_set_aside_counts_once_however_often_it_is_tried_again(
    world: World,
) -> None:
    accept(world, 9)
    failpoints.arm(failing_at({4}, ValueError))
    world.worker.drain()
    (poison,) = listed(world)
    assert (poison.position, poison.reason) == (4, "ValueError: fold.request/4")
    assert world.usage(CUSTOMER, "calls") == 8
    assert_ledger(world, accepted=9, counted=8, quarantined=1)

    # The fold is not mended yet: it keeps its place.
    failpoints.arm(failing_at({10}, ValueError))
    assert retry(world) == 1
    assert_ledger(world, accepted=9, counted=8, quarantined=1)
    world.worker.drain()
    assert [(each.id, each.position) for each in listed(world)] == [(poison.id, 4)]
    assert_ledger(world, accepted=9, counted=8, quarantined=1)

    # It is mended, and somebody is impatient.
    failpoints.arm(None)
    assert [retry(world), retry(world, poison.id), retry(world)] == [1, 1, 1]
    assert_ledger(world, accepted=9, counted=8, quarantined=1)
    world.worker.drain()
    assert world.usage(CUSTOMER, "calls") == 9
    assert listed(world) == []
    assert retry(world) == 0
    assert_ledger(world, accepted=9, counted=9, quarantined=0)


def test_a_retry_that_arrives_after_it_was_counted_changes_nothing(world: World) -> None:
    """The command reads what is set aside and then asks; the worker may be faster."""
    accept(world, 1)
    failpoints.arm(failing_at({1}, ValueError))
    world.worker.drain()
    failpoints.arm(None)
    (poison,) = listed(world)
    inbox, store = world.door.services.inbox, world.door.services.inbox_store
    retry(world)
    (again,) = inbox.take(poison.position, 10**6, 10)
    world.worker.drain()
    assert_ledger(world, accepted=1, counted=1, quarantined=0)
    with store.writing() as transaction:
        inbox.add_again(transaction, *again[1:5], origin=poison.id)
    world.worker.drain()
    assert_ledger(world, accepted=1, counted=1, quarantined=0)
    assert world.usage(CUSTOMER, "calls") == 1


@pytest.mark.parametrize("killers", [{77}, {1}, {100}, {20, 21, 90}], ids=str)
def test_few_deaths_find_what_kills(world: World, killers: set[int]) -> None:
    """Each death costs a start of the process: a hundred requests must not need dozens."""
    accept(world, 100)
    action = failing_at(killers, Crash)
    folded: list[list[str]] = []

    def watch(point: str) -> None:
        if point == "fold.before_files":
            folded.append([])
        elif point.startswith("fold.request/"):
            folded[-1].append(point)
        action(point)

    isolation = Isolation(world.door.services.folder.run / "attempt")
    closer: list[bool] = []
    while len(listed(world)) < len(killers):
        failpoints.arm(watch)
        try:
            world.worker.step()
        except Crash:
            closer.append(isolation.came_closer())
            alone = folded[-limits.STEP_ATTEMPTS_MAX :]
            world.restart()
        assert len(closer) <= len(killers) * (limits.STEP_ATTEMPTS_MAX + 2)
    assert closer.count(False) == len(killers), "only the first death of each comes no closer"
    assert alone == [[f"fold.request/{max(killers)}"]] * limits.STEP_ATTEMPTS_MAX
    failpoints.arm(None)
    world.worker.drain()
    assert {each.position for each in listed(world)} == killers
    assert world.usage(CUSTOMER, "calls") == 100 - len(killers)
    left = 100 - len(killers)
    assert_ledger(world, accepted=100, counted=left, quarantined=len(killers))
