"""An API process and a worker, each started alone, on one data folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import API_KEY, Server, command


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a server has been started on."""
    folder = tmp_path_factory.mktemp("started") / "data"
    with Server(folder) as server:
        server.stop()
    return folder


@pytest.fixture
def folder(started: Path, tmp_path: Path) -> Path:
    """A copy of it, without what may be deleted while no server runs."""
    ignored = shutil.ignore_patterns("run")
    return Path(shutil.copytree(started, tmp_path / "data", ignore=ignored))


@pytest.fixture
def worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick", "worker", "--data-dir", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "worker ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_they_serve_and_count_together(folder: Path, worker: subprocess.Popen[str]) -> None:
    with Server(folder, role="api") as api:
        event = {"customerId": "acme", "eventName": "call", "idempotencyKey": "1"}
        assert api.ask("/api/v1/events", {"events": [event, event]})[0] == 200
        assert api.ask("/tally/v1/sync")[0] == 200
        assert api.stop() == 0
    told = command("verify", "--data-dir", str(folder))
    assert told.returncode == 0
    assert "accepted 2 = waiting 0 + counted 1 + duplicates 1" in told.stdout


def test_an_api_alone_shares_the_folder_with_a_server(folder: Path) -> None:
    with Server(folder) as server, Server(folder, role="api") as api:
        assert api.ask("/api/v1/features", key=API_KEY)[0] == 200
        assert {"api-0", f"api-{api.process.pid}"} < set(server.pids())


def test_a_worker_alone_ends_with_0_when_told_to(worker: subprocess.Popen[str]) -> None:
    worker.terminate()
    assert worker.wait() == 0
