"""Customers, features and subscriptions as rows, with ordinary defaults."""

from __future__ import annotations

import json
from typing import Any

from tallystick.catalog.changes import record_change
from tallystick.clock import Instant
from tallystick.store.sqlite import SqliteStore
from tests.archive.building import DEFAULT, NOON

METER_CALLS = {
    "filters": [{"conditions": [{"field": "eventName", "operation": "EQUALS", "value": "call"}]}]
}


class Configuration:
    """Puts what was configured into a state."""

    def __init__(self, state: SqliteStore) -> None:
        self._state = state
        self._count = 0

    def feature(
        self,
        feature: str = "calls",
        *,
        function: str | None = None,
        field: str | None = None,
        environment: str = DEFAULT,
        **body: Any,
    ) -> str:
        """A metered feature: of events named ``call`` when ``function`` is given, else of
        reports."""
        content: dict[str, Any] = {
            "displayName": feature, "featureType": "NUMBER", "meterType": "INCREMENTAL",
            "featureStatus": "ACTIVE",
        } | body  # fmt: skip
        if function is not None:
            aggregation = {"function": function} | ({"field": field} if field else {})
            content["meter"] = METER_CALLS | {"aggregation": aggregation}
        self._insert(
            "INSERT INTO features VALUES (?, ?, ?, ?, 0, ?, ?)",
            environment, feature, json.dumps(content), "events" if function else "reports",
            NOON, NOON,
        )  # fmt: skip
        return feature

    def customer(self, customer: str = "acme", environment: str = DEFAULT) -> str:
        """A customer in UTC."""
        self._insert(
            "INSERT INTO customers VALUES (?, ?, '{}', NULL, ?, ?)",
            environment, customer, NOON, NOON,
        )  # fmt: skip
        return customer

    def plan(
        self,
        plan: str,
        reset: str | None,
        *features: str,
        according_to: str = "SubscriptionStart",
        environment: str = DEFAULT,
    ) -> str:
        """A published plan that grants the features, reset as told."""
        item: dict[str, Any] = {"type": "FEATURE", "usageLimit": 100, "resetPeriod": reset}
        if reset in ("MONTH", "WEEK", "YEAR"):
            item["resetPeriodConfiguration"] = {"accordingTo": according_to}
        entitlements = [item | {"id": feature} for feature in features]
        self._insert(
            "INSERT INTO plans VALUES (?, ?, 1, 'PUBLISHED', 'product', '{}', ?, 'NEW_CUSTOMERS', "
            "0, 0, 0, '')",
            environment, plan, json.dumps(entitlements),
        )  # fmt: skip
        return plan

    def subscription(
        self,
        plan: str,
        start: Instant,
        end: Instant | None = None,
        *,
        customer: str = "acme",
        resource: str = "",
        chain_start: Instant | None = None,
        restarts: bool = False,
        environment: str = DEFAULT,
    ) -> None:
        """A subscription to version 1 of a plan."""
        self._count += 1
        self._insert(
            "INSERT INTO subscriptions "
            "VALUES (?, ?, ?, ?, 'product', ?, 1, ?, ?, ?, ?, '{}', 0, 0, NULL)",
            environment, f"subscription-{self._count}", customer, resource, plan, start, end,
            start if chain_start is None else chain_start, int(restarts),
        )  # fmt: skip

    def _insert(self, sql: str, *values: Any) -> None:
        with self._state.writing() as transaction:
            transaction.run(sql, *values)
            record_change(transaction, values[0], "", NOON)
