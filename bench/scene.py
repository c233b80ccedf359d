"""The scene of every measurement: 10,000 subscribed customers, three meters, one reported feature.

Owns: setting it up over the servers' own HTTP interfaces, so that a bench run is also a use of the
product from outside.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.load import CUSTOMERS, EVENT_FEATURE, EVENT_NAME, REPORT_FEATURE, customer_name
from bench.servers import Server

THREADS = 16
METERS: dict[str, dict[str, str]] = {
    EVENT_FEATURE: {"function": "COUNT"},
    "feature-ev-sum": {"function": "SUM", "field": "tokens"},
    "feature-ev-max": {"function": "MAX", "field": "tokens"},
}
PROBE = "customer-probe"
"""A customer nobody else sends events for: to see when one of its own becomes visible."""

_local = threading.local()


def call(server: Server, method: str, path: str, body: Any = None) -> Any:
    """One request on this thread's connection; the answer's JSON. Raises on any error status."""
    content_type = {"Content-Type": "application/json"}
    headers = content_type | ({"X-API-KEY": server.key} if server.key else {})
    connection = _connection(server)
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    _local.used_at = time.monotonic()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {content[:500].decode()}")
    return json.loads(content)


def _connection(server: Server) -> http.client.HTTPConnection:
    """This thread's connection; a new one where the server may have closed it as idle."""
    known: http.client.HTTPConnection | None = getattr(_local, "connection", None)
    if known is not None and known.port == server.port and time.monotonic() - _local.used_at < 2:
        return known
    fresh = _local.connection = http.client.HTTPConnection("127.0.0.1", server.port)
    return fresh


def set_up(server: Server, customers: int = CUSTOMERS) -> None:
    """Everything that exists before the first event."""
    if server.target == "home-made":
        _set_up_home_made(server, customers)
    else:
        _set_up_tallystick(server, customers)


def _set_up_home_made(server: Server, customers: int) -> None:
    names = [customer_name(number) for number in range(customers)] + [PROBE]
    call(server, "POST", "/limits",
         {"customers": names, "eventName": EVENT_NAME, "usageLimit": 1_000_000_000})  # fmt: skip


def _set_up_tallystick(server: Server, customers: int) -> None:
    call(server, "POST", "/api/v1/products", {"id": "product-main", "displayName": "Main"})
    for feature, aggregation in METERS.items():
        condition = {"field": "eventName", "operation": "EQUALS", "value": EVENT_NAME}
        _feature(
            server,
            feature,
            {"filters": [{"conditions": [condition]}], "aggregation": aggregation},
        )
    _feature(server, REPORT_FEATURE, None)
    plan = {"id": "plan-basic", "displayName": "Basic", "productId": "product-main",
            "pricingType": "FREE"}  # fmt: skip
    call(server, "POST", "/api/v1/plans", plan)
    call(server, "POST", "/api/v1/plans/plan-basic/entitlements", {"entitlements": _entitlements()})
    call(server, "POST", "/api/v1/plans/plan-basic/publish", {"migrationType": "NEW_CUSTOMERS"})
    _in_parallel(
        lambda name: _customer(server, name),
        itertools.chain((customer_name(number) for number in range(customers)), [PROBE]),
    )


def _feature(server: Server, feature: str, meter: dict[str, Any] | None) -> None:
    body = {"id": feature, "displayName": feature, "featureType": "NUMBER",
            "meterType": "INCREMENTAL"}  # fmt: skip
    call(server, "POST", "/api/v1/features", body | ({"meter": meter} if meter else {}))


def _entitlements() -> list[dict[str, Any]]:
    return [
        {
            "id": feature,
            "type": "FEATURE",
            "usageLimit": 1_000_000_000,
            "resetPeriod": "MONTH",
            "monthlyResetPeriodConfiguration": {"accordingTo": "StartOfTheMonth"},
        }
        for feature in (*METERS, REPORT_FEATURE)
    ]


def _customer(server: Server, name: str) -> None:
    call(server, "POST", "/api/v1/customers", {"id": name})
    call(server, "POST", "/api/v1/subscriptions", {"customerId": name, "planId": "plan-basic"})


def _in_parallel(job: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(job, names):
            pass
