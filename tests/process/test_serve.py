"""``tallystick serve`` as an operator meets it: starting, refusing to start, ending."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import API_KEY, Server, command, is_running, wait_until


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for those who leave it as it was."""
    with Server(tmp_path_factory.mktemp("lasting") / "data") as started:
        yield started


def test_the_first_line_says_where_it_listens_and_requests_are_answered(lasting: Server) -> None:
    assert lasting.ask("/health", key=None)[0] == 200


def test_each_process_has_a_pid_file_while_it_runs(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--workers", "2") as server:
        pids = server.pids()
        assert set(pids) == {"supervisor-0", "api-0", "api-1", "worker-0", "queries-0"}
        assert all(is_running(pid) for pid in pids.values())
        assert pids["supervisor-0"] == server.process.pid
        server.stop()
        assert server.pids() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_nothing_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Server(tmp_path / "data") as server:
        pids = server.pids()
        assert server.stop(number) == 0
        assert [name for name, pid in pids.items() if is_running(pid)] == []


def test_control_c_ends_it_without_a_word(tmp_path: Path) -> None:
    """A terminal sends the signal to every process; one of them is answering histories."""
    with Server(tmp_path / "data") as server:
        history = "/api/v1/usage/nobody/history/nothing?startDate=2026-01-01T00:00:00Z"
        assert server.ask(history)[0] == 404
        for pid in server.pids().values():
            os.kill(pid, signal.SIGINT)
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.errors.read_text()


def test_without_a_chosen_key_one_is_made_and_shown_once(tmp_path: Path) -> None:
    with Server(tmp_path / "data", TALLYSTICK_API_KEY="") as server:
        key = server.read_line().split()[-1]
        assert key.startswith("server-")
        assert server.ask("/api/v1/features", key=key)[0] == 200
        server.stop()
    with Server(tmp_path / "data", TALLYSTICK_API_KEY="") as server:
        assert server.ask("/api/v1/features", key=key)[0] == 200
        server.stop()
        assert server.read_line() == ""


def test_a_chosen_key_is_added_on_a_later_start(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.stop()
    with Server(tmp_path / "data", TALLYSTICK_API_KEY="another-key-of-16") as server:
        assert server.ask("/api/v1/features", key="another-key-of-16")[0] == 200
        assert server.ask("/api/v1/features", key=API_KEY)[0] == 200
        assert server.ask("/api/v1/features", key="unknown-key-of-16")[0] == 401


def test_keys_made_beside_a_live_server_hold_at_once(lasting: Server) -> None:
    folder = ["--data-dir", str(lasting.folder)]
    made = command("keys", "create", "--environment", "acme", "--kind", "server", *folder)
    key = made.stdout.splitlines()[-1]
    assert made.returncode == 0
    assert lasting.ask("/api/v1/features", key=key)[0] == 200
    assert command("keys", "revoke", key, *folder).returncode == 0
    assert lasting.ask("/api/v1/features", key=key)[0] == 401


def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = command("serve", "--data-dir", str(tmp_path / "data"), "--port", port)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert f"--port {port}: Address already in use" in refused.stderr


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_an_address_of_somebody_else_is_one_line_and_exit_code_2(tmp_path: Path, host: str) -> None:
    refused = command("serve", "--data-dir", str(tmp_path / "data"), "--host", host, "--port", "0")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"--host {host}" in refused.stderr


def test_a_data_folder_that_is_a_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        refused = command("serve", "--data-dir", str(path), "--port", "0")
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert f"--data-dir {path}" in refused.stderr


def test_a_data_folder_that_cannot_be_written_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write everywhere but there
        folder = Path("/proc/tallystick")
    refused = command("serve", "--data-dir", str(folder), "--port", "0")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "cannot be written" in refused.stderr


def test_a_database_that_is_none_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "inbox.db").write_bytes(b"not a database, " * 100)
    refused = command("serve", "--data-dir", str(tmp_path), "--port", "0")
    assert refused.returncode == 2
    assert "inbox.db" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_second_server_on_the_folder_is_told_who_owns_it(lasting: Server) -> None:
    for role in ("serve", "worker"):
        refused = command(role, "--data-dir", str(lasting.folder), "--port", "0")
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert f"process {lasting.process.pid}" in refused.stderr
    assert lasting.ask("/health", key=None)[0] == 200


def test_a_dying_owner_is_waited_for(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.process.send_signal(signal.SIGTERM)
        with Server(tmp_path / "data") as successor:
            assert successor.ask("/health", key=None)[0] == 200
        assert server.process.wait() == 0


def test_requests_in_flight_are_answered_before_the_end(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        host, port = server.url.removeprefix("http://").split(":")
        body = b'{"events": []}'
        head = (
            f"POST /api/v1/events HTTP/1.1\r\nHost: {host}\r\nX-API-KEY: {API_KEY}\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode())
            assert b"100 Continue" in connection.recv(1024)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not _accepts(host, int(port)), "the door to close")
            connection.sendall(body)
            assert connection.recv(1024).startswith(b"HTTP/1.1 400")
        assert server.process.wait() == 0


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionError:
        return False
    return True
