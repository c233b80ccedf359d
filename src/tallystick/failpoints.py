"""Named instants between two durable writes, where a test may end the world.

In production nothing is armed and ``reach`` costs one comparison. The simulation arms a function
that raises; the kill tests arm a process through ``TALLYSTICK_FAIL_POINT=NAME:N``, and the N-th
time the point is reached the process kills itself the way ``kill -9`` would. The point
``fold.request/POSITION`` is reached when the request at that position is folded, and
``objects.record/LINE`` when the record that begins at that line of an object is counted,
``objects.read/LINE`` when it is read, which may be while records before it are counted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Final

POINTS: Final = (
    "group.before_commit",
    "group.after_commit",
    "fold.request",
    "fold.before_files",
    "fold.after_archive_file",
    "fold.after_key_run",
    "fold.before_commit",
    "fold.after_commit",
    "fold.after_inbox_removed",
    "reports.after_archive_file",
    "reports.before_commit",
    "reports.after_commit",
    "recount.before_commit",
    "recount.after_commit",
    "recount.before_flip",
    "recount.after_flip",
    "merge.after_file",
    "merge.before_commit",
    "merge.after_commit",
    "garbage.before_delete",
    "quarantine.before_discard",
    "objects.read",
    "objects.record",
    "objects.before_files",
    "objects.after_rejects",
    "objects.before_commit",
    "objects.after_commit",
    "objects.after_step",
)

_armed: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Pass a point; does nothing unless a test armed it."""
    if _armed is not None:
        _armed(point)


def reach_each(point: str, numbers: Iterable[int]) -> None:
    """Pass ``POINT/NUMBER`` for each number: the point as one of many meets it."""
    if _armed is not None:
        for number in numbers:
            _armed(f"{point}/{number}")


def arm(action: Callable[[str], None] | None) -> None:
    """Run ``action`` at every point from now on; None disarms."""
    global _armed
    _armed = action


def arm_from_environment(role: str) -> None:
    """Arm ``TALLYSTICK_FAIL_POINT=ROLE/NAME:N`` if it names this process's role."""
    wanted = os.environ.get("TALLYSTICK_FAIL_POINT", "")
    if not wanted.startswith(f"{role}/"):
        return
    name, _, times = wanted.removeprefix(f"{role}/").partition(":")
    left = int(times or "1")

    def kill(point: str) -> None:
        nonlocal left
        if point == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    arm(kill)
