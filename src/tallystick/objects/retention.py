"""Old runs go, with the files of what they refused.

Owns: how long a run is kept. Rows of ``objects`` stay: they are what is known of each version of a
file, so that none is read twice, and one that was read longer ago than keys are remembered is told
from a new one. Names that are left alone are nobody's history and go with their run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from tallystick import limits
from tallystick.clock import DAY, Instant
from tallystick.store import Store, Transaction

# Runs that ended before an instant and are not among the newest of their source; imports have none.
OLD_RUNS: Final = """
SELECT seq, id FROM object_runs
WHERE ended_at < ? AND seq NOT IN (
    SELECT seq FROM object_runs AS newer
    WHERE newer.source = object_runs.source ORDER BY seq DESC LIMIT ?
)
ORDER BY ended_at LIMIT ?
"""
FORGET_RUN: Final = "DELETE FROM object_runs WHERE seq = ?"
FORGET_IGNORED: Final = "DELETE FROM objects WHERE run = ? AND state = 'ignored'"


class RunKeeper:
    """Forgets the old runs of one data folder. Used by one thread of its owner."""

    def __init__(
        self, state: Store, rejects: Path, confirm: Callable[[Transaction], object]
    ) -> None:
        """``confirm`` asserts that the folder is still this owner's."""
        self._state = state
        self._rejects = rejects
        self._confirm = confirm

    def step(self, now: Instant) -> bool:
        """Forget some; whether there were any."""
        ended_before = now - limits.RUN_DAYS_KEPT * DAY
        with self._state.reading() as transaction:
            old = cast(
                "list[tuple[int, str]]",
                transaction.all(OLD_RUNS, ended_before, limits.RUNS_KEPT_MIN, _TOGETHER),
            )
        if not old:
            return False
        # The rows that name the folders go last, so that a crash leaves none that nobody knows.
        for _, run in old:
            shutil.rmtree(self._rejects / run, ignore_errors=True)
        with self._state.writing() as transaction:
            self._confirm(transaction)
            transaction.run_many(FORGET_IGNORED, [(seq,) for seq, _ in old])
            transaction.run_many(FORGET_RUN, [(seq,) for seq, _ in old])
        return True


_TOGETHER: Final = 50
"""Runs that one step forgets."""
