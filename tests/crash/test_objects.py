"""``kill -9`` while files are read: reading goes on where it stood, and a record that ends the
process each time is refused alone."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tallystick import failpoints, limits
from tests.crash.test_kill import kill
from tests.crash.trouble import CUSTOMER, EVENTS, calls, ledgers, sell
from tests.objects.running import Place
from tests.objects.running import calls as file_of
from tests.proof.selling import sdk, synced, usage
from tests.serving import Server, command, wait_until
from tests.simulation.world import Crash

FILES = 4
EACH = 30_000
ENDED = ("succeeded", "partial", "failed", "stopped")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Place(tmp_path / "data") as made:
        yield made


def deaths_of(place: Place, line: int, most: int = 60) -> int:
    """How often the worker dies of the record at a line before it is done."""

    def die(point: str) -> None:
        if point == f"objects.record/{line}":
            raise Crash(point)

    for deaths in range(most):
        failpoints.arm(die)
        try:
            place.drain()
        except Crash:
            failpoints.arm(None)
            place.new_worker()
        else:
            failpoints.arm(None)
            return deaths
    raise AssertionError("it dies and dies")


def test_a_record_that_ends_the_process_each_time_is_refused_alone(
    place: Place, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(file_of(range(5_000)))
    (tmp_path / "y.jsonl").write_bytes(file_of(["y"]))
    run = place.add_import(path, tmp_path / "y.jsonl")
    deaths = deaths_of(place, 3_210)
    assert deaths <= limits.STEP_ATTEMPTS_MAX + 5
    found = place.objects(run)["x.jsonl"]
    assert (found.state, found.counted, found.rejected) == ("done", 4_999, 1)
    (refused,) = place.rejects(run)
    assert refused["line"] == 3_210
    assert "ended the worker process" in refused["reason"]
    assert "y" in place.rows()
    place.verified()


def test_a_record_that_cannot_be_counted_is_refused_alone(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(file_of(range(3_000)))
    run = place.add_import(path)

    def fail(point: str) -> None:
        if point == "objects.record/1234":
            raise ValueError("this one")

    failpoints.arm(fail)
    place.drain()
    failpoints.arm(None)
    assert (place.run(run).counted, place.run(run).rejected) == (2_999, 1)
    (refused,) = place.rejects(run)
    assert (refused["line"], "this one" in refused["reason"]) == (1_234, True)
    place.verified()


def test_failures_that_return_are_no_deaths(place: Place, tmp_path: Path) -> None:
    """A disk that is full, however often, costs no record its place."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(file_of(range(100)))
    run = place.add_import(path)
    left = 3 * limits.STEP_ATTEMPTS_MAX

    def fail(point: str) -> None:
        nonlocal left
        if point == "objects.before_files" and left:
            left -= 1
            raise OSError(28, "No space left on device")

    failpoints.arm(fail)
    place.drain()
    failpoints.arm(None)
    assert left == 0
    place.new_worker()
    assert (place.run(run).counted, place.run(run).rejected) == (100, 0)


# --------------------------------------------------------------------------------- on a live server


def fill(folder: Path) -> None:
    folder.mkdir()
    for number in range(FILES):
        keys = [f"{number}-{key}" for key in range(EACH)]
        (folder / f"{number}.jsonl").write_bytes(file_of(keys))


def begin(server: Server, folder: Path) -> tuple[str, str]:
    """A source of a folder and a run of it."""
    status, told = server.ask("/tally/v1/sources", {"url": f"file://{folder}"})
    assert status in (200, 201), told
    source = str(told["data"]["id"])
    status, told = server.ask(f"/tally/v1/sources/{source}/run", method="POST")
    assert status == 202, told
    return source, str(told["data"]["runId"])


def state(server: Server, source: str, run: str) -> str:
    return str(server.ask(f"/tally/v1/sources/{source}/runs/{run}")[1]["data"]["state"])


def assert_all(server: Server, source: str, run: str, sent: int) -> None:
    wait_until(lambda: state(server, source, run) in ENDED, "the run to end", seconds=120)
    assert state(server, source, run) == "succeeded"
    synced(server)
    assert usage(sdk(server), CUSTOMER, "calls") == FILES * EACH + sent
    assert ledgers(server)["default"]["rejected"] == 0


def test_killing_the_worker_during_an_import_loses_and_repeats_nothing(tmp_path: Path) -> None:
    chance = random.Random(3)
    fill(tmp_path / "exports")
    with Server(tmp_path / "data") as server:
        sell(sdk(server))
        source, run = begin(server, tmp_path / "exports")
        sent = kills = 0
        while state(server, source, run) not in ENDED and kills < 6:
            assert server.ask(EVENTS, calls(f"api-{sent}"))[0] == 200
            sent += 1
            if chance.random() < 0.3:
                with suppress(FileNotFoundError, ValueError):
                    kill(server.pid_of("worker-0"))
                    kills += 1
        assert kills > 0
        assert_all(server, source, run, sent)


def test_a_record_that_kills_while_those_before_it_are_counted_is_refused_alone(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "x.jsonl").write_bytes(file_of(range(5_000)))
    (folder / "y.jsonl").write_bytes(file_of(["y"]))
    deadly = "worker/objects.read/3210:1"
    with Server(tmp_path / "data", TALLYSTICK_FAIL_POINT=deadly) as server:
        sell(sdk(server))
        source, run = begin(server, folder)
        wait_until(lambda: state(server, source, run) in ENDED, "the run to end", seconds=120)
        progress = server.ask(f"/tally/v1/sources/{source}/runs/{run}")[1]["data"]
        synced(server)
        assert (progress["state"], progress["counted"], progress["rejected"]) == (
            "partial", 5_000, 1,
        )  # fmt: skip
        assert usage(sdk(server), CUSTOMER, "calls") == 5_000
    refused = [
        json.loads(line)
        for path in (tmp_path / "data" / "rejects").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert [(each["line"], each["object"]) for each in refused] == [(3_210, "x.jsonl")]


def test_killing_the_supervisor_during_an_import_loses_and_repeats_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "exports")
    folder = tmp_path / "data"
    with Server(folder) as first:
        sell(sdk(first))
        source, run = begin(first, tmp_path / "exports")
        progress = f"/tally/v1/sources/{source}/runs/{run}"
        wait_until(lambda: first.ask(progress)[1]["data"]["counted"] > 0, "the import to begin")
        first.stop(signal.SIGKILL)
    with Server(folder) as second:
        assert_all(second, source, run, 0)
    told = command("verify", "--data-dir", str(folder), "--json")
    assert json.loads(told.stdout)["equal"] is True
