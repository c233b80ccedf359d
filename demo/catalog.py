"""What the demo sells: an API for text, on two plans, to three customers."""

from __future__ import annotations

from typing import Any

from stigg import Stigg

PRODUCT = "text-api"
CALLS, TOKENS, USERS = "api-calls", "tokens", "active-users"
EXPORTS, SEATS, SSO = "exports", "seats", "single-sign-on"

CUSTOMERS = {"acme": "pro", "globex": "pro", "initech": "free"}
FREE_CALLS = 500


def set_up(stigg: Stigg) -> None:
    """Features, plans, customers and their subscriptions."""
    stigg.v1.products.create_product(id=PRODUCT, display_name="Text API")
    for feature in _features():
        stigg.v1.features.create_feature(**feature)
    for plan, entitlements in _plans().items():
        stigg.v1.plans.create(id=plan, display_name=plan.title(), product_id=PRODUCT)
        stigg.v1.plans.entitlements.create(plan, entitlements=entitlements)
        stigg.v1.plans.publish(plan, migration_type="NEW_CUSTOMERS")
    for customer, plan in CUSTOMERS.items():
        stigg.v1.customers.provision(id=customer, name=customer.title())
        stigg.v1.subscriptions.provision(customer_id=customer, plan_id=plan)


def _features() -> list[dict[str, Any]]:
    return [
        _metered(CALLS, "API calls", {"function": "COUNT"}),
        _metered(TOKENS, "Tokens", {"function": "SUM", "field": "tokens"}),
        _metered(USERS, "Active users", {"function": "UNIQUE", "field": "user"}),
        _number(EXPORTS, "Exports", "INCREMENTAL"),
        _number(SEATS, "Seats", "FLUCTUATING"),
        {"id": SSO, "display_name": "Single sign-on", "feature_type": "BOOLEAN"},
    ]


def _number(feature: str, name: str, kind: str) -> dict[str, Any]:
    return {"id": feature, "display_name": name, "feature_type": "NUMBER", "meter_type": kind}


def _metered(feature: str, name: str, aggregation: dict[str, str]) -> dict[str, Any]:
    is_call = {"field": "eventName", "operation": "EQUALS", "value": "api_call"}
    meter = {"filters": [{"conditions": [is_call]}], "aggregation": aggregation}
    return {**_number(feature, name, "INCREMENTAL"), "meter": meter}


def _plans() -> dict[str, list[Any]]:
    return {
        "free": [
            _monthly(CALLS, usage_limit=FREE_CALLS),
            _monthly(TOKENS, usage_limit=1_000_000),
            _monthly(USERS, usage_limit=50),
            _monthly(EXPORTS, usage_limit=5),
            _granted(SEATS, usage_limit=3),
        ],
        "pro": [
            _monthly(CALLS, usage_limit=100_000),
            _monthly(TOKENS, usage_limit=2_000_000, has_soft_limit=True),
            _monthly(USERS, has_unlimited_usage=True),
            _monthly(EXPORTS, usage_limit=500),
            _granted(SEATS, usage_limit=25),
            _granted(SSO),
        ],
    }


def _granted(feature: str, **terms: Any) -> dict[str, Any]:
    return {"id": feature, "type": "FEATURE", **terms}


def _monthly(feature: str, **terms: Any) -> dict[str, Any]:
    return _granted(feature, reset_period="MONTH", **terms)
