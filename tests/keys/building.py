"""Keys, runs and sets with ordinary defaults, and the manifest as a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from tallystick.archive.manifest import FileDraft, Kind, ManifestFile
from tallystick.keys import merge
from tallystick.keys.key_set import KeySet
from tallystick.keys.order import Words, order_of_batch
from tallystick.limits import MIB

Key = tuple[int, int]
MEMORY_BYTES = 8 * MIB


def words(numbers: Iterable[int]) -> Words:
    return np.array(list(numbers), dtype=np.uint64)


def halves_of(keys: Iterable[Key]) -> tuple[Words, Words]:
    """The two arrays of some keys."""
    pairs = list(keys)
    return words(hi for hi, _ in pairs), words(lo for _, lo in pairs)


def random_keys(count: int, seed: int = 1) -> tuple[Words, Words]:
    random = np.random.default_rng(seed)
    hi, lo = random.integers(0, 2**64, (2, count), dtype=np.uint64)
    return hi, lo


def sorted_keys(count: int, seed: int = 1) -> tuple[Words, Words]:
    hi, lo = random_keys(count, seed)
    order = order_of_batch(hi, lo)
    return hi[order], lo[order]


def a_file(name: str = "keys/a.run", *, id: int = 1, **values: int) -> ManifestFile:
    """A row of the manifest; of a file of 100 keys in bucket 0 unless told otherwise."""
    known = {"epoch": 1, "row_count": 100, "bytes": 1} | values
    return ManifestFile(kind="keys", name=name, id=id, **known)  # type: ignore[arg-type]


class Home:
    """A data folder and the rows that name its runs, as the fold and its upkeep leave them."""

    def __init__(self, folder: Path, kind: Kind = "keys", memory_bytes: int = MEMORY_BYTES) -> None:
        self.folder = folder
        self.kind = kind
        self.memory_bytes = memory_bytes
        self.files: list[ManifestFile] = []
        self._made = 0
        (folder / "keys").mkdir(exist_ok=True)
        self.keys = self.reopened()

    def reopened(self) -> KeySet:
        """A set of what the rows name, as after a restart."""
        keys = KeySet(self.folder, self.kind, self.memory_bytes)
        keys.open(self.files)
        return keys

    def fold(self, hi: Words, lo: Words, bucket: int = 0) -> list[bool]:
        """A step: which keys were fresh; they are in the set afterwards."""
        fresh = self.keys.fresh(hi, lo)
        assert not (fresh & self.keys.contains(hi, lo)).any()
        self.add(hi[fresh], lo[fresh], bucket)
        return [bool(one) for one in fresh]

    def add(self, hi: Words, lo: Words, bucket: int = 0) -> ManifestFile:
        """A committed run of these keys."""
        draft = self.keys.write(self.next_name(), 1, hi, lo, bucket, bucket, bucket)
        file = self.named(draft)
        self.keys.add(file)
        self.files.append(file)
        return file

    def begin_merge(self) -> tuple[list[ManifestFile], Iterator[FileDraft | None]] | None:
        """The merge that is due, if any: its files and steps."""
        files = merge.plan(self.files)
        if files is None:
            return None
        level = max(file.level for file in files) + 1
        return files, merge.merge(self.folder, files, self.next_name(), 1, level)

    def commit_merge(self, old: list[ManifestFile], draft: FileDraft) -> ManifestFile:
        file = self.named(draft)
        self.files = [kept for kept in self.files if kept not in old] + [file]
        self.keys.replace(old, file)
        return file

    def merge_all(self) -> int:
        """Merge while something is due; how many merges that were."""
        merges = 0
        while (begun := self.begin_merge()) is not None:
            files, steps = begun
            *_, draft = steps
            assert draft is not None
            self.commit_merge(files, draft)
            merges += 1
        return merges

    def tend(self) -> int:
        """Bring the summary up to date; the steps it took."""
        return sum(1 for _ in self.keys.tend())

    def next_name(self) -> str:
        self._made += 1
        return f"keys/{self.kind}-{1:08d}-{self._made:010d}.run"

    def named(self, draft: FileDraft) -> ManifestFile:
        values = {field.name: getattr(draft, field.name) for field in fields(draft)}
        self._made += 1
        return ManifestFile(**values, id=self._made)
