"""Every event of every file is counted once, whatever becomes of the file and of who reads it."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard

from tallystick import failpoints, limits
from tallystick.clock import to_datetime
from tallystick.fold.step import Fold
from tallystick.objects import sources
from tests.objects.running import Place, calls, event, lines


def small_steps(monkeypatch: pytest.MonkeyPatch, events: int = 10, piece: int = 4_000) -> None:
    """Parts of so many records, and pieces of so many bytes."""
    monkeypatch.setattr(limits, "STEP_EVENTS_MIN", events)
    monkeypatch.setattr(limits, "STEP_EVENTS_MAX", events)
    monkeypatch.setattr(limits, "OBJECT_PIECE_BYTES", piece)


def as_csv(keys: range) -> bytes:
    rows = "".join(f'acme,call,{key},"two\nlines"\n' for key in keys)
    return f"customerId,eventName,idempotencyKey,dimensions.note\n{rows}".encode()


def as_parquet(keys: range) -> bytes:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"tallystick-test-{os.getpid()}.parquet"
    duckdb.execute(
        "COPY (SELECT 'acme' AS \"customerId\", 'call' AS \"eventName\", "
        f'CAST(range AS VARCHAR) AS "idempotencyKey" FROM range({keys.start}, {keys.stop})) '
        f"TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)"
    )
    try:
        return path.read_bytes()
    finally:
        path.unlink()


FILES: dict[str, Callable[[range], bytes]] = {
    "x.jsonl": calls,
    "x.ndjson.gz": lambda keys: gzip.compress(calls(keys)),
    "x.jsonl.zst": lambda keys: zstandard.compress(calls(keys)),
    "x.csv": as_csv,
    "x.csv.gz": lambda keys: gzip.compress(as_csv(keys)),
    "x.parquet": as_parquet,
}  # fmt: skip
POINTS = ("objects.before_files", "fold.after_archive_file", "fold.after_key_run",
          "objects.before_commit", "fold.before_commit", "fold.after_commit",
          "objects.after_commit", "objects.after_step")  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_who_dies_between_any_two_writes_is_followed_in_the_middle_of_the_file(
    place: Place, exports: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    (exports / name).write_bytes(FILES[name](range(200)))
    run = place.add_import(exports)
    place.new_worker()
    for number, point in enumerate(POINTS):
        with place.dying(point, times=1 + number % 3):
            place.drain()
        at = place.one(run)
        assert at.records < 200
    place.drain()
    found = place.one(run)
    assert (found.state, found.records, found.counted, found.duplicates) == ("done", 200, 200, 0)
    assert [int(key) for key in place.rows()] == list(range(200))
    first = 2 if name.startswith("x.csv") else 1
    step = 2 if name.startswith("x.csv") else 1
    assert place.rows("line") == list(range(first, first + 200 * step, step))
    assert place.run(run).state == "succeeded"
    place.verified()


def test_who_dies_after_writing_rejects_writes_them_once(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    records = [b"bad\n" if key % 10 == 3 else calls([key]) for key in range(100)]
    (exports / "x.jsonl").write_bytes(b"".join(records))
    run = place.add_import(exports)
    place.new_worker()
    for _ in range(3):
        with place.dying("objects.after_rejects", times=2):
            place.drain()
    place.drain()
    assert [each["line"] for each in place.rejects(run)] == list(range(4, 101, 10))
    assert (place.run(run).state, place.run(run).rejected) == ("partial", 10)
    (environment,) = place.verified().environments
    assert (environment.accepted, environment.counted, environment.rejected) == (100, 90, 10)


def test_pieces_that_are_cut_otherwise_when_reading_goes_on_lose_and_repeat_nothing(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch, events=9, piece=8_000)
    wide = [event(key, dimensions={"x": "x" * (1_500 if key % 50 == 20 else 1)})
            for key in range(300)]  # fmt: skip
    (exports / "x.jsonl").write_bytes(lines(wide))
    run = place.add_import(exports)
    place.new_worker()
    for number in range(12):
        monkeypatch.setattr(limits, "OBJECT_PIECE_BYTES", (8_000, 900, 3_000)[number % 3])
        with place.dying("objects.after_commit", times=2):
            place.drain()
    place.drain()
    found = place.one(run)
    assert (found.records, found.counted, found.duplicates) == (300, 300, 0)
    assert [int(key) for key in place.rows()] == list(range(300))


def test_a_file_delivered_again_under_any_name_changes_no_total(
    place: Place, exports: Path
) -> None:
    place.send(1, 2)
    (exports / "a.jsonl").write_bytes(calls(range(10)))
    source = place.add_source(exports)
    first = place.ran(source)
    assert (first.counted, first.duplicates) == (8, 2)
    shutil.copy(exports / "a.jsonl", exports / "copy.jsonl")
    (exports / "a.jsonl").rename(exports / "renamed.jsonl")
    again = place.ran(source)
    assert (again.counted, again.duplicates, again.state) == (0, 20, "succeeded")
    assert place.ran(source).bytes == 0, "what is known is not read"
    assert (place.imported(exports).counted, len(place.rows())) == (0, 10)
    place.send(3, 99)
    place.drain()
    assert len(place.rows()) == 11
    place.verified()


def test_of_an_overwritten_file_only_the_new_events_count(place: Place, exports: Path) -> None:
    source = place.add_source(exports)
    (exports / "a.jsonl").write_bytes(calls(range(5)))
    place.ran(source)
    (exports / "a.jsonl").write_bytes(calls(range(8)))
    run = place.ran(source)
    assert (run.counted, run.duplicates) == (3, 5)
    (exports / "late.jsonl").write_bytes(calls(["late"]))
    os.utime(exports / "late.jsonl", (0, 0))
    assert place.ran(source).counted == 1, "found, however old it says to be"
    place.verified()


def test_a_version_of_something_read_too_long_ago_waits_for_a_person(
    place: Place, exports: Path
) -> None:
    source = place.add_source(exports)
    (exports / "a.jsonl").write_bytes(calls(range(5)))
    place.ran(source)
    later = to_datetime(place.now()).replace(month=3)
    place.door.move_clock(later.isoformat())
    (exports / "a.jsonl").write_bytes(calls(range(8)))
    run = place.ran(source)
    found = place.one(run)
    assert (run.state, found.state, run.counted) == ("partial", "review", 0)
    assert "longer ago than keys are remembered" in str(found.reason)
    renamed = exports / "same bytes.jsonl"
    (exports / "a.jsonl").rename(renamed)
    again = place.retry(source, found.id)
    place.drain()
    assert place.objects(again)["a.jsonl"].state == "gone"
    place.verified()


def test_the_same_bytes_read_too_long_ago_wait_for_a_person_who_may_insist(
    place: Place, exports: Path
) -> None:
    path = exports / "a.jsonl"
    path.write_bytes(calls(range(5)))
    assert place.imported(path).counted == 5
    place.door.move_clock("2026-03-20T00:00:00Z")
    path.rename(exports / "b.jsonl")
    source = place.add_source(exports)
    found = place.one(place.ran(source))
    assert (found.state, "the same bytes were read as a.jsonl" in str(found.reason)) == (
        "review", True,
    )  # fmt: skip
    run = place.retry(source, found.id)
    place.drain()
    assert (place.one(run).state, place.one(run).counted) == ("done", 5)
    place.verified()


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv.gz", "x.parquet"])
def test_a_file_changed_while_it_is_read_is_read_as_the_new_version(
    place: Place, exports: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    monkeypatch.setattr(limits, "OBJECT_RANGE_BYTES", 100)
    path = exports / name
    path.write_bytes(FILES[name](range(5_000)))
    run = place.add_import(exports)
    place.new_worker()
    place.until(lambda: place.run(run).counted >= 30)
    path.write_bytes(FILES[name](range(4_000, 4_100)))
    place.drain()
    with place.door.services.state.reading() as transaction:
        old, new = transaction.all("SELECT state, counted, reason FROM objects ORDER BY id")
    assert old[0] == "gone"
    assert "changed" in str(old[2])
    assert new[0] == "done"
    assert place.run(run).state == "succeeded"
    keys = [int(key) for key in place.rows()]
    assert keys == [*range(int(str(old[1]))), *range(4_000, 4_100)], "no rows of two versions"
    place.verified()


def test_other_names_and_links_are_left_alone_and_told(place: Place, exports: Path) -> None:
    (exports / "a.jsonl").write_bytes(calls([1]))
    (exports / "notes.txt").write_text("x")
    (exports / "link.jsonl").symlink_to(exports / "a.jsonl")
    folder = exports / "folder.jsonl"
    folder.mkdir()
    (folder / "b.jsonl").write_bytes(calls([2]))
    run = place.imported(exports)
    found = {key: (each.state, each.reason) for key, each in place.objects(run).items()}
    assert found == {
        "a.jsonl": ("done", None),
        "folder.jsonl/b.jsonl": ("done", None),
        "link.jsonl": (
            "ignored", "it is a symbolic link: put the file itself into the folder"),
        "notes.txt": ("ignored", "its name has no ending that is read"),
    }  # fmt: skip
    assert (run.ignored, run.counted, run.state) == (2, 2, "succeeded")


def test_an_object_of_too_many_bad_records_is_stopped_and_tried_again_after_a_change(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch, events=50)
    monkeypatch.setattr(limits, "REJECTS_FREE", 20)
    source = place.add_source(exports)
    records = [b"bad\n" if key % 3 == 0 else calls([key]) for key in range(600)]
    (exports / "x.jsonl").write_bytes(b"".join(records))
    (exports / "y.jsonl").write_bytes(calls(["y"]))
    place.new_worker()
    run = place.ran(source)
    found = place.objects(run)
    assert found["x.jsonl"].state == "stopped"
    assert 20 < found["x.jsonl"].rejected < 40, "as soon as it is clear"
    assert "records are bad, more than the share of 0.1" in str(found["x.jsonl"].reason)
    assert (found["y.jsonl"].state, run.state) == ("done", "partial")
    again = place.retry(source, found["x.jsonl"].id)
    monkeypatch.setattr(limits, "REJECTS_FREE", 1_000)
    place.drain()
    assert place.objects(again)["x.jsonl"].state == "done"
    assert sorted(int(key) for key in place.rows() if key != "y") == [
        key for key in range(600) if key % 3
    ]
    place.verified()


@pytest.mark.parametrize("verb", ["pause", "remove"])
def test_a_source_paused_or_removed_in_mid_run_stops_it_and_holds_nobody_up(
    place: Place, exports: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    source = place.add_source(exports)
    (exports / "x.jsonl").write_bytes(calls(range(500)))
    place.new_worker()
    run = place.ask_run(source)
    place.until(lambda: place.run(run).counted >= 50)
    place.worker.importer._parts._has_turn()  # a part waits for its turn
    with place.door.services.state.writing() as transaction:
        found = sources.find(transaction, "default", source)
        if verb == "pause":
            sources.pause(transaction, found, True, place.now())
        else:
            sources.remove(transaction, found, place.now())
    place.send("by the API")
    place.drain()
    stopped = place.run(run)
    assert (stopped.state, stopped.counted < 500) == ("stopped", True)
    assert place.rows()[-1] == "by the API"
    place.verified()
    if verb == "pause":
        with place.door.services.state.writing() as transaction:
            sources.pause(transaction, found, False, place.now())
        assert place.ran(source).counted == 500 - stopped.counted, "goes on where it stopped"
        assert place.run(place.ask_run(source)).state == "queued"


def test_two_runs_are_worked_off_one_after_the_other(place: Place, exports: Path) -> None:
    (exports / "a.jsonl").write_bytes(calls(range(10)))
    one, two = place.add_import(exports), place.add_import(exports)
    source = place.add_source(exports)
    three = place.ask_run(source)
    assert place.ask_run(source) == three, "one that waits is enough"
    place.drain()
    told = [(place.run(each).counted, place.run(each).duplicates) for each in (one, two, three)]
    assert told == [(10, 0), (0, 10), (0, 10)]


def test_a_source_is_looked_at_when_its_time_comes(place: Place, exports: Path) -> None:
    place.add_source(exports, schedule={"every": "1h"})
    (exports / "a.jsonl").write_bytes(calls(range(3)))
    place.drain()
    assert place.rows() == []
    place.door.move_clock("2026-01-20T13:00:01Z")
    place.drain()
    assert len(place.rows()) == 3


def test_what_came_in_an_object_keeps_its_time_and_where_it_is_from(
    place: Place, exports: Path
) -> None:
    path = exports / "a.jsonl"
    path.write_bytes(lines([event(1), event(2, timestamp="2026-01-05T00:00:00+02:00")]))
    os.utime(path, (1_767_000_000, 1_767_000_000))
    place.imported(path)
    assert place.rows("epoch_us(event_time)") == [1_767_000_000_000_000, 1_767_564_000_000_000]
    assert place.rows("way") == ["object", "object"]
    assert place.rows("source") == [f"file://{path}"] * 2


# ---------------------------------------------------------------------- beside what the API takes


def told_as_of(place: Place) -> int:
    return int(place.door.services.freshness.read().as_of)


def test_freshness_never_runs_ahead_of_what_waits_behind_a_part(place: Place) -> None:
    """A position is reserved: what the API takes later is folded after it, and told so."""
    counting = place.worker.counting
    counting.barrier = place.door.services.inbox.reserve()
    place.worker.fold.step()
    received = place.now()
    place.send("behind")
    place.door.move_clock("2026-01-20T12:30:00Z")
    place.worker.fold.step()
    assert told_as_of(place) <= received
    counting.barrier = None
    place.worker.fold.step()
    place.worker.fold.step()
    assert told_as_of(place) == place.now()


def test_freshness_advances_during_an_import_and_over_a_gap_that_a_crash_left(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    (exports / "x.jsonl").write_bytes(calls(range(100)))
    run = place.add_import(exports)
    place.new_worker()
    for minute in range(1, 5):
        place.door.move_clock(f"2026-01-20T12:0{minute}:00Z")
        before = place.run(run).counted
        place.until(lambda before=before: place.run(run).counted > before)  # type: ignore[misc]
        place.worker.fold.step()
        assert told_as_of(place) == place.now()
    with place.dying("objects.before_files"):
        place.drain()
    place.door.move_clock("2026-01-20T12:10:00Z")
    fold: Fold = place.worker.fold
    assert fold.position < place.door.services.inbox.head(), "a gap"
    fold.step()
    assert told_as_of(place) == place.now()
    assert fold.position == place.door.services.inbox.head()


def test_events_of_the_api_keep_their_order_among_the_parts_of_an_import(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    (exports / "x.jsonl").write_bytes(calls(range(100)))
    place.add_import(exports)
    place.new_worker()
    for number in range(1_000):
        if number % 5 == 0:
            place.send(f"api-{number}", number % 100)
        if not place.step() and not place.worker.importer.is_busy:
            break
    place.drain()
    assert len(place.rows()) == len(set(place.rows()))
    place.verified()


def metered(place: Place) -> None:
    from tests.simulation.world import _feature, _monthly

    def post(path: str, body: Any) -> None:
        answered = place.door.post(path, body)
        assert answered.status in (200, 201), answered.json

    post("/api/v1/products", {"id": "main", "displayName": "Main"})
    meter = {"aggregation": {"function": "COUNT"}, "filters": [{"conditions": [
        {"field": "eventName", "operation": "EQUALS", "value": "call"}]}]}  # fmt: skip
    post("/api/v1/features", _feature("calls", "INCREMENTAL") | {"meter": meter})
    post("/api/v1/plans", {"id": "plan", "displayName": "Plan", "productId": "main"})
    post("/api/v1/plans/plan/entitlements", {"entitlements": [_monthly("calls")]})
    post("/api/v1/plans/plan/publish", {"migrationType": "NEW_CUSTOMERS"})
    post("/api/v1/customers", {"id": "acme"})
    post("/api/v1/subscriptions", {"customerId": "acme", "planId": "plan",
                                   "startDate": "2026-01-01T00:00:00Z"})  # fmt: skip


def usage(place: Place) -> int:
    path = "/api/v1/customers/acme/entitlements/check?featureId=calls"
    return int(place.door.get(path).data["currentUsage"])


def test_a_recount_while_an_import_runs_ends_at_what_was_counted_along(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch, events=20)
    events = [event(key, timestamp="2026-01-10T00:00:00Z") for key in range(400)]
    (exports / "x.jsonl").write_bytes(lines(events))
    run = place.add_import(exports)
    place.new_worker()
    place.until(lambda: place.run(run).counted >= 100)
    metered(place)  # what is archived is recounted, the rest counted as it comes
    for _ in range(5):
        place.step()
        place.worker.recounts.step()
    place.drain()
    assert usage(place) == 400
    place.verified()


# ----------------------------------------------------------------------------- whatever the format

TOLD: list[dict[str, Any]] = [
    {"customerId": "acme", "eventName": "call", "idempotencyKey": "1", "resourceId": "r",
     "timestamp": "2026-01-05T10:00:00.25Z", "dimensions": {"n": 7, "region": "eu"}},
    {"customerId": "über", "eventName": "call", "idempotencyKey": "2",
     "timestamp": "2026-01-05T12:00:00+02:00",
     "dimensions": {"n": 12345678901234567, "region": "a,b"}},
    {"customerId": "acme", "eventName": 'pa"ge', "idempotencyKey": "3",
     "timestamp": "2026-01-06T00:00:00Z", "dimensions": {"region": "us"}},
    {"customerId": "acme", "eventName": "call", "idempotencyKey": "4",
     "timestamp": "2026-01-06T00:00:01Z"},
]  # fmt: skip
KEPT = ("customer || '|' || coalesce(resource, '') || '|' || event_name || '|' || key || '|' || "
        "epoch_us(event_time) || '|' || coalesce(dimensions->>'n', '') || '|' || "
        "coalesce(dimensions->>'region', '')")  # fmt: skip
SELECTED = """
SELECT * FROM (VALUES
    ('acme', 'call', '1', 'r', TIMESTAMPTZ '2026-01-05 10:00:00.25+00', 7::BIGINT, 'eu'),
    ('über', 'call', '2', NULL, TIMESTAMPTZ '2026-01-05 10:00:00+00', 12345678901234567, 'a,b'),
    ('acme', 'pa"ge', '3', NULL, TIMESTAMPTZ '2026-01-06 00:00:00+00', NULL, 'us'),
    ('acme', 'call', '4', NULL, TIMESTAMPTZ '2026-01-06 00:00:01+00', NULL, NULL)
) AS t("customerId", "eventName", "idempotencyKey", "resourceId", "timestamp", n, region)
"""
SHAPES = {
    "flattened": 'n AS "dimensions.n", region AS "dimensions.region"',
    "struct": "{'n': n, 'region': region} AS dimensions",
    "text": "to_json({'n': n, 'region': region}) AS dimensions",
}


def flat(told: dict[str, Any]) -> dict[str, Any]:
    dimensions = {f"dimensions.{n}": v for n, v in told.get("dimensions", {}).items()}
    return {name: value for name, value in told.items() if name != "dimensions"} | dimensions


def csv_of(events: list[dict[str, Any]]) -> bytes:
    names = ["customerId", "eventName", "idempotencyKey", "resourceId", "timestamp",
             "dimensions.n", "dimensions.region"]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(flat(told) for told in events)
    return text.getvalue().encode()


def parquet_of(shape: str, path: Path) -> bytes:
    fields = '"customerId", "eventName", "idempotencyKey", "resourceId", "timestamp"'
    select = f"SELECT {fields}, {SHAPES[shape]} FROM ({SELECTED})"
    duckdb.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    data = path.read_bytes()
    path.unlink()
    return data


@pytest.mark.parametrize("shape", ["nested", "flat", "csv", *SHAPES])
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_the_same_events_are_the_same_rows_in_every_format(
    place: Place, exports: Path, shape: str, packed: str
) -> None:
    if shape in SHAPES:
        if packed:
            return  # Parquet compresses within itself
        data, name = parquet_of(shape, exports / "made"), "x.parquet"
    elif shape == "csv":
        data, name = csv_of(TOLD), f"x.csv{packed}"
    else:
        data, name = lines(TOLD if shape == "nested" else list(map(flat, TOLD))), f"x.jsonl{packed}"
    if packed:
        data = gzip.compress(data) if packed == ".gz" else zstandard.compress(data)
    (exports / name).write_bytes(data)
    run = place.imported(exports)
    assert (run.counted, run.rejected) == (4, 0)
    from_file = place.rows(KEPT)
    assert place.door.post("/api/v1/events", {"events": TOLD}).status == 200
    place.drain()
    assert place.rows(KEPT) == from_file, "the API's are all duplicates"
    with Place(exports.parent / "other") as other:
        assert other.door.post("/api/v1/events", {"events": TOLD}).status == 200
        other.drain()
        assert other.rows(KEPT) == from_file


def parts_of(place: Place, path: Path) -> int:
    """Imports a file; returns in how many parts it was counted."""
    passed: list[str] = []
    failpoints.arm(passed.append)
    try:
        run = place.imported(path)
    finally:
        failpoints.arm(None)
    assert (run.counted, run.rejected) == (20_000, 0)
    return passed.count("objects.after_commit")


def test_what_is_read_one_by_one_is_counted_in_smaller_parts(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_CLOSER_ROWS_MAX", 1_000)
    (exports / "plain.jsonl").write_bytes(calls(range(20_000)))
    odd = lines([event(f"odd-{number}\n") for number in range(20_000)])
    (exports / "odd.jsonl").write_bytes(odd)
    assert parts_of(place, exports / "plain.jsonl") < 10
    assert parts_of(place, exports / "odd.jsonl") == 20
    place.verified()
