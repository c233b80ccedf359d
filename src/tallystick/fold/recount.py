"""Recounts: counters rebuilt from the archive, a bounded step at a time.

A recount writes counters of a generation of its own (its id) and chases the fold through the
archive: everything folded is archived, and while a recount is open the fold leaves the counters in
its scope alone. When no archived event is left, one transaction makes its generation the valid one.
Until then the old counters stand.

Where a recount stands is (position, file, row): every event up to ``position`` is in; inside
``file``, so are the rows before ``row_next``. Files of one way have disjoint ranges of positions,
merged or not, and merges leave alone the file a recount stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import duckdb

from tallystick import limits
from tallystick.archive.drafts import Drafts
from tallystick.archive.manifest import ManifestFile, add_file, live_files
from tallystick.archive.relation import EVENT_COLUMNS, quoted
from tallystick.catalog.changes import NOT_BEGUN, queue_recount, record_change
from tallystick.clock import Clock, Instant
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.failpoints import reach
from tallystick.fold.metering import Measured, Meterer, Target
from tallystick.fold.owner import Owner
from tallystick.fold.slots import Slot
from tallystick.metering.compile import compile_meter
from tallystick.store import Store, Transaction
from tallystick.usage.counters import CounterKey

OPEN_RECOUNTS = """
SELECT id, environment, feature, customer, start_seq, position, file, row_next, as_of
FROM recounts WHERE finished_at IS NULL ORDER BY id
"""

MOVE = "UPDATE recounts SET position = ?, file = ?, row_next = ? WHERE id = ?"
BEGIN = "UPDATE recounts SET position = 0, start_seq = ? WHERE id = ?"
FINISH = "UPDATE recounts SET finished_at = ? WHERE id = ?"
FORGET_FINISHED = """
DELETE FROM recounts WHERE finished_at IS NOT NULL AND id < (SELECT max(id) FROM recounts) - 1000
"""

FLIP_FEATURE = """
UPDATE features SET generation = ? WHERE environment = ? AND id = ? AND generation < ?
"""
FLIP_CUSTOMER = """
INSERT INTO customer_generations (environment, customer, feature, generation) VALUES (?, ?, ?, ?)
ON CONFLICT (environment, customer, feature) DO UPDATE SET generation = excluded.generation
"""
DROP_OLD_OF_CUSTOMER = """
DELETE FROM counters
WHERE environment = ? AND customer = ? AND feature = ? AND generation < ?
"""

# Whose own rules changed while a recount of everyone was under way.
CUSTOMERS_CHANGED_SINCE = """
SELECT DISTINCT customer FROM changes WHERE environment = ? AND customer <> '' AND seq > ?
"""


@dataclass(frozen=True, slots=True)
class Recount:
    """An open recount. ``feature`` '' is every event-fed one, ``customer`` '' is everyone."""

    id: int
    environment: str
    feature: str
    customer: str
    start_seq: int
    position: int
    file: int | None
    row_next: int
    as_of: Instant


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step reads: whole files, or rows [row_first, row_next) of one; where it then
    stands."""

    files: tuple[ManifestFile, ...]
    row_first: int
    row_next: int | None
    position: int
    file: int | None


class Recounter:
    """Runs the open recounts in turn. Used by the thread that folds."""

    def __init__(
        self,
        *,
        state: Store,
        rules: Rules,
        meterer: Meterer,
        owner: Owner,
        connection: duckdb.DuckDBPyConnection,
        data_folder: Path,
        clock: Clock,
    ) -> None:
        self._state = state
        self._rules = rules
        self._meterer = meterer
        self._owner = owner
        self._connection = connection
        self._data_folder = data_folder
        self._clock = clock
        self._last_id = 0
        self.any_open = False

    def step(self) -> bool:
        """One bounded step of one open recount; False when none is open."""
        recount = self._next()
        self.any_open = recount is not None
        if recount is None:
            return False
        self._last_id = recount.id
        if recount.position == NOT_BEGUN:
            self._begin(recount)
            return True
        with self._state.reading() as transaction:
            seq = self._rules.refresh(transaction)
            chunk = next_chunk(recount, live_files(transaction, "archive", "event"))
            measured = chunk and self._measure(transaction, seq, recount, chunk)
        if chunk and measured:
            self._commit(recount, chunk, measured)
        else:
            self._flip(recount)
        return True

    def _next(self) -> Recount | None:
        """The open recount after the last one served, so that all move on."""
        with self._state.reading() as transaction:
            recounts = open_recounts(transaction)
        return next(
            (recount for recount in recounts if recount.id > self._last_id),
            recounts[0] if recounts else None,
        )

    def _begin(self, recount: Recount) -> None:
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            row = transaction.one("SELECT coalesce(max(seq), 0) FROM changes")
            transaction.run(BEGIN, row[0] if row else 0, recount.id)

    def _measure(
        self, transaction: Transaction, seq: int, recount: Recount, chunk: Chunk
    ) -> Measured:
        features = self._features(transaction, recount)
        self._load(recount, chunk, features)
        targets = [Target(recount.environment, feature, "events") for feature in features]

        def find(target: Target, customer: str, resource: str) -> Slot | None:
            scope = (recount.environment, customer, resource, target.feature.id)
            segments = self._rules.segments(transaction, *scope)
            if not segments:
                return None
            key = CounterKey(*scope, recount.id, 0)
            return Slot(key, segments, unique=target.unique)

        return self._meterer.measure(seq, recount.environment, targets, find)

    def _features(self, transaction: Transaction, recount: Recount) -> list[FeatureRules]:
        """The features this recount rebuilds.

        One of a single customer leaves out what a recount of everyone rebuilds anyway.
        """
        metered = self._rules.metered(transaction, recount.environment)
        if recount.feature:
            return [feature for feature in metered if feature.id == recount.feature]
        others = {
            other.feature
            for other in open_recounts(transaction)
            if other.environment == recount.environment and not other.customer
        }
        return [feature for feature in metered if feature.id not in others]

    def _load(self, recount: Recount, chunk: Chunk, features: Sequence[FeatureRules]) -> None:
        """Make ``events`` of the chunk: what could match a meter of this recount."""
        paths = ", ".join(quoted(self._data_folder / file.name) for file in chunk.files)
        conditions = ["environment = ?", "position > ?"]
        values: list[object] = [recount.environment, recount.position]
        if recount.customer:
            conditions.append("customer = ?")
            values.append(recount.customer)
        names = _names(features)
        if names is not None:
            conditions.append("list_contains(?, event_name)")
            values.append(sorted(names))
        if chunk.row_next is not None:
            conditions.append("file_row_number >= ? AND file_row_number < ?")
            values += [chunk.row_first, chunk.row_next]
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE events AS SELECT {EVENT_COLUMNS} "
            f"FROM read_parquet([{paths}], file_row_number = true) "
            f"WHERE {' AND '.join(conditions)}",
            values,
        )

    def _commit(self, recount: Recount, chunk: Chunk, measured: Measured) -> None:
        """Add the chunk to the generation under construction, unless a rule changed meanwhile."""
        with Drafts(self._data_folder) as drafts:
            drafts.add(self._meterer.write_uniques(measured))
            with self._state.writing() as transaction:
                self._owner.confirm(transaction)
                if self._meterer.changed_since(transaction, measured):
                    return
                self._meterer.write(transaction, measured)
                now = self._clock.now()
                named = [add_file(transaction, draft, now) for draft in drafts.files]
                transaction.run(MOVE, chunk.position, chunk.file, chunk.row_next or 0, recount.id)
                reach("recount.before_commit")
                drafts.may_be_named = True
        reach("recount.after_commit")
        for file in named:
            self._meterer.uniques.add(file)

    def _flip(self, recount: Recount) -> None:
        """Nothing is left to read: this generation is the valid one from here on."""
        now = self._clock.now()
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            if next_chunk(recount, live_files(transaction, "archive", "event")) is not None:
                return
            self._rules.refresh(transaction)
            if _superseded(transaction, recount):
                pass  # a younger recount of the same counters makes the generation that will stand
            elif recount.customer:
                self._flip_customer(transaction, recount)
            else:
                self._flip_feature(transaction, recount, now)
            transaction.run(FINISH, now, recount.id)
            transaction.run(FORGET_FINISHED)
            record_change(transaction, recount.environment, recount.customer, now)
            reach("recount.before_flip")
        reach("recount.after_flip")

    def _flip_customer(self, transaction: Transaction, recount: Recount) -> None:
        for feature in self._features(transaction, recount):
            scope = (recount.environment, recount.customer, feature.id)
            transaction.run(FLIP_CUSTOMER, *scope, recount.id)
            transaction.run(DROP_OLD_OF_CUSTOMER, *scope, recount.id)

    def _flip_feature(self, transaction: Transaction, recount: Recount, now: Instant) -> None:
        features = self._features(transaction, recount)
        changed = transaction.all(CUSTOMERS_CHANGED_SINCE, recount.environment, recount.start_seq)
        for feature in features:
            transaction.run(FLIP_FEATURE, recount.id, recount.environment, feature.id, recount.id)
            for (customer,) in cast("list[tuple[str]]", changed):
                queue_recount(
                    transaction, recount.environment, feature.id, customer,
                    "rules changed during a recount", recount.as_of, now,
                )  # fmt: skip


def open_recounts(transaction: Transaction) -> list[Recount]:
    """The unfinished recounts, oldest first."""
    return [Recount(*row) for row in transaction.all(OPEN_RECOUNTS)]  # type: ignore[arg-type]


def next_chunk(recount: Recount, files: Sequence[ManifestFile]) -> Chunk | None:
    """The next events in position order, at most ``RECOUNT_STEP_ROWS_MAX`` rows of them.

    ``files`` are the live archive files of one way in position order. None when nothing is left.
    """
    left = [file for file in files if file.position_last > recount.position]
    if not left:
        return None
    first = left[0]
    if first.row_count > limits.RECOUNT_STEP_ROWS_MAX:
        start = recount.row_next if recount.file == first.id else 0
        stop = start + limits.RECOUNT_STEP_ROWS_MAX
        if stop >= first.row_count:
            return Chunk((first,), start, stop, first.position_last, None)
        return Chunk((first,), start, stop, recount.position, first.id)
    taken: list[ManifestFile] = []
    rows = 0
    for file in left:
        if taken and rows + file.row_count > limits.RECOUNT_STEP_ROWS_MAX:
            break
        taken.append(file)
        rows += file.row_count
    return Chunk(tuple(taken), 0, None, taken[-1].position_last, None)


def _superseded(transaction: Transaction, recount: Recount) -> bool:
    """Whether a younger recount rebuilds the same counters: then this one mixed old and new."""
    scope = (recount.environment, recount.feature, recount.customer)
    return any(
        other.id > recount.id and (other.environment, other.feature, other.customer) == scope
        for other in open_recounts(transaction)
    )


def _names(features: Sequence[FeatureRules]) -> set[str] | None:
    """The event names that could match; None when a meter takes any name."""
    names: set[str] = set()
    for feature in features:
        assert feature.meter is not None
        of_meter = compile_meter(feature.meter).event_names
        if of_meter is None:
            return None
        names |= of_meter
    return names
