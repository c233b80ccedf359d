"""Runs: immutable files of sorted keys, each with its own filter.

Owns: the file format, writing a run in order, and finding keys in one. Promises: a run is fsynced
with its folder before its name is given away; a file that is not what was written raises
``DamagedData`` (sizes and header when it is opened, contents when they are read through). Leaves to
others: which runs there are (the manifest) and which are asked (``key_set.py``).

The file, little-endian::

    header   64 bytes: magic, version, count, room, blocks, three checksums, the header's checksum
    keys     room x 16 bytes, hi and lo, of which count are used: ascending, no key twice
    starts   (words of the filter + 1) x 4 bytes: how many keys come before those of each word
    filter   blocks x 64 bytes (filters.py), at a multiple of 64

The first words of keys follow the order of keys, so ``starts`` names the handful of keys among
which a key must be: a look-up touches a page of keys instead of searching the whole file.
``room`` is more than ``count`` where a merge met a key twice.
"""

from __future__ import annotations

import mmap
import struct
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

MAGIC: Final = b"TALLYKEY"
VERSION: Final = 1
KEYS_PER_RUN_MAX: Final = 2**32 - 1
"""``starts`` counts keys in 32 bits."""

_HEADER: Final = struct.Struct("<8sIIQQQIII")
_HEADER_BYTES: Final = 64
_SCAN_KEYS: Final = 16
"""More keys than nearly every word has. They are looked at all at once; more are bisected."""
_SCAN: Final = np.arange(_SCAN_KEYS)
_CHECKSUM: Final = struct.Struct("<I")
_KEY_BYTES: Final = 16
_START_BYTES: Final = 4
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
    def starts(self) -> int:
        return _HEADER_BYTES + self.room * _KEY_BYTES

    @property
    def filter(self) -> int:
        end = self.starts + (self.words + 1) * _START_BYTES
        return -(-end // _BLOCK_BYTES) * _BLOCK_BYTES

    @property
    def end(self) -> int:
        return self.filter + self.blocks * _BLOCK_BYTES


@dataclass(slots=True)
class _Checksums:
    """CRC-32 of the used part of each section."""

    keys: int = 0
    starts: int = 0
    filter: int = 0


class RunWriter:
    """Writes one run, piece by piece in the order of keys.

    The file gets its final name at once; it is not part of the record before a row names it.
    """

    def __init__(self, path: Path, room: int) -> None:
        """Begin the file at ``path``, which must not exist, for at most ``room`` keys."""
        if room > KEYS_PER_RUN_MAX:
            raise ValueError(f"a run holds at most {KEYS_PER_RUN_MAX} keys, not {room}")
        self._path = path
        self._layout = _Layout(room, blocks_for(room))
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by finish, abandon
        self._count = 0
        self._checksums = _Checksums()
        # The block being filled; all before it are written.
        self._block = 0
        self._block_words = np.zeros(WORDS_PER_BLOCK, dtype=np.uint64)
        self._starts_written = 0

    def append(self, hi: Words, lo: Words) -> None:
        """Add keys: sorted, none twice, all after those added before."""
        for begin in range(0, len(hi), KEYS_AT_ONCE):
            part = slice(begin, begin + KEYS_AT_ONCE)
            self._append(hi[part], lo[part])

    def finish(self) -> int:
        """Complete the file and make it durable; returns its bytes."""
        layout = self._layout
        self._write_starts(np.empty(0, dtype=np.int64), layout.words)
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
        words = words_of(hi, self._layout.words)
        last = int(words[-1])
        self._write_starts(words, last)
        self._write_filter(Probe(hi, lo), last // WORDS_PER_BLOCK)
        self._count += len(hi)

    def _write_starts(self, words: Indexes, last: int) -> None:
        """The starts of all words up to ``last`` that are not written yet."""
        wanted = np.arange(self._starts_written, last + 1)
        starts = (np.searchsorted(words, wanted) + self._count).astype(np.uint32)
        offset = self._layout.starts + self._starts_written * _START_BYTES
        self._checksums.starts = self._write(offset, starts, self._checksums.starts)
        self._starts_written = last + 1

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
            with open(path, "rb") as file:
                header = file.read(_HEADER_BYTES)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise DamagedData(f"key run {path.name} cannot be opened: {error}") from error
        self.count, self._layout, self._checksums = _parse(path, header, len(self._map))
        # hi and lo of each key in turn. (NumPy copies what it takes from if that has gaps.)
        self._keys = self._section("<u8", 2 * self.count, _HEADER_BYTES)
        self._starts = self._section("<u4", self._layout.words + 1, self._layout.starts)
        self._filter = self._section("<u8", self._layout.words, self._layout.filter)

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return len(self._map)

    def sift(self, probe: Probe) -> Indexes:
        """Indexes of the keys that may be in this run, by its own filter; all others are not."""
        return probe.passing(self._filter)

    def holds(self, hi: Words, lo: Words) -> Mask:
        """True for the keys that are in this run, whatever its filter says of them."""
        words = words_of(hi, len(self._filter))
        low = self._starts.take(words).astype(np.int64)
        high = self._starts.take(words + 1).astype(np.int64)
        return self._scan(hi, lo, self._bisect(hi, low, high, _SCAN_KEYS - 1))

    def edges(self, cuts: Words) -> Indexes:
        """For each cut, how many keys have a smaller ``hi``."""
        low = np.zeros(len(cuts), dtype=np.int64)
        return self._bisect(cuts, low, np.full(len(cuts), self.count), 0)

    def samples(self, step: int) -> Words:
        """Every ``step``-th ``hi``."""
        return self._keys[:: 2 * step].copy()

    def reader(self) -> RunReader:
        """Read the run through, once, in pieces."""
        return RunReader(self.path, self.count, self._checksums)

    def check_filter(self) -> None:
        """Raise ``DamagedData`` unless the filter and its starts are what was written."""
        for section, checksum in (
            (self._starts, self._checksums.starts),
            (self._filter, self._checksums.filter),
        ):
            if zlib.crc32(section.data) != checksum:
                raise DamagedData(f"key run {self.path.name}: its filter is not what was written")

    def release(self) -> None:
        """Give the mapped pages back; the next look-up maps what it needs again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _section(self, dtype: str, count: int, offset: int) -> NDArray[Any]:
        return np.frombuffer(self._map, dtype=dtype, count=count, offset=offset)

    def _bisect(self, hi: Words, low: Indexes, high: Indexes, distance: int) -> Indexes:
        """For each hi, a rank at most ``distance`` before that of the first key not below it.

        That rank lies between ``low`` and ``high``, inclusive.
        """
        while len(hi) and (high - low).max() > distance:
            middle = (low + high) >> 1
            # Where low == high, middle may be the end of the run: "clip", and no matter.
            before = self._keys.take(middle << 1, mode="clip") < hi
            before &= low < high
            low = np.where(before, middle + 1, low)
            high = np.where(before, high, middle)
        return low

    def _scan(self, hi: Words, lo: Words, ranks: Indexes) -> Mask:
        """Whether each key is among those at its rank or after it."""
        held = np.zeros(len(hi), dtype=np.bool_)
        active = np.arange(len(hi)) if self.count else np.empty(0, dtype=np.int64)
        while len(active):
            at = ranks.take(active)[:, np.newaxis] + _SCAN
            more = at[:, -1] < self.count - 1
            np.minimum(at, self.count - 1, out=at)
            at <<= 1
            found = self._keys.take(at, mode="clip") == hi.take(active)[:, np.newaxis]
            places = np.flatnonzero(found)  # np.nonzero is slow in two dimensions
            rows = active.take(places // _SCAN_KEYS)
            equal = self._keys.take(at.take(places) + 1, mode="clip") == lo.take(rows)
            held[rows[equal]] = True
            # More keys than were looked at may share one hi.
            active = active[found[:, -1] & more]
            active = active[~held[active]]
            ranks[active] += _SCAN_KEYS
        return held


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
