"""A catalog as tests set it up: through the official SDK, one builder per noun."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from stigg import DefaultHttpxClient, Stigg

from tests.serving import API_KEY, NO_TLS, Server, command

AGGREGATIONS = ("COUNT", "SUM", "MIN", "MAX", "AVG", "UNIQUE")


@contextmanager
def serving(folder: Path, *flags: str, **variables: str) -> Iterator[tuple[Server, Stigg]]:
    """A real server and the official SDK talking to it, strict about shapes."""
    with Server(folder, *flags, **variables) as server, sdk(server) as stigg:
        yield server, stigg


def sdk(server: Server, key: str = API_KEY) -> Stigg:
    """The official SDK, without retries, refusing any reply that does not match its shapes."""
    return Stigg(
        api_key=key,
        base_url=server.url,
        max_retries=0,
        http_client=DefaultHttpxClient(verify=NO_TLS),
        _strict_response_validation=True,
    )


def synced(server: Server) -> None:
    """Wait until everything accepted so far is counted."""
    status, body = server.ask("/tally/v1/sync?timeout_s=30")
    assert status == 200, body


def verified(server: Server) -> dict[str, Any]:
    """Run ``tallystick verify`` beside the live server; its one environment, proved equal."""
    told = command("verify", "--data-dir", str(server.folder), "--json")
    report = json.loads(told.stdout)
    assert report["equal"] is True, report
    assert told.returncode == 0, told.stderr
    (environment,) = report["environments"]
    return environment  # type: ignore[no-any-return]


def metered(
    stigg: Stigg, feature: str, function: str, field: str | None = None, event: str = "api_call"
) -> str:
    """A feature fed by events of one name."""
    is_event: Any = {"field": "eventName", "operation": "EQUALS", "value": event}
    meter: Any = {
        "aggregation": {"function": function} | ({"field": field} if field else {}),
        "filters": [{"conditions": [is_event]}],
    }
    stigg.v1.features.create_feature(
        id=feature,
        display_name=feature,
        feature_type="NUMBER",
        meter_type="INCREMENTAL",
        meter=meter,
    )
    return feature


def reported(stigg: Stigg, feature: str) -> str:
    """A feature fed by usage reports."""
    stigg.v1.features.create_feature(
        id=feature, display_name=feature, feature_type="NUMBER", meter_type="FLUCTUATING"
    )
    return feature


def plan(stigg: Stigg, name: str, *entitlements: dict[str, Any], product: str = "main") -> str:
    """A published plan; its product is created unless it exists."""
    if product not in [known.id for known in stigg.v1.products.list_products()]:
        stigg.v1.products.create_product(id=product, display_name=product)
    stigg.v1.plans.create(id=name, display_name=name, product_id=product)
    stigg.v1.plans.entitlements.create(name, entitlements=list(entitlements))  # type: ignore[arg-type]
    stigg.v1.plans.publish(name, migration_type="NEW_CUSTOMERS")
    return name


def monthly(feature: str, usage_limit: int = 1_000_000_000) -> dict[str, Any]:
    """An entitlement that resets each month of the subscription."""
    return {"id": feature, "type": "FEATURE", "usage_limit": usage_limit, "reset_period": "MONTH"}


def for_life(feature: str, usage_limit: int = 1_000_000_000) -> dict[str, Any]:
    """An entitlement that never resets."""
    return {"id": feature, "type": "FEATURE", "usage_limit": usage_limit}


def customer(stigg: Stigg, name: str, plan_id: str, **subscription: Any) -> str:
    """A customer with a subscription."""
    stigg.v1.customers.provision(id=name)
    stigg.v1.subscriptions.provision(customer_id=name, plan_id=plan_id, **subscription)
    return name


def usage(stigg: Stigg, name: str, feature: str) -> float:
    """The current usage that a check shows."""
    found = stigg.v1.customers.check_entitlement(name, feature_id=feature)
    assert found.data.type == "FEATURE"
    assert found.data.current_usage is not None, found
    return found.data.current_usage


def raw(server: Server) -> httpx.Client:
    """A plain HTTP client with a server key."""
    headers = {"X-API-KEY": API_KEY}
    return httpx.Client(base_url=server.url, headers=headers, timeout=30, verify=NO_TLS)
