"""What S3 and GCS answer when they refuse, throttle or fail, and that secrets stay out of it."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.errors import BadInput, TallystickError
from tallystick.objects.access import ENVIRONMENT, Access, access_of
from tallystick.objects.buckets import Bucket
from tallystick.objects.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnavailable,
    MissingExtra,
    ObjectChanged,
    ObjectRefused,
    SourceRefused,
)
from tallystick.objects.info import ObjectInfo
from tests.objects.front import Answer, Asked
from tests.objects.scenes import (
    BUCKET,
    KEY_ID,
    S3_PAGE,
    SECRET,
    CloudScene,
    Later,
    free_port,
    send,
)

LIST = {"s3": "s3:ListBucket", "gs": "storage.objects.list"}
GET = {"s3": "s3:GetObject", "gs": "storage.objects.get"}
LARGE = bytes(range(256)) * 400


@pytest.fixture
def stored(cloud: CloudScene) -> tuple[Bucket, ObjectInfo]:
    """A bucket with one object of several ranges."""
    cloud.put("a.jsonl", LARGE)
    bucket = cloud.open()
    (info,) = bucket.list()
    return bucket, info


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OBJECT_RANGE_BYTES", 10_000)
    monkeypatch.setattr(limits, "OBJECT_RETRIES_MAX", 1)


def denied(text: str) -> Callable[[Asked], Answer | None]:
    """Deny requests in whose path, or at whose method, that text is."""

    def fault(asked: Asked) -> Answer | None:
        return (
            Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            if text in asked.path
            else (None)
        )

    return fault


# --- refusals -----------------------------------------------------------------------------------


def test_a_check_without_the_permission_to_list(cloud: CloudScene) -> None:
    cloud.put("a.jsonl", b"x")
    with cloud.front.faulty(denied("list-type=2")):
        listing, reading = cloud.open().check()
    assert (listing.good, listing.permission) == (False, LIST[cloud.scheme])
    assert LIST[cloud.scheme] in listing.message
    assert cloud.url in listing.message
    assert not reading.good


def test_a_check_without_the_permission_to_read(cloud: CloudScene) -> None:
    cloud.put("a.jsonl", b"x")
    with cloud.front.faulty(denied("jsonl")):
        listing, reading = cloud.open().check()
    assert listing.good
    assert (reading.good, reading.permission) == (False, GET[cloud.scheme])
    assert GET[cloud.scheme] in reading.message


def test_a_permission_revoked_in_mid_read(
    cloud: CloudScene, stored: tuple[Bucket, ObjectInfo]
) -> None:
    bucket, info = stored
    chunks = bucket.read(info)
    read = [next(chunks)]
    with cloud.front.faulty(denied("jsonl")), pytest.raises(AccessDenied) as raised:
        read.extend(chunks)
    assert raised.value.permission == GET[cloud.scheme]
    assert LARGE.startswith(b"".join(read))


def test_policies_of_the_real_thing(s3: CloudScene) -> None:
    """moto enforces policies when it is told to: a user who may list and not read."""
    s3.put("a.jsonl", b"x")
    with s3_user(s3, "s3:ListBucket") as access:
        listing, reading = Bucket.open(s3.url, Later(), access).check()
    assert (listing.good, reading.good, reading.permission) == (True, False, "s3:GetObject")
    with s3_user(s3, "s3:GetObject") as access:
        listing, _ = Bucket.open(s3.url, Later(), access).check()
    assert (listing.good, listing.permission) == (False, "s3:ListBucket")
    with s3_user(s3, "s3:*") as access:
        assert all(each.good for each in Bucket.open(s3.url, Later(), access).check())


@contextmanager
def s3_user(s3: CloudScene, action: str) -> Iterator[Access]:
    """A user of moto who may do that one thing; policies are enforced meanwhile."""
    port, name = s3.front.upstream_port, f"user-{action.partition(':')[2].strip('*') or 'all'}"
    policy = json.dumps(
        {"Version": "2012-10-17",
         "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}
    )  # fmt: skip
    iam(port, Action="CreateUser", UserName=name)
    iam(port, Action="PutUserPolicy", UserName=name, PolicyName="only", PolicyDocument=policy)
    answer = iam(port, Action="CreateAccessKey", UserName=name)
    send(port, "POST", "/moto-api/reset-auth", b"0")
    try:
        yield Access(
            endpoint=s3.front.url,
            region="us-east-1",
            key_id=between(answer, "AccessKeyId"),
            secret=between(answer, "SecretAccessKey"),
        )
    finally:
        send(port, "POST", "/moto-api/reset-auth", b"inf")


def iam(port: int, **parameters: str) -> str:
    from urllib.parse import urlencode

    body = urlencode({"Version": "2010-05-08", **parameters}).encode()
    kind = "application/x-www-form-urlencoded"
    return send(port, "POST", "/", body, kind, service="iam").decode()


def between(text: str, name: str) -> str:
    return text.partition(f"<{name}>")[2].partition(f"</{name}>")[0]


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (403, "InvalidAccessKeyId", "the key id or the secret is wrong"),
        (403, "SignatureDoesNotMatch", "the key id or the secret is wrong"),
        (400, "ExpiredToken", "expired"),
        (403, "RequestTimeTooSkewed", "clock"),
        (401, "", "grant"),
    ],
)
def test_what_is_wrong_with_credentials_is_said(
    cloud: CloudScene, status: int, code: str, hint: str
) -> None:
    with cloud.front.failing(status, code=code), pytest.raises(AccessDenied, match=hint):
        list(cloud.open().list())


def test_a_bucket_in_another_region(s3: CloudScene) -> None:
    with (
        s3.front.failing(301, code="PermanentRedirect"),
        pytest.raises(SourceRefused, match="region"),
    ):
        list(s3.open().list())
    body = b"<Message>the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message>"
    with (
        s3.front.faulty(lambda _: Answer(400, body)),
        pytest.raises(SourceRefused, match="set region to eu-west-1"),
    ):
        list(s3.open().list())


def test_a_bucket_that_does_not_exist(s3: CloudScene) -> None:
    bucket = Bucket.open("s3://no-such-bucket/x", Later(), s3.access)
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        list(bucket.list())
    assert [each.good for each in bucket.check()] == [False, False]
    info = ObjectInfo("a.jsonl", "x", 1, Later().now())
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        list(bucket.read(info))


def test_an_object_whose_name_cannot_be_asked_for(cloud: CloudScene) -> None:
    info = ObjectInfo("../other/a.jsonl", "x", 1, Later().now())
    with pytest.raises(ObjectRefused, match="rename"):
        list(cloud.open().read(info))


def test_a_list_with_a_name_that_cannot_be_spelled_says_so(cloud: CloudScene) -> None:
    cloud.put("/b.jsonl", b"x")
    with pytest.raises(SourceRefused, match="a//b"):
        list(cloud.open().list())
    cloud.delete("/b.jsonl")
    assert list(cloud.open().list()) == []


def test_a_name_that_cannot_be_spelled_keeps_only_its_folder_from_being_listed(
    cloud: CloudScene,
) -> None:
    good = {"0.jsonl", "a/1.jsonl", "a/deep/er/2.jsonl", "c-d/3.jsonl", "c/good/4.jsonl", "z.jsonl"}
    for key in (*good, "c/bad/beside.jsonl", "c/bad//5.jsonl"):
        cloud.put(key, b"x")
    refused: dict[str, str] = {}
    listed = [info.key for info in cloud.open().list(refused.__setitem__)]
    assert sorted(listed) == sorted(good)
    assert refused.keys() == {"c/bad/"}
    assert "rename" in refused["c/bad/"]


def test_an_unspelled_name_on_a_later_page_lists_nothing_twice(s3: CloudScene) -> None:
    good = [f"a/{number:04}.jsonl" for number in range(S3_PAGE + 10)] + ["b/1.jsonl", "c/2.jsonl"]
    for key in (*good, "b//0.jsonl"):
        s3.put(key, b"x")
    listed = [info.key for info in s3.open().list()]
    assert sorted(listed) == sorted(set(good) - {"b/1.jsonl"})


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    for url in ("s3://bucket/x", "gs://bucket/x"):
        with pytest.raises(MissingExtra, match=r"tallystick\[objects\]"):
            Bucket.open(url, Later())


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_bucket_that_fails_for_a_moment_is_asked_again(
    cloud: CloudScene, stored: tuple[Bucket, ObjectInfo], status: int
) -> None:
    bucket, info = stored
    with cloud.front.failing(status, code="SlowDown", times=1) as left:
        assert b"".join(bucket.read(info)) == LARGE
    assert left == [0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_bucket_that_keeps_failing_is_unavailable(
    cloud: CloudScene, stored: tuple[Bucket, ObjectInfo], status: int
) -> None:
    bucket, info = stored
    chunks = bucket.read(info)
    read = [next(chunks)]
    with cloud.front.failing(status, code="SlowDown"):
        with pytest.raises(BucketUnavailable, match=str(status)) as raised:
            read.extend(chunks)
        with pytest.raises(BucketUnavailable, match=str(status)):
            list(bucket.list())
        assert [each.good for each in bucket.check()] == [False, False]
    assert raised.value.retry_after_seconds > 0
    got = b"".join(read)
    assert got + b"".join(bucket.read(info, len(got))) == LARGE, "it goes on where it was"


def test_a_bucket_that_cannot_be_reached_is_unavailable(s3: CloudScene) -> None:
    access = Access(endpoint=f"http://127.0.0.1:{free_port()}", key_id=KEY_ID, secret=SECRET)
    with pytest.raises(BucketUnavailable, match="cannot be reached"):
        list(Bucket.open(s3.url, Later(), access).list())


def test_a_store_that_ignores_conditions_is_found_out(
    cloud: CloudScene, stored: tuple[Bucket, ObjectInfo]
) -> None:
    """Of the right size, of another version, answered without a look at If-Match."""
    bucket, info = stored
    other = Answer(
        206, b"y" * 10_000,
        (("etag", '"other"'), ("content-range", f"bytes 0-9999/{len(LARGE)}"),
         ("last-modified", "Mon, 30 Nov 2026 18:05:00 GMT")),
    )  # fmt: skip
    with cloud.front.faulty(lambda _: other), pytest.raises(ObjectChanged):
        next(bucket.read(info))


# --- secrets ------------------------------------------------------------------------------------


def test_secrets_are_in_no_text(s3: CloudScene, caplog: pytest.LogCaptureFixture) -> None:
    """S3 quotes what was signed when a signature is wrong; others could quote anything."""
    s3.put("a.jsonl", b"x")
    quoted = Answer(403, f"<Error><Code>SignatureDoesNotMatch</Code>{SECRET}</Error>".encode())
    bucket = s3.open()
    texts = [repr(s3.access), str(s3.access), repr(bucket), repr(vars(bucket))]
    caplog.set_level(logging.DEBUG)
    with s3.front.faulty(lambda _: quoted):
        for answer in (quoted, quoted._replace(status=500), quoted._replace(status=400)):
            with s3.front.faulty(lambda _, answer=answer: answer):  # type: ignore[misc]
                texts += said(lambda: list(bucket.list()))
                texts += said(lambda: bucket.write("x", b"y"))
                texts += [repr(bucket.check())]
    texts.append(caplog.text)
    assert [text for text in texts if SECRET in text or "FEMI" in text] == []
    assert [text for text in texts if KEY_ID in text] == []


def said(act: Callable[[], object]) -> list[str]:
    """All that an error shows of itself: its message, its repr, its traceback as logs print it."""
    with pytest.raises(TallystickError) as raised:
        act()
    printed = "".join(traceback.format_exception(raised.value))
    return [raised.value.message, repr(raised.value), printed]


def test_a_bad_key_file_is_not_quoted(tmp_path: Path) -> None:
    for content in ('{"private_key": "SECRET"}', "SECRET", json.dumps(
        {"private_key": "SECRET", "client_email": "a@b", "private_key_id": "x"}
    )):  # fmt: skip
        path = tmp_path / "key.json"
        path.write_text(content)
        with pytest.raises(BadInput, match="service account") as raised:
            Bucket.open(f"gs://{BUCKET}", Later(), Access(service_account_file=str(path)))
        assert "SECRET" not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(BadInput, match="key file"):
        Bucket.open(f"gs://{BUCKET}", Later(), Access(service_account_file="/nowhere.json"))


# --- what may be said of access -----------------------------------------------------------------


def test_access_as_json() -> None:
    assert access_of(None) == access_of("environment") == ENVIRONMENT
    assert access_of({"endpoint": "https://store:9000", "keyId": "k", "secret": "s"}) == Access(
        endpoint="https://store:9000", key_id="k", secret="s"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "^access: "),
        ({"keyID": "x"}, r"^access\.keyID: unknown"),
        ({"region": ""}, r"^access\.region: "),
        ({"keyId": "k"}, r"^access\.keyId, secret: give both"),
        ({"endpoint": "store:9000"}, r"^access\.endpoint: "),
        ({"endpoint": "https://me:SECRET@store"}, r"^access\.endpoint: "),
    ],
)
def test_access_that_cannot_be_meant(value: object, message: str) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        access_of(value)
    assert "SECRET" not in raised.value.message


def test_the_environment_is_the_default(cloud: CloudScene, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.put("a.jsonl", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.front.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{cloud.front.port}")
    assert [info.key for info in Bucket.open(cloud.url, Later()).list()] == ["a.jsonl"]


def test_what_a_source_says_is_not_mixed_with_the_environment(
    s3: CloudScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-somebody-else")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    s3.front.asked.clear()
    assert list(s3.open().list()) == []
    assert s3.front.asked
    assert [asked for asked in s3.front.asked if "somebody" in str(asked)] == []
    assert KEY_ID in str(s3.front.asked)


def test_a_request_that_a_store_does_not_take(cloud: CloudScene) -> None:
    with (
        cloud.front.failing(400, code="InvalidArgument"),
        pytest.raises(SourceRefused, match="InvalidArgument"),
    ):
        list(cloud.open().list())


def test_no_credentials_at_all(s3: CloudScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain ends at the machine's role; the service that knows it answers nothing here."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    access = Access(endpoint=s3.front.url, region="us-east-1")
    with pytest.raises(AccessDenied, match="no credentials were found"):
        list(Bucket.open(s3.url, Later(), access).list())


def test_stored_bytes_are_asked_for(gcs: CloudScene) -> None:
    """GCS decompresses what has a Content-Encoding, unless the reader says that it takes gzip."""
    gcs.put("a.jsonl", b"x")
    bucket = gcs.open()
    gcs.front.asked.clear()
    (info,) = bucket.list()
    list(bucket.read(info))
    encodings = [
        {name.lower(): value for name, value in asked.headers.items()}.get("accept-encoding")
        for asked in gcs.front.asked
    ]
    assert encodings
    assert set(encodings) == {"gzip"}
