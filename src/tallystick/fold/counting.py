"""What a step does with a batch, wherever it came from: drop duplicates, measure, record, commit.

Owns: the order of durable writes. Files are written and fsynced first; one transaction then names
them, changes the counters and moves the position; what was taken is let go of by the caller, after
that is durable. So a crash anywhere leaves either nothing but unnamed files, or a finished step.

Leaves to others: what is in a batch and when it is taken (``step`` for the inbox, ``objects/part``
for files in buckets).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.archive.drafts import Drafts
from tallystick.archive.manifest import FileDraft, ManifestFile, add_file
from tallystick.clock import Clock, Instant
from tallystick.failpoints import reach
from tallystick.fold import batch as batches
from tallystick.fold.batch import Batch
from tallystick.fold.customers import Customers
from tallystick.fold.ledger import remember_customers, write_totals
from tallystick.fold.metering import Measured, Meterer
from tallystick.fold.owner import LostOwnership, Owner, move_position
from tallystick.fold.record import Recorder
from tallystick.keys.key_set import KeySet
from tallystick.keys.merge import bucket_of, live_from, live_until
from tallystick.store import Store, Transaction


class Bounds(NamedTuple):
    """What a step takes and writes at most: counters by their weight, which is what the writing
    transaction costs."""

    events_first: int
    events_max: int
    counters_target: int
    counters_max: int

    @classmethod
    def of(cls, *, alone: bool) -> Bounds:
        """``alone``: no server uses the folder, and nobody waits for a step or its transaction."""
        if alone:
            events, counters = limits.STEP_ALONE_EVENTS_MAX, limits.STEP_ALONE_COUNTERS_MAX
            return cls(events, events, counters * 4 // 5, counters)
        return cls(
            limits.STEP_EVENTS_MIN, limits.STEP_EVENTS_MAX, limits.STEP_COUNTERS_TARGET,
            limits.STEP_COUNTERS_MAX,
        )  # fmt: skip


class RulesChanged(Exception):
    """A rule that this step used changed before it could commit; measure again."""


class TooLarge(Exception):
    """Fold at most so many events of this batch."""

    def __init__(self, events_max: int) -> None:
        super().__init__(events_max)
        self.events_max = events_max


@dataclass(frozen=True, slots=True)
class Written:
    """A step's batch whose files are durable and not yet named, and which events were new."""

    batch: Batch
    fresh: NDArray[np.bool_]
    customers: set[tuple[str, str]]
    """(environment, customer) that this worker has not met before."""

    @property
    def counted(self) -> Mapping[str, int]:
        """New events by environment."""
        return self.batch.counts(self.fresh)

    @property
    def duplicates(self) -> Mapping[str, int]:
        """Repeated events by environment."""
        return self.batch.counts(~self.fresh)


@dataclass(frozen=True, slots=True)
class Done:
    """A committed step, folded up to ``through``, and what memory must follow."""

    through: int
    events: int = 0
    weight: int = 0
    """What it cost the store, in standing counters."""
    named: Sequence[ManifestFile] = ()
    measured: Measured | None = None
    customers: Set[tuple[str, str]] = frozenset()


Also = Callable[[Transaction, Written], None]
"""What else a step's transaction writes: the rows of whatever the batch came from."""


class Counting:
    """Counts batches into one state, in the order of their positions."""

    def __init__(
        self,
        *,
        state: Store,
        owner: Owner,
        meterer: Meterer,
        recorder: Recorder,
        keys: KeySet,
        connection: duckdb.DuckDBPyConnection,
        clock: Clock,
        window_us: int,
        alone: bool = False,
    ) -> None:
        self._alone = alone
        self._state = state
        self._owner = owner
        self._meterer = meterer
        self._recorder = recorder
        self._keys = keys
        self._connection = connection
        self._clock = clock
        self._window_us = window_us
        self._customers = Customers(connection)
        self.events_max = self._bounds.events_first  # until steps have shown what they write
        """How many events the next step should take at most."""
        self.barrier: int | None = None
        """A position reserved for something else: nothing beyond it is folded before that is."""
        with state.reading() as transaction:
            self.position = owner.confirm(transaction)
            """Everything up to here is folded."""

    @property
    def _bounds(self) -> Bounds:
        return Bounds.of(alone=self._alone)

    def drafts(self) -> Drafts:
        """Takes charge of a step's files until its transaction has named them."""
        return self._recorder.drafts()

    def bucket(self, received_at: Instant) -> int:
        """Which eighth of the window an instant lies in; a batch is of one."""
        return bucket_of(received_at, self._window_us)

    def write(
        self,
        batch: Batch,
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        received: tuple[Instant, Instant],
        drafts: Drafts,
        *,
        beside: bool = False,
    ) -> Written:
        """Tell new from repeated and write both, and the keys, as files. ``hi`` and ``lo`` are the
        key hashes of the batch; ``received`` are the first and last.

        ``beside``: all connections see the batch's table, and there is a core to write its archive
        file on while this one measures.
        """
        first, _ = received  # of one bucket, all of them
        self._keys.look_within(
            live_from(first, self._window_us), live_until(first, self._window_us)
        )
        fresh = self._keys.fresh(hi, lo)
        batches.keep(self._connection, batch, fresh)
        if beside and fresh.all():
            drafts.expect(self._recorder.events_beside("event", batch.incoming))
        else:
            drafts.add(self._recorder.events("event"))
        reach("fold.after_archive_file")
        if fresh.any():
            drafts.add(self._write_keys(received))
        reach("fold.after_key_run")
        if not fresh.all():
            drafts.add(self._recorder.duplicates(self.bucket(first)))
        return Written(batch, fresh, self._customers.new())

    def count(
        self, written: Written, drafts: Drafts, through: int, also: Also, *, single: bool
    ) -> Done:
        """Measure and commit. ``single``: the batch cannot be made smaller.

        Who changes rules all the time keeps nobody's events from being counted: after some tries it
        is done for few events, and then with the store held. Raises ``TooLarge``.
        """
        events = len(written.batch.env_nos)
        for _ in range(limits.STEP_MEASURES_MAX):
            with self._state.reading() as transaction:
                measured = self._meterer.measure_batch(transaction, written.batch)
            weight = self._meterer.weight(measured)
            if weight > self._bounds.counters_max and not single:
                raise TooLarge(self._fitting(events, weight))
            uniques = drafts.add(self._meterer.write_uniques(measured))
            try:
                return self._commit(written, measured, drafts, through, also)
            except RulesChanged:
                drafts.give_up(uniques)
        if events > limits.STEP_EVENTS_MIN and not single:
            raise TooLarge(limits.STEP_EVENTS_MIN)
        return self._commit(written, None, drafts, through, also)

    def adopt(self, done: Done) -> None:
        """After the commit: memory follows what is durable. An error here is nobody's request's;
        it ends the worker, and the next one begins with what is durable."""
        self.position = done.through
        for file in done.named:
            if file.kind == "keys":
                self._keys.add(file)
            elif file.kind == "uniques":
                self._meterer.uniques.add(file)
        if done.measured is not None:
            self._meterer.keep(done.measured)
            self._adapt(done.events, done.weight)
        self._customers.meet(done.customers)

    def pass_over(self, through: int) -> Done:
        """Move the position over what there is nothing to count of."""
        with self._state.writing() as transaction:
            self._confirm(transaction)
            move_position(transaction, through)
        return Done(through)

    def shrink(self, events_max: int) -> None:
        """Let the next step take so many events at most, though never less than one request."""
        self.events_max = max(limits.STEP_EVENTS_MIN, events_max)

    def _write_keys(self, received: tuple[Instant, Instant]) -> FileDraft:
        name = self._owner.file_name("keys", "keys", "run")
        first, last = received
        return self._keys.write(
            name, self._owner.epoch, *self._keys.fresh_keys,
            bucket=self.bucket(first), time_first=first, time_last=last, in_order=True,
        )  # fmt: skip

    def _commit(
        self,
        written: Written,
        measured: Measured | None,
        drafts: Drafts,
        through: int,
        also: Also,
    ) -> Done:
        """Make a batch durable; it is measured here when it is not yet."""
        drafts.arrived()
        now = self._clock.now()
        with self._state.writing() as transaction:
            self._confirm(transaction)
            if measured is None:
                measured = self._meterer.measure_batch(transaction, written.batch)
                drafts.add(self._meterer.write_uniques(measured))
            elif self._meterer.changed_since(transaction, measured):
                raise RulesChanged
            self._meterer.write(transaction, measured)
            remember_customers(transaction, written.customers)
            named = [add_file(transaction, draft, now) for draft in drafts.files]
            write_totals(transaction, written.counted, written.duplicates)
            also(transaction, written)
            move_position(transaction, through)
            reach("fold.before_commit")
            drafts.may_be_named = True
        reach("fold.after_commit")
        weight = self._meterer.weight(measured)
        events = len(written.batch.env_nos)
        return Done(through, events, weight, named, measured, written.customers)

    def _confirm(self, transaction: Transaction) -> None:
        if self._owner.confirm(transaction) != self.position:
            raise LostOwnership("the folded position moved without this worker")

    def _adapt(self, events: int, weight: int) -> None:
        """Bound what the next step writes by this one's share of counters per event. The share
        falls as steps grow, so one that met its aim may always be tried a little larger."""
        bounds, fitting = self._bounds, self._fitting(events, weight)
        if weight <= bounds.counters_target:
            larger = self.events_max * bounds.counters_max // bounds.counters_target
            fitting = min(max(fitting, larger), 2 * self.events_max)
        self.events_max = min(max(fitting, limits.STEP_EVENTS_MIN), bounds.events_max)

    def _fitting(self, events: int, weight: int) -> int:
        """How many events like these write what a step aims to write."""
        return self._bounds.counters_target * events // max(weight, 1)
