"""Merging archive files in the background, so that a reader opens few and skips most of each.

Owns: which files are merged, the merged file, and the transaction that puts it in their place.
Promises: rows are neither lost nor doubled, since one transaction replaces all files of a merge;
only neighbours in the order of positions are merged, so that the files of one way keep disjoint
ranges of positions; memory is that of the connection, which sorts on disk beyond it.

A merge is three calls, so that only the last holds the store: ``plan_merge`` on a list of files,
``merge_files`` without any transaction, ``commit_merge`` inside one. What was replaced is deleted
later (``garbage``), when no query can still read it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, cast

import duckdb

from tallystick import limits
from tallystick.archive.manifest import (
    FileDraft,
    ManifestFile,
    add_file,
    live_files,
    remove_files,
)
from tallystick.archive.relation import copy_to_parquet, duplicates_sql, events_sql, paths_of
from tallystick.clock import Instant
from tallystick.errors import DamagedData
from tallystick.failpoints import reach
from tallystick.store import Transaction

_TIER_ROWS: Final = 4_096
_TIER_BITS: Final = limits.ARCHIVE_MERGE_FANOUT.bit_length() - 1
assert limits.ARCHIVE_MERGE_FANOUT == 1 << _TIER_BITS, "tiers are powers of the fan-out"

# Events lie beside those that the same question asks for: one customer's, of one name, by time.
EVENTS_ORDER: Final = "environment, event_name, customer, event_time, position, event_index"
DUPLICATES_ORDER: Final = "environment, position, event_index"


# Files a recount stands inside, at a row number that only they have.
PINNED_FILES = "SELECT file FROM recount_runs WHERE ended IS NULL AND file IS NOT NULL"


def pinned_files(transaction: Transaction) -> frozenset[int]:
    """Ids of the files that must stay as they are now."""
    return frozenset(cast("tuple[int]", row)[0] for row in transaction.all(PINNED_FILES))


def plan_merge(
    files: Sequence[ManifestFile], pinned: Collection[int] = ()
) -> list[ManifestFile] | None:
    """Which files to merge next; None when nothing is worth it.

    ``files`` are the live files of one kind in position order; files of different ways or buckets
    are never merged. ``pinned`` are ids of files that must stay, because a recount stands inside.
    Small neighbours first: a file is written anew about once each time it grows by the fan-out.
    """
    best: list[ManifestFile] | None = None
    for group in _mergeable(files, pinned):
        found = _smallest_tier_run(group)
        if found and (best is None or _tier(max(found, key=_rows)) < _tier(max(best, key=_rows))):
            best = found
    return best


def merge_files(
    connection: duckdb.DuckDBPyConnection,
    data_folder: Path,
    files: Sequence[ManifestFile],
    name: str,
    epoch: int,
) -> FileDraft:
    """Write the rows of ``files`` to ``name``, sorted, durable and not yet named by a row.

    Raises ``DamagedData`` when the files do not hold as many rows as the manifest says.
    """
    paths = paths_of(data_folder, files)
    if files[0].kind == "archive":
        select = f"{events_sql(paths)} ORDER BY {EVENTS_ORDER}"
    else:
        select = f"{duplicates_sql(paths)} ORDER BY {DUPLICATES_ORDER}"
    path = data_folder / name
    size = copy_to_parquet(connection, select, path)
    _check_rows(connection, path, sum(file.row_count for file in files))
    reach("merge.after_file")
    return _draft(files, name, epoch, size)


def commit_merge(
    transaction: Transaction,
    draft: FileDraft,
    files: Sequence[ManifestFile],
    now: Instant,
    confirm: Callable[[Transaction], object],
) -> bool:
    """Put the merged file in the place of ``files``.

    ``confirm`` asserts that this process still owns the folder and raises when it does not. False
    when one of the files is no longer live, or a recount has entered it meanwhile: nothing was
    changed then, and the draft is garbage.
    """
    confirm(transaction)
    live = {file.id for file in live_files(transaction, draft.kind)} - pinned_files(transaction)
    if not live.issuperset(file.id for file in files):
        return False
    remove_files(transaction, list(files), now)
    add_file(transaction, draft, now)
    reach("merge.before_commit")
    return True


def _mergeable(
    files: Sequence[ManifestFile], pinned: Collection[int]
) -> Iterator[list[ManifestFile]]:
    """Runs of neighbours of one way and bucket with no pinned file between them."""

    def kin(file: ManifestFile) -> tuple[str, str, int]:
        return (file.kind, file.way, file.bucket)

    for _, of_kin in groupby(sorted(files, key=kin), key=kin):
        for is_pinned, run in groupby(of_kin, key=lambda file: file.id in pinned):
            if not is_pinned:
                yield list(run)


def _smallest_tier_run(files: list[ManifestFile]) -> list[ManifestFile] | None:
    """The first window of enough neighbours none of which is over a tier, of the lowest tier."""
    for tier in sorted({_tier(file) for file in files}):
        for small, run in groupby(files, key=lambda file: _tier(file) <= tier):
            window = _window(list(run)) if small else None
            if window:
                return window
    return None


def _window(run: list[ManifestFile]) -> list[ManifestFile] | None:
    """The first neighbours that are enough to merge and not too many rows for one file."""
    for start in range(len(run) - limits.ARCHIVE_MERGE_FANOUT + 1):
        rows, window = 0, []
        for file in run[start : start + limits.ARCHIVE_MERGE_FILES_MAX]:
            rows += file.row_count
            if rows > limits.ARCHIVE_FILE_ROWS_MAX:
                break
            window.append(file)
        if len(window) >= limits.ARCHIVE_MERGE_FANOUT:
            return window
    return None


def _tier(file: ManifestFile) -> int:
    """How large a file is, on a scale whose steps are the fan-out."""
    return -(-(file.row_count // _TIER_ROWS).bit_length() // _TIER_BITS)


def _rows(file: ManifestFile) -> int:
    return file.row_count


def _check_rows(connection: duckdb.DuckDBPyConnection, path: Path, expected: int) -> None:
    (found,) = connection.execute("SELECT count(*) FROM read_parquet(?)", [[str(path)]]).fetchall()
    rows = cast("tuple[int]", found)[0]
    if rows != expected:
        raise DamagedData(
            f"{path.name}: merged {rows} rows of files that hold {expected} by the manifest"
        )


def _draft(files: Sequence[ManifestFile], name: str, epoch: int, size: int) -> FileDraft:
    return FileDraft(
        kind=files[0].kind,
        name=name,
        epoch=epoch,
        row_count=sum(file.row_count for file in files),
        bytes=size,
        way=files[0].way,
        level=max(file.level for file in files) + 1,
        position_first=min(file.position_first for file in files),
        position_last=max(file.position_last for file in files),
        time_first=min(file.time_first for file in files),
        time_last=max(file.time_last for file in files),
        bucket=files[0].bucket,
    )
