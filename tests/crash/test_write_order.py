"""Loss of power at any moment: what is durable when, by the file calls that were really made.

One process does everything that writes (``every_write.py``) under strace. From its calls follows at
every moment what a disk may hold if the power fails then: of each file at least what was synced, at
most what was written. Of the two databases both ends of that range are opened and asked.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.crash.every_write import ROUNDS
from tests.crash.tracing import SYNCS, WRITES, Call, Disk, trace
from tests.serving import command

Extent = Literal["durable", "written"]
Rows = list[tuple[Any, ...]]

LIVE = "SELECT name FROM files WHERE removed_at IS NULL"
FOLDED = "SELECT position FROM partitions"
HEAD = "SELECT head FROM backlog"
WAITING = "SELECT position FROM requests"
REPORTS = "SELECT coalesce(sum(accepted_reports), 0) FROM totals"


class Power:
    """Says what would be lost, and what would contradict itself, if the power failed."""

    def __init__(self, folder: Path, marks: Path, scratch: Path) -> None:
        self._disk = Disk(folder)
        self._marks = str(marks)
        self._scratch = scratch
        self._complaints: list[str] = []
        # What was seen at all.
        self.told: list[str] = []
        self.named: set[str] = set()
        self.unlinked: set[str] = set()
        self.inbox_rows_removed = 0
        # What was durable when the writes of a database began that are not synced yet.
        self._durable_files: frozenset[str] | None = None
        self._durably_folded: int | None = None
        self._waiting: set[int] = set()

    def complaints(self, calls: Iterable[Call]) -> Iterator[str]:
        """Everything that is wrong, as it happens."""
        for call in calls:
            self._watch(call)
            yield from self._complaints
            self._complaints.clear()

    def _watch(self, call: Call) -> None:
        place = self._disk.place(call.path) or ""
        if call.moment == "begin":
            self._before(call, place)
        self._disk.apply(call)
        if call.moment == "end" and call.name in SYNCS:
            if place.startswith("state.db"):
                self._state_synced()
            elif place.startswith("inbox.db"):
                self._inbox_synced()

    def _before(self, call: Call, place: str) -> None:
        if call.name in WRITES:
            if call.path == self._marks:
                self._tell(call.data.decode().strip())
            elif place.startswith("state.db") and self._durable_files is None:
                files = self._disk.files.items()
                self._durable_files = frozenset(name for name, file in files if file.is_durable)
            elif place.startswith("inbox.db") and self._durably_folded is None:
                self._durably_folded = self._folded("durable")
            elif place in self.named:
                self._complain(f"{place} is written to after a row named it")
        elif call.name.startswith("unlink") and place.startswith(("archive/", "keys/")):
            self.unlinked.add(place)
            if (place,) in self._rows("state.db", "durable", LIVE):
                self._complain(f"{place} is deleted and the durable state still names it")

    def _tell(self, told: str) -> None:
        """The process is about to tell a caller that something is durable."""
        self.told.append(told)
        what, _, number = told.partition(" ")
        for folder, is_kept in self._disk.folders.items():
            if not is_kept and not folder.startswith("run/"):
                self._complain(f"{told}: the folder {folder or 'itself'} may be lost")
        if what == "reported":
            ((reports,),) = self._rows("state.db", "durable", REPORTS) or [(0,)]
            if reports < int(number):
                self._complain(f"{told}: the state has {reports}")
            return
        waiting = (int(number),) in self._rows("inbox.db", "durable", WAITING)
        if not waiting and self._folded("durable") < int(number):
            self._complain(f"{told}: the request may be lost")

    def _state_synced(self) -> None:
        """Whatever the state names was durable before its commit was begun to be written."""
        durable, self._durable_files = self._durable_files, None
        for (name,) in self._rows("state.db", "written", LIVE):
            if name not in self.named:
                self.named.add(name)
                if durable is None or name not in durable:
                    self._complain(f"{name} is named before it is durable")

    def _inbox_synced(self) -> None:
        """Whatever left the inbox was folded durably before its removal was begun to be written."""
        folded, self._durably_folded = self._durably_folded, None
        waiting = {row[0] for row in self._rows("inbox.db", "written", WAITING)}
        gone = self._waiting - waiting
        self._waiting = waiting
        self.inbox_rows_removed += len(gone)
        if gone and (folded is None or max(gone) > folded):
            self._complain(f"request {max(gone)} left the inbox, the durable state has {folded}")

    def _folded(self, extent: Extent) -> int:
        rows = self._rows("state.db", extent, FOLDED)
        return int(rows[0][0]) if rows else 0

    def _complain(self, complaint: str) -> None:
        self._complaints.append(complaint)

    def _rows(self, database: str, extent: Extent, sql: str) -> Rows:
        """What a database answers when it is opened after the power failed."""
        if not self._restore(database, extent):
            return []
        with closing(sqlite3.connect(self._scratch / database)) as connection:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []

    def _restore(self, database: str, extent: Extent) -> bool:
        for suffix in ("", "-wal", "-journal", "-shm"):
            (self._scratch / f"{database}{suffix}").unlink(missing_ok=True)
        for suffix in ("", "-wal", "-journal"):
            file = self._disk.files.get(database + suffix)
            if file is not None and (extent == "written" or file.is_named):
                content = file.content if extent == "written" else file.durable_content
                (self._scratch / f"{database}{suffix}").write_bytes(content)
        return (self._scratch / database).exists()


@dataclass(frozen=True)
class Traced:
    """The calls of one run, and where it ran."""

    folder: Path
    marks: Path
    calls: list[Call]

    def power(self, scratch: Path) -> Power:
        """Before the first call."""
        return Power(self.folder, self.marks, scratch)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    require_strace()
    # Numbered: a worker of the suite that is handed the rest of the tests later begins anew.
    folder = tmp_path_factory.mktemp("run") / "traced"
    folder.mkdir()
    data, marks = folder / "data", folder / "marks"
    arguments = ["-m", "tests.crash.every_write", str(data), str(marks)]
    return Traced(data, marks, trace(arguments, folder / "trace", seconds=120))


def require_strace() -> None:
    """Skip where processes cannot be traced; CI must be able to."""
    reason = "strace is not installed"
    if shutil.which("strace"):
        tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return
        reason = f"strace does not work here: {tried.stderr.strip()}"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; CI must trace")
    pytest.skip(f"NOT TESTED: {reason}")


def test_loss_of_power_at_any_moment_loses_and_contradicts_nothing(
    traced: Traced, tmp_path: Path
) -> None:
    power = traced.power(tmp_path)
    assert list(power.complaints(traced.calls)) == []
    # All of this happened before the trace's eyes.
    positions = [int(told.split()[1]) for told in power.told if told.startswith("accepted")]
    assert positions == list(range(1, ROUNDS + 1))
    assert f"reported {len(power.told) - ROUNDS}" in power.told
    assert power.inbox_rows_removed == ROUNDS
    kinds = {"archive", "duplicates", "keys", "uniques"}
    assert {kind_of(name) for name in power.named} == kinds
    assert {kind_of(name) for name in power.unlinked} == kinds
    with closing(sqlite3.connect(traced.folder / "state.db")) as state:
        merged = state.execute("SELECT DISTINCT kind FROM files WHERE level > 0").fetchall()
        ways = state.execute("SELECT DISTINCT way FROM files WHERE kind = 'archive'").fetchall()
        recounted = state.execute("SELECT count(*) FROM recounts WHERE finished_at > 0").fetchall()
    assert {kind for (kind,) in merged} == kinds
    assert set(ways) == {("event",), ("usage",)}
    assert recounted == [(2,)]
    assert command("verify", "--data-dir", str(traced.folder)).returncode == 0

    # And this would not have escaped it.
    live = str(traced.folder / min(power.named - power.unlinked))
    (complaint,) = power.complaints([Call("begin", "1", "unlink", live)])
    assert "the durable state still names it" in complaint
    (complaint,) = power.complaints([Call("begin", "1", "write", live)])
    assert "is written to after a row named it" in complaint


FORGOTTEN = {
    "an archive file": (".parquet", "is named before it is durable"),
    "a key run": (".run", "is named before it is durable"),
    "the folder of the archive": ("/archive", "is named before it is durable"),
    "the inbox": ("inbox.db-wal", "the request may be lost"),
    "the state": ("state.db-wal", "left the inbox"),
    "the folder of the data folder": ("/traced", "the folder itself may be lost"),
}
"""What might not be synced: how its path ends, and the complaint about it."""


@pytest.mark.parametrize("what", FORGOTTEN)
def test_a_sync_that_is_forgotten_is_noticed(traced: Traced, tmp_path: Path, what: str) -> None:
    """Else the test above would prove nothing."""
    ending, expected = FORGOTTEN[what]
    power = traced.power(tmp_path)
    calls = (call for call in traced.calls if not is_sync_of(call, ending))
    assert any(expected in complaint for complaint in power.complaints(calls))


def is_sync_of(call: Call, ending: str) -> bool:
    return call.name in SYNCS and call.path.endswith(ending)


def kind_of(name: str) -> str:
    """archive, duplicates, keys or uniques."""
    return Path(name).name.partition("-")[0]
