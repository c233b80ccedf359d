"""Upkeep: what may wait, in bounded steps beside the hot path.

Owns: the turn each kind of upkeep gets. Promises: a step never holds the store longer than one
short transaction; what an abandoned merge leaves behind is deleted, at the latest by the next
owner's ``archive/garbage.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import duckdb

from tallystick import limits
from tallystick.archive import merge as archive_merge
from tallystick.archive.drafts import Drafts
from tallystick.archive.garbage import Collector
from tallystick.archive.manifest import (
    FileDraft,
    Kind,
    ManifestFile,
    add_file,
    live_files,
    remove_files,
)
from tallystick.clock import Clock, Instant
from tallystick.failpoints import reach
from tallystick.fold import quarantine
from tallystick.fold.forget import Forgetter
from tallystick.fold.owner import Owner
from tallystick.fold.sweep import Sweeper
from tallystick.freshness import Freshness
from tallystick.keys import merge as key_merge
from tallystick.keys.key_set import KeySet
from tallystick.store import Store


class Upkeep:
    """Merges, expiry and garbage of one data folder."""

    def __init__(
        self,
        *,
        state: Store,
        inbox_store: Store,
        owner: Owner,
        keys: KeySet,
        uniques: KeySet,
        connection: duckdb.DuckDBPyConnection,
        data_folder: Path,
        clock: Clock,
        freshness: Freshness,
        window_us: int,
        busy: Callable[[], bool],
        forget_runs: Callable[[Instant], bool],
    ) -> None:
        """``busy`` says whether the hot path has a backlog: merging the archive waits then.
        ``forget_runs`` forgets some runs of objects that are old at an instant."""
        self._state = state
        self._owner = owner
        self._sets: dict[Kind, KeySet] = {"keys": keys, "uniques": uniques}
        self._connection = connection
        self._data_folder = data_folder
        self._clock = clock
        self._freshness = freshness
        self._window_us = window_us
        self._busy = busy
        self._forget_runs = forget_runs
        self._collector = Collector(
            state=state, inbox_store=inbox_store, connection=connection, data_folder=data_folder,
            epoch=owner.epoch, confirm=owner.confirm, window_us=window_us,
        )  # fmt: skip
        self._merging: Iterator[None] | None = None
        self._sweeper = Sweeper(state, owner)
        self._forgetter = Forgetter(
            state, owner, data_folder,
            replace=lambda file, draft: self._replace_runs("uniques", [file], draft),
            drop=lambda file: self._drop_runs("uniques", [file]),
        )  # fmt: skip
        self._tidy_at = 0.0
        self._tend_at = 0.0
        self._stores = (state, inbox_store)

    def step(self) -> bool:
        """One bounded piece of upkeep; False when there was nothing to do."""
        if time.monotonic() >= self._tend_at:
            self._tend_at = time.monotonic() + limits.TEND_SECONDS
            for store in self._stores:
                store.tend()
        if time.monotonic() >= self._tidy_at:
            if self.tidy():
                return True
            self._tidy_at = time.monotonic() + limits.TIDY_SECONDS
        return self._tend_keys() or self.merge_archive()

    def tidy(self) -> bool:
        """Expire what left the window and delete what nothing names; whether anything went."""
        now = self._clock.now()
        return (
            self._expire_keys()
            or self._sweeper.step()
            or self._collector.step(now)
            or self._forget_runs(now)
        )

    def merge_archive(self) -> bool:
        """Merge one group of archive or duplicates files; False when none is worth it."""
        kinds: tuple[Kind, ...] = ("archive", "duplicates")
        for kind in kinds:
            with self._state.reading() as transaction:
                pinned = archive_merge.pinned_files(transaction)
                live = live_files(transaction, kind)
            if len(live) < limits.ARCHIVE_FILES_PATIENT_MAX and self._busy():
                continue
            files = archive_merge.plan_merge(live, pinned)
            if files is not None:
                self._merge_files(kind, files)
                return True
        return False

    def close(self) -> None:
        """Let go of the engine."""
        self._connection.close()

    def _merge_files(self, kind: Kind, files: Sequence[ManifestFile]) -> None:
        name = self._owner.file_name("archive", kind, "parquet")
        draft = archive_merge.merge_files(
            self._connection, self._data_folder, files, name, self._owner.epoch
        )
        with (
            Drafts(self._data_folder, draft) as drafts,
            self._state.writing() as transaction,
        ):
            drafts.may_be_named = archive_merge.commit_merge(
                transaction, draft, files, self._clock.now(), self._owner.confirm
            )
        reach("merge.after_commit")

    def _tend_keys(self) -> bool:
        """Go on with the work on key runs under way, or begin some; False when none is wanted."""
        if self._merging is None:
            self._merging = self._next_key_work()
        for _ in self._merging:
            return True
        self._merging = None
        return False

    def _next_key_work(self) -> Iterator[None]:
        for kind, keys in self._sets.items():
            with self._state.reading() as transaction:
                files = key_merge.plan(live_files(transaction, kind))
            if files is not None:
                yield from self._key_merge(kind, files)
            yield from keys.tend()
        yield from self._forgetter.steps(self._sweeper.swept_for)

    def _key_merge(self, kind: Kind, files: Sequence[ManifestFile]) -> Iterator[None]:
        name = self._owner.file_name("keys", kind, "run")
        level = max(file.level for file in files) + 1
        for draft in key_merge.merge(self._data_folder, files, name, self._owner.epoch, level):
            if draft is not None:
                self._replace_runs(kind, files, draft)
            yield

    def _replace_runs(self, kind: Kind, files: Sequence[ManifestFile], draft: FileDraft) -> None:
        """Name a run in the place of others, unless one of them left the record meanwhile."""
        with suppress(_Stale):
            self._name_instead(kind, files, draft)

    def _name_instead(self, kind: Kind, files: Sequence[ManifestFile], draft: FileDraft) -> None:
        now = self._clock.now()
        reach("merge.after_file")
        with (
            Drafts(self._data_folder, draft) as drafts,
            self._state.writing() as transaction,
        ):
            self._owner.confirm(transaction)
            if not remove_files(transaction, list(files), now):
                raise _Stale
            file = add_file(transaction, draft, now)
            reach("merge.before_commit")
            drafts.may_be_named = True
        reach("merge.after_commit")
        self._sets[kind].replace(files, file)

    def _expire_keys(self) -> bool:
        """Take runs out of the record whose bucket left the window of all that may be folded."""
        # What still waits is compared by when it was received, however late it is folded.
        counted_before = min(self._clock.now(), self._freshness.read().as_of)
        with self._state.reading() as transaction:
            # What is set aside may be folded any day, and is compared with the keys around its own.
            late = quarantine.received_times(transaction)
            files = live_files(transaction, "keys")
        expired = key_merge.expired(files, counted_before, late, self._window_us)
        if not expired:
            return False
        self._drop_runs("keys", expired)
        return True

    def _drop_runs(self, kind: Kind, files: list[ManifestFile]) -> None:
        """Take runs out of the record and out of the set."""
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            remove_files(transaction, files, self._clock.now())
        self._sets[kind].drop(files)


class _Stale(Exception):
    """A run expired while it was merged: the merge is given up."""
