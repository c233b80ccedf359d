"""One contract over S3, GCS and folders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tallystick import limits
from tallystick.clock import MINUTE, SystemClock
from tallystick.errors import BadInput
from tallystick.objects.buckets import Bucket
from tallystick.objects.errors import ObjectChanged, ObjectGone
from tallystick.objects.formats import format_of
from tallystick.objects.info import ObjectInfo
from tests.objects.scenes import PAGE, S3_PAGE, CloudScene, Later, Scene

ODD_KEYS = [
    "a b.jsonl", "ünï-é.jsonl", "e\u0301.jsonl", "50%.jsonl", "50%25.jsonl", "a#b.jsonl",
    "a?b=c&d.jsonl", "a+b.jsonl", "[x]*~.jsonl", "deep/er/x.jsonl", "日本.csv", "quo'te\".jsonl",
]  # fmt: skip


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OBJECT_RANGE_BYTES", 10)
    monkeypatch.setattr(limits, "OBJECT_RANGES_AHEAD", 1)


def only(bucket: Bucket) -> ObjectInfo:
    (info,) = bucket.list()
    return info


def whole(chunks: Iterator[bytes]) -> bytes:
    return b"".join(chunks)


def test_an_object_is_listed_with_what_is_known_of_it(scene: Scene) -> None:
    before = SystemClock().now()
    scene.put("day/1.jsonl", b"hello")
    info = only(scene.open())
    assert (info.key, info.size) == ("day/1.jsonl", 5)
    assert info.version
    assert abs(info.modified_at - before) < MINUTE


def test_an_empty_bucket_lists_nothing(scene: Scene) -> None:
    assert list(scene.open().list()) == []


def test_more_objects_than_a_page_holds(scene: Scene) -> None:
    page = S3_PAGE if scene.url.startswith("s3") else PAGE
    keys = {f"{number:05}.jsonl" for number in range(page + 101)}
    for key in keys:
        scene.put(key, b"{}")
    assert {info.key for info in scene.open().list()} == keys


def test_the_server_of_s3_lists_in_pages(s3: CloudScene) -> None:
    """Else the test above would prove nothing."""
    for number in range(S3_PAGE + 1):
        s3.put(f"{number}.jsonl", b"{}")
    s3.front.asked.clear()
    assert len(list(s3.open().list())) == S3_PAGE + 1
    assert len([asked for asked in s3.front.asked if "list-type" in asked.path]) == 2


def test_only_what_lies_below_the_prefix_is_listed(scene: Scene) -> None:
    scene.put("mine/a.jsonl", b"a")
    scene.put("mine-not/b.jsonl", b"b")
    scene.put("other.jsonl", b"c")
    assert [info.key for info in scene.below("mine").open().list()] == ["a.jsonl"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_listed_and_read(scene: Scene, key: str) -> None:
    scene.put(key, key.encode())
    info = only(scene.open())
    assert info.key == key
    assert whole(scene.open().read(info)) == key.encode()


def test_a_url_may_name_one_object(scene: Scene) -> None:
    scene.put("one.jsonl.gz", b"one")
    scene.put("two.jsonl.gz", b"two")
    bucket = scene.below("one.jsonl.gz").open()
    info = only(bucket)
    assert info.key == "one.jsonl.gz"
    assert whole(bucket.read(info)) == b"one"
    assert bucket.url.endswith("/one.jsonl.gz")


def test_the_version_changes_with_the_content_and_only_then(scene: Scene) -> None:
    scene.put("a.jsonl", b"one")
    first = only(scene.open())
    assert only(scene.open()) == first
    scene.put("a.jsonl", b"two")
    assert only(scene.open()).version != first.version


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("offset", [0, 1, 10, 24, 25, 26])
def test_reading_begins_at_the_offset(scene: Scene, offset: int) -> None:
    data = bytes(range(25))
    scene.put("a.jsonl", data)
    bucket = scene.open()
    chunks = list(bucket.read(only(bucket), offset))
    assert b"".join(chunks) == data[offset:]
    assert all(0 < len(chunk) <= 10 for chunk in chunks)


def test_an_empty_object_has_no_bytes(scene: Scene) -> None:
    scene.put("a.jsonl", b"")
    bucket = scene.open()
    assert only(bucket).size == 0
    assert list(bucket.read(only(bucket))) == []


@pytest.mark.parametrize("new", [b"y" * 100, b"y" * 3, b"y" * 200])
@pytest.mark.usefixtures("small_ranges")
def test_an_object_that_changes_in_mid_read(scene: Scene, new: bytes) -> None:
    scene.put("a.jsonl", b"x" * 100)
    bucket = scene.open()
    read = []
    chunks = bucket.read(only(bucket))
    read.append(next(chunks))
    scene.put("a.jsonl", new)
    with pytest.raises(ObjectChanged, match=r"a\.jsonl") as raised:
        read.extend(chunks)
    assert b"y" not in b"".join(read)
    assert raised.value.code == "ObjectChanged"
    assert whole(scene.open().read(only(scene.open()))) == new, "the new version is read"


def test_an_object_that_changed_before_it_was_read(scene: Scene) -> None:
    scene.put("a.jsonl", b"x" * 100)
    bucket = scene.open()
    info = only(bucket)
    scene.put("a.jsonl", b"y" * 100)
    with pytest.raises(ObjectChanged):
        next(bucket.read(info))


@pytest.mark.usefixtures("small_ranges")
def test_an_object_that_is_deleted_in_mid_read(scene: Scene) -> None:
    scene.put("a.jsonl", b"x" * 100)
    bucket = scene.open()
    chunks = bucket.read(only(bucket))
    next(chunks)
    scene.delete("a.jsonl")
    with pytest.raises(ObjectGone, match=r"a\.jsonl"):
        whole(chunks)


@pytest.mark.usefixtures("small_ranges")
def test_whoever_stops_reading_leaves_nothing_behind(scene: Scene) -> None:
    scene.put("a.jsonl", b"x" * 100)
    bucket = scene.open()
    chunks = bucket.read(only(bucket))
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert whole(bucket.read(only(bucket))) == b"x" * 100


def test_what_is_written_can_be_read(scene: Scene) -> None:
    bucket = scene.open()
    bucket.write("rejects/run 1/a.jsonl", b"first")
    bucket.write("rejects/run 1/a.jsonl", b"second, instead of it")
    info = only(scene.open())
    assert info.key == "rejects/run 1/a.jsonl"
    assert whole(scene.open().read(info)) == b"second, instead of it"


def test_a_good_bucket_passes_its_check(scene: Scene) -> None:
    scene.put("a.jsonl", b"x")
    assert [(each.step, each.good, each.permission) for each in scene.open().check()] == [
        ("list", True, None),
        ("read", True, None),
    ]


def test_a_bucket_with_an_empty_object_or_none_passes_its_check(scene: Scene) -> None:
    assert [each.good for each in scene.open().check()] == [True, True]
    scene.put("a.jsonl", b"")
    assert [each.good for each in scene.open().check()] == [True, True]


def test_a_bucket_that_may_be_written_says_so(scene: Scene) -> None:
    found = scene.open().check_write()
    assert (found.step, found.good) == ("write", True)
    assert format_of(only(scene.open()).key) is None, "what it leaves is no file of events"


def test_a_bucket_is_known_by_its_url(scene: Scene) -> None:
    bucket = scene.open()
    assert bucket.url == scene.url
    assert repr(bucket) == f"Bucket({scene.url!r})"


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://host/x", "s3://", "s3:///x", "s3://bucket/a//b", "s3://bucket/../b",
        "gs://bucket/./b", "s3://key:secret@bucket/x", "file://relative/x", "az://x/y", "a\0b",
    ],
)  # fmt: skip
def test_urls_that_name_nothing_are_bad_input(url: str) -> None:
    with pytest.raises(BadInput, match=r"^url: ") as raised:
        Bucket.open(url, Later())
    assert "secret" not in raised.value.message
