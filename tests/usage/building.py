"""A state with a catalog, one builder per noun, each with ordinary defaults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tallystick.catalog.changes import record_change
from tallystick.clock import DAY, Instant, from_datetime
from tallystick.entitlements.rules import Rules
from tallystick.ingest.usage import Behavior, UsageItem
from tallystick.store import Transaction
from tallystick.store.sqlite import SqliteStore
from tallystick.usage.report import Measurement, report_usages

DEFAULT = "default"
WINDOW = 35 * DAY


def at(text: str) -> Instant:
    """The instant of an ISO text, ``2026-01-02`` or ``2026-01-02T03:04:05``, in UTC."""
    return from_datetime(datetime.fromisoformat(text))


START = at("2026-01-10T10:00:00")
NOW = at("2026-01-20T12:00:00")


def limit(feature: str, usage_limit: int | None = 10, **more: Any) -> dict[str, Any]:
    """An entitlement of a plan: no reset, ten units, hard."""
    item = {"id": feature, "type": "FEATURE", "usageLimit": usage_limit, "isGranted": True,
            "behavior": "Increment"}  # fmt: skip
    return item | more


def monthly(feature: str, usage_limit: int | None = 10, **more: Any) -> dict[str, Any]:
    """An entitlement that resets each month of the subscription."""
    start = {"accordingTo": "SubscriptionStart"}
    return limit(feature, usage_limit, resetPeriod="MONTH", resetPeriodConfiguration=start, **more)


class Scene:
    """A state in one environment, and what is done to it. Every call is a transaction."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "state.db", "state")
        self.rules = Rules()
        self.now = NOW

    def add_feature(
        self, name: str, kind: str = "NUMBER", meter_type: str = "INCREMENTAL", **body: Any
    ) -> None:
        """A metered feature fed by reports; ``meter`` makes it fed by events."""
        body = {"displayName": name.title(), "featureType": kind, "featureStatus": "ACTIVE",
                "meterType": meter_type} | body  # fmt: skip
        fed_by = "events" if "meter" in body else "nothing" if meter_type == "None" else "reports"
        with self.store.writing() as transaction:
            transaction.run(
                "INSERT INTO features VALUES (?, ?, ?, ?, 0, ?, ?)",
                DEFAULT, name, json.dumps(body), fed_by, START, START,
            )  # fmt: skip
            record_change(transaction, DEFAULT, "", self.now)

    def add_plan(
        self, name: str, *items: dict[str, Any], product: str = "main", version: int = 1
    ) -> None:
        """A published plan that grants ``items``."""
        with self.store.writing() as transaction:
            transaction.run(
                "INSERT INTO plans VALUES (?, ?, ?, 'PUBLISHED', ?, '{}', ?, 'NEW_CUSTOMERS', "
                "?, ?, ?, '')",
                DEFAULT, name, version, product, json.dumps(items), 0, START, START,
            )  # fmt: skip
            record_change(transaction, DEFAULT, "", self.now)

    def add_customer(self, name: str = "acme", archived_at: Instant | None = None) -> None:
        """A customer in UTC."""
        with self.store.writing() as transaction:
            transaction.run(
                "INSERT INTO customers VALUES (?, ?, '{}', ?, ?, ?)",
                DEFAULT, name, archived_at, START, START,
            )  # fmt: skip
            record_change(transaction, DEFAULT, name, self.now)

    def subscribe(
        self,
        plan: str,
        customer: str = "acme",
        *,
        resource: str = "",
        start: Instant = START,
        chain_start: Instant | None = None,
        restarts: bool = False,
    ) -> None:
        """A subscription from ``start`` on; what it replaces is ended with ``end``."""
        with self.store.writing() as transaction:
            subscribe(transaction, plan, customer, resource, start, chain_start or start, restarts)

    def end(self, plan: str, when: Instant, customer: str = "acme") -> None:
        """End every subscription of a customer to a plan."""
        with self.store.writing() as transaction:
            end(transaction, plan, when, customer)

    def report(self, *items: UsageItem) -> list[Measurement]:
        """Report in one call, at the scene's ``now``."""
        with self.store.writing() as transaction:
            self.rules.refresh(transaction)
            return report_usages(transaction, self.rules, DEFAULT, items, self.now, WINDOW)

    def rows(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        """Whatever a test wants to look at."""
        with self.store.reading() as transaction:
            return transaction.all(sql, *values)


def subscribe(
    transaction: Transaction,
    plan: str,
    customer: str,
    resource: str,
    start: Instant,
    chain_start: Instant,
    restarts: bool,
) -> None:
    """``Scene.subscribe`` inside a transaction."""
    transaction.run(
        "INSERT INTO subscriptions "
        "VALUES (?, ?, ?, ?, 'main', ?, 1, ?, NULL, ?, ?, '{}', ?, ?, NULL)",
        DEFAULT, f"{customer}-{resource}-{plan}-{start}", customer, resource, plan, start,
        chain_start, int(restarts), start, start,
    )  # fmt: skip
    record_change(transaction, DEFAULT, customer, start)


def end(transaction: Transaction, plan: str, when: Instant, customer: str) -> None:
    """``Scene.end`` inside a transaction."""
    transaction.run(
        "UPDATE subscriptions SET end_at = ? WHERE customer = ? AND plan = ?", when, customer, plan
    )
    record_change(transaction, DEFAULT, customer, when)


def usage(
    value: int | str | Decimal,
    feature: str = "calls",
    *,
    customer: str = "acme",
    resource: str = "",
    behavior: Behavior = "DELTA",
    created_at: Instant | None = None,
    key: str | None = None,
) -> UsageItem:
    """One item of a report."""
    return UsageItem(
        customer=customer, feature=feature, resource=resource, value=Decimal(value),
        behavior=behavior, created_at=created_at, key=key, dimensions="{}",
    )  # fmt: skip


def set_to(value: int | str, feature: str = "calls", **more: Any) -> UsageItem:
    """One SET item."""
    return usage(value, feature, behavior="SET", **more)


def totals(scene: Scene) -> dict[tuple[str, str, int], str]:
    """Every counter: (resource, feature, period start) to its sum."""
    rows: Sequence[tuple[Any, ...]] = scene.rows(
        "SELECT resource, feature, period_start, sum FROM counters JOIN counter_parts USING (id)"
    )
    return {row[:3]: row[3] for row in rows}
