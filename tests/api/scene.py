"""A catalog made through the door: a plan with an event-fed, a reported and a plain feature."""

from __future__ import annotations

from typing import Any

from tests.api.door import Door

LIMIT = 100


def prepare(door: Door, customer: str = "c") -> None:
    """Features ``calls`` (events ``call``, summing ``tokens``), ``seats`` (reported), ``sso``
    (granted) and ``region`` (ENUM eu), on a plan that ``customer`` has."""
    add_feature(door, "calls", meterType="INCREMENTAL", meter=meter("call", "SUM", "tokens"))
    add_feature(door, "seats", meterType="FLUCTUATING")
    add_feature(door, "sso", featureType="BOOLEAN")
    add_feature(
        door,
        "region",
        featureType="ENUM",
        enumConfiguration=[{"value": each, "displayName": each} for each in ("eu", "us")],
    )
    add(door, "/api/v1/products", id="product", displayName="Product")
    add(door, "/api/v1/plans", id="plan", displayName="Plan", productId="product")
    monthly: dict[str, Any] = {
        "usageLimit": LIMIT,
        "resetPeriod": "MONTH",
        "monthlyResetPeriodConfiguration": {"accordingTo": "StartOfTheMonth"},
    }
    add(
        door,
        "/api/v1/plans/plan/entitlements",
        entitlements=[
            {"id": "calls", "type": "FEATURE", **monthly},
            {"id": "seats", "type": "FEATURE", **monthly},
            {"id": "sso", "type": "FEATURE"},
            {"id": "region", "type": "FEATURE", "enumValues": ["eu"]},
        ],
    )
    add(door, "/api/v1/plans/plan/publish", migrationType="NEW_CUSTOMERS")
    add_customer(door, customer)


def add(door: Door, path: str, **body: Any) -> None:
    """Post something that must succeed."""
    answered = door.post(path, body)
    assert answered.status in (200, 201), answered.body


def add_feature(door: Door, name: str, **body: Any) -> None:
    """A feature, NUMBER unless it says otherwise."""
    add(
        door,
        "/api/v1/features",
        **{"id": name, "displayName": name, "featureType": "NUMBER"} | body,
    )


def add_customer(door: Door, name: str) -> None:
    """A customer who has the plan."""
    add(door, "/api/v1/customers", id=name)
    add(door, "/api/v1/subscriptions", customerId=name, planId="plan")


def meter(event_name: str, function: str, field: str | None = None) -> dict[str, Any]:
    """A meter of one event name."""
    condition = {"field": "eventName", "operation": "EQUALS", "value": event_name}
    aggregation = {"function": function} | ({} if field is None else {"field": field})
    return {"filters": [{"conditions": [condition]}], "aggregation": aggregation}


def event(key: str, **more: Any) -> dict[str, Any]:
    """An event ``call`` of customer ``c`` with 2 tokens."""
    usual = {"customerId": "c", "eventName": "call", "dimensions": {"tokens": 2, "region": "eu"}}
    return usual | {"idempotencyKey": key} | more


def usage(value: object = 1, **more: Any) -> dict[str, Any]:
    """A report of ``seats`` of customer ``c``."""
    return {"customerId": "c", "featureId": "seats", "value": value} | more
