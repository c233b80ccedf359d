"""Threads: work on one of its own, and which go first.

Owns: that whoever waits for such work is told, whatever it ends with. Not a pool's thread: who ends
does not wait for work that hangs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

MOST_NICE: Final = 19


def begin(work: Callable[[], T], name: str, *, yielding: bool = False) -> Future[T]:
    """What ``work`` returns or raises, while the caller goes on; ``yielding`` to others.

    Where the system has no thread to give, it is done now.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised again where the result is taken
            future.set_exception(error)

    def run_apart() -> None:
        if yielding:
            yield_to_others()
        run()

    try:
        threading.Thread(target=run_apart, name=name, daemon=True).start()
    except RuntimeError:
        run()
    return future


def yield_to_others(niceness: int = MOST_NICE) -> None:
    """Let the calling thread, and those it starts from now on, run when others do not want the
    processor. With two such threads on two processors, a niceness of 10 still doubled the p99 of
    checks and 19 left it as it was.

    Linux has priorities per thread; where they are per process this does nothing.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
