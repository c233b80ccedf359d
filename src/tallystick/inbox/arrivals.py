"""Accepted requests on their way into the inbox, gathered while a commit is under way.

Owns: who shares a commit of the inbox, and who is told what. Promises: a position is told only
after the commit that holds it; a request without room is refused alone; when a commit fails,
everyone in it is told and nothing of it is stored.

``GroupWriter`` alone would do, with a job for each request. But a job is several statements, and
each of them gives Python's lock to a busy event loop and has to wait to get it back; here a whole
group is a handful of statements.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TypeAlias

from tallystick import limits
from tallystick.errors import TooManyRequests
from tallystick.inbox.inbox import Arrival, Inbox
from tallystick.store import Transaction
from tallystick.store.writer import GroupWriter

_Waiting: TypeAlias = tuple[Arrival, "Future[int]"]
_Outcomes: TypeAlias = list[int | TooManyRequests]


class Arrivals:
    """The way into one inbox, for any number of threads."""

    def __init__(self, inbox: Inbox, writer: GroupWriter) -> None:
        """``writer`` writes the inbox's store."""
        self._inbox = inbox
        self._writer = writer
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    def accept(self, arrival: Arrival) -> Future[int]:
        """Queue a request; its position, or ``TooManyRequests``, arrives after the commit.

        Raises ``Unavailable`` once the writer is closed.
        """
        future: Future[int] = Future()
        with self._lock:
            if not self._waiting:
                self._ask_for_commit()
            self._waiting.append((arrival, future))
        return future

    def _ask_for_commit(self) -> None:
        """Have the writer take what waits by then."""
        group: list[_Waiting] = []
        committed = self._writer.submit(lambda transaction: self._add(transaction, group))
        committed.add_done_callback(lambda done: self._tell(done, group))

    def _add(self, transaction: Transaction, group: list[_Waiting]) -> _Outcomes:
        with self._lock:
            group += self._waiting[: limits.COMMIT_GROUP_MAX]
            del self._waiting[: limits.COMMIT_GROUP_MAX]
            if self._waiting:
                self._ask_for_commit()
        return self._inbox.add_all(transaction, [arrival for arrival, _ in group])

    def _tell(self, done: Future[_Outcomes], group: list[_Waiting]) -> None:
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
