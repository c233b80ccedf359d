"""The data folder: where everything durable lives, and what is where in it.

::

    DIR/state.db  DIR/inbox.db     the two databases
    DIR/archive/  DIR/keys/        immutable files, named by rows of state.db
    DIR/rejects/                   records of objects that were refused, by run
    DIR/run/                       pid files, the freshness page, a socket; may be lost
    DIR/owner.lock                 held by the one owner (``process/owner.py``)
    DIR/test-clock                 where the test clock stands, if there is one
    DIR/dedupe-window-days         the shortest window that ever held here
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from tallystick.errors import OperatorError


@dataclass(frozen=True)
class DataFolder:
    """The paths of one data folder."""

    path: Path

    @property
    def state_db(self) -> Path:
        """What was configured and counted, and which files hold the record."""
        return self.path / "state.db"

    @property
    def inbox_db(self) -> Path:
        """Accepted requests that wait to be counted."""
        return self.path / "inbox.db"

    @property
    def archive(self) -> Path:
        """Every accepted event, and the log of duplicates."""
        return self.path / "archive"

    @property
    def keys(self) -> Path:
        """Hashes of event keys and of UNIQUE values."""
        return self.path / "keys"

    @property
    def rejects(self) -> Path:
        """What of objects could not be counted, and why: a folder for each run that had any."""
        return self.path / "rejects"

    @property
    def run(self) -> Path:
        """What lives as long as the processes."""
        return self.path / "run"

    @property
    def freshness(self) -> Path:
        """How far counting is, for every process to see."""
        return self.run / "freshness"

    @property
    def queries(self) -> Path:
        """The socket on which API processes ask for queries."""
        return self.run / "queries.socket"

    @property
    def owner_lock(self) -> Path:
        """Held by the one owner."""
        return self.path / "owner.lock"

    @property
    def test_clock(self) -> Path:
        """Where the test clock stands, if there is one."""
        return self.path / "test-clock"

    @property
    def dedupe_window(self) -> Path:
        """The shortest dedupe window that ever held here."""
        return self.path / "dedupe-window-days"

    def note_window(self, days: int) -> None:
        """Remember the shortest dedupe window that ever held: verification promises no more."""
        if days < self.shortest_window_days(days + 1):
            draft = self.dedupe_window.with_suffix(".new")
            draft.write_text(f"{days}\n")
            draft.rename(self.dedupe_window)

    def shortest_window_days(self, default: int) -> int:
        """The shortest dedupe window that ever held, ``default`` when no worker ever ran."""
        try:
            return int(self.dedupe_window.read_text())
        except (FileNotFoundError, ValueError):
            return default

    def prepare(self) -> None:
        """Make the folder and its parts; raises ``OperatorError`` when it cannot be written."""
        try:
            for folder in (self.path, self.archive, self.keys, self.run):
                _make(folder)
            self._try_writing()
        except FileExistsError as error:
            raise OperatorError(
                f"--data-dir {self.path}: {error.filename} is not a folder"
            ) from None
        except OSError as error:
            raise OperatorError(
                f"--data-dir {self.path}: cannot be written: {error.strerror or error}"
            ) from None

    def require(self) -> None:
        """Raise ``OperatorError`` unless a server has been started on this folder before."""
        if not self.state_db.is_file():
            raise OperatorError(
                f"--data-dir {self.path}: no Tallystick data here ({self.state_db.name} is missing)"
            )

    def _try_writing(self) -> None:
        probe = self.run / f"probe-{os.getpid()}"
        try:
            probe.write_bytes(b"")
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


def _make(folder: Path) -> None:
    """Make a folder, and those above it, with names that survive loss of power."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        _make(folder.parent)
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
