"""The fold's step: the next requests of the inbox become counters, archive and position.

Owns: which requests a step takes, and what becomes of one that cannot be folded. What is taken is
counted by ``counting``; inbox rows are removed only when that is durable.

Promises: deterministic (the same requests in the same order give the same state); bounded by bytes,
events and counters; a request that cannot be folded stops nobody else (``quarantine``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import duckdb

from tallystick import limits
from tallystick.archive.drafts import Drafts
from tallystick.clock import Clock, Instant
from tallystick.errors import TallystickError
from tallystick.failpoints import reach, reach_each
from tallystick.fold import batch as batches
from tallystick.fold import quarantine
from tallystick.fold.as_of import AsOf
from tallystick.fold.attempts import Attempts
from tallystick.fold.counting import Counting, Done, TooLarge, Written
from tallystick.fold.engine import FATAL, disk_failures
from tallystick.fold.owner import Owner, move_position
from tallystick.freshness import Freshness
from tallystick.inbox.inbox import Inbox, InboxRequest
from tallystick.store import Store, Transaction

log = logging.getLogger("tallystick.fold")


class Fold:
    """Folds requests of one inbox into one state."""

    def __init__(
        self,
        *,
        state: Store,
        inbox: Inbox,
        owner: Owner,
        counting: Counting,
        connection: duckdb.DuckDBPyConnection,
        attempts: Attempts,
        freshness: Freshness,
        clock: Clock,
        lines_file: Path,
    ) -> None:
        self._state = state
        self._inbox = inbox
        self._owner = owner
        self._counting = counting
        self._connection = connection
        self._attempts = attempts
        self._freshness = freshness
        self._clock = clock
        self._lines_file = lines_file
        self._removed = -1
        self._held_since: Instant | None = None
        """When the first request came in that waits behind the counting's barrier."""
        self.left_some = False
        """Whether the last step left some of what waited when it began."""
        began = clock.now()  # before the inbox is looked at: what comes in meanwhile is later
        waiting = inbox.take(self.position, 1, 1)
        self._as_of = AsOf(began, inbox.head(), waiting[0].received_at if waiting else None)
        freshness.write(self.position, self._as_of.told)

    @property
    def position(self) -> int:
        """Everything up to here is folded."""
        return self._counting.position

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
            self._pass_gap(head)
            self._tell_freshness(asked_at if self._held_since is None else self._held_since)
            return False
        self._fold(requests)
        self._remove_folded()
        reach("fold.after_inbox_removed")
        self.left_some = self.position < head
        folded = [one.received_at for one in requests if one.position <= self.position]
        self._tell_freshness(folded[-1])
        return True

    def _take(self) -> list[InboxRequest]:
        """The next requests: of one dedupe bucket, and no more than an earlier death allows."""
        requests = self._inbox.take(self.position, limits.STEP_BYTES_MAX, self._counting.events_max)
        self._held_since = None
        if self._counting.barrier is not None:
            held = [one for one in requests if one.position > self._counting.barrier]
            requests = requests[: len(requests) - len(held)]
            self._held_since = held[0].received_at if held else None
        if not requests:
            return []
        requests = self._attempts.cut(requests)
        bucket = self._bucket(requests[0])
        same = next((i for i, r in enumerate(requests) if self._bucket(r) != bucket), None)
        return requests[:same]

    def _pass_gap(self, head: int) -> None:
        """Move on to ``head`` where nothing is left up to there: a position was reserved for what
        then was not counted, or whoever reserved it died."""
        if self.position < head and self._counting.barrier is None:
            self._counting.adopt(self._counting.pass_over(head))

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
            self._counting.shrink(error.events_max)
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
            if self.position == requests[half - 1].position:
                self._fold(requests[half:])
        else:
            self._attempts.end()
            self._counting.adopt(done)

    def _fold_once(self, requests: Sequence[InboxRequest]) -> Done:
        """Everything up to the commit. What fails here fails before anything changed."""
        with self._state.reading() as transaction:
            wanted = quarantine.to_fold(transaction, requests)
        through = requests[-1].position
        if not wanted:
            return self._counting.pass_over(through)
        reach("fold.before_files")
        reach_each("fold.request", (request.position for request in wanted))

        def release(transaction: Transaction, _: Written) -> None:
            for request in wanted:
                quarantine.release(transaction, request)

        with self._counting.drafts() as drafts:
            written = self._write(wanted, drafts)
            single = len(wanted) == 1
            return self._counting.count(written, drafts, through, release, single=single)

    def _write(self, requests: Sequence[InboxRequest], drafts: Drafts) -> Written:
        batch, hi, lo = batches.load(self._connection, requests, self._lines_file)
        times = [request.received_at for request in requests]
        return self._counting.write(batch, hi, lo, (min(times), max(times)), drafts)

    def _set_aside(self, request: InboxRequest, reason: str) -> None:
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            quarantine.set_aside(transaction, request, reason, self._clock.now())
            move_position(transaction, request.position)
        self._counting.adopt(Done(request.position))

    def _remove_folded(self) -> None:
        """Drop from the inbox what is folded. When it could not be done, or a crash prevented it,
        nobody may come to be folded next: what is left may fill the inbox."""
        if self._removed < self.position:
            self._inbox.remove(self.position)
            self._removed = self.position

    def _tell_freshness(self, last_received: Instant) -> None:
        drained = self._inbox.head() <= self.position
        as_of = self._as_of.tell(self.position, last_received, drained=drained)
        self._freshness.write(self.position, as_of)

    def _bucket(self, request: InboxRequest) -> int:
        return self._counting.bucket(request.received_at)


def _first_of(requests: Sequence[InboxRequest], events_max: int) -> Sequence[InboxRequest]:
    """The first requests up to so many events; one at least, and not all."""
    taken = 0
    for number, request in enumerate(requests[:-1]):
        taken += request.events
        if taken > events_max:
            return requests[: max(number, 1)]
    return requests[:-1] or requests
