"""A faulty world around real code, driven by one seed.

Every door and every step is the product's own; what is simulated is bad luck: the process ends
between any two durable writes, deliveries repeat, arrive late and in any order, rules change under
way. The auditor is told only what was acknowledged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from tallystick import failpoints
from tallystick.app import open_worker
from tallystick.clock import DAY, to_datetime
from tallystick.fold.quarantine import ask_retry
from tallystick.fold.worker import Worker
from tallystick.verify.report import VerifyReport
from tallystick.verify.verify import verify
from tests.api.door import Door
from tests.simulation.auditor import Auditor, Book, Sent

CUSTOMERS = tuple(f"customer-{number}" for number in range(5))
NAMES = ("call", "page", "other")
METERS: dict[str, tuple[str, str | None, str]] = {
    "calls": ("COUNT", None, "call"),
    "tokens": ("SUM", "tokens", "call"),
    "least": ("MIN", "tokens", "call"),
    "most": ("MAX", "tokens", "call"),
    "mean": ("AVG", "tokens", "call"),
    "users": ("UNIQUE", "user", "page"),
}
REPORTED = ("seats", "credits")


class Crash(BaseException):
    """The process ends here."""


class World:
    """A data folder, its door and its worker, and the auditor beside them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.auditor = Auditor()
        self.crashes = 0
        self._stack = ExitStack()
        self.door = self._stack.enter_context(Door(folder))
        self._worker_stack = ExitStack()
        self.worker = self._open_worker()
        self._sent: list[Sent] = []
        self._keys = 0
        self._metered: set[str] = set()

    def close(self) -> None:
        """End everything."""
        failpoints.arm(None)
        self._worker_stack.close()
        self._stack.close()

    # ------------------------------------------------------------------------------- the catalog

    def set_up(self, *, meters: tuple[str, ...] = tuple(METERS)) -> None:
        """Features and a plan; customers are added by ``add_customer``."""
        self.post("/api/v1/products", {"id": "main", "displayName": "Main"})
        for feature in meters:
            self.add_meter(feature)
        for feature in REPORTED:
            self.post("/api/v1/features", _feature(feature, "FLUCTUATING"))
        self.post("/api/v1/plans", {"id": "plan", "displayName": "Plan", "productId": "main"})
        items = [_monthly(feature) for feature in (*meters, "seats")]
        items.append({"id": "credits", "type": "FEATURE", "hasUnlimitedUsage": True})
        self.post("/api/v1/plans/plan/entitlements", {"entitlements": items})
        self.post("/api/v1/plans/plan/publish", {"migrationType": "NEW_CUSTOMERS"})

    def add_meter(self, feature: str) -> None:
        """A feature with its meter, and the auditor's own idea of it."""
        function, field, event = METERS[feature]
        aggregation = {"function": function} | ({"field": field} if field else {})
        condition = {"field": "eventName", "operation": "EQUALS", "value": event}
        meter = {"aggregation": aggregation, "filters": [{"conditions": [condition]}]}
        self.post("/api/v1/features", _feature(feature, "INCREMENTAL") | {"meter": meter})
        self._metered.add(feature)
        self.auditor.books[feature] = Book(
            matches=lambda event_, name=event: event_["eventName"] == name,  # type: ignore[misc]
            value=_value_of(field),
            function=function,
        )

    def add_customer(self, customer: str, days_ago: int) -> None:
        """A customer whose subscription began some days ago, perhaps after its first events."""
        start = self.now() - timedelta(days=days_ago)
        self.post("/api/v1/customers", {"id": customer})
        self.post(
            "/api/v1/subscriptions",
            {"customerId": customer, "planId": "plan", "startDate": start.isoformat()},
        )
        for feature in (*self._metered, "seats"):
            self.auditor.month_from[customer, feature] = start
        self.auditor.lifetime.add((customer, "credits"))

    # --------------------------------------------------------------------------------- the traffic

    def send_events(self) -> None:
        """One request of new and repeated events, resent until it is acknowledged."""
        batch = [self._event() for _ in range(self.random.randint(1, 40))]
        while self.door.post("/api/v1/events", {"events": batch}).status != 200:
            self.crashes += 1
            failpoints.arm(None)
        for event in batch:
            self.auditor.event(event, self.now())

    def send_report(self) -> None:
        """One call of some reports, resent until it is acknowledged."""
        usages = [
            {
                "customerId": self.random.choice(sorted({c for c, _ in self.auditor.lifetime})),
                "featureId": self.random.choice(REPORTED),
                "value": self.random.choice((1, 2, -1, 0.1, 2.5)),
                "idempotencyKey": self._key(),
            }
            for _ in range(self.random.randint(1, 5))
        ]
        while self.door.post("/api/v2/usage", {"usages": usages}).status != 201:
            self.crashes += 1
            failpoints.arm(None)
        for usage in usages:
            self.auditor.report(usage, self.now())

    def move_clock(self) -> None:
        """Let some hours pass."""
        later = self.now() + timedelta(hours=self.random.randint(1, 60))
        self.door.move_clock(later.isoformat())

    # ------------------------------------------------------------------------------ the bad luck

    def work(self, step: Callable[[Worker], bool]) -> None:
        """One step of the worker, which may die at any point it passes."""
        self._arm()
        try:
            step(self.worker)
        except Crash:
            self.crashes += 1
            failpoints.arm(None)
            self.restart()
        finally:
            failpoints.arm(None)

    def restart(self) -> None:
        """A new worker process on what the old one left behind."""
        self._worker_stack.close()
        self.worker = self._open_worker()

    def arm_door(self) -> None:
        """Let the next commit of the door fail, sometimes."""
        if self.random.random() < 0.3:
            failpoints.arm(_crash_at(0))

    def _arm(self) -> None:
        if self.random.random() < 0.5:
            failpoints.arm(_crash_at(self.random.randint(0, 8)))

    def _open_worker(self) -> Worker:
        self._worker_stack = ExitStack()
        return self._worker_stack.enter_context(open_worker(self.door.settings))

    # ---------------------------------------------------------------------------------- the truth

    def differences(self) -> list[str]:
        """Drain the world; every total that is not what the auditor says.

        A request that was there at too many deaths was set aside; it is tried again, as an
        operator would.
        """
        failpoints.arm(None)
        self.worker.drain()
        services = self.door.services
        if ask_retry(services.state, services.inbox, services.inbox_store, None):
            self.worker.drain()
        found = []
        for customer in sorted({customer for customer, _ in self.auditor.lifetime}):
            for feature in (*sorted(self._metered), *REPORTED):
                shown = self.usage(customer, feature)
                true = self.auditor.usage(customer, feature, self.now())
                if shown != true:
                    found.append(f"{customer} {feature}: shown {shown}, true {true}")
        return found

    def verify(self) -> VerifyReport:
        """What ``tallystick verify`` says."""
        services, settings = self.door.services, self.door.settings
        window_us = settings.dedupe_window_days * DAY
        return verify(
            services.state, services.inbox_store, services.inbox, settings.data_dir, window_us
        )

    def usage(self, customer: str, feature: str) -> Fraction:
        """What a check shows."""
        path = f"/api/v1/customers/{customer}/entitlements/check?featureId={feature}"
        return Fraction(str(self.door.get(path).data["currentUsage"]))

    def now(self) -> datetime:
        return to_datetime(self.door.services.clock.now())

    def post(self, path: str, body: object) -> Any:
        """A change of the catalog; fails loudly."""
        answered = self.door.post(path, body)
        assert answered.status in (200, 201), answered.json
        return answered.data

    def _event(self) -> Sent:
        if self._sent and self.random.random() < 0.2:
            return self.random.choice(self._sent)
        event: Sent = {
            "customerId": self.random.choice(CUSTOMERS),
            "eventName": self.random.choice(NAMES),
            "idempotencyKey": self._key(),
            "dimensions": {
                "tokens": self.random.choice((0.1, 1, 7, 250, -3, "12", "many")),
                "user": f"user-{self.random.randint(0, 9)}",
            },
        }
        if self.random.random() < 0.5:
            late = self.now() - timedelta(hours=self.random.randint(0, 24 * 50))
            event["timestamp"] = late.isoformat()
        else:
            event["timestamp"] = self.now().isoformat()
        self._sent.append(event)
        return event

    def _key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"


def _feature(feature: str, meter_type: str) -> dict[str, Any]:
    return {"id": feature, "displayName": feature, "featureType": "NUMBER", "meterType": meter_type}


def _monthly(feature: str) -> dict[str, Any]:
    return {"id": feature, "type": "FEATURE", "hasUnlimitedUsage": True, "resetPeriod": "MONTH"}


def _value_of(field: str | None) -> Callable[[Sent], Any]:
    def value(event: Sent) -> Any:
        if field is None:
            return 1
        found = event["dimensions"].get(field)
        if field == "user":
            return found
        try:
            return Fraction(str(found))
        except ValueError:
            return None

    return value


def _crash_at(passes: int) -> Callable[[str], None]:
    """Crash after so many points were passed."""
    left = passes

    def action(point: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash(point)

    return action
