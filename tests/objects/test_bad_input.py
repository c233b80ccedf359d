"""What is wrong with one object is told of that object; the others go on, and nothing is counted
twice or lost when it is tried again."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tallystick import limits
from tallystick.objects.ledger import Run
from tallystick.objects.reading import open_stream
from tests.objects.front import Answer, Asked
from tests.objects.running import Place, calls
from tests.objects.scenes import CloudScene

GOOD = range(1_000, 1_010)


def imported_with_peak(place: Place, exports: Path) -> tuple[Run, int]:
    """An import, and the most bytes that Python held meanwhile."""
    tracemalloc.start()
    try:
        run = place.imported(exports)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return run, peak


def parquet(select: str, path: Path) -> bytes:
    """The bytes of a Parquet file of a query."""
    duckdb.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    data = path.read_bytes()
    path.unlink()
    return data


def overwritten(data: bytes) -> bytes:
    """The same with some bytes in the middle lost."""
    middle = len(data) // 2
    return data[:middle] + b"\xff" * 100 + data[middle + 100 :]


COLUMNS = "'acme' AS \"customerId\", 'call' AS \"eventName\", 'k' || range AS \"idempotencyKey\""

# name → (its bytes, the state it ends in, what its reason says)
Bad = tuple[Callable[[Path], bytes], str, str]
BAD: dict[str, Bad] = {
    "cut.jsonl.gz": (lambda _: gzip.compress(calls(range(5_000)))[:-9], "failed", "cut short"),
    "damaged.jsonl.gz": (
        lambda _: overwritten(gzip.compress(calls(range(5_000)))), "failed", "is damaged"),
    "disguised.jsonl": (lambda _: gzip.compress(calls([1])), "failed", "rename it to"),
    "bomb.jsonl.gz": (lambda _: gzip.compress(b" " * (80 << 20), 9), "failed", "times as large"),
    "column.csv": (
        lambda _: b"customerId,eventName\nacme,call\n", "failed",
        "the column idempotencyKey is missing; the header has customerId, eventName"),
    "twice.csv": (
        lambda _: b"customerId,eventName,eventName,idempotencyKey\n", "failed",
        "the header has eventName twice"),
    "header.csv": (lambda _: b"customerId,eventName,idempotencyKey\n", "done", "None"),
    "empty.csv": (lambda _: b"", "failed", "there is no header"),
    "empty.jsonl": (lambda _: b"", "done", "None"),
    "blank.jsonl": (lambda _: b"\n\r\n\n", "done", "None"),
    "empty.jsonl.gz": (lambda _: gzip.compress(b""), "done", "None"),
    "nothing.jsonl.gz": (lambda _: b"", "done", "None"),
    "empty.parquet": (lambda _: b"", "failed", "is no Parquet"),
    "no.parquet": (lambda _: b"PAR1" + b"x" * 500, "failed", "is no Parquet"),
    "types.parquet": (
        lambda path: parquet(f"SELECT * REPLACE ([1] AS \"customerId\") FROM (SELECT {COLUMNS} "
                             "FROM range(3))", path),
        "failed", "the column customerId is INTEGER[]; it must be text or whole numbers"),
    "other.parquet": (
        lambda path: parquet("SELECT 1 AS a", path), "failed", "the column customerId"),
    "rows.parquet": (lambda path: parquet(f"SELECT {COLUMNS} FROM range(0)", path), "done", "None"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_object_ends_with_a_reason_and_the_others_go_on(
    place: Place, exports: Path, tmp_path: Path, name: str
) -> None:
    make, state, reason = BAD[name]
    (exports / name).write_bytes(make(tmp_path / "made.parquet"))
    (exports / "good.jsonl").write_bytes(calls(GOOD))
    run = place.imported(exports)
    found = place.objects(run)
    assert (found[name].state, found["good.jsonl"].state) == (state, "done")
    assert reason in str(found[name].reason)
    assert run.state == ("succeeded" if state == "done" else "partial")
    assert {str(key) for key in GOOD} <= set(place.rows())
    place.verified()


def test_a_damaged_parquet_file_ends_with_a_reason_and_loses_nothing_on_retry(
    place: Place, exports: Path, tmp_path: Path
) -> None:
    path = exports / "x.parquet"
    whole = parquet(f"SELECT {COLUMNS}, random() AS r FROM range(50000)", tmp_path / "made.parquet")
    path.write_bytes(whole[:1_000] + b"\xff" * 3_000 + whole[4_000:])
    source = place.add_source(exports)
    run = place.ran(source)
    assert (place.one(run).state, run.state) == ("failed", "partial")
    assert "rows from" in str(place.one(run).reason)
    path.write_bytes(whole)
    again = place.ran(source)
    assert place.one(again).counted + run.counted == 50_000
    place.verified()


def test_a_cut_object_counts_what_it_has_and_once_it_is_whole_the_rest(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_PIECE_BYTES", 10_000)
    whole = gzip.compress(calls(range(5_000)))
    (exports / "x.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    source = place.add_source(exports)
    run = place.ran(source)
    found = place.one(run)
    assert found.state == "failed"
    assert 0 < found.counted < 5_000
    retried = place.retry(source, found.id)
    place.drain()
    assert place.run(retried).counted == 0
    (exports / "x.jsonl.gz").write_bytes(whole)
    assert place.ran(source).counted == 5_000 - found.counted
    assert len(place.rows()) == 5_000
    place.verified()


def test_ragged_rows_and_bad_text_cost_their_neighbours_nothing(
    place: Place, exports: Path
) -> None:
    rows = [b"acme,call,%d" % key for key in range(300)]
    rows[7], rows[100], rows[299] = b"acme,call", b"acme,call,\xff\xfe", b'acme,call,"open'
    header = b"customerId,eventName,idempotencyKey\n"
    (exports / "x.csv").write_bytes(header + b"\n".join(rows))
    run = place.imported(exports)
    assert (run.counted, run.rejected, run.state) == (297, 3, "partial")
    assert [(each["line"], each["object"]) for each in place.rejects(run)] == [
        (9, "x.csv"), (102, "x.csv"), (301, "x.csv")]  # fmt: skip


def test_a_line_of_a_gigabyte_is_refused_with_bounded_memory(
    place: Place, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = b"x" * (1 << 20)

    def stream(*_: Any) -> Iterator[bytes]:
        yield calls([1])
        yield b'{"customerId":"'
        yield from repeat(chunk, 1 << 10)
        yield b'"}\n' + calls([2])

    (exports / "x.jsonl").write_bytes(b"not looked at")
    monkeypatch.setattr("tallystick.objects.reader.open_stream", stream)
    run, peak = imported_with_peak(place, exports)
    assert (run.counted, run.rejected) == (2, 1)
    (refused,) = place.rejects(run)
    assert (refused["line"], refused["reason"]) == (2, "is larger than 1048576 bytes")
    assert peak < 160 << 20


def test_a_bomb_is_defused_with_bounded_memory(place: Place, exports: Path) -> None:
    (exports / "bomb.jsonl.gz").write_bytes(gzip.compress(calls([1]) + b"\n" * (200 << 20), 9))
    run, peak = imported_with_peak(place, exports)
    assert place.one(run).state == "failed"
    assert peak < 160 << 20


def test_a_name_that_leads_out_of_its_folder_is_not_read(place: Place, exports: Path) -> None:
    secret = exports.parent / "secret"
    secret.mkdir()
    (secret / "s.jsonl").write_bytes(calls(["secret"]))
    (exports / "out").symlink_to(secret)
    (exports / "s.jsonl").symlink_to(secret / "s.jsonl")
    (exports / "good.jsonl").write_bytes(calls(GOOD))
    found = place.objects(place.imported(exports))
    assert {key: each.state for key, each in found.items()} == {
        "out": "ignored", "s.jsonl": "ignored", "good.jsonl": "done"}  # fmt: skip
    assert "symbolic link" in str(found["out"].reason)
    assert "secret" not in place.rows()


def test_a_folder_that_is_not_there_fails_the_run_and_nothing_else(
    place: Place, exports: Path
) -> None:
    (exports / "good.jsonl").write_bytes(calls(GOOD))
    missing = place.add_import(exports / "missing", exports)
    good = place.add_import(exports)
    place.drain()
    assert place.run(missing).state == "failed"
    assert "create it, or correct the path" in str(place.run(missing).reason)
    assert place.run(good).counted == len(GOOD)


# ---------------------------------------------------------------------------- behind a network


def access(scene: CloudScene) -> dict[str, str]:
    told = scene.access
    return {"endpoint": str(told.endpoint), "region": "us-east-1", "keyId": str(told.key_id),
            "secret": str(told.secret)}  # fmt: skip


def fill(scene: CloudScene, files: int = 3) -> None:
    for number in range(files):
        scene.put(f"{number}.jsonl", calls(range(number * 1_000, number * 1_000 + 500)))


def reads_of(key: str, answer: Answer) -> Callable[[Asked], Answer | None]:
    def fault(asked: Asked) -> Answer | None:
        is_read = asked.method == "GET" and asked.path.partition("?")[0].endswith(key)
        return answer if is_read else None

    return fault


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket is not tried for long."""
    monkeypatch.setattr(limits, "OBJECT_TRIES_MAX", 2)
    monkeypatch.setattr(limits, "OBJECT_RETRIES_MAX", 1)
    monkeypatch.setattr(limits, "OBJECT_REQUEST_SECONDS_MAX", 5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (403, "AccessDenied")]
)
def test_an_object_that_its_bucket_does_not_give_waits_for_the_next_run(
    place: Place, s3: CloudScene, status: int, code: str
) -> None:
    fill(s3)
    source = place.add_source(s3.url, access=access(s3))
    body = f"<Error><Code>{code}</Code></Error>".encode()
    refusing = reads_of("/1.jsonl", Answer(status, body, (("content-type", "application/xml"),)))
    with s3.front.faulty(refusing):
        run = place.ran(source)
    found = place.objects(run)
    assert {key: each.state for key, each in found.items()} == {
        "0.jsonl": "done", "1.jsonl": "waiting", "2.jsonl": "done"}  # fmt: skip
    assert found["1.jsonl"].reason
    assert str(s3.access.secret) not in str(found["1.jsonl"].reason)
    assert (run.state, run.counted) == ("partial", 1_000)
    again = place.ran(source)
    assert (again.state, again.counted, again.duplicates) == ("succeeded", 500, 0)
    place.verified()


@pytest.mark.usefixtures("impatient")
def test_a_credential_revoked_in_mid_file_leaves_the_rest_for_the_next_run(
    place: Place, s3: CloudScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_RANGE_BYTES", 4_000)
    monkeypatch.setattr(limits, "OBJECT_PIECE_BYTES", 4_000)
    fill(s3)
    source = place.add_source(s3.url, access=access(s3))
    run = place.ask_run(source)
    place.until(lambda: place.run(run).counted)
    denied = Answer(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
    with s3.front.faulty(lambda _: denied):
        place.drain()
    assert place.run(run).state == "partial"
    assert {each.state for each in place.objects(run).values()} <= {"done", "waiting"}
    again = place.ran(source)
    assert (again.state, again.duplicates) == ("succeeded", 0)
    assert again.counted + place.run(run).counted == 1_500
    place.verified()


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_fails_now_and_then_costs_nothing(place: Place, s3: CloudScene) -> None:
    fill(s3)
    run = place.add_import(s3.url, access=access(s3))
    with s3.front.failing(503, code="SlowDown", times=4):
        place.drain()
    assert (place.run(run).state, place.run(run).counted) == ("succeeded", 1_500)


def test_an_object_replaced_while_it_is_read_is_read_as_the_new_version(
    place: Place, s3: CloudScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_RANGE_BYTES", 4_000)
    monkeypatch.setattr(limits, "OBJECT_PIECE_BYTES", 4_000)
    s3.put("x.jsonl", calls(range(5_000)))
    run = place.add_import(s3.url, access=access(s3))
    place.until(lambda: place.run(run).counted)
    s3.put("x.jsonl", calls(range(9_000, 9_100)))
    place.drain()
    assert (place.objects(run)["x.jsonl"].state, place.run(run).state) == ("done", "succeeded")
    keys = [int(key) for key in place.rows()]
    assert keys[-100:] == list(range(9_000, 9_100))
    assert keys[:-100] == list(range(len(keys) - 100))
    place.verified()


def test_rejects_go_to_a_bucket_that_may_fail_without_holding_anybody_up(
    place: Place, s3: CloudScene, exports: Path
) -> None:
    (exports / "x.jsonl").write_bytes(b"bad\n" + calls(GOOD))
    (exports / "y.jsonl").write_bytes(calls([1]))
    rejects = {"rejectsUrl": f"{s3.url}/rejects", "access": access(s3)}
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    with s3.front.faulty(lambda asked: denied if asked.method == "PUT" else None):
        run = place.imported(exports, **rejects)
    found = place.objects(run)
    assert (found["x.jsonl"].state, found["y.jsonl"].state) == ("failed", "done")
    again = place.imported(exports, **rejects)
    assert (again.counted, again.rejected) == (len(GOOD), 1)
    bucket = s3.below("rejects").open()
    (info,) = bucket.list()
    assert b'"line":1' in b"".join(open_stream(bucket, info))
    place.verified()
