"""``DIR/run/ROLE-N.pid``: which process is which, for people and for tests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tallystick.folder import DataFolder


def write_pid(folder: DataFolder, role: str, number: int) -> Path:
    """Name this process; the file appears whole."""
    path = folder.run / f"{role}-{number}.pid"
    draft = folder.run / f".{path.name}.{os.getpid()}"
    draft.write_text(f"{os.getpid()}\n")
    draft.rename(path)
    return path


def remove_pid(path: Path) -> None:
    """Remove a pid file that may be gone already."""
    with contextlib.suppress(OSError):
        path.unlink()


def remove_stale_pids(folder: DataFolder) -> None:
    """Remove the files of processes that no longer run, left by a crash."""
    for path in folder.run.glob("*.pid"):
        if not _is_alive(path):
            remove_pid(path)


def _is_alive(path: Path) -> bool:
    try:
        os.kill(int(path.read_text()), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True
