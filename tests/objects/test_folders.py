"""What is particular to folders: settling, links, and names that lead out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallystick.clock import SystemClock
from tallystick.objects.buckets import Bucket
from tallystick.objects.errors import (
    AccessDenied,
    BucketNotFound,
    ObjectChanged,
    ObjectError,
    ObjectGone,
    ObjectRefused,
)
from tallystick.objects.info import ObjectInfo
from tests.objects.scenes import FolderScene, Later


def keys(bucket: Bucket) -> list[str]:
    return sorted(info.key for info in bucket.list())


def some(key: str) -> ObjectInfo:
    """An object that nobody listed."""
    return ObjectInfo(key, "version", 1, SystemClock().now())


def test_a_file_counts_once_it_has_settled(folder: FolderScene) -> None:
    folder.put("a.jsonl", b"x")
    assert keys(folder.open(SystemClock())) == []
    assert keys(folder.open(Later(9))) == []
    assert keys(folder.open(Later(11))) == ["a.jsonl"]


def test_a_file_dated_into_the_future_or_the_past_settles_all_the_same(
    folder: FolderScene,
) -> None:
    for key, seconds in (("old.jsonl", 1), ("future.jsonl", 4_000_000_000)):
        folder.put(key, b"x")
        os.utime(folder.root / key, (seconds, seconds))
    assert keys(folder.open(SystemClock())) == [], "both were written just now"
    assert keys(folder.open(Later())) == ["future.jsonl", "old.jsonl"]


def test_a_path_that_a_person_names_is_taken_at_once(folder: FolderScene) -> None:
    folder.put("sub/a.jsonl", b"x")
    assert keys(Bucket.open(str(folder.root), SystemClock())) == ["sub/a.jsonl"]
    assert keys(Bucket.open(str(folder.root / "sub/a.jsonl"), SystemClock())) == ["a.jsonl"]


def test_a_path_may_be_relative(folder: FolderScene, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("sub/a.jsonl", b"x")
    monkeypatch.chdir(folder.root)
    bucket = Bucket.open("sub", SystemClock())
    assert keys(bucket) == ["a.jsonl"]
    assert bucket.url == f"{folder.url}/sub"


def test_no_link_is_listed_or_read(folder: FolderScene, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jsonl").write_bytes(b"secret")
    (folder.root / "file.jsonl").symlink_to(outside / "secret.jsonl")
    (folder.root / "sub").symlink_to(outside)
    folder.put("real.jsonl", b"x")
    bucket = folder.open()
    refused: dict[str, str] = {}
    assert [info.key for info in bucket.list(refused.__setitem__)] == ["real.jsonl"]
    assert refused.keys() == {"file.jsonl", "sub"}
    assert all("link" in reason for reason in refused.values())
    for key in ("file.jsonl", "sub/secret.jsonl"):
        with pytest.raises(ObjectRefused, match="link"):
            list(bucket.read(some(key)))


def test_a_link_that_takes_the_place_of_a_folder_in_mid_read(
    folder: FolderScene, tmp_path: Path
) -> None:
    folder.put("sub/a.jsonl", b"x")
    bucket = folder.open()
    (info,) = bucket.list()
    (folder.root / "sub").rename(tmp_path / "moved")
    (folder.root / "sub").symlink_to(tmp_path / "moved")
    with pytest.raises(ObjectRefused):
        list(bucket.read(info))


@pytest.mark.parametrize(
    "key", ["../a.jsonl", "/etc/passwd", "sub/../../a.jsonl", "./a", "a//b", "", "a\0b", "sub"]
)
def test_no_key_leads_out_of_the_folder(folder: FolderScene, key: str) -> None:
    (folder.root.parent / "a.jsonl").write_bytes(b"outside")
    (folder.root / "sub").mkdir()
    bucket = folder.open()
    with pytest.raises(ObjectRefused):
        list(bucket.read(some(key)))
    if key != "sub":
        with pytest.raises(ObjectRefused):
            bucket.write(key, b"x")


def test_a_pipe_does_not_hang_the_reader(folder: FolderScene) -> None:
    os.mkfifo(folder.root / "a.jsonl")
    bucket = folder.open()
    refused: dict[str, str] = {}
    assert list(bucket.list(refused.__setitem__)) == []
    assert refused.keys() == {"a.jsonl"}
    with pytest.raises(ObjectRefused):
        list(bucket.read(some("a.jsonl")))


def test_a_name_that_is_no_text_is_refused(folder: FolderScene) -> None:
    (folder.root / os.fsdecode(b"\xff.jsonl")).write_bytes(b"x")
    refused: dict[str, str] = {}
    assert list(folder.open().list(refused.__setitem__)) == []
    assert [name.encode() for name in refused] == [b"?.jsonl"]


def test_a_folder_that_is_not_there(folder: FolderScene) -> None:
    bucket = Bucket.open(f"{folder.url}/absent", Later())
    with pytest.raises(BucketNotFound, match="absent"):
        list(bucket.list())
    with pytest.raises(BucketNotFound):
        list(bucket.read(some("a.jsonl")))
    listing, reading = bucket.check()
    assert (listing.good, reading.good) == (False, False)
    assert "absent" in listing.message


def test_a_file_put_in_the_place_of_another(folder: FolderScene) -> None:
    """Renamed over it, as careful writers do: the same name, another file."""
    folder.put("a.jsonl", b"one")
    bucket = folder.open()
    (info,) = bucket.list()
    folder.put("b.jsonl", b"two")
    (folder.root / "b.jsonl").rename(folder.root / "a.jsonl")
    with pytest.raises(ObjectChanged):
        list(bucket.read(info))


def test_a_file_that_went_while_its_folder_was_listed(folder: FolderScene) -> None:
    for key in ("a.jsonl", "b.jsonl", "c.jsonl"):
        folder.put(key, b"x")
    bucket = folder.open()
    listed = bucket.list()
    first = next(listed)
    for key in ("a.jsonl", "b.jsonl", "c.jsonl"):
        folder.delete(key)
    assert {info.key for info in listed} < {"a.jsonl", "b.jsonl", "c.jsonl"}
    with pytest.raises(ObjectGone):
        list(bucket.read(first))


def test_what_may_not_be_read_says_which_permission_is_missing(
    folder: FolderScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may read everything, so the system's refusal is played."""
    folder.put("a.jsonl", b"x")
    bucket = folder.open()
    (info,) = bucket.list()

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(AccessDenied, match=r"a\.jsonl.*read permission"):
        list(bucket.read(info))
    assert [(each.good, each.permission) for each in bucket.check()] == [
        (True, None),
        (False, "read"),
    ]


def test_writing_leaves_no_half_file(folder: FolderScene, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = folder.open()
    bucket.write("a.jsonl", b"old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Exception, match="No space left"):
        bucket.write("a.jsonl", b"new")
    assert (folder.root / "a.jsonl").read_bytes() == b"old"
    assert [info.key for info in bucket.list()] == ["a.jsonl"], "a draft is no object"


def test_errors_of_objects_name_the_object_and_what_to_do(folder: FolderScene) -> None:
    with pytest.raises(ObjectError) as raised:
        list(folder.open().read(some("gone.jsonl")))
    assert "gone.jsonl" in raised.value.message
    assert str(folder.root) in raised.value.message
