"""What the event loop waits for: other threads' results.

Owns: the bounded pools of threads for queries that take longer than the loop may, and for reads of
a store that is far away. Promises: beyond
its bound a query is refused at once, never queued without end; a caller that leaves does not
disturb the thread that works for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from tallystick import limits
from tallystick.errors import TooManyRequests
from tallystick.store import Store, Transaction
from tallystick.threads import yield_to_others

T = TypeVar("T")

MOST_AT_ONCE: Final = limits.QUERY_CONCURRENCY_MAX + limits.QUERY_QUEUE_MAX
"""Queries that are under way at once, those that wait for their turn included."""


async def settled(future: Future[T]) -> T:
    """The result of another thread's future, or its error.

    Unlike ``asyncio.wrap_future``, a caller that is cancelled does not cancel ``future``: a commit
    that is under way goes on, and its thread may set the result.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[Future[T]] = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(future)

    future.add_done_callback(lambda _: loop.call_soon_threadsafe(wake))
    return (await waiter).result()


class Readers:
    """Who reads a store for the event loop: the loop itself, which then costs microseconds; where
    the store is another machine's, threads that wait for it. Used from the event loop alone."""

    def __init__(self, store: Store) -> None:
        self._threads: ThreadPoolExecutor | None = None
        if store.is_remote:
            self._threads = ThreadPoolExecutor(limits.READERS_MAX, "reader")

    async def run(self, read: Callable[[], T]) -> T:
        """What ``read`` returns."""
        if self._threads is None:
            return read()
        return await settled(self._threads.submit(read))

    def close(self) -> None:
        """Let what runs end."""
        if self._threads is not None:
            self._threads.shutdown()


class QueryPool:
    """Threads that read in a snapshot of their own. Used from the event loop alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unfinished = 0
        self._threads = ThreadPoolExecutor(
            limits.QUERY_CONCURRENCY_MAX, "query", initializer=yield_to_others
        )

    async def run(self, query: Callable[[Transaction], T]) -> T:
        """The query's result; raises ``TooManyRequests`` when too many wait already."""
        if self._unfinished >= MOST_AT_ONCE:
            raise TooManyRequests("too many queries are running; try again in a second")
        future = self._threads.submit(self._in_snapshot, query)
        self._unfinished += 1
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._finish))
        return await settled(future)

    def close(self) -> None:
        """Let what runs end, drop what waits."""
        self._threads.shutdown(cancel_futures=True)

    def _in_snapshot(self, query: Callable[[Transaction], T]) -> T:
        with self._store.reading() as transaction:
            return query(transaction)

    def _finish(self) -> None:
        self._unfinished -= 1
