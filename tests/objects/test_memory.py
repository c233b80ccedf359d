"""Reading an object takes the memory of a few pieces, however large it is."""

from __future__ import annotations

import gzip
import multiprocessing
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.objects import reader
from tallystick.objects.decompressing import decompressed
from tests.objects.running import Place, event, lines

MIB = 1 << 20
ROWS = 1_000


def chunks(mib: int) -> Iterator[bytes]:
    """So much of an object of lines, made as it is read; each has a key of its own."""
    template = lines([event(f"{0:08d}{row:04d}", dimensions={"note": "x" * 900})
                      for row in range(ROWS)])  # fmt: skip
    for number in range(mib * MIB // len(template)):
        yield template.replace(b'"00000000', b'"%08d' % number)


def packed(mib: int) -> Iterator[bytes]:
    """The same as a stream of gzip."""
    packer = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    for chunk in chunks(mib):
        yield packer.compress(chunk)
    yield packer.flush()


def peak_mib() -> int:
    """The most that this process had in memory since it was last told to begin anew."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines()
               if each.startswith("VmHWM")]  # fmt: skip
    return int(line.split()[1]) // 1024


def peak_of(place: Place, path: Path) -> int:
    Path("/proc/self/clear_refs").write_text("5")
    run = place.imported(path)
    assert run.state == "succeeded"
    return peak_mib()


def measured(folder: Path, is_packed: bool) -> tuple[int, int, int]:
    """The peaks of an object and of one three times as large, and how many rows came of both."""
    mib = 300  # by then parts are as large as they get

    def stream(*_: Any) -> Iterator[bytes]:
        return decompressed(packed(mib), "gz", "x") if is_packed else chunks(mib)

    setattr(reader, "open_stream", stream)  # noqa: B010 (its type is another)
    path = folder / "x.jsonl"
    path.write_bytes(gzip.compress(b"not looked at") if is_packed else b"not looked at")
    with Place(folder / "data") as place:
        small = peak_of(place, path)
        path.write_bytes(b"the same once more")  # allocators keep now more, now less
        small = max(small, peak_of(place, path))
        mib = 900
        path.write_bytes(b"another version")
        return small, peak_of(place, path), len(place.rows())


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_large_object_takes_no_more_memory_than_a_small_one(
    tmp_path: Path, is_packed: bool
) -> None:
    # In a process of its own: what tests before it left in this one's memory is not measured.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        small, large, rows = pool.apply(measured, (tmp_path, is_packed))
    assert large - small < 100
    assert rows > 900_000, "each was counted"
