"""The link between the supervisor and a child: a socket pair.

The child says when it is ready; the end of the link is the end of the supervisor, however it
ended, and then of the child at once: nothing unfinished is lost, because whatever was answered is
durable. On Linux the kernel is asked to end the child too, in case a thread of it is stuck.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from typing import Final

READY: Final = b"R"
_PR_SET_PDEATHSIG: Final = 1
_ORPHANED_EXIT_CODE: Final = 3


class Link:
    """A child's end of the link."""

    def __init__(self, descriptor: int) -> None:
        """Adopt the inherited ``descriptor`` and end this process when the other end closes."""
        self._socket = socket.socket(fileno=descriptor)
        _die_with_parent()
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def ready(self) -> None:
        """Tell the supervisor that this process does its work."""
        self._socket.sendall(READY)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(16):
                pass
        os._exit(_ORPHANED_EXIT_CODE)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
