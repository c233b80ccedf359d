"""The fold's step: the next requests of the inbox become counters, archive and position.

Owns: the order of durable writes. Files are written and fsynced first; one transaction then names
them, changes the counters and moves the position; only when that is durable are inbox rows removed.
So a crash anywhere leaves either nothing but unnamed files, or a finished step.

Promises: deterministic (the same requests in the same order give the same state); bounded by bytes,
events and counters; a request that cannot be folded stops nobody else (``quarantine``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.archive.drafts import Drafts
from tallystick.archive.manifest import FileDraft, ManifestFile, add_file
from tallystick.clock import Clock, Instant
from tallystick.errors import TallystickError
from tallystick.failpoints import reach, reach_each
from tallystick.fold import batch as batches
from tallystick.fold import quarantine
from tallystick.fold.as_of import AsOf
from tallystick.fold.attempts import Attempts
from tallystick.fold.batch import Batch
from tallystick.fold.engine import disk_failures
from tallystick.fold.ledger import remember_customers, write_totals
from tallystick.fold.metering import Measured, Meterer
from tallystick.fold.owner import LostOwnership, Owner, move_position
from tallystick.fold.record import Recorder
from tallystick.freshness import Freshness
from tallystick.inbox.inbox import Inbox, InboxRequest
from tallystick.keys.key_set import KeySet
from tallystick.keys.merge import bucket_of, live_from, live_until
from tallystick.store import Store

KNOWN_CUSTOMERS_MAX = 200_000
FATAL = (duckdb.FatalException, duckdb.InternalException, MemoryError)
"""After these the engine is no longer usable: only a new process is."""

log = logging.getLogger("tallystick.fold")


class RulesChanged(Exception):
    """A rule that this step used changed before it could commit; measure again."""


class TooLarge(Exception):
    """Fold at most so many events of these requests, or one request."""

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


class Fold:
    """Folds requests of one inbox into one state."""

    def __init__(
        self,
        *,
        state: Store,
        inbox: Inbox,
        owner: Owner,
        meterer: Meterer,
        recorder: Recorder,
        keys: KeySet,
        connection: duckdb.DuckDBPyConnection,
        attempts: Attempts,
        freshness: Freshness,
        clock: Clock,
        lines_file: Path,
        window_us: int,
    ) -> None:
        self._state = state
        self._inbox = inbox
        self._owner = owner
        self._meterer = meterer
        self._recorder = recorder
        self._keys = keys
        self._connection = connection
        self._attempts = attempts
        self._freshness = freshness
        self._clock = clock
        self._lines_file = lines_file
        self._window_us = window_us
        self._events_max = limits.STEP_EVENTS_MIN  # until steps have shown what they write
        self._known_customers: set[tuple[str, str]] = set()
        self._removed = -1
        self.left_some = False
        """Whether the last step left some of what waited when it began."""
        with state.reading() as transaction:
            self._position = owner.confirm(transaction)
        began = clock.now()  # before the inbox is looked at: what comes in meanwhile is later
        waiting = inbox.take(self._position, 1, 1)
        self._as_of = AsOf(began, inbox.head(), waiting[0].received_at if waiting else None)
        freshness.write(self._position, self._as_of.told)

    @property
    def position(self) -> int:
        """Everything up to here is folded."""
        return self._position

    def step(self) -> bool:
        """Fold what waits, up to the bounds of one step; False when nothing waited.

        Raises ``Unavailable`` when the store cannot take it now (nothing was folded, try again)
        and ``LostOwnership`` when another worker owns the folder.
        """
        asked_at, head = self._clock.now(), self._inbox.head()
        self._as_of.look(asked_at, head)
        self.left_some = False
        requests = self._take()
        if not requests:
            self._remove_folded()
            self._tell_freshness(asked_at)
            return False
        self._fold(requests)
        self._remove_folded()
        reach("fold.after_inbox_removed")
        self.left_some = self._position < head
        folded = [one.received_at for one in requests if one.position <= self._position]
        self._tell_freshness(folded[-1])
        return True

    def _take(self) -> list[InboxRequest]:
        """The next requests: of one dedupe bucket, and no more than an earlier death allows."""
        requests = self._inbox.take(self._position, limits.STEP_BYTES_MAX, self._events_max)
        if not requests:
            return []
        requests = self._attempts.cut(requests)
        bucket = self._bucket(requests[0])
        same = next((i for i, r in enumerate(requests) if self._bucket(r) != bucket), None)
        return requests[:same]

    def _fold(self, requests: Sequence[InboxRequest]) -> None:
        """Fold the requests, or the first of them that are enough for one step; what fails is
        halved until the one request that fails is set aside."""
        first, last = requests[0].position, requests[-1].position
        if self._attempts.begin(first, last) > limits.STEP_ATTEMPTS_MAX and len(requests) == 1:
            self._set_aside(requests[0], "it ended the worker process each time it was folded")
            self._attempts.end()
            return
        try:
            with disk_failures():
                done = self._fold_once(requests)
        except TooLarge as error:
            self._attempts.end()
            self._events_max = max(limits.STEP_EVENTS_MIN, error.events_max)
            self._fold(_first_of(requests, error.events_max))
        except TallystickError:
            self._attempts.end()
            raise
        except Exception as error:
            if isinstance(error, FATAL):
                raise  # the engine is lost with this process; the attempt stays on record
            self._attempts.end()
            if len(requests) == 1:
                log.exception("position %d cannot be folded and is set aside", first)
                self._set_aside(requests[0], f"{type(error).__name__}: {error}"[:1000])
                return
            half = len(requests) // 2
            self._fold(requests[:half])
            if self._position == requests[half - 1].position:
                self._fold(requests[half:])
        else:
            self._attempts.end()
            self._adopt(done)

    def _fold_once(self, requests: Sequence[InboxRequest]) -> Done:
        """Everything up to the commit. What fails here fails before anything changed."""
        with self._state.reading() as transaction:
            wanted = quarantine.to_fold(transaction, requests)
        through = requests[-1].position
        if not wanted:
            return self._pass_over(through)
        reach("fold.before_files")
        reach_each("fold.request", (request.position for request in wanted))
        with self._recorder.drafts() as drafts:
            return self._count(self._write(wanted, drafts), drafts, through)

    def _count(self, written: Written, drafts: Drafts, through: int) -> Done:
        """Measure and commit. Who changes rules all the time keeps nobody's events from being
        counted: after some tries it is done for few events, and then with the store held."""
        single, events = len(written.batch.requests) == 1, len(written.batch.env_nos)
        for _ in range(limits.STEP_MEASURES_MAX):
            with self._state.reading() as transaction:
                measured = self._meterer.measure_batch(transaction, written.batch)
            weight = self._meterer.weight(measured)
            if weight > limits.STEP_COUNTERS_MAX and not single:
                raise TooLarge(_fitting(events, weight))
            uniques = drafts.add(self._meterer.write_uniques(measured))
            try:
                return self._commit(written, measured, drafts, through)
            except RulesChanged:
                drafts.give_up(uniques)
        if events > limits.STEP_EVENTS_MIN and not single:
            raise TooLarge(limits.STEP_EVENTS_MIN)
        return self._commit(written, None, drafts, through)

    def _write(self, requests: Sequence[InboxRequest], drafts: Drafts) -> Written:
        batch, hi, lo = batches.load(self._connection, requests, self._lines_file)
        received_at = requests[0].received_at  # of one bucket, all of them
        self._keys.look_within(
            live_from(received_at, self._window_us), live_until(received_at, self._window_us)
        )
        fresh = self._keys.fresh(hi, lo)
        batches.keep(self._connection, fresh)
        archive = drafts.add(self._recorder.events("event"))
        reach("fold.after_archive_file")
        bucket = self._bucket(requests[0])
        if archive is not None:
            drafts.add(self._write_keys(requests, hi[fresh], lo[fresh], bucket))
        reach("fold.after_key_run")
        if not fresh.all():
            drafts.add(self._recorder.duplicates(bucket))
        present = set(batches.customers(self._connection))
        return Written(batch, fresh, present - self._known_customers)

    def _write_keys(
        self,
        requests: Sequence[InboxRequest],
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        bucket: int,
    ) -> FileDraft:
        times = [request.received_at for request in requests]
        name = self._owner.file_name("keys", "keys", "run")
        return self._keys.write(
            name, self._owner.epoch, hi, lo,
            bucket=bucket, time_first=min(times), time_last=max(times),
        )  # fmt: skip

    def _commit(
        self, written: Written, measured: Measured | None, drafts: Drafts, through: int
    ) -> Done:
        """Make a batch durable; it is measured here when it is not yet."""
        now = self._clock.now()
        with self._state.writing() as transaction:
            if self._owner.confirm(transaction) != self._position:
                raise LostOwnership("the folded position moved without this worker")
            if measured is None:
                measured = self._meterer.measure_batch(transaction, written.batch)
                drafts.add(self._meterer.write_uniques(measured))
            elif self._meterer.changed_since(transaction, measured):
                raise RulesChanged
            self._meterer.write(transaction, measured)
            remember_customers(transaction, written.customers)
            named = [add_file(transaction, draft, now) for draft in drafts.files]
            write_totals(
                transaction,
                written.batch.counts(written.fresh),
                written.batch.counts(~written.fresh),
            )
            for request in written.batch.requests:
                quarantine.release(transaction, request)
            move_position(transaction, through)
            reach("fold.before_commit")
            drafts.may_be_named = True
        reach("fold.after_commit")
        events = len(written.batch.env_nos)
        weight = self._meterer.weight(measured)
        return Done(through, events, weight, named, measured, written.customers)

    def _adopt(self, done: Done) -> None:
        """After the commit: memory follows what is durable. An error here is nobody's request's;
        it ends the worker, and the next one begins with what is durable."""
        self._position = done.through
        for file in done.named:
            if file.kind == "keys":
                self._keys.add(file)
            elif file.kind == "uniques":
                self._meterer.uniques.add(file)
        if done.measured is not None:
            self._meterer.keep(done.measured)
            self._adapt(done.events, done.weight)
        if len(self._known_customers) > KNOWN_CUSTOMERS_MAX:
            self._known_customers.clear()
        self._known_customers |= done.customers

    def _adapt(self, events: int, weight: int) -> None:
        """Bound what the next step writes by this one's share of counters per event. The share
        falls as steps grow, so one that met its aim may always be tried a little larger."""
        fitting = _fitting(events, weight)
        if weight <= limits.STEP_COUNTERS_TARGET:
            larger = self._events_max * limits.STEP_COUNTERS_MAX // limits.STEP_COUNTERS_TARGET
            fitting = min(max(fitting, larger), 2 * self._events_max)
        self._events_max = min(max(fitting, limits.STEP_EVENTS_MIN), limits.STEP_EVENTS_MAX)

    def _set_aside(self, request: InboxRequest, reason: str) -> None:
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            quarantine.set_aside(transaction, request, reason, self._clock.now())
            move_position(transaction, request.position)
        self._position = request.position

    def _remove_folded(self) -> None:
        """Drop from the inbox what is folded. When it could not be done, or a crash prevented it,
        nobody may come to be folded next: what is left may fill the inbox."""
        if self._removed < self._position:
            self._inbox.remove(self._position)
            self._removed = self._position

    def _tell_freshness(self, last_received: Instant) -> None:
        drained = self._inbox.head() <= self._position
        as_of = self._as_of.tell(self._position, last_received, drained=drained)
        self._freshness.write(self._position, as_of)

    def _pass_over(self, through: int) -> Done:
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            move_position(transaction, through)
        return Done(through)

    def _bucket(self, request: InboxRequest) -> int:
        return bucket_of(request.received_at, self._window_us)


def _fitting(events: int, weight: int) -> int:
    """How many events like these write what a step aims to write."""
    return limits.STEP_COUNTERS_TARGET * events // max(weight, 1)


def _first_of(requests: Sequence[InboxRequest], events_max: int) -> Sequence[InboxRequest]:
    """The first requests up to so many events; one at least, and not all."""
    taken = 0
    for number, request in enumerate(requests[:-1]):
        taken += request.events
        if taken > events_max:
            return requests[: max(number, 1)]
    return requests[:-1] or requests
