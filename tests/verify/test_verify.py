"""Promise 4, and that ``verify`` sees whatever breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from tallystick import limits
from tallystick.archive.manifest import live_files
from tallystick.archive.relation import EVENT_COLUMNS, copy_to_parquet, events_sql
from tallystick.clock import Instant
from tallystick.core.parts import Part
from tallystick.ingest.usage import UsageItem
from tallystick.store import Transaction
from tallystick.usage.counters import CounterKey, insert_counter
from tallystick.verify import counters
from tallystick.verify.verify import take_snapshot
from tests.archive.building import DEFAULT, NOON, at
from tests.verify.counted import Counted


def of_feature(name: str) -> str:
    """Of ``counter_parts``, those of a feature's counters."""
    return f"id IN (SELECT id FROM counters WHERE feature = '{name}')"


def usage(
    feature: str, value: str, key: str | None = None, created_at: Instant | None = None
) -> UsageItem:
    """A DELTA of acme."""
    return UsageItem("acme", feature, "", Decimal(value), "DELTA", created_at, key, "{}")


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    """acme on a monthly plan with two meters and a feature that is reported."""
    built = Counted(tmp_path / "data")
    built.configured.feature("calls", function="COUNT")
    built.configured.feature("users", function="UNIQUE", field="user")
    built.configured.feature("size", function="AVG", field="size")
    built.configured.feature("seats")
    built.configured.customer()
    built.configured.plan("plan", "MONTH", "calls", "users", "size", "seats")
    built.configured.subscription("plan", at("2026-01-01"))
    yield built
    built.close()


def busy(counted: Counted) -> None:
    """Some of everything: counted, repeated, waiting; events and reports."""
    counted.accept(
        {"idempotencyKey": "1", "dimensions": {"user": "ann", "size": 2}},
        {"idempotencyKey": "2", "dimensions": {"user": "ann", "size": 2.5}, "resourceId": "site"},
        {"idempotencyKey": "3", "timestamp": "2025-12-01T00:00:00Z"},
        {"idempotencyKey": "1"},
    )
    counted.accept({"idempotencyKey": "1"}, environment="other")
    counted.report(usage("seats", "3", "k"), usage("seats", "3", "k"), usage("seats", "-1.5"))
    counted.count()
    counted.accept({"idempotencyKey": "4"}, {"idempotencyKey": "1"})
    counted.report(usage("seats", "2", created_at=at("2025-06-01")))


def test_accepted_is_waiting_and_counted_and_duplicates(counted: Counted) -> None:
    busy(counted)
    found = counted.verified()
    assert counted.verify().equal, list(counted.verify().lines())
    assert (found.accepted, found.waiting, found.counted, found.duplicates) == (10, 3, 5, 2)
    assert counted.verified("other").accepted == 1
    counted.count()
    found = counted.verified()
    assert counted.verify().equal, list(counted.verify().lines())
    assert (found.accepted, found.waiting, found.counted, found.duplicates) == (10, 0, 7, 3)
    assert found.counters == 5


def test_nothing_is_equal_to_nothing(counted: Counted) -> None:
    assert counted.verify().equal
    assert counted.verify().as_json()["equal"] is True


def test_quarantined_requests_are_in_the_ledger(counted: Counted) -> None:
    counted.accept({"idempotencyKey": "1"}, {"idempotencyKey": "2", "timestamp": "no time"})
    counted.count()
    assert counted.verify().equal, list(counted.verify().lines())
    assert counted.verified().quarantined == 2


def test_json_has_the_documented_names(counted: Counted) -> None:
    busy(counted)
    counted.tamper(f"UPDATE counter_parts SET count = count + 1 WHERE {of_feature('calls')}")
    document = counted.verify().as_json()
    assert document["equal"] is False
    environment = document["environments"][0]
    assert environment.keys() >= {
        "environment", "accepted", "waiting", "counted", "duplicates", "quarantined", "rejected",
        "discarded", "differences",
    }  # fmt: skip
    assert environment["differences"][0] == {
        "what": "counter of customer 'acme' feature 'calls' period from 2026-01-01T00:00:00.000Z",
        "expected": "count 1, sum 0",
        "found": "count 2, sum 0",
    }


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        (f"UPDATE counter_parts SET sum = '99' WHERE {of_feature('size')}", "feature 'size'"),
        (f"UPDATE counter_parts SET sum = '99' WHERE {of_feature('seats')}", "feature 'seats'"),
        ("DELETE FROM counters WHERE feature = 'users'", "feature 'users'"),
        ("UPDATE counters SET period_start = period_start + 1", "feature 'calls'"),
        ("UPDATE totals SET counted = counted + 1", "rows in the archive"),
        ("UPDATE totals SET accepted_reports = accepted_reports + 1", "accepted ="),
        ("UPDATE totals SET duplicates_expired = 1", "accepted ="),
        ("UPDATE totals SET quarantined = 1", "events in quarantine"),
        ("UPDATE totals SET discarded = 1", "accepted ="),
        ("DELETE FROM reports_waiting", "accepted ="),
        ("UPDATE files SET removed_at = 1 WHERE way = 'event'", "rows in the archive"),
        ("UPDATE files SET removed_at = 1 WHERE kind = 'duplicates'", "duplicates in the log"),
        ("UPDATE files SET row_count = 99 WHERE way = 'usage'", "rows of file archive/"),
    ],
)
def test_whatever_is_changed_is_told(counted: Counted, tampering: str, what: str) -> None:
    busy(counted)
    counted.tamper(tampering)
    found = counted.verified()
    assert not counted.verify().equal
    assert any(what in difference.what for difference in found.differences), found.differences


def test_a_counter_of_nothing_is_told(counted: Counted) -> None:
    busy(counted)
    with counted.state.writing() as transaction:
        insert_counter(transaction, CounterKey(DEFAULT, "nobody", "", "calls", 0, 0), Part(1))
    (difference,) = counted.verified().differences
    assert (difference.expected, difference.found) == ("count 0, sum 0", "count 1, sum 0")


def test_a_lost_file_and_a_damaged_one_are_told(counted: Counted) -> None:
    busy(counted)
    counted.count()
    with counted.state.reading() as transaction:
        lost, torn = live_files(transaction, "archive", "event")[:2]
    (counted.folder / lost.name).unlink()
    (counted.folder / torn.name).write_bytes(b"PAR1" * 8)
    told = {difference.what for difference in counted.verified().differences}
    assert f"file {lost.name}" in told
    assert f"bytes of file {torn.name}" in told


def test_an_event_that_is_archived_twice_is_told(counted: Counted) -> None:
    busy(counted)
    with counted.state.reading() as transaction:
        (file, *_) = live_files(transaction, "archive", "event")
    connection = counted.worker.upkeep._connection
    doubled = counted.folder / "archive" / "doubled"
    select = events_sql([counted.folder / file.name])
    later = EVENT_COLUMNS.replace("event_index", "event_index + 10")
    size = copy_to_parquet(
        connection, f"{select} UNION ALL SELECT {later} FROM ({select})", doubled
    )
    doubled.rename(counted.folder / file.name)
    counted.tamper(
        "UPDATE files SET row_count = row_count * 2, bytes = ? WHERE id = ?", size, file.id
    )
    told = [difference.what for difference in counted.verified().differences]
    assert "archived events of customer 'acme' named 'call' with key '1'" in told
    size = copy_to_parquet(connection, f"{select} UNION ALL {select}", doubled)
    doubled.rename(counted.folder / file.name)
    counted.tamper("UPDATE files SET bytes = ?, row_count = row_count * 2", size)
    told = [difference.what for difference in counted.verified().differences]
    assert any(what.startswith("archived copies of event") for what in told)


def test_an_event_that_is_lost_as_a_duplicate_is_told(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(counted)
    counted.count()
    with monkeypatch.context() as lying:  # a key set that takes everything for seen
        lying.setattr(counted.worker.keys, "fresh", lambda hi, lo: np.zeros(len(hi), bool))
        counted.accept({"idempotencyKey": "1"}, {"idempotencyKey": "new"})
        counted.accept({"idempotencyKey": "new"})
        counted.accept({"idempotencyKey": "2"}, environment="other")
        counted.count()
    assert counted.verified().duplicates == 6
    (lost,) = counted.verified().differences
    assert lost.what.startswith("what 2 logged duplicates of customer 'acme' named 'call' with key")
    assert (lost.expected, lost.found) == ("archived", "missing")
    assert counted.verified("other").difference_count == 1


@pytest.mark.parametrize("column", ["events", "bytes"])
def test_a_backlog_that_is_not_what_the_requests_add_up_to_is_told(
    counted: Counted, column: str
) -> None:
    busy(counted)
    with counted.inbox_store.writing() as transaction:
        transaction.run(f"UPDATE backlog SET {column} = {column} + 1")
    (difference,) = counted.verified().differences
    assert difference.what == f"{column} of the inbox's backlog"


def test_counters_that_await_a_recount_are_left_out_and_said_so(counted: Counted) -> None:
    busy(counted)
    counted.tamper(f"UPDATE counter_parts SET count = 99 WHERE {of_feature('calls')}")
    counted.tamper(
        "INSERT INTO recounts (environment, feature, customer, reason, together, as_of, queued_at) "
        "VALUES ('default', 'calls', '', '', 1, 0, 0)"
    )
    report = counted.verify()
    assert report.equal
    assert counted.verified().unchecked_counters == 1
    assert "  1 counters await a recount and were left out" in list(report.lines())


def test_ranges_of_customers_hold_everyone_once(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VERIFY_RANGE_CUSTOMERS", 2)
    names = ["", "acme", "b", "b0", "ü", "z", "zz"]
    sent: list[dict[str, object]] = [{"idempotencyKey": name, "customerId": name} for name in names]
    counted.accept(*sent)
    for name in names[2:]:
        counted.configured.customer(name)
        counted.configured.subscription("plan", at("2026-01-01"), customer=name)
    counted.count()
    assert counted.verify().equal, list(counted.verify().lines())
    assert counted.verified().counters == len(names) - 1
    with counted.state.reading() as transaction:
        ranges = list(counters.ranges(transaction, DEFAULT))
    assert [each.first for each in ranges] == ["", "b0", "ü"]
    assert [each.stop for each in ranges] == ["b0", "ü", None]


def test_a_snapshot_waits_until_nothing_is_folded_meanwhile(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted.accept({"idempotencyKey": "1"})
    accepted_in = counted.inbox.accepted_in
    folds = iter([True])

    def fold_once(transaction: Transaction) -> dict[str, int]:
        found = accepted_in(transaction)
        if next(folds, False):
            counted.accept({"idempotencyKey": "2"})
            worker = Thread(target=counted.count)  # in another thread, as a worker is
            worker.start()
            worker.join()
        return found

    monkeypatch.setattr(counted.inbox, "accepted_in", fold_once)
    with take_snapshot(counted.state, counted.inbox_store, counted.inbox) as snapshot:
        assert snapshot.accepted == {DEFAULT: 2}
        assert snapshot.waiting == {}


def test_verification_changes_nothing_and_leaves_nothing(counted: Counted) -> None:
    busy(counted)

    def everything() -> list[tuple[str, int]]:
        files = [path for path in counted.folder.rglob("*") if path.suffix in (".parquet", ".run")]
        return sorted((str(path), path.stat().st_mtime_ns) for path in files)

    before = everything()
    counted.verify()
    assert everything() == before
    assert list((counted.folder / "run").glob("queries-*")) == []


def test_the_clock_takes_no_part(counted: Counted) -> None:
    busy(counted)
    counted.clock.move(Instant(NOON + 1))
    assert counted.verify().equal


def test_the_ledger_holds_at_every_moment(counted: Counted) -> None:
    def work() -> None:
        for number in range(25):
            counted.accept({"idempotencyKey": f"{number // 2}", "dimensions": {"user": number}})
            counted.report(usage("seats", "1", f"{number // 3}"))
            if number % 3 == 0:
                counted.count()

    worker = Thread(target=work)
    worker.start()
    moments = []
    while worker.is_alive():
        moments.append(counted.verify())
    worker.join()
    moments.append(counted.verify())
    assert all(moment.equal for moment in moments), [list(moment.lines()) for moment in moments]
    assert moments[-1].environments[0].accepted == 50
