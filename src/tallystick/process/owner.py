"""One owner per data folder.

Owns: the lock on ``DIR/owner.lock``. The lock belongs to the open file, which the supervisor hands
to its children: it is free only when the last of them has ended, so a new owner never runs beside
an old one's child. Should a lock not hold (a network folder), the epoch of ``fold/owner.py`` still
keeps a former owner from committing.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

from tallystick import limits
from tallystick.errors import OperatorError
from tallystick.folder import DataFolder

_RETRY_SECONDS: Final = 0.02


class OwnerLock:
    """The lock on a data folder, held until ``release`` or the end of all its holders."""

    def __init__(self, descriptor: int) -> None:
        """Wrap the open lock file; use ``take`` to get one."""
        self.descriptor = descriptor

    @classmethod
    def take(
        cls, folder: DataFolder, wait_seconds: float = limits.OWNER_WAIT_SECONDS_MAX
    ) -> OwnerLock:
        """Become the owner; raises ``OperatorError`` naming the holder after ``wait_seconds``."""
        descriptor = os.open(folder.owner_lock, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise OperatorError(
                    f"--data-dir {folder.path}: another server (process {holder or 'unknown'}) "
                    "owns this data folder; stop it first"
                )
            time.sleep(_RETRY_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let go; children that inherited the lock keep it."""
        os.close(self.descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
