"""The worker: everything the owner of a data folder does, in bounded steps.

``step`` is the hot path: fold, archive reports, recount, in turn. ``upkeep_step`` is everything
that may wait (merges, expiry, garbage) and runs in a thread of its own with an engine of its own;
what the two share is safe for that: the store, the key sets, the owner's file names. The endless
loops live in ``process/worker.py``; tests and the simulation drive the same steps.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from tallystick import limits
from tallystick.archive.manifest import Kind, live_files
from tallystick.clock import SECOND, Clock, SystemClock
from tallystick.entitlements.rules import Rules
from tallystick.errors import TryLater
from tallystick.fold.attempts import Attempts
from tallystick.fold.chores import Chore
from tallystick.fold.counting import Counting
from tallystick.fold.engine import open_engine
from tallystick.fold.metering import Meterer
from tallystick.fold.owner import Owner
from tallystick.fold.record import Recorder
from tallystick.fold.recount import Recounter
from tallystick.fold.reports import ReportArchiver
from tallystick.fold.step import Fold
from tallystick.fold.upkeep import Upkeep
from tallystick.freshness import Freshness
from tallystick.inbox.inbox import Inbox
from tallystick.keys.key_set import KeySet
from tallystick.objects.ahead import Ahead
from tallystick.objects.buckets import Bucket
from tallystick.objects.importer import Importer
from tallystick.objects.job import Job
from tallystick.objects.part import PartCounter
from tallystick.objects.retention import RunKeeper
from tallystick.objects.share import Share
from tallystick.store import Store

SHARED_MEMORY: Final = Path("/dev/shm")
SCRATCH_STEPS: Final = 8
"""Shared memory is used when it has room for the lines of so many of the largest steps."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What of the settings the worker obeys. ``window_us``: how long event keys are remembered."""

    data_folder: Path
    window_us: int
    future_us: int = limits.FUTURE_SECONDS_MAX * SECOND
    engine_threads: int = 1
    engine_memory_mib: int = 768
    import_cores: int = 1
    """Cores that an import uses while the API is busy."""
    alone: bool = False
    """Whether no server uses the folder meanwhile: steps may be larger than others would wait."""


class Worker:
    """The owner's work on one data folder."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        state: Store,
        inbox: Inbox,
        clock: Clock,
        freshness: Freshness,
    ) -> None:
        """Take ownership (a new epoch) and open what is recorded. The caller holds the lock."""
        folder = settings.data_folder
        for name in ("archive", "keys", "run"):
            (folder / name).mkdir(exist_ok=True)
        self._scratch = _scratch_folder(folder)
        self._inbox = inbox
        self._attempts = Attempts(folder / "run" / "attempt")
        self._resume_at = 0.0
        self.owner = Owner.take(state)
        self.keys = _key_set(state, folder, "keys", limits.KEY_FILTER_MEMORY_BYTES_MAX)
        self.uniques = _key_set(state, folder, "uniques", limits.KEY_FILTER_MEMORY_BYTES_MAX // 4)
        self._connection = self._engine(settings, "fold", thirds=2)
        rules = Rules()
        recorder = self._recorder = Recorder(
            self._connection, folder, self.owner.epoch, self.owner.file_name,
            yielding=not settings.alone,
        )  # fmt: skip
        meterer = Meterer(self._connection, rules, self.uniques, self.owner)
        self.counting = Counting(
            state=state, owner=self.owner, meterer=meterer, recorder=recorder, keys=self.keys,
            connection=self._connection, clock=clock, window_us=settings.window_us,
            alone=settings.alone,
        )  # fmt: skip
        self.fold = Fold(
            state=state, inbox=inbox, owner=self.owner, counting=self.counting,
            connection=self._connection, attempts=self._attempts, freshness=freshness,
            clock=clock, lines_file=self._scratch / "lines.ndjson",
        )  # fmt: skip
        inbox.resume_after(self.fold.position)
        self.reports = ReportArchiver(
            state=state, owner=self.owner, recorder=recorder, connection=self._connection,
            clock=clock, lines_file=self._scratch / "reports.ndjson",
        )  # fmt: skip
        self.recounts = Recounter(
            state=state, rules=rules, meterer=meterer, owner=self.owner,
            connection=self._connection, data_folder=folder, clock=clock,
        )  # fmt: skip
        self.importer = self._importer(settings, state, inbox, clock)
        self._chores = (
            Chore("archiving usage reports", lambda: self.reports.step()),
            Chore("recounting", lambda: self.recounts.step()),
            Chore("importing objects", lambda: self.importer.step()),
        )
        self.upkeep = Upkeep(
            state=state, inbox_store=inbox.store, owner=self.owner, keys=self.keys,
            uniques=self.uniques,
            connection=self._engine(settings, "upkeep", thirds=1), data_folder=folder, clock=clock,
            freshness=freshness, window_us=settings.window_us, busy=self._has_backlog,
            forget_runs=RunKeeper(state, folder / "rejects", self.owner.confirm).step,
        )  # fmt: skip

    def _importer(
        self, settings: WorkerSettings, state: Store, inbox: Inbox, clock: Clock
    ) -> Importer:
        """What counts objects; buckets are looked at by real time, whatever the clock says."""

        def opened(url: str, job: Job) -> Bucket:
            return Bucket.open(url, SystemClock(), job.access)

        folder = settings.data_folder
        for copy in (folder / "run").glob("object-*"):  # of a worker that was killed
            copy.unlink(missing_ok=True)
        parts = PartCounter(
            state=state, inbox=inbox, owner=self.owner, counting=self.counting, clock=clock,
            rejects_folder=folder / "rejects", opened=opened,
            ahead=Ahead(self._connection, self._scratch, yielding=not settings.alone),
            share=Share(folder / "run", settings.import_cores), future_us=settings.future_us,
            attempts=self._attempts,
        )  # fmt: skip
        return Importer(
            state=state, owner=self.owner, parts=parts, connection=self._connection, clock=clock,
            data_folder=folder, window_us=settings.window_us, opened=opened,
        )  # fmt: skip

    def step(self) -> bool:
        """One bounded step of each kind of hot work; False when there was nothing to do.

        Raises ``Unavailable`` when the store cannot take what the fold would write: try again.
        What the others fail with stops nobody else (``chores``).
        """
        try:
            folded = self.fold.step()
        except TryLater:
            self._do_chores()
            raise
        return self._do_chores() or folded

    def _do_chores(self) -> bool:
        worked = [chore.step() for chore in self._chores]
        return any(worked)

    def paced_step(self) -> bool:
        """``step``, but a trickle may gather for a moment: a step has costs that events share.

        After a step the next waits three times as long as it took, within bounds, unless many
        events wait, it did not take all that waited, a recount is open, or what ended a worker is
        sought in small steps; so a trickle costs a third of a core at most.
        """
        began = time.monotonic()
        if began < self._resume_at and self._few_wait():
            return False
        worked = self.step()
        ended = time.monotonic()
        hurried = (
            self.fold.left_some
            or self.recounts.any_open
            or self.importer.is_busy
            or self._attempts.suspects_after(self.fold.position)
        )
        if worked and not hurried:
            self._resume_at = ended + min(3 * (ended - began), limits.TRICKLE_SECONDS_MAX)
        return worked

    def _few_wait(self) -> bool:
        return self._inbox.backlog().events < limits.TRICKLE_EVENTS_MAX

    def _has_backlog(self) -> bool:
        """Whether events wait, in the inbox or in objects: merging would take their core."""
        return self.importer.is_busy or self._inbox.backlog().events > limits.STEP_EVENTS_MIN

    def upkeep_step(self) -> bool:
        """One bounded step of what may wait; False when there was nothing to do."""
        return self.upkeep.step()

    def drain(self) -> None:
        """Do all hot work there is, waiting for nothing (tests, moving a folder)."""
        while (
            self.fold.step()
            or self.reports.step(at_once=True)
            or self.recounts.step()
            or self.importer.step()
            or self.importer.is_busy
        ):
            pass

    def close(self) -> None:
        """Let go of the engines and the scratch folder."""
        self.importer.close()
        self._recorder.close()
        self.upkeep.close()
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _engine(
        self, settings: WorkerSettings, name: str, thirds: int
    ) -> duckdb.DuckDBPyConnection:
        return open_engine(
            settings.data_folder / "run" / f"spill-{name}",
            threads=settings.engine_threads, memory_mib=settings.engine_memory_mib * thirds // 3,
        )  # fmt: skip


def _key_set(state: Store, folder: Path, kind: Kind, memory_bytes: int) -> KeySet:
    keys = KeySet(folder, kind, memory_bytes)
    with state.reading() as transaction:
        keys.open(live_files(transaction, kind))
    return keys


def _scratch_folder(data_folder: Path) -> Path:
    """A new folder in shared memory where there is enough: lines are parsed there and soon gone.

    Anybody may write there, so its name cannot be guessed. Those of killed workers on this data
    folder go; it is told by its inode, because containers may share the memory and the path.
    """
    found = data_folder.stat()
    prefix = f"tallystick-{found.st_dev:x}-{found.st_ino:x}-"
    for base in (SHARED_MEMORY, data_folder / "run"):
        for former in base.glob(f"{prefix}*"):
            if former.lstat().st_uid == os.getuid() and not former.is_symlink():
                shutil.rmtree(former, ignore_errors=True)
    base = SHARED_MEMORY if _has_room(SHARED_MEMORY) else data_folder / "run"
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base))


def _has_room(folder: Path) -> bool:
    """Whether a folder can be written and takes the lines of several steps; the shared memory of a
    container is often 64 MiB for everyone in it."""
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize > SCRATCH_STEPS * limits.STEP_BYTES_MAX
