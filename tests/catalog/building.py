"""The catalog as its callers reach it: routes over a real state, with a clock that a test moves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import GenericAlias
from typing import Any, cast
from urllib.parse import quote, urlencode

import msgspec

from tallystick.api.answers import encode
from tallystick.api.catalog import ROUTES
from tallystick.api.http import Handler, Page, QueryString, Request, Route, decode_body
from tallystick.api.router import Router
from tallystick.app import open_services
from tallystick.catalog.changes import record_change
from tallystick.clock import Instant, TestClock, from_datetime
from tallystick.core.periods import Period, period_at
from tallystick.entitlements.rules import Rules
from tallystick.folder import DataFolder
from tallystick.settings import Settings
from tallystick.store import Transaction

ENVIRONMENT = "default"


def at(text: str) -> Instant:
    """The instant of ``2026-01-02`` or ``2026-01-02T03:04:05``, in UTC."""
    return from_datetime(datetime.fromisoformat(text))


NOW = at("2026-01-10T12:00:00")


def meter(function: str = "COUNT", field: str | None = None) -> dict[str, Any]:
    """A meter over events named ``api_call``."""
    condition = {"field": "eventName", "operation": "EQUALS", "value": "api_call"}
    aggregation = {"function": function} | ({} if field is None else {"field": field})
    return {"filters": [{"conditions": [condition]}], "aggregation": aggregation}


def limit(feature: str, usage_limit: int = 10, **more: Any) -> dict[str, Any]:
    """An entitlement without resets."""
    return {"id": feature, "type": "FEATURE", "usageLimit": usage_limit} | more


def monthly(feature: str, usage_limit: int = 10, **more: Any) -> dict[str, Any]:
    """An entitlement that resets each month of the subscription."""
    return limit(feature, usage_limit, resetPeriod="MONTH", **more)


def credits(currency: str = "coins") -> dict[str, Any]:
    """Credits, which are stored and decide nothing."""
    return {"id": currency, "type": "CREDIT", "amount": 1, "cadence": "MONTH"}


class Desk:
    """Calls routes as the server does: one transaction each, undone whole when it fails."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(data_dir=folder, test_clock=NOW)
        DataFolder(folder).prepare()
        self.services = open_services(settings)
        self.environment = ENVIRONMENT
        self._router = Router((route.method, route.path, route) for route in ROUTES)

    def close(self) -> None:
        """Close the stores."""
        self.services.close()

    def move(self, text: str) -> Instant:
        """Let it be another time."""
        cast("TestClock", self.services.clock).move(at(text))
        return at(text)

    def post(self, path: str, body: Any = None) -> Any:
        """What is answered under ``data``."""
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """What is answered under ``data``."""
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Any:
        """What is answered under ``data``."""
        return self.call("DELETE", path)

    def get(self, path: str, **query: Any) -> Any:
        """What is answered under ``data``."""
        return self.call("GET", path, None, query)

    def page(self, path: str, **query: Any) -> Page:
        """A page of a list."""
        _, reply = self._reply("GET", path, None, query)
        assert isinstance(reply, Page)
        return reply

    def call(
        self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None
    ) -> Any:
        """What is answered under ``data``, which is what the route documents."""
        route, data = self._reply(method, path, body, query or {})
        text = encode(data.items if isinstance(data, Page) else data)
        documented = GenericAlias(list, (route.reply,)) if route.page else route.reply
        msgspec.json.decode(text, type=documented)
        return msgspec.json.decode(text)

    def _reply(
        self, method: str, path: str, body: Any, query: dict[str, Any]
    ) -> tuple[Route, object]:
        raw_path = "/".join(quote(part, safe="") for part in f"/api/v1/{path}".split("/"))
        route, args = self._router.find(method, raw_path.encode())
        request = Request(
            method, args, QueryString(urlencode(query).encode()), {}, b"", self.environment,
            "server", self.services.freshness.read(),
        )  # fmt: skip
        if route.body is not None:
            request.payload = decode_body(route.body, msgspec.json.encode(body or {}))
        handler, state = cast("Handler", route.handler), self.services.state
        with state.writing() if route.runs == "write" else state.reading() as transaction:
            return route, handler(self.services, transaction, request).data

    # --- a catalog with ordinary defaults ------------------------------------------------------

    def add_product(self, product: str = "main", **more: Any) -> None:
        """A product with one subscription a customer."""
        self.post("products", {"id": product, "displayName": product.title()} | more)

    def add_feature(self, feature: str = "calls", **more: Any) -> None:
        """A feature that counts what is reported."""
        defaults = {"featureType": "NUMBER", "meterType": "INCREMENTAL"}
        self.post("features", {"id": feature, "displayName": feature.title()} | defaults | more)

    def add_plan(
        self, plan: str, *items: dict[str, Any], product: str = "main", **more: Any
    ) -> None:
        """A published plan that grants ``items``, or else credits, which decide nothing."""
        self.post("plans", {"id": plan, "displayName": plan.title(), "productId": product} | more)
        self.grant(plan, *(items or (credits(),)))
        self.publish(plan)

    def add_addon(
        self, addon: str, *items: dict[str, Any], product: str = "main", **more: Any
    ) -> None:
        """A published add-on that grants ``items``."""
        body = {"id": addon, "displayName": addon.title(), "productId": product}
        self.post("addons", body | more)
        self.post(f"addons/{addon}/entitlements", {"entitlements": items or (credits(),)})
        self.post(f"addons/{addon}/publish", {"migrationType": "NEW_CUSTOMERS"})

    def grant(self, plan: str, *items: dict[str, Any]) -> None:
        """Add to what the draft grants."""
        if items:
            self.post(f"plans/{plan}/entitlements", {"entitlements": items})

    def renew(self, plan: str, migration: str, **changes: dict[str, Any]) -> None:
        """Publish a new version with changed entitlements, by feature."""
        self.post(f"plans/{plan}/draft")
        for feature, change in changes.items():
            self.patch(f"plans/{plan}/entitlements/{feature}", {"type": "FEATURE"} | change)
        self.publish(plan, migration)

    def publish(self, plan: str, migration: str = "NEW_CUSTOMERS") -> None:
        """Publish the draft."""
        self.post(f"plans/{plan}/publish", {"migrationType": migration})

    def add_customer(self, customer: str = "acme", **more: Any) -> None:
        """A customer in UTC."""
        self.post("customers", {"id": customer} | more)

    def subscribe(self, plan: str, customer: str = "acme", **more: Any) -> Any:
        """A subscription from now on."""
        body = {"customerId": customer, "planId": plan} | more
        return self.post("subscriptions", body)["subscription"]

    # --- what follows from it ------------------------------------------------------------------

    def reading(self) -> Any:
        """A snapshot."""
        return self.services.state.reading()

    def rows(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        """Whatever a test wants to look at."""
        with self.services.state.reading() as transaction:
            return transaction.all(sql, *values)

    def rules(self, transaction: Transaction) -> Rules:
        """Rules as of a snapshot."""
        rules = self.services.rules()
        rules.refresh(transaction)
        return rules

    def limit_of(
        self, feature: str, customer: str = "acme", resource: str = "", moment: str | None = None
    ) -> int | None:
        """The limit that decides; None when nothing is granted."""
        instant = self.services.clock.now() if moment is None else at(moment)
        with self.reading() as transaction:
            winner = self.rules(transaction).winner(
                transaction, self.environment, customer, resource, feature, instant
            )
        return None if winner is None else winner.usage_limit

    def period_of(
        self, feature: str, moment: str, customer: str = "acme", resource: str = ""
    ) -> Period | None:
        """The usage period that contains a moment."""
        with self.reading() as transaction:
            segments = self.rules(transaction).segments(
                transaction, self.environment, customer, resource, feature
            )
        return period_at(segments, at(moment))

    def counted_from(self, feature: str, moment: str, customer: str = "acme") -> Instant | None:
        """Where counting began in the period that contains a moment."""
        period = self.period_of(feature, moment, customer)
        return None if period is None else period.counted_from

    def archive_events_of(self, customer: str = "acme") -> None:
        """Pretend that the fold archived events of a customer."""
        with self.services.state.writing() as transaction:
            transaction.run(
                "INSERT INTO archived_customers (environment, customer) VALUES (?, ?) "
                "ON CONFLICT DO NOTHING",
                self.environment, customer,
            )  # fmt: skip
            record_change(transaction, self.environment, customer, self.services.clock.now())

    def recounts(self) -> list[tuple[str, str]]:
        """(feature, customer) of the recounts that are queued."""
        return self.rows("SELECT feature, customer FROM recounts ORDER BY id")
