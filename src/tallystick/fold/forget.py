"""Forgets the UNIQUE values of counters that are gone.

The keys of UNIQUE live as long as their counter. A recount writes the keys of its generation anew,
and the sweep deletes the counters that it replaced (``sweep``). Their keys stay behind in runs that
hold those of many counters. Here the runs are read through and each key is asked whose it is
(``keys/owners.py``); a run of which at most half still has an owner is written anew without the
rest.

Why no key of a counter that stands is lost: a key is named in the transaction that writes its
counter's row, and a row keeps its id until it is deleted for good. So of the runs that were named
before the walk over the counters began, each key's counter was there when the walk began, and is
met by it unless it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tallystick import limits
from tallystick.archive.manifest import FileDraft, ManifestFile, live_files
from tallystick.fold.owner import Owner
from tallystick.fold.slots import name_of
from tallystick.keys.merge import copy_kept
from tallystick.keys.owners import OWNED, Owners
from tallystick.keys.runs import Run
from tallystick.store import Store
from tallystick.usage.counters import CounterKey

# A stretch of the counters by id.
COUNTERS_AFTER: Final = """
SELECT id, environment, customer, resource, feature, generation, period_start
FROM counters WHERE id > ? ORDER BY id LIMIT ?
"""


class Forgetter:
    """Looks through the runs once after recounts, and not too often. Used by upkeep's thread."""

    def __init__(
        self,
        state: Store,
        owner: Owner,
        data_folder: Path,
        replace: Callable[[ManifestFile, FileDraft], None],
        drop: Callable[[ManifestFile], None],
    ) -> None:
        """``replace`` names a run in the place of another, ``drop`` takes one out of the record."""
        self._state = state
        self._owner = owner
        self._data_folder = data_folder
        self._replace = replace
        self._drop = drop
        self._done_for = 0
        self._not_before = time.monotonic() + limits.UNIQUES_FORGOTTEN_SECONDS

    def steps(self, swept_for: int) -> Iterator[None]:
        """What is due once the counters that recounts up to this one replaced are deleted."""
        if swept_for <= self._done_for or time.monotonic() < self._not_before:
            return
        with self._state.reading() as transaction:
            files = [f for f in live_files(transaction, "uniques") if f.bucket == OWNED]
        if files:
            owners = Owners()
            yield from self._mark(owners)
            for file in files:
                yield from self._forget(file, owners)
        self._done_for = swept_for
        self._not_before = time.monotonic() + limits.UNIQUES_FORGOTTEN_SECONDS

    def _mark(self, owners: Owners) -> Iterator[None]:
        """Put every counter in."""
        last: object = 0
        while True:
            with self._state.reading() as transaction:
                rows = transaction.all(COUNTERS_AFTER, last, limits.SWEEP_STEP_ROWS)  # type: ignore[arg-type]
            if not rows:
                return
            owners.add(name_of(CounterKey(*row[1:])) for row in rows)  # type: ignore[arg-type]
            last = rows[-1][0]
            yield

    def _forget(self, file: ManifestFile, owners: Owners) -> Iterator[None]:
        """Write a run anew, or drop it, if at least half of its keys have no owner left."""
        kept = 0
        for hi, lo in Run(self._data_folder / file.name).reader().pieces(limits.KEY_STEP_KEYS):
            kept += int(np.count_nonzero(owners.hold(hi, lo)))
            yield
        if 2 * kept > file.row_count:
            return
        if not kept:
            self._drop(file)
            return
        name = self._owner.file_name("keys", "uniques", "run")
        epoch = self._owner.epoch
        for draft in copy_kept(self._data_folder, file, name, epoch, owners.hold, kept):
            if draft is not None:
                self._replace(file, draft)
            yield
