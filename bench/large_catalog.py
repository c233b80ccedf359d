"""Checks where the catalog is large: 100,000 customers, 1,000 plans, 20 features a plan.

Owns: an environment of its own beside the one of the other scenarios, set up over HTTP with bulk
imports. Asked for every customer in turn it is the worst there is for a cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any, Final

from bench import scene
from bench.load import EVENT_FEATURE, customer_name
from bench.servers import Server

ENVIRONMENT: Final = "large"
CUSTOMERS: Final = 100_000
PLANS: Final = 1_000
FEATURES_OF_A_PLAN: Final = 20
FEATURES: Final = 200
IMPORT_ITEMS: Final = 1_000


def set_up(server: Server) -> Server:
    """The same server with a key of an environment that has all this. Takes a minute or so."""
    large = replace(server, key=_new_key(server))
    scene.call(large, "POST", "/api/v1/products", {"id": "main", "displayName": "Main"})
    for feature in (EVENT_FEATURE, *map(_feature_name, range(FEATURES))):
        body = {"id": feature, "displayName": feature, "featureType": "NUMBER",
                "meterType": "INCREMENTAL"}  # fmt: skip
        scene.call(large, "POST", "/api/v1/features", body)
    for plan in range(PLANS):
        _plan(large, plan)
    for first in range(0, CUSTOMERS, IMPORT_ITEMS):
        _subscribers(large, range(first, first + IMPORT_ITEMS))
    return large


def _new_key(server: Server) -> str:
    command = [sys.executable, "-m", "tallystick", "keys", "create", "--environment", ENVIRONMENT,
               "--data-dir", str(server.folder), "--json"]  # fmt: skip
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    key: str = json.loads(told.stdout)["key"]
    return key


def _feature_name(number: int) -> str:
    return f"feature-{number:03d}"


def _plan_name(number: int) -> str:
    return f"plan-{number:04d}"


def _plan(server: Server, number: int) -> None:
    """A published plan: the feature that is checked, and its own choice of the others."""
    name = _plan_name(number)
    others = (
        _feature_name((number * 7 + n * 11) % FEATURES) for n in range(FEATURES_OF_A_PLAN - 1)
    )
    entitlements: list[dict[str, Any]] = [
        {"id": feature, "type": "FEATURE", "usageLimit": 1_000_000, "resetPeriod": "MONTH"}
        for feature in (EVENT_FEATURE, *others)
    ]
    path = f"/api/v1/plans/{name}"
    scene.call(server, "POST", "/api/v1/plans",
               {"id": name, "displayName": name, "productId": "main"})  # fmt: skip
    scene.call(server, "POST", f"{path}/entitlements", {"entitlements": entitlements})
    scene.call(server, "POST", f"{path}/publish", {"migrationType": "NEW_CUSTOMERS"})


def _subscribers(server: Server, numbers: range) -> None:
    customers = [{"id": customer_name(number), "email": None, "name": None} for number in numbers]
    scene.call(server, "POST", "/api/v1/customers/import", {"customers": customers})
    subscriptions = [
        {"id": f"subscription-{number}", "customerId": customer_name(number),
         "planId": _plan_name(number % PLANS)}
        for number in numbers
    ]  # fmt: skip
    scene.call(server, "POST", "/api/v1/subscriptions/import", {"subscriptions": subscriptions})
