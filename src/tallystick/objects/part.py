"""Counts a part of an object, at the next position.

Owns: one bounded step of an object: parse, wait for the position's turn, count, and what becomes of
parts that fail. A part that cannot be counted is halved until the one record that cannot be is
refused; so is one that ends the process, which its recorded attempts tell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from tallystick import limits
from tallystick.clock import Clock
from tallystick.errors import TallystickError, TryLater, Unavailable
from tallystick.failpoints import reach, reach_each
from tallystick.fold.attempts import Attempts
from tallystick.fold.counting import Counting, TooLarge, Written
from tallystick.fold.engine import FATAL, disk_failures
from tallystick.fold.owner import Owner
from tallystick.inbox.inbox import Inbox
from tallystick.objects import ledger
from tallystick.objects.ahead import Ahead
from tallystick.objects.buckets import Bucket
from tallystick.objects.errors import (
    BucketUnavailable,
    ObjectChanged,
    ObjectError,
    ObjectGone,
    SourceRefused,
)
from tallystick.objects.feed import Ended
from tallystick.objects.job import Job
from tallystick.objects.ledger import Progress, Run
from tallystick.objects.reader import ObjectReader, Part
from tallystick.objects.records import Problem
from tallystick.objects.rejects import Rejects, reasons
from tallystick.objects.sent import Rejected, Rules
from tallystick.objects.share import Share
from tallystick.store import Store, Transaction

log = logging.getLogger("tallystick.objects")


class PartCounter:
    """Counts parts of objects into one state. Used by the thread that folds."""

    def __init__(
        self,
        *,
        state: Store,
        inbox: Inbox,
        owner: Owner,
        counting: Counting,
        clock: Clock,
        rejects_folder: Path,
        opened: Callable[[str, Job], Bucket],
        ahead: Ahead,
        share: Share,
        future_us: int,
        attempts: Attempts,
    ) -> None:
        self._state = state
        self._inbox = inbox
        self._owner = owner
        self._counting = counting
        self._clock = clock
        self._rejects_folder = rejects_folder
        self._opened = opened
        self._ahead = ahead
        self._share = share
        self._future_us = future_us
        self._attempts = attempts
        self._reserved: int | None = None

    def step(self, run: Run, reader: ObjectReader) -> bool:
        """Count the next part of an object, or end it; False when there was nothing to do yet.

        Raises ``TryLater`` when the store or the bucket cannot be had now.
        """
        try:
            part = self._next_part(run, reader)
            if part is None or not self._has_turn():
                return reader.ended
            self._attempt(run, reader, part)
        except Exception:
            self.free_turn()  # nobody waits for what is tried again later
            raise
        return True

    def free_turn(self) -> None:
        """The reserved position is taken, or left as a gap that the fold passes over."""
        self._reserved = self._counting.barrier = None

    def close(self) -> None:
        """Let go of what was read ahead."""
        self._ahead.close()

    def _next_part(self, run: Run, reader: ObjectReader) -> Part | None:
        """The next part; None when it is on its way, or the object ended."""
        try:
            part = self._ahead.next_of(reader) or reader.part(self._rows_max(reader))
            if isinstance(part, Ended):
                if part.error is not None:
                    raise part.error
                self._end(reader, "done", None)
                return None
        except FATAL:
            raise
        except Exception as error:
            self._unreadable(run, reader, error)
            return None
        return part

    def _rows_max(self, reader: ObjectReader) -> int:
        """How many records the next part may have: fewer while a death is being isolated."""
        together = min(self._counting.events_max, self._share.rows_max)
        isolation = reader.found.isolation
        if reader.found.records >= isolation.until:
            return together
        return min(isolation.together, together)

    def _has_turn(self) -> bool:
        """Whether everything accepted before the position reserved for this part is folded."""
        if self._reserved is None:
            self._reserved = self._counting.barrier = self._inbox.reserve()
        return not self._inbox.waits_between(self._counting.position, self._reserved)

    def _attempt(self, run: Run, reader: ObjectReader, part: Part) -> None:
        if reader.found.attempts >= limits.STEP_ATTEMPTS_MAX and len(part.lines) == 1:
            self._refuse(run, reader, part, "it ended the worker process each time it was counted")
            return
        self._begin(reader, part)
        try:
            with disk_failures():
                self._count(run, reader, part)
        except FATAL:
            raise  # the engine is lost with this process; the attempt stays on record
        except TooLarge as error:
            self._returned(reader)
            self._counting.shrink(error.events_max)
        except (ObjectError, SourceRefused, BucketUnavailable) as error:
            self._returned(reader)
            self._unreadable(run, reader, error)
        except TallystickError:
            self._returned(reader)
            raise
        except Exception as error:
            self._returned(reader)
            self._halve(run, reader, part, error)
        else:
            self._attempts.end()

    def _begin(self, reader: ObjectReader, part: Part) -> None:
        """Record that a part is about to be counted: for who follows if this process ends in it."""
        found, records = reader.found, len(part.lines)
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            ledger.begin_part(transaction, found, records)
        times = found.attempts + 1 if found.trying == records else 1
        self._attempts.note_records(found.id, found.records, records, times)

    def _returned(self, reader: ObjectReader) -> None:
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            transaction.run(ledger.RETURNED, reader.found.id)
        self._attempts.end()

    def _halve(self, run: Run, reader: ObjectReader, part: Part, error: Exception) -> None:
        if len(part.lines) > 1:
            reader.rows_max = len(part.lines) // 2
            return
        log.exception("a record of %s cannot be counted and is refused", reader.found.source_name)
        self._refuse(run, reader, part, f"cannot be counted: {type(error).__name__}: {error}"[:500])

    def _count(self, run: Run, reader: ObjectReader, part: Part) -> None:
        found, now = reader.found, self._clock.now()
        rules = Rules(reader.job.columns, now, self._future_us)
        sent, hi, lo = self._ahead.read(reader, part, rules)
        reader.suit(len(part.lines), sent.looked_closer)
        self._read_ahead(reader, part, rules)
        rejected = sent.rejected + [_oversized(line) for line in part.oversized]
        if len(sent.rejected) == len(part.lines):
            self._pass(run, reader, part, rejected)
            return
        assert self._reserved is not None
        batch = sent.batch(
            found.environment, self._reserved, found.source_name, found.info.modified_at, now
        )
        self._keep_rejects(run, reader, rejected)
        reach("objects.before_files")
        reach_each("objects.record", part.lines)

        def also(transaction: Transaction, written: Written) -> None:
            counted = written.counted.get(found.environment, 0)
            duplicates = written.duplicates.get(found.environment, 0)
            done = _progress(part, counted, duplicates, rejected)
            ledger.advance(transaction, found, run, done, now)
            reach("objects.before_commit")

        with self._counting.drafts() as drafts:
            written = self._counting.write(
                batch, hi, lo, (now, now), drafts, beside=self._may_use_more(reader)
            )
            single = len(part.lines) == 1
            done = self._counting.count(written, drafts, self._reserved, also, single=single)
        reach("objects.after_commit")
        self._counting.adopt(done)
        self.free_turn()
        self._passed(reader, part, len(rejected))

    def _read_ahead(self, reader: ObjectReader, part: Part, rules: Rules) -> None:
        """Begin with what follows."""
        if not self._may_use_more(reader):
            return
        following = reader.following(part, min(self._rows_max(reader), reader.rows_max))
        if following is not None:
            self._ahead.read_meanwhile(reader, part, following, rules)

    def _may_use_more(self, reader: ObjectReader) -> bool:
        """Whether a second core may be used: nobody else wants it, and no death is being isolated,
        for what is done at the same time might be what killed."""
        found = reader.found
        isolating = found.attempts or found.records < found.isolation.until
        return not isolating and self._share.has_second_core

    def _refuse(self, run: Run, reader: ObjectReader, part: Part, reason: str) -> None:
        rejected = [Rejected(int(line), [Problem("", reason)]) for line in part.lines]
        self._pass(run, reader, part, rejected + [_oversized(line) for line in part.oversized])

    def _pass(self, run: Run, reader: ObjectReader, part: Part, rejected: list[Rejected]) -> None:
        """A part of which nothing is counted."""
        self._keep_rejects(run, reader, rejected)
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            done = _progress(part, 0, 0, rejected)
            ledger.advance(transaction, reader.found, run, done, self._clock.now())
        self.free_turn()
        self._passed(reader, part, len(rejected))

    def _passed(self, reader: ObjectReader, part: Part, rejected: int) -> None:
        """After the commit: the reader goes on, unless too much of the object is bad."""
        with self._state.reading() as transaction:
            found = ledger.find_object(transaction, reader.found.id)
        assert found is not None
        reader.found = found
        reader.passed(part)
        share = reader.job.reject_share_max
        if rejected and found.rejected > max(limits.REJECTS_FREE, share * found.records):
            self._end(reader, "stopped", (
                f"{found.rejected} of {found.records} records are bad, more than the share of "
                f"{share:g}; mend it or raise rejectShareMax, and retry it"
            ))  # fmt: skip

    def _keep_rejects(self, run: Run, reader: ObjectReader, rejected: list[Rejected]) -> None:
        found = reader.found
        if not rejected and not found.attempts and reader.rejects_at != (found.byte, found.skip):
            return
        url = reader.job.rejects_url
        bucket = None if url is None else self._opened(url, reader.job)
        Rejects(self._rejects_folder, bucket).write(run, found, rejected)
        reader.rejects_at = found.byte, found.skip
        reach("objects.after_rejects")

    def _unreadable(self, run: Run, reader: ObjectReader, error: Exception) -> None:
        """An object, or its bucket, cannot be read: give it some tries, each after a longer while,
        then go on with others."""
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        if isinstance(error, TryLater | OSError) and reader.tries < limits.OBJECT_TRIES_MAX:
            reader.try_again()
            raise error if isinstance(error, TryLater) else Unavailable(message)
        if isinstance(error, TryLater | OSError | SourceRefused):
            # Of a source, the next run goes on where this one stopped.
            self._end(reader, "waiting" if run.source else "failed", message[:1000])
        elif isinstance(error, ObjectChanged | ObjectGone):
            self._gone(run, reader, message, look_again=isinstance(error, ObjectChanged))
        else:
            if not isinstance(error, TallystickError):
                log.error("%s cannot be read", reader.found.source_name, exc_info=error)
            self._end(reader, "failed", message[:1000])

    def _gone(self, run: Run, reader: ObjectReader, message: str, *, look_again: bool) -> None:
        """Another version is another object, found by listing once more; one that changes all the
        time is left for the next run."""
        self._end(reader, "gone", f"{message}; what was read of it before is counted"[:1000])
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            versions = ledger.gone_versions(transaction, run, reader.found)
            if look_again and versions < limits.OBJECT_TRIES_MAX:
                transaction.run(ledger.BEGIN_LISTING, run.seq)

    def _end(self, reader: ObjectReader, state: str, reason: str | None) -> None:
        with self._state.writing() as transaction:
            self._owner.confirm(transaction)
            ledger.end_object(transaction, reader.found, state, reason, self._clock.now())
        self.free_turn()
        reader.give_up()


def _oversized(line: int) -> Rejected:
    return Rejected(line, [Problem("", f"is larger than {limits.EVENT_BYTES_MAX} bytes")])


def _progress(part: Part, counted: int, duplicates: int, rejected: list[Rejected]) -> Progress:
    records = len(part.lines) + len(part.oversized)
    return Progress(
        part.place, part.skip, records, counted, duplicates, len(rejected), part.bytes,
        reasons(rejected),
    )  # fmt: skip
