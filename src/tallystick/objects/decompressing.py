"""From compressed chunks to plain ones, a bounded amount at a time.

Owns: telling a whole stream from one that was cut short, and the bound on what a small object may
become. A file of several gzip members or zstd frames is all of them, one after the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from tallystick import limits
from tallystick.objects.errors import DamagedObject, MissingExtra
from tallystick.objects.formats import Compression

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

_OUTPUT_BYTES: Final = 1 << 20
_PART_BYTES: Final = 1 << 16
_GZIP: Final = 16 + zlib.MAX_WBITS
# The library bounds no output of a call. A block of zstd takes 4 bytes at least and holds 128 KiB
# at most, so that this many bytes become 16 MiB at most; larger slices are hardly faster.
_ZSTD_SLICE_BYTES: Final = 512


def decompressed(chunks: Iterable[bytes], compression: Compression, name: str) -> Iterator[bytes]:
    """The plain bytes of a compressed stream; ``name`` is for messages.

    Raises ``DamagedObject`` when the stream is cut short, damaged, or expands beyond measure. Holds
    some 16 MiB at a time, and for zstd the window of the frame.
    """
    stream = _Gzip() if compression == "gz" else _Zstd()
    bound = _Bound(name)
    for part in _parts(chunks):
        for piece in _fed(stream, part, bound, name):
            bound.assert_passable(piece)
            yield piece
        bound.read += len(part)
    if stream.unfinished:
        raise DamagedObject(
            f"{name} is cut short: its {bound.read:,} bytes end in the middle of the compressed"
            " data; upload it again, whole"
        )


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in smaller parts, so that expansion is noticed early."""
    for chunk in chunks:
        for start in range(0, len(chunk), _PART_BYTES):
            yield chunk[start : start + _PART_BYTES]


def _fed(stream: _Stream, chunk: bytes, bound: _Bound, name: str) -> Iterator[bytes]:
    damages: tuple[type[Exception], ...] = (zlib.error, *_zstd_errors())
    try:
        yield from stream.feed(chunk)
    except damages:
        raise DamagedObject(
            f"{name} is damaged: what follows byte {bound.read:,} of the object (byte"
            f" {bound.written:,} once decompressed) is no {stream.what}; upload it again"
        ) from None


class _Bound:
    """How much was read and handed on, and the largest share of the two."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.read = 0
        self.written = 0

    def assert_passable(self, piece: bytes) -> None:
        """Count a piece, and refuse it when it is beyond measure."""
        self.written += len(piece)
        allowed = limits.OBJECT_EXPANSION_MAX * (self.read + _PART_BYTES)
        if self.written > max(limits.OBJECT_EXPANSION_FREE_BYTES, allowed):
            raise DamagedObject(
                f"{self._name} becomes more than {limits.OBJECT_EXPANSION_MAX} times as large when"
                f" it is decompressed ({self.written:,} bytes so far); store it uncompressed if"
                " that is meant"
            )


class _Stream(Protocol):
    """A decompressor that goes on with the next member or frame by itself."""

    what: str

    @property
    def unfinished(self) -> bool:
        """Whether more must follow."""
        ...

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk becomes, a bounded piece at a time."""
        ...


class _Gzip:
    what = "gzip"

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False
        self._members = 0

    @property
    def unfinished(self) -> bool:
        return self._begun

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        rest = chunk
        while rest:
            if not self._begun:
                # Padding with zeros after a member is what tapes and block devices leave.
                rest = rest.lstrip(b"\0") if self._members else rest
                if not rest:
                    return
                self._member, self._begun = zlib.decompressobj(_GZIP), True
            yield self._member.decompress(rest, _OUTPUT_BYTES)
            rest = self._member.unconsumed_tail
            while not rest and not self._member.eof:
                # What the window still holds back comes without further input.
                more = self._member.decompress(b"", _OUTPUT_BYTES)
                if not more:
                    return
                yield more
                rest = self._member.unconsumed_tail
            if self._member.eof:
                rest, self._begun = self._member.unused_data, False
                self._members += 1


class _Zstd:
    what = "zstd, or only with a larger window than is allowed"

    def __init__(self) -> None:
        try:
            import zstandard
        except ImportError:
            raise MissingExtra("a .zst needs the package zstandard") from None
        self._context = zstandard.ZstdDecompressor(max_window_size=limits.OBJECT_WINDOW_BYTES_MAX)
        self._frame: ZstdDecompressionObj | None = None

    @property
    def unfinished(self) -> bool:
        return self._frame is not None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        gathered: list[bytes] = []
        size = 0
        for start in range(0, len(chunk), _ZSTD_SLICE_BYTES):
            rest = chunk[start : start + _ZSTD_SLICE_BYTES]
            while rest:
                frame = self._frame or self._context.decompressobj()
                gathered.append(frame.decompress(rest))
                size += len(gathered[-1])
                self._frame = None if frame.eof else frame
                rest = frame.unused_data if frame.eof else b""
            if size >= _OUTPUT_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
        yield b"".join(gathered)


def _zstd_errors() -> tuple[type[Exception], ...]:
    try:
        from zstandard import ZstdError
    except ImportError:
        return ()
    return (ZstdError,)
