"""Writes of many callers, gathered while a commit is under way and done together.

Owns: who shares a transaction, and who is told what. Promises: an outcome is told only after the
commit that holds it; one that is refused is refused alone; when a transaction fails, everyone in it
is told and nothing of it is stored.

The statements of a light group run on the event loop itself and only the commit, which waits for
the disk, on a thread. A thread of its own for both (``GroupWriter``) has to win Python's lock back
from the busy loop after every statement and every row, which cost more than the statements did. A
group too heavy to hold up the loop runs on the thread as a whole, and so does every group of a
store on another machine.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeVar

from tallystick import limits
from tallystick.errors import Unavailable
from tallystick.failpoints import reach
from tallystick.store import Begun, Store, Transaction

Asked = TypeVar("Asked")
Told = TypeVar("Told")

Work = Callable[[Transaction, list[Asked]], Sequence[Told | Exception]]
"""Does a group: for each that asked, its outcome or its refusal, in order. What it raises is told
to all of the group."""

_RETRY_SECONDS: Final = 0.0005


class _Waiting(NamedTuple, Generic[Asked, Told]):
    asked: Asked
    future: asyncio.Future[Told]
    weight: int


class Gathering(Generic[Asked, Told]):
    """The way into one store for one kind of work. Used from one event loop."""

    def __init__(
        self,
        store: Store,
        work: Work[Asked, Told],
        *,
        name: str,
        weigh: Callable[[Asked], int] = lambda _: 1,
    ) -> None:
        """``weigh`` tells what one costs, in tenths of a millisecond or so; ``name`` is of the
        thread that commits."""
        self._store = store
        self._work = work
        self._weigh = weigh
        self._waiting: deque[_Waiting[Asked, Told]] = deque()
        self._under_way = False
        self._closed = False
        self._thread = ThreadPoolExecutor(1, name)

    async def submit(self, asked: Asked) -> Told:
        """The outcome, or the refusal, after the commit that holds it.

        Raises ``Unavailable`` when the store cannot take it now, or once this is closed. A caller
        that is cancelled before its group begins is left out of it.
        """
        if self._closed:
            raise Unavailable("this process is ending")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Told] = loop.create_future()
        self._waiting.append(_Waiting(asked, future, self._weigh(asked)))
        if not self._under_way:
            self._under_way = True
            loop.call_soon(self._next, loop)
        return await future

    def close(self) -> None:
        """Take nothing more; returns when the commit under way has ended."""
        self._closed = True
        self._thread.shutdown()

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the next group, if anyone waits."""
        while self._waiting and self._waiting[0].future.cancelled():
            self._waiting.popleft()
        self._under_way = bool(self._waiting)
        if not self._waiting:
            return
        if self._store.is_remote or self._waiting[0].weight > limits.LOOP_WEIGHT_MAX:
            self._hand_over(loop, self._whole, self._take())
        else:
            self._begin(loop, time.monotonic() + limits.STORE_BUSY_SECONDS_MAX)

    def _begin(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Do the group on the loop, as soon as no other write is open; commit it on the thread."""
        try:
            begun = self._store.begin_if_free()
        except Exception as error:
            self._tell(loop, self._take(), error)
            return
        if begun is None and time.monotonic() < deadline:
            loop.call_later(_RETRY_SECONDS, self._begin, loop, deadline)
            return
        group = self._take()
        if begun is None:
            self._tell(loop, group, Unavailable("another write did not end in time"))
            return
        try:
            with begun.filling() as transaction:
                outcomes = self._work(transaction, [each.asked for each in group])
                reach("group.before_commit")
        except BaseException as error:
            self._tell(loop, group, _told_as(error))
        else:
            self._hand_over(loop, lambda _: self._commit(begun, outcomes), group)

    def _take(self) -> list[_Waiting[Asked, Told]]:
        """Who shares the next transaction: one at least, if anyone waits."""
        group: list[_Waiting[Asked, Told]] = []
        room = limits.LOOP_WEIGHT_MAX
        while self._waiting and (not group or self._waiting[0].weight <= room):
            each = self._waiting.popleft()
            if not each.future.cancelled():
                group.append(each)
                room -= each.weight
        return group

    def _hand_over(
        self,
        loop: asyncio.AbstractEventLoop,
        job: Callable[[list[_Waiting[Asked, Told]]], Sequence[Told | Exception]],
        group: list[_Waiting[Asked, Told]],
    ) -> None:
        """Run what may wait for the disk on the thread, then tell the group."""

        def run() -> None:
            outcomes: Sequence[Told | Exception] | Exception
            try:
                outcomes = job(group)
            except BaseException as error:
                outcomes = _told_as(error)
            with suppress(RuntimeError):  # the loop has ended; nobody is left to be told
                loop.call_soon_threadsafe(self._tell, loop, group, outcomes)

        try:
            self._thread.submit(run)
        except RuntimeError:  # closed meanwhile; what was begun is finished all the same
            run()

    def _commit(
        self, begun: Begun, outcomes: Sequence[Told | Exception]
    ) -> Sequence[Told | Exception]:
        begun.commit()
        reach("group.after_commit")
        return outcomes

    def _whole(self, group: list[_Waiting[Asked, Told]]) -> Sequence[Told | Exception]:
        """A heavy group, from beginning to commit."""
        with self._store.writing() as transaction:
            outcomes = self._work(transaction, [each.asked for each in group])
            reach("group.before_commit")
        reach("group.after_commit")
        return outcomes

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        group: list[_Waiting[Asked, Told]],
        outcomes: Sequence[Told | Exception] | Exception,
    ) -> None:
        """Give everyone of a group the outcome, and go on with who came meanwhile."""
        for index, each in enumerate(group):
            if each.future.done():
                continue
            outcome = outcomes if isinstance(outcomes, Exception) else outcomes[index]
            if isinstance(outcome, Exception):
                each.future.set_exception(outcome)
            else:
                each.future.set_result(outcome)
        loop.call_soon(self._next, loop)


def _told_as(error: BaseException) -> Exception:
    """What callers are told, who must not wait for ever: also of what ends a process."""
    return error if isinstance(error, Exception) else Unavailable(f"could not commit: {error}")
