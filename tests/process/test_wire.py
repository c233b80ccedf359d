"""A real server, asked over a socket: what the ASGI application alone cannot show."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tallystick import limits
from tests.serving import API_KEY, DEADLINE_SECONDS, Server

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("wire") / "data") as found:
        yield found


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    url = urlsplit(server.url)
    address = (url.hostname, url.port)
    with socket.create_connection(address, timeout=DEADLINE_SECONDS) as connection:
        yield connection


def answers(connection: socket.socket, count: int) -> list[bytes]:
    """Read ``count`` answers and nothing more."""
    rest = b""
    found: list[bytes] = []
    while len(found) < count:
        head, separator, body = rest.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        if separator and len(body) >= length:
            found.append(head + separator + body[:length])
            rest = body[length:]
            continue
        more = connection.recv(65536)
        assert more, rest
        rest += more
    assert rest == b""
    return found


def post_events(length: int, *more: str) -> bytes:
    lines = (
        "POST /api/v1/events HTTP/1.1",
        "Host: x",
        f"X-API-KEY: {API_KEY}",
        f"Content-Length: {length}",
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode()


def test_an_answer_is_one_packet(server: Server) -> None:
    with connected(server) as connection:
        for _ in range(50):
            connection.sendall(HEALTH)
            assert connection.recv(65536).endswith(b'\r\n\r\n{"status":"ok"}')


def test_requests_sent_at_once_are_answered_in_order(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(HEALTH + b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n" + HEALTH)
        assert [each[9:12] for each in answers(connection, 3)] == [b"200", b"404", b"200"]


@pytest.mark.parametrize(
    "sent",
    [b"\x00\r\n\r\n", b"GET ?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
     b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http_is_refused_as_everything_else_is(server: Server, sent: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(sent)
        (answer,) = answers(connection, 1)
        assert connection.recv(1) == b""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert json.loads(body).keys() == {"message", "code"}


def test_an_answer_is_whole_when_the_connection_ends_with_it(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answers(connection, 1)[0].endswith(b'{"status":"ok"}')
        assert connection.recv(1) == b""


def test_head_has_no_body(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(HEALTH.replace(b"GET", b"HEAD") + HEALTH)
        head, _, rest = connection.recv(65536).partition(b"\r\n\r\n")
        assert b"content-length: 15" in head
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200")


def test_a_caller_hears_of_a_body_that_is_too_large_while_it_sends(server: Server) -> None:
    size = limits.BODY_BYTES_MAX + limits.MIB
    with connected(server) as connection:
        connection.sendall(post_events(size) + b" " * size + HEALTH)
        assert [each[9:12] for each in answers(connection, 2)] == [b"413", b"200"]


def test_a_caller_that_asks_first_need_not_send_it_at_all(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(post_events(limits.BODY_BYTES_MAX + 1, "Expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    with connected(server) as connection:
        connection.sendall(post_events(2, "Expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(b"{}")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_body_in_chunks_is_bounded_too(server: Server) -> None:
    head = post_events(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"%x\r\n" % limits.MIB + b" " * limits.MIB + b"\r\n"
    with connected(server) as connection:
        connection.sendall(head + chunk * 17 + b"0\r\n\r\n")
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 413")


def test_callers_that_leave_early_disturb_nobody(server: Server) -> None:
    for _ in range(20):
        with connected(server) as connection:
            connection.sendall(HEALTH)
        with connected(server) as connection:
            connection.sendall(post_events(1000) + b"{")
    with connected(server) as connection:
        connection.sendall(HEALTH)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert "Exception" not in Path(server.errors).read_text()
