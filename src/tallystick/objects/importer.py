"""Works off runs: lists what is new, reads it, and counts it at positions of its own.

Owns: which run and object are served, and what becomes of them; one bounded ``step`` at a time, on
the thread that folds. What takes long happens on another (``feed``).

A part of an object is counted like a request of the inbox: it gets the next position, once
everything accepted before has been folded, and nothing accepted later is folded before it. So
events have one order whichever way they came, and recounts, histories and verification need to know
nothing of objects. Where reading stands moves in the same transaction (``ledger``).

Promises: an object that cannot be read, and a record that cannot be counted, cost nobody else
anything; a step never waits for a network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import duckdb

from tallystick import ids, limits
from tallystick.clock import Clock, Instant
from tallystick.errors import OperatorError, RequestError, TryLater
from tallystick.failpoints import reach
from tallystick.fold.owner import Owner
from tallystick.objects import ledger, sources
from tallystick.objects.buckets import Bucket
from tallystick.objects.feed import Ended, Feed
from tallystick.objects.formats import format_of
from tallystick.objects.info import ObjectInfo
from tallystick.objects.job import Job, job_of
from tallystick.objects.ledger import Run
from tallystick.objects.part import PartCounter
from tallystick.objects.reader import ObjectReader
from tallystick.store import Store, Transaction

log = logging.getLogger("tallystick.objects")

_LISTED_TOGETHER: Final = 200
"""Objects that one transaction takes up."""

_UNREAD: Final = "its name has no ending that is read"

_Listed = tuple[Job, Bucket, list[ObjectInfo], list[tuple[str, str]]]
"""Some objects of a place, and names that are refused with the reasons."""

Opened = Callable[[str, Job], Bucket]
"""Opens the bucket of a URL with a job's credentials."""


class Importer:
    """The runs of one data folder. Used by the thread that folds."""

    def __init__(
        self,
        *,
        state: Store,
        owner: Owner,
        parts: PartCounter,
        connection: duckdb.DuckDBPyConnection,
        clock: Clock,
        data_folder: Path,
        opened: Opened,
        window_us: int,
    ) -> None:
        self._state = state
        self._owner = owner
        self._parts = parts
        self._connection = connection
        self._clock = clock
        self._data_folder = data_folder
        self._opened = opened
        self._window_us = window_us
        self._serving: _Serving | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a run is being worked off."""
        return self._serving is not None

    def step(self) -> bool:
        """Go on with the run that is served; False when there was nothing to do now.

        Raises ``TryLater`` when the store or the bucket cannot be had: try again after a while.
        """
        with self._state.reading() as transaction:
            run = ledger.next_run(transaction)
            closed = run is not None and sources.is_closed(transaction, run.source)
        if run is None:
            self._let_go()
            return self._queue_due()
        if closed:
            self._end(run, "stopped", "its source was paused or removed")
            return True
        serving = self._serve(run)
        if serving is None:
            return True
        return self._read(serving) if run.listed else self._list(serving)

    def close(self) -> None:
        """Give up what is under way; the next importer goes on from what is committed."""
        self._let_go()
        self._parts.close()

    def _queue_due(self) -> bool:
        """Queue a run of each source whose time has come."""
        now = self._clock.now()
        with self._state.reading() as transaction:
            due = sources.due(transaction, now)
        if not due:
            return False
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            for source in due:
                if ledger.open_run(transaction, source.id) is None:
                    run = ids.new_id()
                    ledger.add_run(
                        transaction, run, source.environment, source.id, "", "schedule", now
                    )
                sources.reschedule(transaction, source, now)
        return True

    def _serve(self, run: Run) -> _Serving | None:
        """What is under way of a run; None when it ended because it cannot be served."""
        if self._serving is not None and self._serving.run.seq == run.seq:
            self._serving.run = run
            return self._serving
        self._let_go()
        try:
            jobs = self._jobs_of(run)
            places = [(job, self._opened(job.url, job)) for job in jobs]
        except (RequestError, OperatorError, ValueError) as error:
            # What no later try would change; others wait behind it.
            self._end(run, "failed", str(error))
            return None
        if run.started_at is None:
            with self._state.writing() as transaction:
                self._owner.confirm(transaction)
                transaction.run(ledger.START_RUN, self._clock.now(), run.seq)
        self._serving = _Serving(run, places)
        return self._serving

    def _jobs_of(self, run: Run) -> list[Job]:
        """What a run is about: its source, or each place that an import names."""
        if run.source is not None:
            with self._state.reading() as transaction:
                return [sources.find(transaction, run.environment, run.source).job]
        asked = run.asked()
        return [job_of(asked | {"url": url}) for url in asked["urls"]]

    # --- listing --------------------------------------------------------------------------------

    def _list(self, serving: _Serving) -> bool:
        """Take up the next of what is listed."""
        if serving.listing is None:
            self._begin_listing(serving)
            assert serving.listing is not None
        result = serving.listing.take()
        if result is None:
            return False
        if isinstance(result, Ended):
            serving.listing = None
            return self._listed(serving, result.error)
        job, bucket, infos, refused = result
        wanted = [each for each in infos if job.wants(each.key)]
        readable = [each for each in wanted if format_of(each.key) is not None]
        others = [(each, _UNREAD) for each in wanted if format_of(each.key) is None]
        others += [(_nameless(key), reason) for key, reason in refused if job.wants(key)]
        forgotten_before = self._clock.now() - self._window_us
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            ledger.meet(transaction, serving.run, bucket.url, readable, forgotten_before)
            self._ignore(transaction, serving, bucket, others)
        return True

    def _begin_listing(self, serving: _Serving) -> None:
        """From the start, whatever of it was taken up before."""
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            transaction.run(ledger.BEGIN_LISTING, serving.run.seq)
        serving.ignored = 0
        serving.listing = Feed("object-list", serving.listed)

    def _ignore(
        self,
        transaction: Transaction,
        serving: _Serving,
        bucket: Bucket,
        others: list[tuple[ObjectInfo, str]],
    ) -> None:
        """Show what is left alone: a bounded number by name, all of them as a number."""
        if not others:
            return
        room = max(0, limits.RUN_IGNORED_SHOWN_MAX - serving.ignored)
        serving.ignored += len(others)
        transaction.run(ledger.IGNORE, len(others), serving.run.seq)
        ledger.ignore(transaction, serving.run, bucket.url, others[:room])

    def _listed(self, serving: _Serving, error: Exception | None) -> bool:
        if isinstance(error, TryLater) and serving.tries < limits.OBJECT_TRIES_MAX:
            serving.tries += 1
            raise error
        if error is not None:
            self._end(serving.run, "failed", _sentence(error))
            return True
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            transaction.run(ledger.LISTED, serving.run.seq)
            if serving.run.source is not None:
                # What an earlier run left, because it was stopped or its worker died.
                transaction.run(ledger.TAKE_OVER, serving.run.seq, serving.run.source)
        return True

    # --- reading --------------------------------------------------------------------------------

    def _read(self, serving: _Serving) -> bool:
        """Go on with the object that is read, or begin the next."""
        reader = serving.reader
        if reader is None:
            with self._state.reading() as transaction:
                found = ledger.next_object(transaction, serving.run)
            if found is None:
                self._finish(serving)
                return True
            job, bucket = serving.place_of(found.url)
            reader = serving.reader = ObjectReader(
                found, job, bucket, self._connection, self._data_folder
            )
        went_on = self._parts.step(serving.run, reader)
        reach("objects.after_step")
        if reader.ended:
            serving.reader = None
        return went_on

    def _finish(self, serving: _Serving) -> None:
        run = serving.run
        with self._state.reading() as transaction:
            found = ledger.outcome(transaction, run)
        told = [
            (found.refused, "objects that wait for a person"),
            (found.waiting, "objects that wait for the next run, for they could not be had"),
            (run.rejected, "records that were refused"),
            (found.gone, "objects that were changed or removed while they were read"),
        ]
        reason = "; ".join(f"{what}: {number}" for number, what in told if number) or None
        is_partial = found.refused or found.waiting or run.rejected
        self._end(run, "partial" if is_partial else "succeeded", reason)

    def _end(self, run: Run, state: str, reason: str | None) -> None:
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            now = self._clock.now()
            ledger.end_run(transaction, run, state, reason, now)
            if run.source is None:
                told = f"its import ended before it was read: {reason}"
                transaction.run(ledger.ABANDON, told, now, run.seq, run.scope)
        if state in ("failed", "stopped"):
            log.warning("run %s %s: %s", run.id, state, reason)
        self._let_go()

    def _let_go(self) -> None:
        if self._serving is not None:
            self._serving.give_up()
            self._serving = None
        self._parts.free_turn()


class _Serving:
    """A run while it is worked off."""

    def __init__(self, run: Run, places: list[tuple[Job, Bucket]]) -> None:
        self.run = run
        self.places = places
        self.listing: Feed[_Listed] | None = None
        self.reader: ObjectReader | None = None
        self.ignored = 0
        self.tries = 0

    def listed(self) -> Iterator[_Listed]:
        """Everything in the places of the run, some at a time."""
        for job, bucket in self.places:
            # What settled already comes before what is waited for.
            refused: list[tuple[str, str]] = []
            infos = bucket.list(
                lambda *told, refused=refused: refused.append(told), is_patient=True
            )
            while (some := list(islice(infos, _LISTED_TOGETHER))) or refused:
                yield job, bucket, some, refused.copy()
                refused.clear()

    def place_of(self, url: str) -> tuple[Job, Bucket]:
        """The place that an object is in."""
        return next((each for each in self.places if each[1].url == url), self.places[0])

    def give_up(self) -> None:
        """Nobody takes the rest."""
        if self.listing is not None:
            self.listing.give_up()
        if self.reader is not None:
            self.reader.give_up()


def _nameless(key: str) -> ObjectInfo:
    """A name that leads to nothing that is read."""
    return ObjectInfo(key, "", 0, Instant(0))


def _sentence(error: Exception) -> str:
    return getattr(error, "message", None) or f"{type(error).__name__}: {error}"[:1000]
