"""From objects to records: decompression, resuming, and a local file where one is needed.

Agnostic of what a record means. ``pieces`` and its ``Place`` are in ``cutting``, names in
``formats``; both are handed on here, for this is where readers come in.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallystick.errors import Unavailable
from tallystick.objects.buckets import Bucket
from tallystick.objects.cutting import START, Piece, Place, pieces
from tallystick.objects.decompressing import decompressed
from tallystick.objects.errors import DamagedObject
from tallystick.objects.formats import Format, format_of
from tallystick.objects.info import ObjectInfo

__all__ = [
    "START", "Format", "Piece", "Place", "format_of", "open_stream", "pieces", "spooled",
]  # fmt: skip

_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}


def open_stream(bucket: Bucket, info: ObjectInfo, place: Place = START) -> Iterator[bytes]:
    """The decompressed bytes of an object from ``place.offset`` on.

    A plain object goes on with a request for what follows; a compressed one is decompressed again
    from its start, and what was read before is passed over. Raises the errors of ``Bucket.read``
    and ``DamagedObject``.
    """
    named = format_of(info.key)
    if named is not None and named.compression is not None:
        plain = decompressed(bucket.read(info), named.compression, f"{info.key} in {bucket.url}")
        return _behind(plain, place.offset)
    return _undisguised(bucket.read(info, place.offset), bucket, info, place)


def _behind(chunks: Iterator[bytes], offset: int) -> Iterator[bytes]:
    for chunk in chunks:
        passed = min(offset, len(chunk))
        offset -= passed
        if passed < len(chunk):
            yield chunk[passed:]


def _undisguised(
    chunks: Iterator[bytes], bucket: Bucket, info: ObjectInfo, place: Place
) -> Iterator[bytes]:
    """The same chunks; one clear error instead of a million bad lines for a compressed object."""
    for number, chunk in enumerate(chunks):
        if number == 0 and place.offset == 0:
            for magic, ending in _MAGIC.items():
                if chunk.startswith(magic):
                    raise DamagedObject(
                        f"{info.key} in {bucket.url} is compressed and its name does not say so;"
                        f" rename it to {info.key}.{ending}"
                    )
        yield chunk


@contextmanager
def spooled(bucket: Bucket, info: ObjectInfo, folder: Path) -> Iterator[Path]:
    """A local file with the object's bytes, for readers that jump about in it, as Parquet's do.

    The file itself where it is local already; else a copy in ``folder``, made with bounded memory
    and removed afterwards. Raises the errors of ``Bucket.read``; a local file that is changed while
    the block runs raises ``ObjectChanged`` at its end, so commit what was read only after that. A
    full disk is ``Unavailable``.
    """
    local = bucket.folder
    if local is not None:
        local.assert_version(info)
        yield local.path_of(info.key)
        local.assert_version(info)
        return
    with _copied(bucket, info, folder) as path:
        yield path


@contextmanager
def _copied(bucket: Bucket, info: ObjectInfo, folder: Path) -> Iterator[Path]:
    ending = "." + info.key.rpartition(".")[2]
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="object-", suffix=ending)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in bucket.read(info):
                _write(file.fileno(), chunk, path)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _write(descriptor: int, chunk: bytes, path: Path) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise Unavailable(
            f"{path.parent}: {error.strerror}; an object needs as much room there as it is large"
        ) from None
