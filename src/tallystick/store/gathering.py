"""Work of many callers, gathered while a commit is under way and done together.

Owns: who shares a group, and who is told what. Promises: an outcome is told only after the commit
that holds it; one that is refused is refused alone; when a commit fails, everyone in it is told and
nothing of it is stored.

``GroupWriter`` alone would do, with a job for each caller. But a job is several statements, and
each of them gives Python's lock to a busy event loop and has to wait to get it back; here a whole
group is a handful of statements.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from tallystick import limits
from tallystick.store.contract import Transaction
from tallystick.store.writer import GroupWriter

Asked = TypeVar("Asked")
Told = TypeVar("Told")


class Gathering(Generic[Asked, Told]):
    """The way into one writer for one kind of work, for any number of threads."""

    def __init__(
        self,
        writer: GroupWriter,
        work: Callable[[Transaction, list[Asked]], Sequence[Told | Exception]],
    ) -> None:
        """``work`` does a group: for each that asked, its outcome or its refusal, in order. What
        it raises is told to all of the group."""
        self._writer = writer
        self._work = work
        self._lock = threading.Lock()
        self._waiting: list[tuple[Asked, Future[Told]]] = []

    def submit(self, asked: Asked) -> Future[Told]:
        """Queue; the outcome, or the refusal, arrives after the commit.

        Raises ``Unavailable`` once the writer is closed.
        """
        future: Future[Told] = Future()
        with self._lock:
            if not self._waiting:
                self._ask_for_commit()
            self._waiting.append((asked, future))
        return future

    def _ask_for_commit(self) -> None:
        """Have the writer take what waits by then."""
        group: list[tuple[Asked, Future[Told]]] = []
        committed = self._writer.submit(lambda transaction: self._do(transaction, group))
        committed.add_done_callback(lambda done: self._tell(done, group))

    def _do(
        self, transaction: Transaction, group: list[tuple[Asked, Future[Told]]]
    ) -> Sequence[Told | Exception]:
        with self._lock:
            group += self._waiting[: limits.COMMIT_GROUP_MAX]
            del self._waiting[: limits.COMMIT_GROUP_MAX]
            if self._waiting:
                self._ask_for_commit()
        return self._work(transaction, [asked for asked, _ in group])

    def _tell(
        self,
        done: Future[Sequence[Told | Exception]],
        group: list[tuple[Asked, Future[Told]]],
    ) -> None:
        """Give everyone of a group the outcome."""
        failure = done.exception()
        if failure is not None and not group:  # the transaction did not even begin
            with self._lock:
                group, self._waiting = self._waiting, []
        for index, (_, future) in enumerate(group):
            if not future.set_running_or_notify_cancel():
                continue
            outcome = failure or done.result()[index]
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
