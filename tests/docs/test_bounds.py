"""Bounds that ``docs/limits.md`` promises and that no other test is about."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.clock import Instant
from tallystick.fold import worker
from tallystick.fold.attempts import Attempts
from tallystick.fold.quarantine import ask_retry, set_aside
from tallystick.fold.recount_runs import FORGET_ENDED, FORGET_FINISHED
from tallystick.freshness import Freshness
from tallystick.inbox.inbox import InboxRequest
from tallystick.ingest.usage import UsageItem
from tests.archive.building import DEFAULT, NOON, at
from tests.verify.counted import Counted

GOOD_LINE = b'{"customerId":"acme","eventName":"call","idempotencyKey":"again"}'


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    """acme on a monthly plan with a feature that counts events and one that is reported."""
    built = Counted(tmp_path / "data")
    built.configured.feature("calls", function="COUNT")
    built.configured.feature("seats")
    built.configured.customer()
    built.configured.plan("plan", "MONTH", "calls", "seats")
    built.configured.subscription("plan", at("2026-01-01"))
    yield built
    built.close()


def rows_of(counted: Counted, table: str) -> int:
    with counted.state.reading() as transaction:
        row = transaction.one(f"SELECT count(*) FROM {table}")
        assert row is not None
        return int(row[0] or 0)


def use(counted: Counted, run: str, events: int = 20) -> None:
    """Events and reports of acme, in a few requests, all counted and archived."""
    for number in range(events):
        counted.accept({"idempotencyKey": f"{run}-{number}"})
        counted.report(UsageItem("acme", "seats", "", Decimal(1), "DELTA", None, None, "{}"))
    counted.count()


def test_counters_do_not_grow_with_events(counted: Counted) -> None:
    use(counted, "first")
    before = rows_of(counted, "counters")
    use(counted, "second")
    assert (before, rows_of(counted, "counters")) == (2, 2)


def test_replaced_counters_are_swept_away(counted: Counted) -> None:
    use(counted, "first")
    counted.tamper("UPDATE features SET generation = 7 WHERE id = 'calls'")
    counted.tamper("INSERT INTO recount_runs VALUES (7, 'default', 1, 0, NULL, 0, 0, 1)")
    while counted.worker.upkeep_step():
        pass
    with counted.state.reading() as transaction:
        assert transaction.all("SELECT feature FROM counters") == [("seats",)]


def test_finished_recounts_are_forgotten(counted: Counted) -> None:
    with counted.state.writing() as transaction:
        transaction.run_many(
            "INSERT INTO recounts VALUES (?, 'e', '', '', '', NULL, 1, NULL, 0, 0, ?)",
            [(number, None if number == 1 else 1) for number in range(1, 1_501)],
        )
        transaction.run(FORGET_FINISHED)
    assert rows_of(counted, "recounts WHERE finished_at IS NOT NULL") == 1_001
    assert rows_of(counted, "recounts WHERE finished_at IS NULL") == 1


def test_ended_runs_are_forgotten(counted: Counted) -> None:
    """But for the newest: they say which generation comes next and what was swept."""
    with counted.state.writing() as transaction:
        transaction.run_many(
            "INSERT INTO recount_runs VALUES (?, 'e', 1, 0, NULL, 0, 0, ?)",
            [(number, 1_502 - number) for number in range(1, 1_502)],
        )
        transaction.run(FORGET_ENDED)
    assert rows_of(counted, "recount_runs WHERE ended > 500") == 1_001
    assert rows_of(counted, "recount_runs WHERE generation = 1501") == 1


def test_waiting_reports_leave_with_the_archive(counted: Counted) -> None:
    use(counted, "first")
    assert rows_of(counted, "reports_waiting") == 0


def test_a_step_of_reports_is_bounded_in_bytes(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = UsageItem(
        "acme", "seats", "", Decimal(1), "DELTA", None, None, '{"a":"%s"}' % ("x" * 500)
    )
    for _ in range(3):
        counted.report(*[large] * 100)
    monkeypatch.setattr(limits, "STEP_BYTES_MAX", 60_000)
    monkeypatch.setattr(limits, "EVENT_BYTES_MAX", 600)
    assert counted.worker.reports.step(at_once=True)
    assert 180 < rows_of(counted, "reports_waiting") < 200
    monkeypatch.setattr(limits, "STEP_BYTES_MAX", 600_000)
    assert counted.worker.reports.step(), "what is left does not wait for company"
    assert rows_of(counted, "reports_waiting") == 0


def test_a_customer_is_remembered_once(counted: Counted) -> None:
    use(counted, "first")
    use(counted, "second")
    assert rows_of(counted, "archived_customers") == 1


def test_a_partition_is_one_row(counted: Counted) -> None:
    use(counted, "first")
    assert rows_of(counted, "partitions") == 1


def test_a_ledger_is_one_row(counted: Counted) -> None:
    use(counted, "first")
    use(counted, "second")
    assert rows_of(counted, "totals") == 1


def test_a_quarantined_request_goes_when_it_is_counted(counted: Counted) -> None:
    with counted.state.writing() as transaction:
        set_aside(transaction, InboxRequest(1, DEFAULT, NOON, 1, GOOD_LINE), "why", NOON)
    assert rows_of(counted, "quarantine") == 1
    ask_retry(counted.state, counted.inbox, counted.inbox_store, None)
    counted.count()
    assert rows_of(counted, "quarantine") == 0


def test_pages_that_processes_share_keep_their_size(tmp_path: Path) -> None:
    freshness, attempts = Freshness(tmp_path / "freshness"), Attempts(tmp_path / "attempt")
    for number in range(100):
        freshness.write(number, Instant(number))
        attempts.begin(number, number + 1)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"freshness": 24, "attempt": 40}


def test_scratch_is_one_step_and_goes_with_the_worker(counted: Counted) -> None:
    scratch = counted.worker._scratch
    use(counted, "first", events=50)
    use(counted, "second", events=1)
    assert {path.name for path in scratch.iterdir()} <= {"lines.ndjson", "reports.ndjson"}
    assert sum(path.stat().st_size for path in scratch.iterdir()) < 2_000
    counted.worker.close()
    assert not scratch.exists()


def test_copies_of_objects_go_with_the_worker_that_made_them(counted: Counted) -> None:
    copy = counted.folder / "run" / "object-x.parquet"
    copy.write_bytes(b"of a worker that was killed")
    counted.reopen_worker()
    assert not copy.exists()


def test_scratch_of_a_killed_worker_goes_and_that_of_others_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, data, other = (tmp_path / name for name in ("shared", "data", "other"))
    for folder in (shared, data, data / "run", other, other / "run"):
        folder.mkdir()
    monkeypatch.setattr(worker, "SHARED_MEMORY", shared)
    killed, others = worker._scratch_folder(data), worker._scratch_folder(other)
    (killed / "lines.ndjson").write_text("{}")
    scratch = worker._scratch_folder(data)
    assert {scratch, others} == set(shared.iterdir())
    assert scratch != killed, "nobody can have made it before"
    assert scratch.stat().st_mode & 0o777 == 0o700
