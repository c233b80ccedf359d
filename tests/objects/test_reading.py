"""From stored bytes to a stream: compression, damage, resuming, and local copies."""

from __future__ import annotations

import gzip
import os
import resource
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from tallystick import limits
from tallystick.clock import Instant
from tallystick.objects.buckets import Bucket
from tallystick.objects.decompressing import decompressed
from tallystick.objects.errors import DamagedObject, MissingExtra, ObjectChanged
from tallystick.objects.info import ObjectInfo, Refused
from tallystick.objects.reading import START, Format, Place, format_of, open_stream, pieces, spooled
from tests.objects.scenes import CloudScene, FolderScene, Scene

PLAIN = b"".join(b'{"idempotencyKey":"%d","eventName":"call"}\n' % n for n in range(5_000))
HALF = len(PLAIN) // 2


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


COMPRESSED: dict[str, bytes] = {
    "a.jsonl": PLAIN,
    "b.jsonl.gz": gz(PLAIN),
    "members.jsonl.gz": gz(PLAIN[:HALF]) + gz(b"") + gz(PLAIN[HALF:]),
    "padded.jsonl.gz": gz(PLAIN) + bytes(1000),
    "c.csv.zst": zst(PLAIN),
    "frames.jsonl.zst": zst(PLAIN[:HALF]) + zst(b"") + zst(PLAIN[HALF:]),
}


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OBJECT_RANGE_BYTES", 777)


def stored(scene: Scene, key: str, data: bytes) -> tuple[Bucket, ObjectInfo]:
    scene.put(key, data)
    bucket = scene.open()
    (info,) = bucket.list()
    return bucket, info


def read(scene: Scene, key: str, data: bytes, place: Place = START) -> bytes:
    return b"".join(open_stream(*stored(scene, key, data), place))


@pytest.mark.parametrize("key", COMPRESSED)
def test_a_stream_is_what_was_compressed(scene: Scene, key: str) -> None:
    assert read(scene, key, COMPRESSED[key]) == PLAIN


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("key", COMPRESSED)
def test_a_stream_is_the_same_however_it_arrives(folder: FolderScene, key: str) -> None:
    assert read(folder, key, COMPRESSED[key]) == PLAIN


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("key", COMPRESSED)
@pytest.mark.parametrize("offset", [1, HALF - 1, HALF, HALF + 1, len(PLAIN) - 1, len(PLAIN)])
def test_a_stream_goes_on_at_its_place(folder: FolderScene, key: str, offset: int) -> None:
    assert read(folder, key, COMPRESSED[key], Place(offset, 2)) == PLAIN[offset:]


def test_pieces_go_on_at_a_place_of_a_compressed_object(scene: Scene) -> None:
    bucket, info = stored(scene, "a.jsonl.gz", gz(PLAIN))
    first, *_ = pieces(open_stream(bucket, info, START), START, "lines", 10_000)
    rest = list(pieces(open_stream(bucket, info, first.place), first.place, "lines", 10_000))
    assert first.data + b"".join(piece.data for piece in rest) == PLAIN
    assert rest[0].line_numbers[0] == first.line_numbers[-1] + 1


@pytest.mark.parametrize("compress", [gz, zst])
@pytest.mark.parametrize("kept", [1, 100, -1, -9])
def test_what_is_cut_short_is_damaged(
    folder: FolderScene, compress: Callable[[bytes], bytes], kept: int
) -> None:
    key = f"a.jsonl.{compress.__name__}"
    with pytest.raises(DamagedObject, match=r"a\.jsonl.* is cut short: its [\d,]+ bytes"):
        read(folder, key, compress(PLAIN)[:kept])


@pytest.mark.parametrize("compress", [gz, zst])
def test_what_is_whole_up_to_the_damage_is_read(compress: Callable[[bytes], bytes]) -> None:
    whole = compress(os.urandom(300_000))
    chunks = decompressed([whole[:200_000]], compress.__name__, "a")  # type: ignore[arg-type]
    got: list[bytes] = []
    with pytest.raises(DamagedObject):
        got.extend(chunks)
    assert len(b"".join(got)) > 50_000


@pytest.mark.parametrize("compress", [gz, zst])
@pytest.mark.parametrize("damage", [b"nothing compressed at all", b"\x1f\x8b\x08\x00garbage"])
def test_what_is_not_compressed_is_damaged(
    folder: FolderScene, compress: Callable[[bytes], bytes], damage: bytes
) -> None:
    with pytest.raises(DamagedObject, match="is damaged"):
        read(folder, f"a.jsonl.{compress.__name__}", damage + bytes(range(200)))
    with pytest.raises(DamagedObject, match="is damaged"):
        read(folder, f"a.jsonl.{compress.__name__}", compress(PLAIN) + damage + bytes(range(200)))


def test_a_flipped_bit_is_found_by_the_checksum(folder: FolderScene) -> None:
    data = bytearray(gz(os.urandom(5_000)))
    data[2_000] ^= 1
    with pytest.raises(DamagedObject, match="is damaged: what follows byte 0"):
        read(folder, "a.jsonl.gz", bytes(data))


@pytest.mark.parametrize("key", ["a.jsonl.gz", "a.jsonl.zst"])
def test_an_empty_object_is_no_damage(folder: FolderScene, key: str) -> None:
    assert read(folder, key, b"") == b""


@pytest.mark.parametrize(("compress", "ending"), [(gz, "gz"), (zst, "zst")])
def test_a_compressed_object_whose_name_does_not_say_so(
    folder: FolderScene, compress: Callable[[bytes], bytes], ending: str
) -> None:
    with pytest.raises(DamagedObject, match=rf"rename it to a\.jsonl\.{ending}"):
        read(folder, "a.jsonl", compress(PLAIN))


def bomb_gz(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()


def bomb_zst(size: int) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()


@pytest.mark.parametrize(("bomb", "kind"), [(bomb_gz, "gz"), (bomb_zst, "zst")])
def test_a_bomb_is_refused_before_it_is_large(bomb: Callable[[int], bytes], kind: str) -> None:
    """Zeros without end: refused within a few times what is free, in little memory."""
    data = bomb(1 << 28)
    sizes: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(DamagedObject, match="500 times"):
            sizes.extend(map(len, decompressed([data], kind, "a")))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) <= 3 * limits.OBJECT_EXPANSION_FREE_BYTES
    assert peak < 48 << 20


def test_a_small_object_of_one_repeated_line_is_no_bomb() -> None:
    line = b'{"eventName":"call"}\n' * (limits.OBJECT_EXPANSION_FREE_BYTES // 42)
    assert sum(map(len, decompressed([zst(line)], "zst", "a"))) == len(line)


def test_a_window_beyond_the_limit_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OBJECT_WINDOW_BYTES_MAX", 1 << 20)
    parameters = zstandard.ZstdCompressionParameters(window_log=24)
    data = os.urandom(1 << 23)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(DamagedObject, match="window"):
        list(decompressed([packer.compress(data) + packer.flush()], "zst", "a"))


def test_without_the_library_gzip_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert b"".join(decompressed([gz(PLAIN)], "gz", "a")) == PLAIN
    with pytest.raises(DamagedObject):
        list(decompressed([b"x"], "gz", "a"))
    with pytest.raises(MissingExtra, match=r"tallystick\[objects\]"):
        list(decompressed([zst(PLAIN)], "zst", "a"))


@pytest.mark.parametrize(
    ("key", "format"),
    [
        ("a.jsonl", Format("lines")),
        ("day=1/a.NDJSON", Format("lines")),
        ("a.csv", Format("csv")),
        ("a.b.csv.gz", Format("csv", "gz")),
        ("a.ndjson.zst", Format("lines", "zst")),
        ("a.parquet", Format("parquet")),
        ("a.parquet.gz", None),
        ("a.json", None),
        ("jsonl", None),
        (".jsonl", None),
        ("x.jsonl/_SUCCESS", None),
        ("a.gz", None),
        ("a.jsonl.gz.zst", None),
        ("a.jsonl.tmp", None),
        ("", None),
    ],
)
def test_formats_go_by_name(key: str, format: Format | None) -> None:
    assert format_of(key) == format


# --- local copies -------------------------------------------------------------------------------


def test_a_local_copy_has_the_bytes_and_goes_again(cloud: CloudScene, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    bucket, info = stored(cloud, "a.parquet", data)
    with spooled(bucket, info, tmp_path) as path:
        assert path.parent == tmp_path
        assert path.suffix == ".parquet"
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == []


def test_a_local_copy_goes_when_its_reader_fails(cloud: CloudScene, tmp_path: Path) -> None:
    bucket, info = stored(cloud, "a.parquet", b"x")
    with pytest.raises(ZeroDivisionError), spooled(bucket, info, tmp_path):
        raise ZeroDivisionError
    cloud.put("a.parquet", b"y")
    with pytest.raises(ObjectChanged), spooled(bucket, info, tmp_path):
        pytest.fail("another version is not handed out")
    assert list(tmp_path.iterdir()) == []


def test_a_local_file_is_read_where_it_is(folder: FolderScene, tmp_path: Path) -> None:
    bucket, info = stored(folder, "sub/a.parquet", b"x")
    with spooled(bucket, info, tmp_path / "unused") as path:
        assert path == folder.root / "sub/a.parquet"
    assert path.read_bytes() == b"x", "and stays"


def test_a_local_file_that_changes_while_it_is_read_is_noticed(folder: FolderScene) -> None:
    bucket, info = stored(folder, "a.parquet", b"x")
    with pytest.raises(ObjectChanged), spooled(bucket, info, folder.root):
        folder.put("a.parquet", b"yy")
    with pytest.raises(ObjectChanged), spooled(bucket, info, folder.root):
        pytest.fail("another version is not handed out")


class Endless:
    """A store with an object of any size, all of it made up."""

    def __init__(self) -> None:
        self._block = os.urandom(limits.OBJECT_RANGE_BYTES)

    def entries(self, refused: Refused) -> Iterator[ObjectInfo]:
        return iter(())

    def range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        return self._block[: end - start]

    def put(self, name: str, data: bytes) -> None:
        raise NotImplementedError


def test_a_large_object_is_copied_with_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gigabyte; what reaches the disk is counted in its place."""
    written = 0

    def count(_: int, data: memoryview) -> int:
        nonlocal written
        written += len(data)
        return len(data)

    monkeypatch.setattr(os, "write", count)
    bucket = Bucket("s3://made-up", Endless(), ahead=limits.OBJECT_RANGES_AHEAD)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with spooled(bucket, ObjectInfo("a.parquet", "v", 1 << 30, Instant(0)), tmp_path):
        assert written == 1 << 30
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 96 * limits.KIB
