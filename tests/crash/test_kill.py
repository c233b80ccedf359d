"""``kill -9`` of every process and of the supervisor, under load: nothing acknowledged is lost.

Fail points end a process between two chosen durable writes; random kills end it anywhere. Clients
behave as the official SDK does: they repeat a request until it is acknowledged.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from stigg import Stigg

from tallystick import limits
from tallystick.freshness import Freshness
from tests.proof.selling import (
    customer,
    for_life,
    metered,
    monthly,
    plan,
    reported,
    sdk,
    synced,
    usage,
    verified,
)
from tests.serving import API_KEY, Server, wait_until

CUSTOMERS = ("acme", "globex")
REQUESTS = 40
EVENTS = 25


class Client(threading.Thread):
    """Sends events and reports, each until it is acknowledged. A ``patient`` one lets what it sent
    be folded before it goes on, so that there are many steps, and files to merge."""

    def __init__(self, name: str, url: Callable[[], str], *, patient: bool = False) -> None:
        super().__init__(name=name, daemon=True)
        self._url = url
        self._patient = patient
        self.reports = 0

    def run(self) -> None:
        for number in range(REQUESTS):
            key = f"{self.name}-{number}"
            events = [
                {"customerId": CUSTOMERS[index % 2], "eventName": "call",
                 "idempotencyKey": f"{key}-{index}", "dimensions": {"n": index}}
                for index in range(EVENTS)
            ]  # fmt: skip
            self._until_acknowledged("/api/v1/events", {"events": events})
            if self._patient:
                self._let_it_be_folded()
            report = {"customerId": "acme", "featureId": "seats", "value": 1,
                      "idempotencyKey": key}  # fmt: skip
            self._until_acknowledged("/api/v2/usage", {"usages": [report]})

    def _let_it_be_folded(self) -> None:
        with suppress(httpx.HTTPError):  # it may die meanwhile: that is the test
            headers = {"X-API-KEY": API_KEY}
            httpx.get(self._url() + "/tally/v1/sync?timeout_s=2", headers=headers, timeout=5)

    def _until_acknowledged(self, path: str, body: object) -> None:
        while True:
            with suppress(httpx.HTTPError):
                answered = httpx.post(
                    self._url() + path, json=body, headers={"X-API-KEY": API_KEY}, timeout=10
                )
                if answered.status_code in (200, 201):
                    return
                assert answered.status_code in (429, 503), answered.text


def set_up(stigg: Stigg) -> None:
    """A counted event, a sum of it, and reported seats, for two customers."""
    features = [metered(stigg, "calls", "COUNT", event="call"),
                metered(stigg, "total", "SUM", "n", event="call"),
                metered(stigg, "numbers", "UNIQUE", "n", event="call")]  # fmt: skip
    plan(stigg, "p", *(monthly(f) for f in features), for_life(reported(stigg, "seats")))
    for name in CUSTOMERS:
        customer(stigg, name, "p")


def assert_exact(server: Server, clients: int) -> None:
    """Everything that the clients sent counted once, by the checks and by verify."""
    synced(server)
    stigg = sdk(server)
    requests = clients * REQUESTS
    for name, parity in zip(CUSTOMERS, (0, 1), strict=True):
        numbers = [n for n in range(EVENTS) if n % 2 == parity]
        assert usage(stigg, name, "calls") == requests * len(numbers)
        assert usage(stigg, name, "total") == requests * sum(numbers)
        assert usage(stigg, name, "numbers") == len(numbers)
    assert usage(stigg, "acme", "seats") == requests
    verified(server)


class _Standstill:
    """Whether the worker got nowhere between kills: a request that seems to end it each time would
    rightly be set aside."""

    def __init__(self, path: Path) -> None:
        self._freshness = Freshness(path)
        self._position = -1
        self._kills = 0

    def too_long(self) -> bool:
        position = self._freshness.read().position
        self._kills = self._kills + 1 if position == self._position else 1
        self._position = position
        return self._kills >= limits.STEP_ATTEMPTS_MAX


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", range(2))
def test_killing_children_at_random_loses_and_repeats_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with Server(tmp_path / "data", "--workers", "2") as server:
        set_up(sdk(server))
        clients = [Client(f"client-{number}", lambda: server.url) for number in range(3)]
        for client in clients:
            client.start()
        kills = 0
        stands = _Standstill(tmp_path / "data" / "run" / "freshness")
        while any(client.is_alive() for client in clients):
            name = chance.choice(("api-0", "api-1", "worker-0", "worker-0", "queries-0"))
            if name == "worker-0" and stands.too_long():
                name = "api-0"
            with suppress(FileNotFoundError, ValueError):
                kill(server.pid_of(name))
                kills += 1
            clients[chance.randrange(3)].join(chance.uniform(0.05, 0.8))
        assert kills > 0
        assert_exact(server, len(clients))


def test_killing_the_supervisor_loses_and_repeats_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    folder = tmp_path / "data"
    with Server(folder) as first:
        set_up(sdk(first))
        port = int(first.url.rpartition(":")[2])
        clients = [Client(f"client-{number}", lambda: first.url) for number in range(2)]
        for client in clients:
            client.start()
        server = first
        for _ in range(3):
            clients[0].join(chance.uniform(0.2, 0.8))
            kill(server.process.pid)
            server.process.wait()
            server = Server(folder, "--port", str(port))
        with server:
            for client in clients:
                client.join(60)
                assert not client.is_alive()
            assert_exact(server, len(clients))


WORKER_POINTS = (
    "fold.after_archive_file",
    "fold.after_key_run",
    "fold.before_commit",
    "fold.after_commit",
    "fold.after_inbox_removed",
    "reports.after_archive_file",
    "reports.before_commit",
    "reports.after_commit",
    "merge.after_file",
    "merge.before_commit",
    "merge.after_commit",
)
API_POINTS = ("group.before_commit", "group.after_commit")


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that is set up; its server has ended."""
    folder = tmp_path_factory.mktemp("sold") / "data"
    with Server(folder) as calm:
        set_up(sdk(calm))
        assert calm.stop() == 0
    return folder


@pytest.mark.parametrize(
    "point",
    [f"worker/{name}:2" for name in WORKER_POINTS] + [f"api/{name}:30" for name in API_POINTS],
)
def test_dying_between_two_durable_writes_loses_and_repeats_nothing(
    sold: Path, tmp_path: Path, point: str
) -> None:
    """The process dies each second time (API: thirtieth) it passes the point, and is restarted."""
    ignored = shutil.ignore_patterns("run")
    folder = shutil.copytree(sold, tmp_path / "data", ignore=ignored)
    with Server(folder, TALLYSTICK_FAIL_POINT=point) as server:
        victim = "worker-0" if point.startswith("worker") else "api-0"
        before = server.pid_of(victim)
        client = Client("client", lambda: server.url, patient="/merge." in point)
        client.start()
        wait_until(lambda: _pid_now(server, victim) not in (None, before), f"a death at {point}")
        client.join(90)
        assert not client.is_alive()
        server.stop(signal.SIGKILL)
    with Server(folder) as calm:
        assert_exact(calm, 1)


def _pid_now(server: Server, name: str) -> int | None:
    try:
        return server.pid_of(name)
    except (FileNotFoundError, ValueError):
        return None
