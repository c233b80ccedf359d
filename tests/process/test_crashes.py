"""Processes that end when nobody asked them to, and supervisors that take nobody with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.serving import Server, is_running, wait_until


@pytest.mark.parametrize("name", ["api-0", "worker-0", "queries-0"])
def test_a_killed_child_is_started_again(tmp_path: Path, name: str) -> None:
    with Server(tmp_path / "data") as server:
        before = server.pid_of(name)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: server.pids().get(name, before) != before, "a new child")
        assert server.ask("/health", key=None)[0] == 200
        assert f"{name} ended with code -9" in server.errors.read_text()
        assert server.stop() == 0


def test_a_request_meets_no_gap_while_the_only_api_process_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        before = server.pid_of("api-0")
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: not is_running(before), "the end of the old one")
        assert server.ask("/health", key=None)[0] == 200


def test_a_query_meets_no_gap_while_the_process_for_queries_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path / ("a long name" * 12)) as server:
        assert server.ask("/api/v1/features")[0] == 200
        before = server.pid_of("queries-0")
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: not is_running(before), "the end of the old one")
        status, body = server.ask("/api/v1/features")
        assert (status, body["data"]) == (200, [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_children_end_with_a_supervisor_that_was_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Server(tmp_path / "data", "--workers", "2") as server:
        children = server.pids()
        server.stop(number)
        wait_until(lambda: not any(map(is_running, children.values())), "the children's end")


def test_a_stopped_child_ends_with_its_supervisor_too(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        worker = server.pid_of("worker-0")
        os.kill(worker, signal.SIGSTOP)
        server.stop(signal.SIGKILL)
        wait_until(lambda: not is_running(worker), "the end of the stopped child")


def test_a_new_server_starts_right_after_a_killed_one(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.stop(signal.SIGKILL)
        port = server.url.rpartition(":")[2]
        with Server(tmp_path / "data", "--port", port) as successor:
            assert successor.url == server.url
            assert successor.ask("/health", key=None)[0] == 200
