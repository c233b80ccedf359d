"""``kill -9`` between a change and its answer: the same request again gets the answer of the first.

The API process ends itself at a fail point of its first commit, so the caller hears nothing. Then
the server is started anew and the caller repeats the request with the same ``Idempotency-Key``.
"""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.proof.selling import customer as add_customer
from tests.proof.selling import for_life, metered, monthly, plan, reported, sdk, synced, verified
from tests.serving import API_KEY, Server

EVENTS = {
    "events": [
        {"customerId": "acme", "eventName": "call", "idempotencyKey": str(number)}
        for number in range(3)
    ]
}
# Without keys of their own: nothing but the header tells that a repetition is one.
USAGE = {"usages": [{"customerId": "acme", "featureId": "seats", "value": 5}]}


@dataclass(frozen=True)
class Change:
    """A request and the status of its answer."""

    path: str
    body: Any
    status: int

    def send(self, server: Server) -> httpx.Response:
        """Send it, always with the same key."""
        headers = {"X-API-KEY": API_KEY, "Idempotency-Key": "once"}
        return httpx.post(server.url + self.path, json=self.body, headers=headers, timeout=30)


CHANGES = {
    "catalog": Change("/api/v1/customers", {"id": "initech"}, 201),
    "usage": Change("/api/v2/usage", USAGE, 201),
    "usage-v1": Change("/api/v1/usage", USAGE, 201),
    "events": Change("/api/v1/events", EVENTS, 200),
}


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a customer, a counted event and reported seats; its server has ended."""
    folder = tmp_path_factory.mktemp("sold") / "data"
    with Server(folder) as server:
        stigg = sdk(server)
        calls = metered(stigg, "calls", "COUNT", event="call")
        plan(stigg, "p", monthly(calls), for_life(reported(stigg, "seats")))
        add_customer(stigg, "acme", "p")
        assert server.stop() == 0
    return folder


@pytest.fixture
def folder(sold: Path, tmp_path: Path) -> Path:
    """A copy of it, without what may be deleted while no server runs."""
    ignored = shutil.ignore_patterns("run")
    return Path(shutil.copytree(sold, tmp_path / "data", ignore=ignored))


def send_to_one_that_dies(folder: Path, change: Change, point: str) -> None:
    with Server(folder, TALLYSTICK_FAIL_POINT=f"api/{point}:1") as server:
        with pytest.raises(httpx.HTTPError):
            change.send(server)
        server.stop(signal.SIGKILL)


def assert_done_once(server: Server) -> None:
    """One change of each kind at most, and every event and report in the books."""
    synced(server)
    ledger = verified(server)
    assert ledger["accepted"] == ledger["waiting"] + ledger["counted"]
    assert ledger["duplicates"] == 0


@pytest.mark.parametrize("name", CHANGES)
def test_dying_before_the_answer_leaves_the_answer(folder: Path, name: str) -> None:
    change = CHANGES[name]
    send_to_one_that_dies(folder, change, "group.after_commit")
    with Server(folder) as server:
        again, once_more = change.send(server), change.send(server)
        for answered in (again, once_more):
            assert answered.status_code == change.status, answered.text
            assert answered.headers["idempotency-replayed"] == "true"
        assert again.content == once_more.content
        assert_done_once(server)
        assert done(server) == expected(name)


@pytest.mark.parametrize("name", CHANGES)
def test_dying_before_the_commit_leaves_nothing(folder: Path, name: str) -> None:
    change = CHANGES[name]
    send_to_one_that_dies(folder, change, "group.before_commit")
    with Server(folder) as server:
        again, once_more = change.send(server), change.send(server)
        assert again.status_code == change.status, again.text
        assert "idempotency-replayed" not in again.headers
        assert once_more.headers["idempotency-replayed"] == "true"
        assert again.content == once_more.content
        assert_done_once(server)
        assert done(server) == expected(name)


def done(server: Server) -> tuple[int, int, int]:
    """Customers, seats and calls, as the API tells them."""
    stigg = sdk(server)
    customers = len(list(stigg.v1.customers.list()))
    totals = [
        stigg.v1.customers.check_entitlement("acme", feature_id=feature).data.current_usage
        for feature in ("seats", "calls")
    ]
    return customers, int(totals[0] or 0), int(totals[1] or 0)


def expected(name: str) -> tuple[int, int, int]:
    """What ``done`` tells when the change of that name was made once and no other."""
    return {"catalog": (2, 0, 0), "events": (1, 0, 3)}.get(name, (1, 5, 0))
