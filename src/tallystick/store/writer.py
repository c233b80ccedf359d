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
from tallystick.failpoints import reach
from tallystick.store.contract import Store, Transaction

T = TypeVar("T")
_Job = tuple[Callable[[Transaction], Any], "Future[Any]"]


class GroupWriter:
    """One thread that commits what others submit."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Transaction], T]) -> Future[T]:
        """Queue ``job``; its result, or its error, arrives after the commit.

        A job whose future is cancelled before its group begins is not run; later it cannot be
        cancelled any more. Raises ``Unavailable`` once the writer is closed.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise Unavailable("this process is ending")
            self._queue.put((job, future))
        return future

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            queued, last = self._take()
            # Whoever gave up waiting has cancelled; of the others nobody can from here on.
            group = [item for item in queued if item[1].set_running_or_notify_cancel()]
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
                reach("group.before_commit")
        except BaseException as error:
            failure = error if isinstance(error, TallystickError) else _unexpected(error)
            for _, future in group:
                future.set_exception(failure)
            return
        reach("group.after_commit")
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
