"""From a stream of bytes to pieces of whole records, without a loop over records.

A record of lines ends at a line feed; one of CSV at a line feed outside quotes, which is one with
an even number of quotes before it (RFC 4180; a doubled quote in quotes changes nothing in that).
The law: however the stream arrives and wherever it is resumed, the records and their line numbers
are the same.

A quote in the middle of an unquoted field (``5" pipe``) is outside of RFC 4180 and takes what
follows, up to the next quote, into its record. Nothing is lost silently by that: the record is then
ragged or too large, and rejected with the line it begins at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tallystick import limits

Offsets: TypeAlias = NDArray[np.int64]

_CACHED_BYTES: Final = 1 << 17
"""Bytes looked through at once, so that what is noted of each stays in a cache."""
_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D
_QUOTE: Final = 0x22


class Place(NamedTuple):
    """Where reading goes on: a byte of the *decompressed* stream, and the number of its line."""

    offset: int = 0
    line: int = 1


START: Final = Place()


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole records, one after the other, each with a line feed at its end; blank lines are gone.

    ``data`` may hold none. ``line_numbers`` has the line (from 1) at which each record of ``data``
    begins; a record of CSV may span several. ``oversized`` has those of records over
    ``EVENT_BYTES_MAX``, which are left out. ``place`` is behind all of it, ``consumed`` the bytes
    of the decompressed stream since the piece before.
    """

    data: bytes
    line_numbers: Offsets
    oversized: list[int]
    place: Place
    consumed: int


def pieces(
    stream: Iterable[bytes], place: Place, kind: Literal["lines", "csv"], bytes_max: int
) -> Iterator[Piece]:
    """Cut a stream that begins at ``place`` into pieces of about ``bytes_max`` bytes at most.

    A piece is larger than that by one record at most, and the whole takes a few times
    ``bytes_max + EVENT_BYTES_MAX`` of memory, however long a record is. ``place`` must be that of
    an earlier piece, or ``START``.
    """
    cutter = _Cutter(place, quoted=kind == "csv")
    for chunks in _blocks(stream, _block_bytes(bytes_max)):
        for part in _sparse(b"".join([cutter.hand_back(), *chunks])):
            piece = cutter.cut(part)
            if piece is not None:
                yield piece
    last = cutter.end()
    if last is not None:
        yield last


def count_of(data: bytes, byte: int) -> int:
    """How often a byte occurs; where it is frequent, three times as fast as ``data.count``."""
    content = np.frombuffer(data, np.uint8)
    starts = range(0, len(content), _CACHED_BYTES)
    return sum(int(np.count_nonzero(content[at : at + _CACHED_BYTES] == byte)) for at in starts)


def _block_bytes(bytes_max: int) -> int:
    """So that a block and the record that it completes are within the bound where they can be."""
    spared = bytes_max - limits.EVENT_BYTES_MAX
    return spared if spared >= limits.EVENT_BYTES_MAX else max(1, bytes_max)


def _blocks(stream: Iterable[bytes], size: int) -> Iterator[list[memoryview]]:
    """The same bytes in blocks of ``size``, each still in chunks; the last may be smaller."""
    gathered: list[memoryview] = []
    missing = size
    for chunk in stream:
        rest = memoryview(chunk)
        while rest:
            part, rest = rest[:missing], rest[missing:]
            gathered.append(part)
            missing -= len(part)
            if not missing:
                yield gathered
                gathered, missing = [], size
    if gathered:
        yield gathered


def _sparse(block: bytes) -> Iterator[bytes]:
    """The same bytes in parts of few enough lines: of each, eight bytes and more are kept."""
    if count_of(block, _LF) <= limits.OBJECT_PIECE_LINES_MAX:
        yield block
        return
    middle = len(block) // 2
    yield from _sparse(block[:middle])
    yield from _sparse(block[middle:])


class _Cutter:
    """What was read and is no whole record yet, and where that begins.

    A record that has grown beyond what is allowed is dropped as it comes (``_dropping``): of it
    only the size, the parity of quotes and the number of line feeds are kept.
    """

    def __init__(self, place: Place, *, quoted: bool) -> None:
        self._place = place
        self._quoted = quoted
        self._rest = b""
        self._dropping = False
        self._dropped = Place(0, 0)
        """Bytes and line feeds of the record that is being dropped, so far."""
        self._inside = False

    def hand_back(self) -> bytes:
        """What was taken and not cut yet: for who puts it before the next block, and so copies
        that but once."""
        rest, self._rest = self._rest, b""
        return rest

    def cut(self, block: bytes) -> Piece | None:
        """Take a block; the piece that it completes, None when it completes nothing."""
        before = self._place
        oversized: list[int] = []
        if self._dropping:
            behind = self._drop(block)
            if behind is None:
                return None
            block, oversized = behind, [before.line]
        window = self._rest + block
        ends = self._ends(window)
        records = self._records(window, ends) if len(ends.behind) else _Records(b"", _NONE, [])
        self._keep(window[int(ends.behind[-1]) :] if len(ends.behind) else window)
        oversized += records.oversized
        if not len(ends.behind) and not oversized:
            return None
        return Piece(records.data, records.lines, oversized, self._place, self._since(before))

    def end(self) -> Piece | None:
        """The piece of what is left when nothing more comes: the last record may lack its end."""
        before = self._place
        if self._dropping:
            self._place = Place(
                before.offset + self._dropped.offset, before.line + self._dropped.line + 1
            )
            return Piece(b"", _NONE, [before.line], self._place, self._since(before))
        if not self._rest:
            return None
        window = self._rest + b"\n"
        whole = _Ends(np.array([len(window)], np.int64), np.array([window.count(b"\n")], np.int64))
        records = self._records(window, whole)
        self._place = Place(self._place.offset - 1, self._place.line)  # for the end it lacks
        return Piece(
            records.data, records.lines, records.oversized, self._place, self._since(before)
        )

    def _since(self, before: Place) -> int:
        return self._place.offset - before.offset

    def _ends(self, window: bytes) -> _Ends:
        """Behind each line feed that ends a record, and which line feed of the window it is."""
        content = np.frombuffer(window, np.uint8)
        feeds = np.flatnonzero(content == _LF)
        ordinals = np.arange(1, len(feeds) + 1, dtype=np.int64)
        if self._quoted:
            outside = _parity(content, feeds) == 0
            feeds, ordinals = feeds[outside], ordinals[outside]
        return _Ends((feeds + 1).astype(np.int64), ordinals)

    def _keep(self, rest: bytes) -> None:
        """Hold what is no whole record yet, or drop it once it is surely too large."""
        # What may go with a record without counting: a byte order mark and a carriage return.
        if len(rest) <= limits.EVENT_BYTES_MAX + len(_BOM) + 1:
            self._rest = rest
            return
        self._rest = b""
        self._dropping, self._dropped, self._inside = True, Place(0, 0), False
        self._drop(rest)

    def _drop(self, block: bytes) -> bytes | None:
        """Pass over the record that is too large; what follows it, None before its end is there."""
        end = self._end_in(block)
        dropped = block if end is None else block[:end]
        size, feeds = self._dropped
        self._dropped = Place(size + len(dropped), feeds + dropped.count(b"\n"))
        if end is None:
            self._inside ^= self._quoted and dropped.count(b'"') % 2 == 1
            return None
        self._dropping = False
        self._place = Place(
            self._place.offset + self._dropped.offset, self._place.line + self._dropped.line
        )
        return block[end:]

    def _end_in(self, block: bytes) -> int | None:
        """Behind the first line feed that ends the record being dropped."""
        content = np.frombuffer(block, np.uint8)
        feeds = np.flatnonzero(content == _LF)
        if self._quoted:
            feeds = feeds[_parity(content, feeds) == self._inside]
        return int(feeds[0]) + 1 if len(feeds) else None

    def _records(self, window: bytes, ends: _Ends) -> _Records:
        """The records of a window that end at ``ends``; moves the place behind the last."""
        behind, feeds = ends
        content = np.frombuffer(window, np.uint8, int(behind[-1]))
        starts = np.concatenate(([0], behind[:-1]))
        if self._place.offset == 0 and window.startswith(_BOM):
            starts[0] = len(_BOM)
        lines = np.concatenate(([0], feeds[:-1])) + self._place.line
        # The last byte is the line feed; the one before it may be a carriage return.
        returns = (behind - starts > 1) & (content[np.maximum(behind - 2, 0)] == _CR)
        sizes = behind - starts - 1 - returns
        large = sizes > limits.EVENT_BYTES_MAX
        kept = (sizes > 0) & ~large
        self._place = Place(self._place.offset + len(content), self._place.line + int(feeds[-1]))
        return _Records(
            _joined(content, starts, behind, kept),
            lines[kept],
            [int(line) for line in lines[large]],
        )


class _Ends(NamedTuple):
    """Where records end, and how many line feeds there are up to each end."""

    behind: Offsets
    feeds: Offsets


class _Records(NamedTuple):
    data: bytes
    lines: Offsets
    oversized: list[int]


_NONE: Final[Offsets] = np.empty(0, np.int64)


def _parity(content: NDArray[np.uint8], at: Offsets) -> NDArray[np.uint8]:
    """How many quotes come before each offset, modulo 2."""
    quotes = content == _QUOTE
    if not quotes.any():
        return np.zeros(len(at), np.uint8)
    # A sum of eight bits overflows, and keeps its lowest one.
    return np.cumsum(quotes, dtype=np.uint8)[at] & np.uint8(1)


def _joined(
    content: NDArray[np.uint8], starts: Offsets, ends: Offsets, kept: NDArray[np.bool_]
) -> bytes:
    """The bytes of the kept records."""
    if kept.all():
        return content[int(starts[0]) :].tobytes()
    # +1 where a kept record begins and -1 where it ends: the running sum is 1 within them.
    edges = np.zeros(len(content) + 1, np.int8)
    edges[starts[kept]] += 1
    edges[ends[kept]] -= 1
    return content[np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)].tobytes()
