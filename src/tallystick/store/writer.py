"""Group commit: requests in flight share one transaction, and so one fsync.

Owns: the writer thread of one store, its queue, and who is told what. Promises: a job's future
resolves only after the commit that contains it; a job that raises is undone alone and the others
go on; when the commit itself fails, every job of the group gets ``Unavailable`` and nothing of the
group is stored.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tallystick import limits
from tallystick.errors import TallystickError, Unavailable
from tallystick.store.contract import Store, Transaction

T = TypeVar("T")
_Job = tuple[Callable[[Transaction], Any], "Future[Any]"]


class GroupWriter:
    """One thread that commits what others submit."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Transaction], T]) -> Future[T]:
        """Queue ``job``; its result, or its error, arrives after the commit."""
        future: Future[T] = Future()
        self._queue.put((job, future))
        return future

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, last = self._take()
            if group:
                self._commit(group)
            if last:
                return

    def _take(self) -> tuple[list[_Job], bool]:
        """At least one job, and whatever else waits; True when closing was asked for."""
        group: list[_Job] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == limits.COMMIT_GROUP_MAX:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Job]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._store.writing() as transaction:
                for job, future in group:
                    outcomes.append(_outcome(transaction, job, future))
        except BaseException as error:
            failure = error if isinstance(error, TallystickError) else _unexpected(error)
            for _, future in group:
                future.set_exception(failure)
            return
        for future, result, error_of_job in outcomes:
            if error_of_job is None:
                future.set_result(result)
            else:
                future.set_exception(error_of_job)


def _outcome(
    transaction: Transaction, job: Callable[[Transaction], Any], future: Future[Any]
) -> tuple[Future[Any], Any, BaseException | None]:
    try:
        with transaction.part():
            return future, job(transaction), None
    except Unavailable:
        # The engine may have given up the whole transaction (disk full): nobody of the group is
        # told that it succeeded.
        raise
    except Exception as error:
        return future, None, error


def _unexpected(error: BaseException) -> Unavailable:
    return Unavailable(f"the store could not commit: {error}")
