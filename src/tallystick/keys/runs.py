"""Runs: immutable files of sorted keys, each with its own filter.

Owns: the file format, writing a run in order, and finding keys in one. Promises: a run is fsynced
with its folder before its name is given away; a file that is not what was written raises
``DamagedData`` (sizes and header when it is opened, contents when they are read through). Leaves to
others: which runs there are (the manifest) and which are asked (``key_set.py``).

The file, little-endian::

    header   64 bytes: magic, version, count, room, blocks, three checksums, the header's checksum
    keys     room x 16 bytes, hi and lo, of which count are used: ascending, no key twice
    fences   room / 64, rounded up, x 8 bytes: the hi of every 64th key
    filter   blocks x 64 bytes (filters.py), at a multiple of 64

``room`` is more than ``count`` where a merge met a key twice. The fences are kept in memory (one
bit a key), so a look-up reads 65 keys instead of searching the file. Small runs are looked into
through a mapping, which is the fastest. Of large ones each look-up is a read of its own: mapped
pages would count as memory of the process, and giving them back costs more than the reads.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tallystick.archive.files import sync_file
from tallystick.errors import DamagedData
from tallystick.keys.filters import KEYS_AT_ONCE, WORDS_PER_BLOCK, Probe, blocks_for, words_of
from tallystick.keys.order import Indexes, Mask, Words
from tallystick.limits import MIB

MAGIC: Final = b"TALLYKEY"
VERSION: Final = 1
SMALL_RUN_BYTES: Final = 8 * MIB
"""Runs up to this size stay mapped; merges keep them few."""

_HEADER: Final = struct.Struct("<8sIIQQQIII")
_HEADER_BYTES: Final = 64
_CHECKSUM: Final = struct.Struct("<I")
_KEY_BYTES: Final = 16
_FENCE_BYTES: Final = 8
_FENCE_KEYS: Final = 64
_WINDOW_KEYS: Final = _FENCE_KEYS + 1
"""From one fence to the next, inclusive."""
_SCAN_KEYS: Final = 16
"""In a mapped run a bisection stops at so many keys, which are then compared all at once."""
_BLOCK_BYTES: Final = 8 * WORDS_PER_BLOCK


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the sections of a file with so much room and so many blocks begin, in bytes."""

    room: int
    blocks: int

    @property
    def words(self) -> int:
        """Words of the filter."""
        return self.blocks * WORDS_PER_BLOCK

    @property
    def fences(self) -> int:
        return _HEADER_BYTES + self.room * _KEY_BYTES

    @property
    def filter(self) -> int:
        end = self.fences + _fences_of(self.room) * _FENCE_BYTES
        return -(-end // _BLOCK_BYTES) * _BLOCK_BYTES

    @property
    def end(self) -> int:
        return self.filter + self.blocks * _BLOCK_BYTES


@dataclass(slots=True)
class _Checksums:
    """CRC-32 of the used part of each section."""

    keys: int = 0
    fences: int = 0
    filter: int = 0


class RunWriter:
    """Writes one run, piece by piece in the order of keys.

    The file gets its final name at once; it is not part of the record before a row names it.
    """

    def __init__(self, path: Path, room: int) -> None:
        """Begin the file at ``path``, which must not exist, for at most ``room`` keys."""
        self._path = path
        self._layout = _Layout(room, blocks_for(room))
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by finish, abandon
        self._count = 0
        self._checksums = _Checksums()
        # The block being filled; all before it are written.
        self._block = 0
        self._block_words = np.zeros(WORDS_PER_BLOCK, dtype=np.uint64)
        self._fences: list[Words] = []

    def append(self, hi: Words, lo: Words) -> None:
        """Add keys: sorted, none twice, all after those added before."""
        for begin in range(0, len(hi), KEYS_AT_ONCE):
            part = slice(begin, begin + KEYS_AT_ONCE)
            self._append(hi[part], lo[part])

    def finish(self) -> int:
        """Complete the file and make it durable; returns its bytes."""
        layout = self._layout
        fences = np.concatenate([np.empty(0, dtype=np.uint64), *self._fences])
        self._checksums.fences = self._write(layout.fences, fences, 0)
        self._write_filter(None, layout.blocks)
        self._file.truncate(layout.end)
        header = _HEADER.pack(
            MAGIC, VERSION, 0, self._count, layout.room, layout.blocks,
            *astuple(self._checksums),
        )  # fmt: skip
        self._put(0, memoryview(header + _CHECKSUM.pack(zlib.crc32(header))))
        self._file.close()
        return sync_file(self._path)

    @property
    def count(self) -> int:
        """Keys added so far."""
        return self._count

    def abandon(self) -> None:
        """Give the file up: nothing names it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _append(self, hi: Words, lo: Words) -> None:
        offset = _HEADER_BYTES + self._count * _KEY_BYTES
        keys = np.stack((hi, lo), axis=1)
        self._checksums.keys = self._write(offset, keys, self._checksums.keys)
        self._fences.append(hi[-self._count % _FENCE_KEYS :: _FENCE_KEYS].copy())
        last = int(words_of(hi[-1:], self._layout.words)[0])
        self._write_filter(Probe(hi, lo), last // WORDS_PER_BLOCK)
        self._count += len(hi)

    def _write_filter(self, probe: Probe | None, last: int) -> None:
        """Fill the filter with ``probe`` and write the blocks before ``last``."""
        first_word = self._block * WORDS_PER_BLOCK
        words = np.zeros((last + 1 - self._block) * WORDS_PER_BLOCK, dtype=np.uint64)
        words[:WORDS_PER_BLOCK] = self._block_words
        if probe is not None:
            probe.put_into(words, self._layout.words, first_word)
        offset = self._layout.filter + self._block * _BLOCK_BYTES
        full = words[:-WORDS_PER_BLOCK]
        self._checksums.filter = self._write(offset, full, self._checksums.filter)
        self._block, self._block_words = last, words[-WORDS_PER_BLOCK:].copy()

    def _write(self, offset: int, array: NDArray[Any], checksum: int) -> int:
        """Put an array at ``offset``; returns the section's checksum with it."""
        data = array.reshape(-1).view(np.uint8).data
        self._put(offset, data)
        return zlib.crc32(data, checksum)

    def _put(self, offset: int, data: memoryview) -> None:
        self._file.seek(offset)
        while data:
            data = data[self._file.write(data) :]


def write_run(path: Path, hi: Words, lo: Words) -> int:
    """Write sorted keys, none twice, as one durable run; returns the file's bytes."""
    writer = RunWriter(path, len(hi))
    try:
        writer.append(hi, lo)
        return writer.finish()
    except BaseException:
        writer.abandon()
        raise


class Run:
    """A run that can be asked. It stays readable after its file is deleted."""

    def __init__(self, path: Path) -> None:
        """Open the run at ``path``; raises ``DamagedData`` if it is not whole."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
            header = os.pread(self._descriptor, _HEADER_BYTES, 0)
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise DamagedData(f"key run {path.name} cannot be opened: {error}") from error
        self.count, self._layout, self._checksums = _parse(path, header, len(self._map))
        self._keys = self._section(2 * self.count, _HEADER_BYTES).reshape(-1, 2)
        self._fences = self._section(_fences_of(self.count), self._layout.fences).copy()
        self._filter = self._section(self._layout.words, self._layout.filter)
        self._small = self.bytes <= SMALL_RUN_BYTES

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return len(self._map)

    def sift(self, probe: Probe) -> Indexes:
        """Indexes of the keys that may be in this run, by its own filter; all others are not."""
        passed = probe.passing(self._filter)
        if not self._small:
            self._release()
        return passed

    def holds(self, hi: Words, lo: Words) -> Mask:
        """True for the keys that are in this run, whatever its filter says of them."""
        if not self.count:
            return np.zeros(len(hi), dtype=np.bool_)
        low, high = self._between(hi)
        if not self._small:
            return self._scan(hi, lo, low, _WINDOW_KEYS)
        return self._scan(hi, lo, self._bisect(hi, low, high), _SCAN_KEYS)

    def edges(self, cuts: Words) -> Indexes:
        """For each cut, how many keys have a smaller ``hi``."""
        low, _ = self._between(cuts)
        low, windows = self._windows(low, _WINDOW_KEYS)
        below: Indexes = np.count_nonzero(windows[:, :, 0] < cuts[:, np.newaxis], axis=1)
        return low + below

    def samples(self, step: int) -> Words:
        """The ``hi`` of keys at most ``step`` apart, or 64 if that is more."""
        return self._fences[:: max(1, step // _FENCE_KEYS)]

    def reader(self) -> RunReader:
        """Read the run through, once, in pieces."""
        return RunReader(self.path, self.count, self._checksums)

    def check_filter(self) -> None:
        """Raise ``DamagedData`` unless the filter and the fences are what was written."""
        for section, checksum in (
            (self._fences, self._checksums.fences),
            (self._filter, self._checksums.filter),
        ):
            if zlib.crc32(section.data) != checksum:
                raise DamagedData(f"key run {self.path.name}: its filter is not what was written")
        if not self._small:
            self._release()

    def _release(self) -> None:
        """Give mapped pages back, where the system can."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _section(self, count: int, offset: int) -> Words:
        return np.frombuffer(self._map, dtype="<u8", count=count, offset=offset)

    def _between(self, hi: Words) -> tuple[Indexes, Indexes]:
        """Ranks between which, inclusive, the first key not below each hi is; 64 apart at most."""
        pages = np.searchsorted(self._fences, hi)
        return np.maximum(pages - 1, 0) * _FENCE_KEYS, np.minimum(pages * _FENCE_KEYS, self.count)

    def _bisect(self, hi: Words, low: Indexes, high: Indexes) -> Indexes:
        """Lower bounds of the same ranks that are less than ``_SCAN_KEYS`` below them."""
        while len(hi) and (high - low).max() >= _SCAN_KEYS:
            middle = (low + high) >> 1
            # Where low == high, middle may be the end of the run: "clip", and no matter.
            before = self._keys.reshape(-1).take(middle << 1, mode="clip") < hi
            before &= low < high
            low = np.where(before, middle + 1, low)
            high = np.where(before, high, middle)
        return low

    def _scan(self, hi: Words, lo: Words, low: Indexes, width: int) -> Mask:
        """Whether each key is among the ``width`` from its rank on, or follows with the same hi."""
        held = np.zeros(len(hi), dtype=np.bool_)
        active = np.arange(len(hi))
        while len(active):
            ranks, windows = self._windows(low.take(active), width)
            same = windows[:, :, 0] == hi.take(active)[:, np.newaxis]
            places = np.flatnonzero(same)  # np.nonzero is slow in two dimensions
            rows = active.take(places // windows.shape[1])
            equal = windows.reshape(-1, 2)[places, 1] == lo.take(rows)
            held[rows[equal]] = True
            more = same[:, -1] & (ranks + windows.shape[1] < self.count) & ~held[active]
            active = active[more]
            low[active] = ranks[more] + windows.shape[1]
        return held

    def _windows(self, ranks: Indexes, width: int) -> tuple[Indexes, Words]:
        """``width`` keys from each rank on, or all there are: rows of (hi, lo).

        A window that would pass the end begins earlier; where each begins is returned too.
        """
        width = min(width, self.count)
        ranks = np.minimum(ranks, self.count - width)
        if self._small:
            return ranks, self._keys.take(ranks[:, np.newaxis] + np.arange(width), axis=0)
        size = width * _KEY_BYTES
        offsets = (ranks * _KEY_BYTES + _HEADER_BYTES).tolist()
        data = b"".join([os.pread(self._descriptor, size, offset) for offset in offsets])
        if len(data) != size * len(offsets):
            raise DamagedData(f"key run {self.path.name} ends too early")
        return ranks, np.frombuffer(data, dtype="<u8").reshape(-1, width, 2)


class RunReader:
    """Reads a run through with plain reads, so that nothing stays mapped, and checks its sums."""

    def __init__(self, path: Path, count: int, checksums: _Checksums) -> None:
        self._path = path
        self._left = count
        self._at = 0
        self._expected = checksums.keys
        self._checksum = 0
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close
        except OSError as error:
            raise DamagedData(f"key run {path.name} cannot be read: {error}") from error

    def read(self, keys: int) -> tuple[Words, Words]:
        """The next ``keys`` keys, fewer at the end; ``DamagedData`` if they cannot be read."""
        keys = min(keys, self._left)
        pairs = np.empty((keys, 2), dtype="<u8")
        self._file.seek(_HEADER_BYTES + self._at * _KEY_BYTES)
        room = pairs.reshape(-1).view(np.uint8).data
        self._checksum = zlib.crc32(self._fill(room), self._checksum)
        self._at += keys
        self._left -= keys
        return pairs[:, 0].copy(), pairs[:, 1].copy()

    def pieces(self, keys: int) -> Iterator[tuple[Words, Words]]:
        """All keys in pieces of at most ``keys``; checks the sums at the end and closes."""
        with self:
            while self._left:
                yield self.read(keys)
            self.check()

    def check(self) -> None:
        """Raise ``DamagedData`` unless the whole run was read and is what was written."""
        if self._left or self._checksum != self._expected:
            raise DamagedData(f"key run {self._path.name}: its keys are not what was written")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> RunReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self, room: memoryview) -> memoryview:
        left = room
        while left:
            got = self._file.readinto(left)
            if not got:
                raise DamagedData(f"key run {self._path.name} ends too early")
            left = left[got:]
        return room


def _fences_of(keys: int) -> int:
    """How many fences so many keys have."""
    return -(-keys // _FENCE_KEYS)


def _parse(path: Path, header: bytes, file_bytes: int) -> tuple[int, _Layout, _Checksums]:
    """Count, layout and checksums of a header; raises ``DamagedData``."""
    fields, checksum = header[: _HEADER.size], header[_HEADER.size :][: _CHECKSUM.size]
    if len(header) < _HEADER_BYTES or _CHECKSUM.pack(zlib.crc32(fields)) != checksum:
        raise DamagedData(f"key run {path.name}: its header is not what was written")
    magic, version, _, count, room, blocks, *sums = _HEADER.unpack(fields)
    if magic != MAGIC or version != VERSION:
        raise DamagedData(f"key run {path.name} is no run of version {VERSION}")
    layout = _Layout(room, blocks)
    if file_bytes != layout.end:
        raise DamagedData(f"key run {path.name} has {file_bytes} bytes, not {layout.end}")
    return count, layout, _Checksums(*sums)
