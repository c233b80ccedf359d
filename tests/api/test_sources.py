"""Sources over HTTP: what may be said, how lists are paged, what readiness and metrics tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick import limits
from tallystick.app import open_worker
from tallystick.objects import ledger
from tests.api.door import Door, at
from tests.api.scene import event

SOURCES = "/tally/v1/sources"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files count at once."""
    monkeypatch.setattr(limits, "OBJECT_SETTLED_SECONDS", 0)
    made = tmp_path / "exports"
    made.mkdir()
    return made


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with Door(tmp_path / "data") as it:
        yield it


def add(door: Door, folder: Path, **settings: Any) -> str:
    answered = door.post(SOURCES, {"url": f"file://{folder}"} | settings)
    assert answered.status == 201, answered.body
    return str(answered.data["id"])


def run(door: Door, source: str) -> Any:
    """Look at a source now; returns the run at its end."""
    asked = door.post(f"{SOURCES}/{source}/run")
    assert asked.status == 202, asked.body
    door.fold()
    return door.get(f"{SOURCES}/{source}/runs/{asked.data['runId']}").data


def put(folder: Path, name: str, *keys: str) -> None:
    (folder / name).write_text("".join(json.dumps(event(key)) + "\n" for key in keys))


# ---------------------------------------------------------------------------------- what is said


def test_a_source_is_answered_as_it_was_given_with_its_defaults(door: Door, folder: Path) -> None:
    given = {
        "url": f"file://{folder}", "pattern": "*.csv", "columns": {"customerId": "account"},
        "rejectShareMax": 0.5, "rejectsUrl": f"file://{folder}/rejects",
        "schedule": {"cron": "0 3 * * *", "timeZone": "Europe/Berlin"},
    }  # fmt: skip
    told = door.post(SOURCES, given).data
    assert {name: told[name] for name in given} == given
    assert (told["access"], told["paused"], told["environment"]) == (
        "environment",
        False,
        "default",
    )
    assert told["nextRunAt"] == "2026-01-21T02:00:00.000Z", "three o'clock in Berlin"
    plain = door.post(SOURCES, {"url": f"file://{folder}"}).data
    assert (plain["schedule"], plain["rejectShareMax"]) == ({"every": "1h"}, 0.1)
    assert door.get(f"{SOURCES}/{told['id']}").data == told


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "url"),
        ({"url": 7}, "url"),
        ({"url": ""}, "url"),
        ({"url": "exports"}, "url: must begin with s3://, gs:// or file://"),
        ({"url": "ftp://host/x"}, "url: must begin with s3://, gs:// or file://"),
        ({"url": "s3://user:secret@bucket"}, "url: must name a bucket, and no user"),
        ({"url": "file:///x", "shedule": {"every": "1h"}}, "shedule"),
        ({"url": "file:///x", "schedule": {"every": "1s"}}, "schedule.every: must be at least"),
        ({"url": "file:///x", "schedule": {"cron": "nonsense"}}, "schedule.cron"),
        ({"url": "file:///x", "schedule": {"every": "1h", "zone": "UTC"}}, "schedule.zone"),
        ({"url": "file:///x", "columns": {"customer": "x"}}, "columns.customer"),
        ({"url": "file:///x", "columns": {"customerId": "x", "eventName": "x"}}, "columns"),
        ({"url": "file:///x", "rejectShareMax": 2}, "rejectShareMax"),
        ({"url": "file:///x", "rejectShareMax": True}, "rejectShareMax"),
        ({"url": "file:///x", "rejectsUrl": "rejects"}, "rejectsUrl: must begin with"),
        ({"url": "file:///x", "pattern": ["*"]}, "pattern"),
        ({"url": "file:///x", "access": "password"}, "access"),
        ({"url": "file:///x", "access": {"password": "x"}}, "access.password: unknown"),
        ({"url": "s3://b", "access": {"keyId": "x"}}, "access.keyId, secret: give both"),
        ({"url": "file:///x", "pattern": "x" * 70_000}, "more than 65536 bytes"),
    ],
)
def test_what_cannot_be_meant_is_refused(door: Door, given: Any, complaint: str) -> None:
    answered = door.post(SOURCES, given)
    assert (answered.status, answered.code) == (400, "BadUserInput")
    assert complaint in answered.json["message"]
    assert door.get(SOURCES).data == []


def test_the_data_of_a_server_is_nobodys_objects(door: Door, folder: Path, tmp_path: Path) -> None:
    (door.folder.path / "owner.lock").touch()
    (folder / "link").symlink_to(door.folder.archive)
    for path in (door.folder.path, door.folder.archive, folder / "link"):
        answered = door.post(SOURCES, {"url": f"file://{path}"})
        assert (answered.status, answered.code) == (400, "BadUserInput")
    assert door.post(SOURCES, {"url": "file:///x", "rejectsUrl": f"file://{path}"}).status == 400
    put(folder, "a.jsonl", "1")
    told = run(door, add(door, tmp_path))
    states = {each["key"]: each["state"] for each in told["objects"]}
    assert states == {"exports/a.jsonl": "done", "exports/link": "ignored", "data": "ignored"}


def test_changes(door: Door, folder: Path) -> None:
    source = add(door, folder, pattern="*.csv", access={"region": "eu-west-1"})

    def change(body: object) -> Any:
        return door.run(door.call("PATCH", f"{SOURCES}/{source}", body))

    told = change({"pattern": None, "schedule": {"every": "15m"}}).data
    assert (told["pattern"], told["schedule"]) == (None, {"every": "15m"})
    assert told["access"] == {"region": "eu-west-1"}, "what is left out stays"
    assert told["nextRunAt"] == "2026-01-20T12:15:00.000Z"
    assert change({"url": "file:///y"}).code == "BadUserInput"
    assert change({"rejectShareMax": 7}).code == "BadUserInput"
    assert door.get(f"{SOURCES}/{source}").data == told


def test_what_is_not_there(door: Door, folder: Path) -> None:
    source = add(door, folder)
    for method, path, code in (
        ("GET", "nobody", "SourceNotFound"),
        ("POST", "nobody/run", "SourceNotFound"),
        ("POST", "nobody/check", "SourceNotFound"),
        ("GET", f"{source}/runs/none", "RunNotFound"),
        ("POST", f"{source}/objects/7/retry", "ObjectNotFound"),
        ("POST", f"{source}/objects/-x/retry", "ObjectNotFound"),
        ("POST", f"{source}/objects/{'9' * 40}/retry", "ObjectNotFound"),
    ):
        answered = door.run(door.call(method, f"{SOURCES}/{path}"))
        assert (answered.status, answered.code) == (404, code), path


def test_sources_of_an_environment_have_a_bound(
    door: Door, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOURCES_MAX", 2)
    first = add(door, folder)
    add(door, folder)
    assert door.post(SOURCES, {"url": "file:///x"}).status == 400
    door.run(door.call("DELETE", f"{SOURCES}/{first}"))
    add(door, folder)


# ------------------------------------------------------------------------------------------- runs


def test_a_run_says_what_became_of_each_object(door: Door, folder: Path) -> None:
    put(folder, "a.jsonl", "1", "2", "2")
    (folder / "b.jsonl").write_text("nonsense\n")
    source = add(door, folder)
    told = run(door, source)
    assert told["runId"] == told["id"]
    assert (told["state"], told["counted"], told["duplicates"], told["rejected"]) == (
        "partial", 2, 1, 1,
    )  # fmt: skip
    assert sum(told["reasons"].values()) == 1
    objects = {each["key"]: each for each in told["objects"]}
    assert objects["a.jsonl"]["state"] == objects["b.jsonl"]["state"] == "done"
    assert told["progress"] == {
        "bytes": told["bytes"], "bytesTotal": told["bytes"], "objects": 2, "objectsTotal": 2,
        "listed": True,
    }  # fmt: skip
    assert told["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    (file,) = Path(told["rejects"]).iterdir()
    assert json.loads(file.read_text())["line"] == 1


def test_runs_are_paged_the_newest_first(door: Door, folder: Path) -> None:
    source = add(door, folder)
    ids = [run(door, source)["id"] for _ in range(5)]
    first = door.get(f"{SOURCES}/{source}/runs?limit=2").json
    second = door.get(f"{SOURCES}/{source}/runs?limit=2&after={first['pagination']['next']}").json
    third = door.get(f"{SOURCES}/{source}/runs?limit=2&after={second['pagination']['next']}").json
    back = door.get(f"{SOURCES}/{source}/runs?limit=2&before={third['pagination']['prev']}").json
    assert [each["id"] for page in (first, second, third) for each in page["data"]] == ids[::-1]
    assert third["pagination"]["next"] is None
    assert back["data"] == second["data"]
    assert "objects" not in first["data"][0]


def test_a_run_that_waits_stands_for_the_next_and_one_under_way_does_not(
    door: Door, folder: Path
) -> None:
    source = add(door, folder)
    first = door.post(f"{SOURCES}/{source}/run").data["runId"]
    assert door.post(f"{SOURCES}/{source}/run").data["runId"] == first
    with door.services.state.writing() as transaction:
        found = ledger.find_run(transaction, first)
        assert found is not None
        transaction.run(ledger.START_RUN, door.services.clock.now(), found.seq)
    assert door.post(f"{SOURCES}/{source}/run").data["runId"] != first, "it may have listed before"


def test_a_check_tells_what_is_missing(door: Door, folder: Path) -> None:
    there, gone = add(door, folder), add(door, folder / "gone")
    assert door.post(f"{SOURCES}/{there}/check").data["good"] is True
    told = door.post(f"{SOURCES}/{gone}/check").data
    assert (told["good"], [each["good"] for each in told["findings"]]) == (False, [False, False])
    assert "create it, or correct the path" in told["findings"][0]["message"]


def test_a_check_tries_whether_rejects_can_be_kept(door: Door, folder: Path) -> None:
    (folder / "taken").write_text("a file where a folder should be")
    good = add(door, folder, rejectsUrl=f"file://{folder}/rejects/")
    bad = add(door, folder, rejectsUrl=f"file://{folder}/taken/below/")
    for source, expected in ((good, True), (bad, False)):
        findings = door.post(f"{SOURCES}/{source}/check").data["findings"]
        assert [(each["step"], each["good"]) for each in findings][-1] == ("write", expected)


def test_so_many_checks_at_a_time(
    door: Door, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = add(door, folder)
    monkeypatch.setattr(limits, "CHECKS_TOGETHER_MAX", 0)
    assert door.post(f"{SOURCES}/{source}/check").code == "RateLimitExceeded"


# ------------------------------------------------------------------------- readiness and metrics


def test_readiness_tells_of_sources_that_are_late_or_failing(door: Door, folder: Path) -> None:
    def told() -> tuple[str, int, int]:
        ready = door.get("/ready", key=None).json
        return ready["status"], ready["sourcesLate"], ready["sourcesFailing"]

    gone = add(door, folder / "gone")
    assert told() == ("ready", 0, 0)
    assert run(door, gone)["state"] == "failed"
    assert told() == ("ready", 0, 1)
    door.move_clock("2026-01-20T13:04:59Z")
    assert told() == ("ready", 0, 1)
    door.move_clock("2026-01-20T13:05:01Z")
    assert told() == ("ready", 1, 1), "its time came five minutes ago"
    (folder / "gone").mkdir()
    door.fold()
    assert told() == ("ready", 0, 0), "looked at, and well"
    door.run(door.call("DELETE", f"{SOURCES}/{gone}"))
    door.move_clock("2026-02-20T13:05:01Z")
    assert told() == ("ready", 0, 0), "what was removed is not missed"


def metrics(door: Door, key: str | None) -> dict[str, float]:
    lines = door.get("/metrics", key=key).body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("tallystick_"))
    return {
        name.removeprefix("tallystick_"): float(value)
        for name, _, value in pairs
        if "object" in name or "source" in name
    }


def test_metrics_tell_what_came_of_objects(door: Door, folder: Path) -> None:
    put(folder, "a.jsonl", "1", "2", "2")
    source = add(door, folder)
    run(door, source)
    other = door.new_key("other")
    door.key, own = other, door.key
    (folder / "b.jsonl").write_text("nonsense\n")
    run(door, add(door, folder))
    door.key = own
    door.post(f"{SOURCES}/{source}/run")
    door.move_clock("2026-01-20T12:00:30Z")
    everyone, mine = metrics(door, None), metrics(door, own)
    assert everyone['object_records_total{outcome="counted"}'] == 4
    assert everyone['object_runs_total{state="partial"}'] == 1
    assert everyone['object_runs{state="queued"}'] == 1
    assert everyone["sources_failing"] == 0
    assert not [name for name in everyone if "environment" in name or "source=" in name]
    assert mine['object_records_total{environment="default",outcome="counted"}'] == 2
    assert mine['object_records_total{environment="default",outcome="rejected"}'] == 0
    assert mine['object_runs_total{environment="default",state="succeeded"}'] == 1
    assert mine['object_bytes_total{environment="default"}'] == (
        (folder / "a.jsonl").stat().st_size
    )
    age = f'source_last_success_seconds{{environment="default",source="{source}"}}'
    assert mine[age] == 30
    assert [name for name in mine if "other" in name] == []


# --------------------------------------------------------------------------------- what is kept


def rows(door: Door, table: str) -> int:
    with door.services.state.reading() as transaction:
        row = transaction.one(f"SELECT count(*) FROM {table}")
        assert row is not None
        return int(row[0] or 0)


def tidy(door: Door) -> None:
    with open_worker(door.settings) as worker:
        while worker.upkeep.tidy():
            pass


def test_old_runs_go_with_their_rejects_and_the_ledger_of_objects_stays(
    door: Door, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RUNS_KEPT_MIN", 1)
    (folder / "a.jsonl").write_text("nonsense\n" + json.dumps(event("1")))
    (folder / "b.tmp").write_text("")
    source = add(door, folder)
    old = run(door, source)
    newer = run(door, source)
    assert (old["state"], newer["state"]) == ("partial", "succeeded")
    tidy(door)
    assert rows(door, "object_runs") == 2, "young enough"
    door.move_clock("2026-05-01T00:00:00Z")
    door.run(door.call("POST", f"{SOURCES}/{source}/pause"))
    tidy(door)
    assert [each["id"] for each in door.get(f"{SOURCES}/{source}/runs").data] == [newer["id"]]
    assert not Path(old["rejects"]).exists()
    assert rows(door, "objects WHERE state = 'done'") == 1, "else it would be read again"
    assert metrics(door, None)['object_runs_total{state="partial"}'] == 1, "and counts stay"


def test_totals_of_objects_are_one_row(door: Door, folder: Path) -> None:
    for name in ("a", "b", "c"):
        put(folder, f"{name}.jsonl", name)
        run(door, add(door, folder))
    assert rows(door, "object_totals") == 1


def test_an_object_is_a_row_for_each_version(door: Door, folder: Path) -> None:
    source = add(door, folder)
    put(folder, "a.jsonl", "1")
    run(door, source)
    run(door, source)
    assert rows(door, "objects") == 1
    put(folder, "a.jsonl", "1", "2")
    run(door, source)
    assert rows(door, "objects") == 2


def test_reasons_of_a_run_are_bounded(
    door: Door, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RUN_REASONS_MAX", 2)
    bad = [event("x") | {"customerId": ""}, event("x") | {"eventName": "$x"}, event(""), [], 7]
    (folder / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in bad))
    told = run(door, add(door, folder))
    assert len(told["reasons"]) == 3
    assert sum(told["reasons"].values()) == told["rejected"] == 5
    assert "other reasons" in told["reasons"]


def test_a_schedule_is_met_by_one_run(door: Door, folder: Path) -> None:
    source = add(door, folder)
    door.move_clock("2026-01-22T12:30:00Z")
    door.fold()
    runs = door.get(f"{SOURCES}/{source}/runs").data
    assert [(each["cause"], each["state"]) for each in runs] == [("schedule", "succeeded")]
    next_at = door.get(f"{SOURCES}/{source}").data["nextRunAt"]
    assert next_at == "2026-01-22T13:00:00.000Z", "what was missed is not made up for"
    assert at(next_at) > door.services.clock.now()
