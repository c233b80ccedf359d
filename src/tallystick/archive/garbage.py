"""What is no longer needed goes: replaced files, a former owner's drafts, what left its window.

Owns: deleting files of the archive and of key runs, and expiring the log of duplicates, the keys of
usage reports, replies to repeated requests and old rows of ``changes``. Promises: a file goes only
when no row names it as live, and long after the last query could have begun on it; a file of the
present epoch that no row names is left alone, since a transaction under way may be about to name
it; each transaction is short.

How long a file was replaced is measured in real time that this process has seen pass: the product's
clock may be a test clock that jumps, while a query that reads the file takes real seconds.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import duckdb

from tallystick import limits
from tallystick.archive.manifest import ManifestFile, live_files, remove_files
from tallystick.clock import HOUR, Instant
from tallystick.failpoints import reach
from tallystick.store import Store, Transaction
from tallystick.usage.keys import forget_claims

FOLDERS: Final = ("archive", "keys")

_NAME: Final = re.compile(r"[a-z]+-(?P<epoch>\d{8,})-\d{10,}\.")
_SPILL: Final = re.compile(r"queries-(?P<process>\d+)-")

REMOVED_FILES = "SELECT id, name FROM files WHERE removed_at IS NOT NULL"
FORGET_FILE = "DELETE FROM files WHERE id = ? AND removed_at IS NOT NULL"
ALL_NAMES = "SELECT name FROM files"

COUNT_DUPLICATES = "SELECT environment, count(*) FROM read_parquet(?) GROUP BY environment"
EXPIRE_DUPLICATES = """
UPDATE totals SET duplicates_expired = duplicates_expired + ? WHERE environment = ?
"""

FORGET_CHANGES = """
DELETE FROM changes WHERE seq IN (
    SELECT seq FROM changes
    WHERE seq < (SELECT max(seq) FROM changes) - ?
    ORDER BY seq LIMIT ?
)
"""

# Replies to ``Idempotency-Key`` that nobody gets again, of either store.
FORGET_REPLIES = """
DELETE FROM replies WHERE (environment, method, path, key) IN (
    SELECT environment, method, path, key FROM replies WHERE made_at < ? ORDER BY made_at LIMIT ?
)
"""

ANY_REPLY = "SELECT 1 FROM replies WHERE made_at < ? LIMIT 1"


class Collector:
    """Deletes what one data folder no longer needs. Used by one thread of its owner."""

    def __init__(
        self,
        *,
        state: Store,
        inbox_store: Store,
        connection: duckdb.DuckDBPyConnection,
        data_folder: Path,
        epoch: int,
        confirm: Callable[[Transaction], object],
        window_us: int,
        kept_seconds: float = limits.REPLACED_FILE_SECONDS_KEPT,
    ) -> None:
        """``confirm`` asserts that ``epoch`` is still the owner's, and raises when it is not."""
        self._state = state
        self._inbox_store = inbox_store
        self._connection = connection
        self._data_folder = data_folder
        self._epoch = epoch
        self._confirm = confirm
        self._window_us = window_us
        self._kept_seconds = kept_seconds
        self._removed_since: dict[int, float] = {}
        self._strays_left = True

    def step(self, now: Instant) -> bool:
        """One bounded piece of work; False when there was nothing to do."""
        return (
            self._delete_strays()
            or self._delete_removed()
            or self._expire_duplicates(now)
            or self._expire_rows(now)
            or self._expire_replies_of_events(now)
        )

    def _delete_strays(self) -> bool:
        """Files of former owners that no row names: drafts that a crash left. Once an epoch."""
        if not self._strays_left:
            return False
        self._strays_left = False
        found = list(self._files_of_former_owners())
        with self._state.reading() as transaction:
            named = {row[0] for row in transaction.all(ALL_NAMES)}
        strays = [path for name, path in found if name not in named]
        for path in strays:
            self._delete(path)
        _delete_spills_of_the_dead(self._data_folder / "run")
        return bool(strays)

    def _files_of_former_owners(self) -> Iterator[tuple[str, Path]]:
        for folder in FOLDERS:
            for path in (self._data_folder / folder).iterdir():
                match = _NAME.match(path.name)
                if match and int(match["epoch"]) < self._epoch:
                    yield f"{folder}/{path.name}", path

    def _delete_removed(self) -> bool:
        """Files that were replaced or expired long enough ago, then their rows."""
        with self._state.reading() as transaction:
            removed = dict(cast("list[tuple[int, str]]", transaction.all(REMOVED_FILES)))
        seen = time.monotonic()
        self._removed_since = {file: self._removed_since.get(file, seen) for file in removed}
        due = [
            file
            for file, since in self._removed_since.items()
            if seen - since >= self._kept_seconds
        ][: limits.EXPIRED_ROWS_PER_STEP]
        for file in due:
            self._delete(self._data_folder / removed[file])
        if due:
            with self._state.writing() as transaction:
                self._confirm(transaction)
                transaction.run_many(FORGET_FILE, ((file,) for file in due))
        return bool(due)

    def _delete(self, path: Path) -> None:
        reach("garbage.before_delete")
        path.unlink(missing_ok=True)

    def _expire_duplicates(self, now: Instant) -> bool:
        """Take one file of the log out of the record, its rows into the total of expired ones."""
        with self._state.reading() as transaction:
            file = self._first_expired(transaction, now)
        if file is None:
            return False
        path = str(self._data_folder / file.name)
        counts = self._connection.execute(COUNT_DUPLICATES, [[path]]).fetchall()
        with self._state.writing() as transaction:
            self._confirm(transaction)
            if remove_files(transaction, [file], now):
                for environment, count in counts:
                    transaction.run(EXPIRE_DUPLICATES, count, environment)
        return True

    def _first_expired(self, transaction: Transaction, now: Instant) -> ManifestFile | None:
        files = live_files(transaction, "duplicates")
        return next((file for file in files if file.time_last < now - self._window_us), None)

    def _expire_rows(self, now: Instant) -> bool:
        """Claims of usage keys and replies that left their window, and changes that every cache
        has seen."""
        rows_max = limits.EXPIRED_ROWS_PER_STEP
        with self._state.writing() as transaction:
            self._confirm(transaction)
            claims = forget_claims(transaction, now - self._window_us, rows_max)
            replies = transaction.run(FORGET_REPLIES, now - limits.REPLAY_HOURS * HOUR, rows_max)
            changes = transaction.run(FORGET_CHANGES, limits.CHANGES_KEPT, rows_max)
        return claims + replies + changes > 0

    def _expire_replies_of_events(self, now: Instant) -> bool:
        """As of other requests, but in the inbox, where accepting shall not wait for nothing. No
        owner is asked: what is expired is so for whoever deletes it."""
        expired = now - limits.REPLAY_HOURS * HOUR
        with self._inbox_store.reading() as transaction:
            if transaction.one(ANY_REPLY, expired) is None:
                return False
        with self._inbox_store.writing() as transaction:
            return transaction.run(FORGET_REPLIES, expired, limits.EXPIRED_ROWS_PER_STEP) > 0


def _delete_spills_of_the_dead(run_folder: Path) -> None:
    """What queries of processes that were killed had put on disk."""
    if not run_folder.is_dir():
        return
    for spill in run_folder.iterdir():
        match = _SPILL.match(spill.name)
        if match and not _is_alive(int(match["process"])):
            for file in spill.iterdir():
                file.unlink(missing_ok=True)
            spill.rmdir()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
