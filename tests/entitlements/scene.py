"""The scene of usage, with add-ons, grants and subscriptions that have a history."""

from __future__ import annotations

import json
from typing import Any

from tallystick.catalog.changes import record_change
from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement
from tallystick.entitlements.loading import CustomerRules
from tallystick.entitlements.rules import Rules
from tallystick.store import Transaction
from tests.usage.building import DEFAULT, START, Scene


class RichScene(Scene):
    """Adds rows as the catalog would. Every call is a transaction."""

    def add_addon(self, name: str, *items: dict[str, Any], version: int = 1) -> None:
        """A published add-on that says ``items``."""
        with self.store.writing() as transaction:
            transaction.run(
                "INSERT INTO addons VALUES (?, ?, ?, 'PUBLISHED', 'main', '{}', ?, "
                "'NEW_CUSTOMERS', 0, ?, ?)",
                DEFAULT, name, version, json.dumps(items), START, START,
            )  # fmt: skip
            record_change(transaction, DEFAULT, "", self.now, f"addon:{name}")

    def grant(
        self,
        feature: str,
        end: Instant | None = None,
        customer: str = "acme",
        *,
        start: Instant = START,
        ended: Instant | None = None,
        **body: Any,
    ) -> None:
        """A promotional entitlement."""
        item = {"id": feature, "type": "FEATURE"} | body
        with self.store.writing() as transaction:
            transaction.run(
                "INSERT INTO promotional_entitlements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                DEFAULT, customer, f"{feature}-{start}", feature, json.dumps(item), start, end,
                ended, start, start,
            )  # fmt: skip
            record_change(transaction, DEFAULT, customer, self.now)

    def tell(self, plan: str, customer: str = "acme", **body: Any) -> None:
        """Change the body of a customer's subscription to a plan."""
        with self.store.writing() as transaction:
            transaction.run(
                "UPDATE subscriptions SET body = ? WHERE customer = ? AND plan = ?",
                json.dumps(body), customer, plan,
            )  # fmt: skip
            record_change(transaction, DEFAULT, customer, self.now)

    def hand_over(self, plan: str, when: Instant, *, to: str, resource: str = "") -> None:
        """Give acme's subscription to a plan to another customer or resource."""
        with self.store.writing() as transaction:
            transaction.run(
                "INSERT INTO subscription_tenures SELECT environment, id, customer, resource, "
                "coalesce(held_from, start_at), ? FROM subscriptions WHERE plan = ?",
                when, plan,
            )  # fmt: skip
            transaction.run(
                "UPDATE subscriptions SET customer = ?, resource = ?, held_from = ? WHERE plan = ?",
                to, resource, when, plan,
            )  # fmt: skip
            record_change(transaction, DEFAULT, "", self.now)

    def rules_of(self, customer: str = "acme") -> CustomerRules:
        """A customer as it is loaded."""
        with self.store.reading() as transaction:
            found = self._refreshed(transaction).customer(transaction, DEFAULT, customer)
        assert found is not None
        return found

    def winner(
        self, feature: str, at: Instant, customer: str = "acme", resource: str = ""
    ) -> Entitlement | None:
        """What decides about a feature at an instant."""
        with self.store.reading() as transaction:
            rules = self._refreshed(transaction)
            return rules.winner(transaction, DEFAULT, customer, resource, feature, at)

    def limit_of(
        self, feature: str, at: Instant, customer: str = "acme", resource: str = ""
    ) -> int | None:
        """The limit that decides; None when nothing is granted."""
        winner = self.winner(feature, at, customer, resource)
        return None if winner is None else winner.usage_limit

    def _refreshed(self, transaction: Transaction) -> Rules:
        self.rules.refresh(transaction)
        return self.rules
