"""Recounts: counters rebuilt from the archive, a bounded step at a time.

Owns: what one step of a run reads, measures and writes, and how large it is. Which recounts begin
together, and why the counters are right when they end, is said in ``recount_runs``.

A run chases the fold through the archive: everything folded is archived, and while a recount is
open the fold leaves the counters in its scope alone. Where it stands is (position, file, row):
every event up to ``position`` is in; inside ``file``, so are the rows before ``row_next``. Files of
one way have disjoint ranges of positions, merged or not. A merge leaves the file alone that a run
stands in, and a step that read a file which a merge replaced meanwhile writes nothing and reads
again.

Promises: a step touches at most ``RECOUNT_STEP_COUNTERS_MAX`` counters and reads fewer events when
they would be more, so that its transaction is short and the fold, which has its turn between steps,
need not wait. A rule that changes during a step makes it no less right: that change has queued a
recount of what it moves, which begins anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tallystick import limits
from tallystick.archive.drafts import Drafts
from tallystick.archive.manifest import ManifestFile, add_file, live_files
from tallystick.archive.relation import EVENT_COLUMNS, make_events, quoted
from tallystick.clock import Clock
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.errors import DamagedData, OperatorError, TryLater
from tallystick.failpoints import reach
from tallystick.fold import recount_runs as runs
from tallystick.fold.engine import disk_failures
from tallystick.fold.metering import Measured, Meterer, Target
from tallystick.fold.owner import Owner
from tallystick.fold.recount_runs import Run, Scope
from tallystick.fold.slots import Slot
from tallystick.metering.compile import compile_meter
from tallystick.store import Store, Transaction
from tallystick.usage.counters import CounterKey

log = logging.getLogger("tallystick.recount")


class TooMany(Exception):
    """What was read touches more counters than one step may; read less."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step reads: whole files, or rows [row_first, row_next) of one; where it then
    stands."""

    files: tuple[ManifestFile, ...]
    row_first: int
    row_next: int | None
    position: int
    file: int | None

    @property
    def rows(self) -> int:
        """How many events it holds at most."""
        if self.row_next is not None:
            return self.row_next - self.row_first
        return sum(file.row_count for file in self.files)


class Recounter:
    """Works off the runs in turn. Used by the thread that folds."""

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
        self._last = 0
        self._rows_max: dict[int, int] = {}
        """By run, how many events its next step reads at most."""
        self._failures: dict[int, str] = {}
        """By run, what the last attempt of this process failed with."""
        self._excused: int | None = None
        """The run whose last attempt was the store's failure."""
        self.any_open = False
        with state.writing() as transaction:
            owner.confirm(transaction)
            runs.try_again(transaction)

    def step(self) -> bool:
        """One bounded step of one run; False when there is none.

        Raises ``Unavailable`` when the store cannot take it now, and whatever a recount fails
        with; after some attempts that one is set aside.
        """
        self._begin()
        run = self._next()
        self.any_open = run is not None
        if run is None:
            return False
        self._last = run.generation
        if run.attempts >= limits.RECOUNT_ATTEMPTS_MAX:
            self._give_up(run)
        else:
            self._attempt(run)
        return True

    def _begin(self) -> None:
        with self._state.reading() as transaction:
            if not runs.may_begin(transaction):
                return
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            runs.begin(transaction)

    def _next(self) -> Run | None:
        """The run after the last one served, so that all move on."""
        with self._state.reading() as transaction:
            found = runs.open_runs(transaction)
        later = (run for run in found if run.generation > self._last)
        return next(later, found[0] if found else None)

    def _attempt(self, run: Run) -> None:
        """One step, recorded before so that it counts even if the process ends with it."""
        excused, self._excused = self._excused == run.generation, None
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            runs.record_attempt(transaction, run, run.attempts + (not excused))
        try:
            with disk_failures():
                self._advance(run)
        except (TryLater, OperatorError):
            self._excused = run.generation
            raise
        except Exception as error:
            self._failures[run.generation] = f"{type(error).__name__}: {error}"[:1000]
            raise

    def _give_up(self, run: Run) -> None:
        unknown = "it ended the worker process each time"
        reason = self._failures.pop(run.generation, unknown)
        self._rows_max.pop(run.generation, None)
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            set_aside = runs.give_up(transaction, run, reason)
        if set_aside:
            log.error("a recount in environment %s is set aside: %s", run.environment, reason)

    def _advance(self, run: Run) -> None:
        began = time.monotonic()
        rows_max = self._rows_max.get(run.generation, limits.RECOUNT_STEP_ROWS_FIRST)
        with self._state.reading() as transaction:
            seq = self._rules.refresh(transaction)
            scope = runs.scope_of(transaction, run)
            files = live_files(transaction, "archive", "event") if scope.customers else []
            chunk = next_chunk(run, files, rows_max)
            if chunk is not None:
                try:
                    measured = self._measure(transaction, seq, run, scope, chunk)
                except TooMany:
                    self._rows_max[run.generation] = _less(chunk.rows)
                    return
        if chunk is None:
            self._flip(run)
            return
        self._commit(run, chunk, measured)
        touched = len(measured.parts)
        self._adapt(run, rows_max, touched, time.monotonic() - began)

    def _adapt(self, run: Run, rows: int, touched: int, seconds: float) -> None:
        """Let the next step read more or less by what this one took."""
        if seconds > limits.RECOUNT_STEP_SECONDS_AIM:
            rows = max(rows // 2, min(rows, limits.RECOUNT_STEP_ROWS_FIRST))
        elif (
            2 * touched <= limits.RECOUNT_STEP_COUNTERS_MAX
            and 2 * seconds <= limits.RECOUNT_STEP_SECONDS_AIM
        ):
            rows = min(2 * rows, limits.RECOUNT_STEP_ROWS_MAX)
        self._rows_max[run.generation] = rows

    def _measure(
        self, transaction: Transaction, seq: int, run: Run, scope: Scope, chunk: Chunk
    ) -> Measured:
        """What the chunk adds to each counter. Raises ``TooMany``, except of very few events."""
        metered = self._rules.metered(transaction, run.environment)
        features = [feature for feature in metered if feature.id in scope.customers]
        with damage_told(self._data_folder, chunk.files):
            self._load(run, scope, chunk, features)
        targets = [Target(run.environment, feature, "events") for feature in features]
        bounded = chunk.rows > limits.RECOUNT_STEP_ROWS_MIN
        asked = 0

        def find(target: Target, customer: str, resource: str) -> Slot | None:
            nonlocal asked
            if not scope.holds(target.feature.id, customer):
                return None
            asked += 1
            if bounded and asked > limits.RECOUNT_STEP_COUNTERS_MAX:
                raise TooMany
            place = (run.environment, customer, resource, target.feature.id)
            segments = self._rules.segments(transaction, *place)
            if not segments:
                return None
            return Slot(CounterKey(*place, run.generation, 0), segments, unique=target.unique)

        measured = self._meterer.measure(seq, run.environment, targets, find)
        if bounded and len(measured.parts) > limits.RECOUNT_STEP_COUNTERS_MAX:
            raise TooMany
        return measured

    def _load(self, run: Run, scope: Scope, chunk: Chunk, features: Sequence[FeatureRules]) -> None:
        """Make ``events`` of the chunk: what could match a meter of this run."""
        paths = ", ".join(quoted(self._data_folder / file.name) for file in chunk.files)
        conditions = ["environment = ?", "position > ?"]
        values: list[object] = [run.environment, run.position]
        customers = scope.single()
        if customers:
            # The range lets the engine skip what lies outside without looking each one up.
            conditions.append("customer BETWEEN ? AND ? AND customer IN (SELECT unnest(?))")
            values += [customers[0], customers[-1], customers]
        names = _names(features)
        if names is not None:
            conditions.append("list_contains(?, event_name)")
            values.append(sorted(names))
        if chunk.row_next is not None:
            conditions.append("file_row_number >= ? AND file_row_number < ?")
            values += [chunk.row_first, chunk.row_next]
        make_events(
            self._connection,
            f"SELECT {EVENT_COLUMNS} FROM read_parquet([{paths}], file_row_number = true) "
            f"WHERE {' AND '.join(conditions)}",
            values,
        )

    def _commit(self, run: Run, chunk: Chunk, measured: Measured) -> None:
        """Add the chunk to the generation under construction, unless a merge replaced a file of it:
        what was read would be read again from the merged one."""
        with Drafts(self._data_folder) as drafts:
            drafts.add(self._meterer.write_uniques(measured))
            with self._state.writing() as transaction:
                self._owner.confirm(transaction)
                live = {file.id for file in live_files(transaction, "archive", "event")}
                if not live.issuperset(file.id for file in chunk.files):
                    return
                self._meterer.write(transaction, measured)
                now = self._clock.now()
                named = [add_file(transaction, draft, now) for draft in drafts.files]
                runs.move(transaction, run, chunk.position, chunk.file, chunk.row_next or 0)
                reach("recount.before_commit")
                drafts.may_be_named = True
        reach("recount.after_commit")
        for file in named:
            self._meterer.uniques.add(file)

    def _flip(self, run: Run) -> None:
        """Nothing is left to read: this generation is the valid one from here on."""
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            files = live_files(transaction, "archive", "event")
            is_wanted = bool(runs.scope_of(transaction, run).customers)
            if is_wanted and next_chunk(run, files, limits.RECOUNT_STEP_ROWS_MAX) is not None:
                return
            runs.flip(transaction, run, self._clock.now())
            reach("recount.before_flip")
        reach("recount.after_flip")
        self._rows_max.pop(run.generation, None)
        self._failures.pop(run.generation, None)


def next_chunk(run: Run, files: Sequence[ManifestFile], rows_max: int) -> Chunk | None:
    """The next events in position order, at most ``rows_max`` of them.

    ``files`` are the live archive files of one way in position order. None when nothing is left.
    Raises ``DamagedData`` when the file that the run stands in is gone.
    """
    left = [file for file in files if file.position_last > run.position]
    if not left:
        return None
    first = left[0]
    if run.file not in (None, first.id):
        raise DamagedData(f"recount {run.generation} stands in file {run.file}, which is gone")
    if run.file is not None or first.row_count > rows_max:
        start = 0 if run.file is None else run.row_next
        stop = start + rows_max
        if stop >= first.row_count:
            return Chunk((first,), start, first.row_count, first.position_last, None)
        return Chunk((first,), start, stop, run.position, first.id)
    taken: list[ManifestFile] = []
    rows = 0
    for file in left:
        if taken and rows + file.row_count > rows_max:
            break
        taken.append(file)
        rows += file.row_count
    return Chunk(tuple(taken), 0, None, taken[-1].position_last, None)


@contextmanager
def damage_told(data_folder: Path, files: Sequence[ManifestFile]) -> Iterator[None]:
    """A file that cannot be read is the store's failure, unless it is gone or cut short: that is
    ``DamagedData``, which no waiting mends."""
    try:
        yield
    except (OSError, duckdb.IOException) as error:
        for file in files:
            path = data_folder / file.name
            if not path.exists() or path.stat().st_size != file.bytes:
                raise DamagedData(f"{file.name} is gone or not as it was written") from error
        raise


def _less(rows: int) -> int:
    return max(rows // 2, limits.RECOUNT_STEP_ROWS_MIN)


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
