"""Garbage: what may go goes, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.archive.garbage import Collector
from tallystick.archive.manifest import live_files, remove_files
from tallystick.clock import DAY, HOUR, Instant
from tallystick.store import Store, Transaction
from tests.archive.building import NOON, Archive, Event

WINDOW = 35 * DAY


def fine(_: Transaction) -> None:
    """The owner still owns the folder."""


def collector(archive: Archive, *, epoch: int = 0, kept_seconds: float = 0) -> Collector:
    """One that waits for nothing unless told."""
    return Collector(
        state=archive.state, inbox_store=archive.inbox_store, connection=archive.connection,
        data_folder=archive.folder, epoch=epoch, confirm=fine, window_us=WINDOW,
        kept_seconds=kept_seconds,
    )  # fmt: skip


def run(collector: Collector, now: int = NOON) -> None:
    """Step until nothing is left to do."""
    while collector.step(Instant(now)):
        pass


def file_names(archive: Archive) -> set[str]:
    return {f"archive/{path.name}" for path in (archive.folder / "archive").iterdir()}


def test_a_removed_file_goes_with_its_row(archive: Archive) -> None:
    gone, kept = archive.add(Event()), archive.add(Event())
    with archive.state.writing() as transaction:
        assert remove_files(transaction, [gone], NOON)
    run(collector(archive))
    assert file_names(archive) == {kept.name}
    with archive.state.reading() as transaction:
        assert transaction.all("SELECT name FROM files") == [(kept.name,)]


def test_a_removed_file_outlives_queries_however_the_test_clock_jumps(archive: Archive) -> None:
    gone = archive.add(Event())
    with archive.state.writing() as transaction:
        remove_files(transaction, [gone], NOON)
    run(collector(archive, kept_seconds=3600), NOON + 1000 * DAY)
    assert file_names(archive) == {gone.name}


def test_a_deletion_that_a_crash_cut_short_is_ended_later(archive: Archive) -> None:
    gone = archive.add(Event())
    with archive.state.writing() as transaction:
        remove_files(transaction, [gone], NOON)
    (archive.folder / gone.name).unlink()
    run(collector(archive))
    with archive.state.reading() as transaction:
        assert transaction.all("SELECT name FROM files") == []


def test_only_unnamed_files_of_former_epochs_are_strays(archive: Archive) -> None:
    named = archive.add(Event())
    former, present = archive.name(epoch=3), archive.name(epoch=4)
    users_own = "archive/notes-of-mine.parquet"
    for name in (former, present, users_own, "keys/keys-00000003-0000000001.run"):
        (archive.folder / name).write_bytes(b"half a file")
    run(collector(archive, epoch=4))
    assert file_names(archive) == {named.name, present, users_own}
    assert list((archive.folder / "keys").iterdir()) == []


def test_expired_duplicates_stay_in_the_ledger(archive: Archive) -> None:
    with archive.state.writing() as transaction:
        transaction.run("INSERT INTO totals (environment, duplicates) VALUES ('default', 5)")
    archive.add_duplicates(NOON, 3)
    fresh = archive.add_duplicates(Instant(NOON + DAY), 2)
    run(collector(archive), NOON + WINDOW + 1)
    with archive.state.reading() as transaction:
        assert live_files(transaction, "duplicates") == [fresh]
        assert transaction.all("SELECT duplicates, duplicates_expired FROM totals") == [(5, 3)]


def test_duplicates_are_kept_for_the_whole_window(archive: Archive) -> None:
    kept = archive.add_duplicates(NOON, 3)
    run(collector(archive), NOON + WINDOW)
    with archive.state.reading() as transaction:
        assert live_files(transaction, "duplicates") == [kept]


def test_usage_keys_leave_with_the_window(archive: Archive) -> None:
    with archive.state.writing() as transaction:
        transaction.run_many(
            "INSERT INTO usage_keys (hash, claimed_at, id, value, created_at) "
            "VALUES (?, ?, 'id', '1', 0)",
            [
                (bytes([n // 256, n % 256]), NOON + n)
                for n in range(3 + limits.EXPIRED_ROWS_PER_STEP)
            ],
        )
    run(collector(archive), NOON + WINDOW + limits.EXPIRED_ROWS_PER_STEP + 1)
    with archive.state.reading() as transaction:
        assert transaction.one("SELECT count(*) FROM usage_keys") == (2,)


@pytest.mark.parametrize("store", ["state", "inbox_store"])
def test_replies_leave_after_a_day_a_bounded_number_at_a_time(archive: Archive, store: str) -> None:
    replies: Store = getattr(archive, store)
    with replies.writing() as transaction:
        transaction.run_many(
            "INSERT INTO replies (environment, method, path, key, request, status, headers, body, "
            "made_at) VALUES ('e', 'POST', '/', ?, x'', 201, '[]', x'', ?)",
            [(str(n), NOON + n) for n in range(3 + 2 * limits.EXPIRED_ROWS_PER_STEP)],
        )
    collecting = collector(archive)
    day_later = Instant(NOON + limits.REPLAY_HOURS * HOUR + 2 * limits.EXPIRED_ROWS_PER_STEP + 1)
    left = []
    while collecting.step(day_later):
        with replies.reading() as transaction:
            left.append(transaction.one("SELECT count(*) FROM replies"))
    assert left == [(3 + limits.EXPIRED_ROWS_PER_STEP,), (3,), (2,)]


def test_old_changes_are_forgotten(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGES_KEPT", 10)
    with archive.state.writing() as transaction:
        transaction.run_many(
            "INSERT INTO changes (environment, customer, made_at, token) VALUES ('e', ?, 0, 0)",
            [(str(number),) for number in range(100)],
        )
    run(collector(archive))
    with archive.state.reading() as transaction:
        assert transaction.one("SELECT min(seq), max(seq) FROM changes") == (90, 100)


def test_spill_folders_of_dead_processes_go(archive: Archive) -> None:
    folder = archive.folder / "run"
    dead, alive = folder / "queries-4194303-1", folder / f"queries-{os.getpid()}-1"
    for spill in (dead, alive):
        spill.mkdir(parents=True)
        Path(spill, "block").write_bytes(b"spilled")
    run(collector(archive))
    assert not dead.exists()
    assert alive.exists()
