"""Merging: rows are neither lost nor doubled, and only neighbours are merged."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import limits
from tallystick.archive.manifest import ManifestFile, Way, live_files
from tallystick.archive.merge import (
    commit_merge,
    merge_files,
    pinned_files,
    plan_merge,
)
from tallystick.archive.relation import duplicates_sql, events_sql, paths_of
from tallystick.errors import DamagedData, OperatorError
from tests.archive.building import NOON, Archive, Event, report

FANOUT = limits.ARCHIVE_MERGE_FANOUT


def fine(_: object) -> None:
    """The owner still owns the folder."""


def manifest(*row_counts: int, way: Way = "event") -> list[ManifestFile]:
    """Files of one way in position order."""
    return [
        ManifestFile(
            kind="archive", name=f"f{number}", epoch=0, row_count=rows, bytes=1,
            way=way, position_first=10 * number, position_last=10 * number + 9, id=number,
        )
        for number, rows in enumerate(row_counts, start=1)
    ]  # fmt: skip


def test_few_files_are_left_alone() -> None:
    assert plan_merge(manifest(*[10] * (FANOUT - 1))) is None


def test_small_neighbours_are_merged_before_large_ones() -> None:
    large, small = [500_000] * FANOUT, [10] * FANOUT
    files = manifest(*large, *small)
    assert plan_merge(files) == files[FANOUT:]


def test_small_files_between_large_ones_are_merged_with_them() -> None:
    files = manifest(*[60_000, *[10] * (FANOUT // 2 - 1)] * 2)
    assert plan_merge(files) == files


def test_a_full_file_takes_no_part() -> None:
    files = manifest(limits.ARCHIVE_FILE_ROWS_MAX, *[10] * FANOUT)
    assert plan_merge(files) == files[1:]


def test_a_pinned_file_is_not_merged_nor_passed_over() -> None:
    files = manifest(*[10] * (2 * FANOUT - 1))
    middle = files[FANOUT - 1].id
    assert plan_merge(files, {middle}) is None


def test_ways_are_never_mixed() -> None:
    few = [10] * (FANOUT - 1)
    events, usages = manifest(*few), manifest(*few, way="usage")
    assert plan_merge([*events, *usages]) is None


@given(st.lists(st.sampled_from([1, 5_000, 50_000, 400_000, 3_000_000]), max_size=4 * FANOUT))
def test_what_is_planned_are_neighbours_that_fit_one_file(row_counts: list[int]) -> None:
    files = manifest(*row_counts)
    planned = plan_merge(files)
    if planned is not None:
        first = files.index(planned[0])
        assert planned == files[first : first + len(planned)]
        assert len(planned) >= FANOUT
        assert sum(file.row_count for file in planned) <= limits.ARCHIVE_FILE_ROWS_MAX


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=12 * FANOUT))
def test_merging_until_nothing_is_planned_leaves_few_files(row_counts: list[int]) -> None:
    files: list[ManifestFile] = []
    for number, rows in enumerate(row_counts, start=1):
        files.append(replace(manifest(rows)[0], id=number, position_first=number))
        while planned := plan_merge(files):
            first = files.index(planned[0])
            total = sum(file.row_count for file in planned)
            files[first : first + len(planned)] = [replace(planned[0], row_count=total)]
    assert len(files) <= 4 * FANOUT


def test_a_merge_keeps_every_row_once_and_sorts_them(archive: Archive) -> None:
    for number in range(FANOUT):
        archive.add(
            Event(customer=f"c{number % 3}", name="b", time=NOON - number),
            Event(customer=f"c{number % 3}", name="a", resource="r", dimensions={"n": number}),
        )
    with archive.state.reading() as transaction:
        files = live_files(transaction, "archive")
    before = archive.connection.execute(events_sql(paths_of(archive.folder, files))).fetchall()
    merged = merge(archive, files)
    after = archive.connection.execute(events_sql([archive.folder / merged.name])).fetchall()
    assert sorted(after, key=str) == sorted(before, key=str)
    sorting = [(row[0], row[8], row[6], row[10]) for row in after]
    assert sorting == sorted(sorting)
    assert (merged.position_first, merged.position_last) == (1, 2 * FANOUT)
    assert (merged.row_count, merged.level) == (2 * FANOUT, 1)


def test_duplicates_are_merged_within_their_bucket(archive: Archive) -> None:
    for _ in range(FANOUT):
        archive.add_duplicates(NOON, 2, bucket=7)
    archive.add_duplicates(NOON, 2, bucket=8)
    with archive.state.reading() as transaction:
        files = live_files(transaction, "duplicates")
    merged = merge(archive, files)
    rows = archive.connection.execute(duplicates_sql([archive.folder / merged.name])).fetchall()
    assert (len(rows), merged.bucket) == (2 * FANOUT, 7)


def test_usage_reports_keep_their_values(archive: Archive) -> None:
    for number in range(FANOUT):
        archive.add(report("seats", f"{number}.5"))
    with archive.state.reading() as transaction:
        merged = merge(archive, live_files(transaction, "archive", "usage"))
    sql = f"SELECT CAST(sum(value) AS VARCHAR) FROM ({events_sql([archive.folder / merged.name])})"
    assert archive.connection.execute(sql).fetchall() == [("512.000000000",)]


def test_a_file_a_recount_has_entered_meanwhile_stays(archive: Archive) -> None:
    files = [archive.add(Event()) for _ in range(FANOUT)]
    draft = merge_files(archive.connection, archive.folder, files, archive.name(), 0)
    with archive.state.writing() as transaction:
        transaction.run(
            "INSERT INTO recount_runs (environment, everyone, position, file, row_next, attempts) "
            "VALUES ('e', 1, 0, ?, 3, 0)",
            files[2].id,
        )
        assert pinned_files(transaction) == {files[2].id}
        assert not commit_merge(transaction, draft, files, NOON, fine)
        assert live_files(transaction, "archive") == files


def test_files_that_were_merged_already_are_not_merged_again(archive: Archive) -> None:
    files = [archive.add(Event()) for _ in range(FANOUT)]
    merge(archive, files)
    draft = merge_files(archive.connection, archive.folder, files, archive.name(), 0)
    with archive.state.writing() as transaction:
        assert not commit_merge(transaction, draft, files, NOON, fine)
        assert len(live_files(transaction, "archive")) == 1


def test_a_former_owner_cannot_commit(archive: Archive) -> None:
    files = [archive.add(Event()) for _ in range(FANOUT)]
    draft = merge_files(archive.connection, archive.folder, files, archive.name(), 0)

    def lost(_: object) -> None:
        raise OperatorError("another worker owns this data folder")

    with pytest.raises(OperatorError), archive.state.writing() as transaction:
        commit_merge(transaction, draft, files, NOON, lost)
    with archive.state.reading() as transaction:
        assert live_files(transaction, "archive") == files


def test_a_file_with_too_few_rows_is_told(archive: Archive) -> None:
    files = [replace(archive.add(Event()), row_count=2) for _ in range(FANOUT)]
    with pytest.raises(DamagedData, match="merged 32 rows of files that hold 64"):
        merge_files(archive.connection, archive.folder, files, archive.name(), 0)


def merge(archive: Archive, files: list[ManifestFile]) -> ManifestFile:
    """Plan, merge and commit; returns the file that took the place of the others."""
    planned = plan_merge(files)
    assert planned is not None
    draft = merge_files(archive.connection, archive.folder, planned, archive.name(), 0)
    with archive.state.writing() as transaction:
        assert commit_merge(transaction, draft, planned, NOON, fine)
        return next(f for f in live_files(transaction, draft.kind) if f.name == draft.name)


def test_a_merged_file_and_its_folder_are_durable_before_they_are_named(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [archive.add(Event()) for _ in range(FANOUT)]
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    name = archive.name()
    merge_files(archive.connection, archive.folder, files, name, 0)
    merged = archive.folder / name
    assert synced == [str(merged), str(merged.parent)]
