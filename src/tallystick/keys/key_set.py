"""The keys that were seen, however many.

Owns: which runs are asked, and in what order. Promises: a key of a committed run is found until
the run is dropped, while merges replace runs beside it; memory for filters stays within its limit.
Leaves to others: which runs are in the record (``archive/manifest.py``), merging them
(``merge.py``), and calling ``tend`` beside the hot path.

A step asks ``fresh``, writes ``fresh_keys`` with ``write``, commits the draft, then calls ``add``.
A new key costs one look into the summary; what passes it is sought run by run, the latest first,
because a repetition mostly follows soon. Runs that the summary does not cover are asked through
their own filters, which stay on disk.

One thread asks and adds, another may merge, replace, drop and tend. The runs are one tuple,
replaced whole: who asks sees the runs before a change or after it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tallystick import limits
from tallystick.archive.manifest import FileDraft, Kind, ManifestFile
from tallystick.errors import DamagedData
from tallystick.keys.filters import Probe
from tallystick.keys.order import Indexes, Mask, Words, first_of_sorted, order_of_batch
from tallystick.keys.runs import Run, write_run
from tallystick.keys.summary import GROUPS, KEYS_MIN, Summary


@dataclass(frozen=True, slots=True)
class _Member:
    """A run of the set and the row that names it."""

    file: ManifestFile
    run: Run

    @property
    def group(self) -> int:
        """Of one bucket, so that a merge does not change it."""
        return self.file.bucket % GROUPS

    def received_within(self, start: int, stop: int) -> bool:
        """Whether some key of it may have been received in [start, stop)."""
        return start <= self.file.time_last and self.file.time_first < stop


@dataclass(frozen=True, slots=True)
class _View:
    """What is asked: the runs, the latest first, and the summary over some of them."""

    members: tuple[_Member, ...] = ()
    summary: Summary | None = None

    @property
    def keys(self) -> int:
        return sum(member.run.count for member in self.members)


class KeySet:
    """A set of key hashes; its runs are files of one kind."""

    def __init__(self, folder: Path, kind: Kind, filter_memory_bytes: int) -> None:
        """A set in the data folder ``folder``, of runs of ``kind``, empty until ``open``."""
        self._folder = folder
        self._kind = kind
        self._memory_bytes = filter_memory_bytes
        self._lock = threading.Lock()  # of changes; who asks takes none
        self._view = _View()
        self._live: tuple[int, int] | None = None
        self._building: Summary | None = None
        self._crowded = False
        self._written: tuple[str, Words, Words] | None = None
        self.fresh_keys: tuple[Words, Words] = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        """What the last ``fresh`` found to be so, in order."""

    def open(self, files: Iterable[ManifestFile]) -> None:
        """Begin with the runs of the record, and build the summary of all of them.

        Raises ``DamagedData`` when a run is missing or not what was written.
        """
        members = tuple(self._member(file) for file in files)
        self._view = _View(_latest_first(members))
        for _ in self._rebuild():
            pass

    def contains(self, hi: Words, lo: Words) -> Mask:
        """True where a key is in a run of the set; keys in any order."""
        order = order_of_batch(hi, lo)
        found = np.empty(len(order), dtype=np.bool_)
        found[order] = self._find(Probe(hi.take(order), lo.take(order)))
        return found

    def fresh(self, hi: Words, lo: Words) -> Mask:
        """True for the first of each key that is in no run: both questions with one sort."""
        order = order_of_batch(hi, lo)
        sorted_hi, sorted_lo = hi.take(order), lo.take(order)
        fresh = np.empty(len(order), dtype=np.bool_)
        marks = first_of_sorted(sorted_hi, sorted_lo) & ~self._find(Probe(sorted_hi, sorted_lo))
        fresh[order] = marks
        self.fresh_keys = sorted_hi[marks], sorted_lo[marks]
        return fresh

    def write(
        self,
        name: str,
        epoch: int,
        hi: Words,
        lo: Words,
        bucket: int,
        time_first: int,
        time_last: int,
        *,
        in_order: bool = False,
    ) -> FileDraft:
        """Write keys, none twice, as a durable run ``name`` that is not in the set yet.

        Times are received times; ``in_order``: the keys are, as ``fresh_keys`` are. The run joins
        with ``add``, after the draft's commit.
        """
        if not in_order:
            order = order_of_batch(hi, lo)
            hi, lo = hi.take(order), lo.take(order)
        size = write_run(self._folder / name, hi, lo)
        self._written = (name, hi, lo)
        return FileDraft(
            kind=self._kind, name=name, epoch=epoch, row_count=len(hi), bytes=size,
            time_first=time_first, time_last=time_last, bucket=bucket,
        )  # fmt: skip

    def add(self, file: ManifestFile) -> None:
        """A run was committed: from now on its keys are found."""
        member = self._member(file)
        written, self._written = self._written, None
        with self._lock:
            summary = self._view.summary
            if summary is not None and summary.keys + file.row_count <= summary.room:
                hi_lo = written[1:] if written and written[0] == file.name else _all_keys(member)
                summary.put(*hi_lo, member.group)
                summary.cover(file.name)
            else:
                self._crowded = True
            self._set_members((*self._view.members, member))

    def replace(self, old: Sequence[ManifestFile], new: ManifestFile) -> None:
        """A merge was committed: ``new`` holds the keys of ``old``."""
        member = self._member(new)
        names = [file.name for file in old]
        with self._lock:
            for summary in (self._view.summary, self._building):
                if summary is not None:
                    summary.replace(names, new.name)
            self._set_members((*self._without(names), member))

    def drop(self, files: Iterable[ManifestFile]) -> None:
        """These runs left the record."""
        names = [file.name for file in files]
        with self._lock:
            for summary in (self._view.summary, self._building):
                if summary is not None:
                    summary.drop(names)
            self._set_members(self._without(names))

    def look_within(self, start: int, stop: int) -> None:
        """Find only keys of runs that were received, in part, in [start, stop), whatever runs are
        still in the record."""
        self._live = (start, stop)

    def tend(self) -> Iterator[None]:
        """Steps, some 20 ms each, that build a new summary when the present one is full.

        None when there is nothing to do. Abandoning them loses only their work.
        """
        summary = self._view.summary
        if self._crowded or (summary is not None and summary.keys > summary.room * 9 // 10):
            yield from self._rebuild()

    def memory_bytes(self) -> int:
        """Memory that filters occupy, without what is mapped from disk."""
        summaries = (self._view.summary, self._building)
        return sum(summary.bytes for summary in summaries if summary is not None)

    def _find(self, probe: Probe) -> Mask:
        """Which keys of a sorted batch are in the set."""
        view, live = self._view, self._live
        covered_names = view.summary.covered if view.summary is not None else frozenset()
        found = np.zeros(len(probe), dtype=np.bool_)
        covered = []
        for member in view.members:
            if live is not None and not member.received_within(*live):
                continue
            if member.file.name in covered_names:
                covered.append(member)
            else:
                suspects = member.run.sift(probe)
                found[suspects] |= _look_up(member, probe, suspects)
        if view.summary is not None and covered:
            self._find_covered(covered, probe, view.summary, found)
        return found

    def _find_covered(
        self, members: Sequence[_Member], probe: Probe, summary: Summary, found: Mask
    ) -> None:
        """Seek what passes the summary, in the runs where it may be, until it is found."""
        suspects, groups = summary.passing(probe)
        for member in members:
            rows = np.flatnonzero(groups[:, member.group])
            if len(rows):
                hits = rows[_look_up(member, probe, suspects.take(rows))]
                found[suspects.take(hits)] = True
                groups[hits] = False

    def _rebuild(self) -> Iterator[None]:
        """Build a summary of the runs there are and those that join meanwhile, and use it."""
        building, keys_max = self._begin_summary()
        try:
            while (member := self._next_to_cover(building, keys_max)) is not None:
                for hi, lo in member.run.reader().pieces(limits.KEY_STEP_KEYS):
                    building.put(hi, lo, member.group)
                    yield
                member.run.check_filter()
                with self._lock:
                    # A merge may have replaced it meanwhile; then the result is still to come.
                    if member in self._view.members:
                        building.cover(member.file.name)
        finally:
            self._building = None

    def _begin_summary(self) -> tuple[Summary, int]:
        """An empty summary, and how many keys to put in now."""
        with self._lock:
            keys = self._view.keys
            wanted = max(KEYS_MIN, keys + max(keys // 2, min(keys, limits.KEY_SUMMARY_DOUBLED_MAX)))
            room = min(wanted, Summary.room_max(self._memory_bytes))
            # Where memory is short the latest runs are covered, with some room for those to come.
            keys_max = room if room == wanted else room * 3 // 4
            building = Summary(room, self._memory_bytes)
            old = self._view.summary
            if old is not None and old.bytes + building.bytes > self._memory_bytes:
                self._view = replace(self._view, summary=None)
            self._building = building
            return building, keys_max

    def _next_to_cover(self, building: Summary, keys_max: int) -> _Member | None:
        """A run that is still to be put in; None once the new summary is in use."""
        with self._lock:
            for member in self._view.members:
                fits = building.keys + member.run.count <= keys_max
                if fits and member.file.name not in building.covered:
                    return member
            self._view = replace(self._view, summary=building)
            self._crowded = False
            return None

    def _member(self, file: ManifestFile) -> _Member:
        run = Run(self._folder / file.name)
        if run.count != file.row_count:
            raise DamagedData(
                f"key run {file.name} holds {run.count} keys, its row says {file.row_count}"
            )
        return _Member(file, run)

    def _without(self, names: Sequence[str]) -> list[_Member]:
        return [member for member in self._view.members if member.file.name not in names]

    def _set_members(self, members: Iterable[_Member]) -> None:
        self._view = _View(_latest_first(members), self._view.summary)


def _look_up(member: _Member, probe: Probe, suspects: Indexes) -> Mask:
    """True for the suspects that are in a run."""
    return member.run.holds(probe.hi.take(suspects), probe.lo.take(suspects))


def _latest_first(members: Iterable[_Member]) -> tuple[_Member, ...]:
    """By received time, then as they were named; the latest first."""

    def order(member: _Member) -> tuple[int, int]:
        return (member.file.time_last, member.file.id)

    return tuple(sorted(members, key=order, reverse=True))


def _all_keys(member: _Member) -> tuple[Words, Words]:
    with member.run.reader() as reader:
        return reader.read(member.run.count)
