"""What the tests of failures share: what is sold and sent, and how trouble is made on purpose."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from stigg import Stigg

from tests.proof.selling import customer, for_life, metered, plan, reported
from tests.serving import Server, command, wait_until

CUSTOMER: Final = "acme"
EVENTS: Final = "/api/v1/events"
USAGE: Final = "/api/v2/usage"


def sell(stigg: Stigg) -> None:
    """One customer with a plan that counts calls, from events, and reported seats, for life."""
    features = metered(stigg, "calls", "COUNT", event="call"), reported(stigg, "seats")
    customer(stigg, CUSTOMER, plan(stigg, "p", *map(for_life, features)))


def call(key: str, **more: Any) -> dict[str, Any]:
    """An event that counts as one call."""
    return {"customerId": CUSTOMER, "eventName": "call", "idempotencyKey": key, **more}


def calls(*keys: str, **more: Any) -> dict[str, Any]:
    """The body of a request of calls."""
    return {"events": [call(key, **more) for key in keys]}


def seat(key: str) -> dict[str, Any]:
    """The body of a request that reports one seat."""
    report = {"customerId": CUSTOMER, "featureId": "seats", "value": 1, "idempotencyKey": key}
    return {"usages": [report]}


def ledgers(server: Server) -> dict[str, dict[str, Any]]:
    """What ``tallystick verify`` says of each environment of a live server; all must be equal."""
    told = command("verify", "--data-dir", str(server.folder), "--json")
    report = json.loads(told.stdout)
    assert report["equal"] is True, report
    assert told.returncode == 0, told.stderr
    return {each["environment"]: each for each in report["environments"]}


@contextmanager
def stopped_worker(server: Server) -> Iterator[None]:
    """The worker stands still meanwhile, and holds no lock that others would wait for."""
    pid = server.pid_of("worker-0")
    wait_until(lambda: _stop_unlocked(pid, server.folder), "an instant at which it writes nothing")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _stop_unlocked(pid: int, folder: Path) -> bool:
    os.kill(pid, signal.SIGSTOP)
    # The signal is on its way; the process has stopped when the kernel says so.
    wait_until(lambda: _state_of(pid) == "T", "the worker to stand still")
    if is_locked(folder / "inbox.db") or is_locked(folder / "state.db"):
        os.kill(pid, signal.SIGCONT)
        return False
    return True


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_locked(database: Path) -> bool:
    """Whether somebody holds the write lock of a database now."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False
