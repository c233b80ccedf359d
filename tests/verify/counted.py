"""A data folder in which a worker counts, without a server around it."""

from __future__ import annotations

import json
from pathlib import Path

from tallystick.clock import DAY, TestClock
from tallystick.entitlements.rules import Rules
from tallystick.fold.worker import Worker, WorkerSettings
from tallystick.freshness import Freshness
from tallystick.inbox.inbox import Inbox
from tallystick.ingest.usage import UsageItem
from tallystick.store.sqlite import SqliteStore
from tallystick.usage.report import report_usages
from tallystick.verify.report import EnvironmentReport, VerifyReport
from tallystick.verify.verify import verify
from tests.archive.building import DEFAULT, NOON
from tests.archive.configuring import Configuration

WINDOW = 35 * DAY


class Counted:
    """State, inbox and worker of one folder, on a clock that stands at noon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("archive", "keys", "run"):
            (folder / name).mkdir(parents=True)
        self.clock = TestClock.create(folder / "test-clock", NOON)
        self.state = SqliteStore(folder / "state.db", "state")
        self.inbox_store = SqliteStore(folder / "inbox.db", "inbox")
        self.inbox = Inbox(self.inbox_store)
        self.configured = Configuration(self.state)
        self.worker = self._open_worker()

    def _open_worker(self) -> Worker:
        return Worker(
            WorkerSettings(data_folder=self.folder, window_us=WINDOW, engine_memory_mib=128),
            state=self.state, inbox=self.inbox, clock=self.clock,
            freshness=Freshness(self.folder / "run" / "freshness"),
        )  # fmt: skip

    def reopen_worker(self) -> None:
        """The worker's process ended, and another one began."""
        self.worker.close()
        self.worker = self._open_worker()

    def accept(self, *events: dict[str, object], environment: str = DEFAULT) -> None:
        """Accept one request of events of acme named ``call``."""
        lines = [
            json.dumps({"customerId": "acme", "eventName": "call"} | event) for event in events
        ]
        body = "\n".join(lines).encode()
        with self.inbox_store.writing() as transaction:
            self.inbox.add(transaction, environment, self.clock.now(), len(events), body)

    def report(self, *items: UsageItem) -> None:
        """Report usage in one call."""
        rules = Rules()
        with self.state.writing() as transaction:
            rules.refresh(transaction)
            report_usages(transaction, rules, DEFAULT, items, self.clock.now(), WINDOW)

    def count(self) -> None:
        """Fold everything that waits."""
        self.worker.drain()

    def tamper(self, sql: str, *values: str | int) -> None:
        """Change the state behind everyone's back."""
        with self.state.writing() as transaction:
            assert transaction.run(sql, *values) > 0

    def verify(self) -> VerifyReport:
        """What verification finds."""
        return verify(self.state, self.inbox_store, self.inbox, self.folder, WINDOW)

    def verified(self, environment: str = DEFAULT) -> EnvironmentReport:
        """What verification finds in one environment."""
        return next(e for e in self.verify().environments if e.environment == environment)

    def close(self) -> None:
        """Let go of everything."""
        self.worker.close()
        self.state.close()
        self.inbox_store.close()
