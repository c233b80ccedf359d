"""One of everything in an environment, and a call of every route that concerns it.

A route that is not known here fails the tests that walk all of them: say in ``NAMES`` what its path
names, and in ``BODIES`` what is sent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import patch

from tallystick import limits
from tallystick.api.http import Route
from tests.api.door import Answered, Door
from tests.api.scene import add, event, prepare, usage

SECRET: Final = "only-the-owner-knows"
"""Occurs in whatever is answered about the things made here, and in no request for them."""

NAMES: Final = {
    "products": "product", "features": "calls", "plans": "plan", "addons": "addon",
    "customers": "c", "subscriptions": "subscription", "usage": "c", "history": "calls",
    "entitlements": "sso", "promotional-entitlements": "seats",
}  # fmt: skip
"""What a ``{name}`` after a noun of a path is, among the things made here."""

GIVEN: Final[dict[str, dict[str, str]]] = {}
"""The same of things whose ids are given here, by the key that they were made with."""

QUERIES: Final = {
    "/api/v1/customers/{id}/entitlements/check": "featureId=calls",
    "/api/v1/usage/{customerId}/history/{featureId}": "startDate=2026-01-19T00:00:00Z",
    "/tally/v1/sync": "timeout_s=0",
}

NEW: Final = {"id": "new", "displayName": "New"}
RENAMED: Final = {"displayName": "Renamed"}
GRANTED: Final = {"entitlements": [{"id": "region", "type": "FEATURE", "enumValues": ["us"]}]}
LIMITED: Final = {"type": "FEATURE"}
SUBSCRIBED: Final = {"customerId": "c", "planId": "plan", "resourceId": "new"}

BODIES: Final[dict[str, Any]] = {
    "POST /api/v1/events": {"events": [event("new")]},
    "POST /api/v1/usage": {"usages": [usage(3)]},
    "POST /api/v2/usage": {"usages": [usage(3)]},
    "POST /api/v1/products": NEW,
    "PATCH /api/v1/products/{id}": RENAMED,
    "POST /api/v1/products/{id}/duplicate": {"targetId": "copy"},
    "POST /api/v1/features": NEW | {"featureType": "BOOLEAN"},
    "PATCH /api/v1/features/{id}": RENAMED,
    "POST /api/v1/plans": NEW | {"productId": "product"},
    "PATCH /api/v1/plans/{id}": RENAMED,
    "POST /api/v1/plans/{id}/publish": {"migrationType": "ALL_CUSTOMERS"},
    "POST /api/v1/plans/{planId}/entitlements": GRANTED,
    "PATCH /api/v1/plans/{planId}/entitlements/{id}": LIMITED,
    "POST /api/v1/addons": NEW | {"productId": "product"},
    "PATCH /api/v1/addons/{id}": RENAMED,
    "POST /api/v1/addons/{id}/publish": {"migrationType": "ALL_CUSTOMERS"},
    "POST /api/v1/addons/{addonId}/entitlements": GRANTED,
    "PATCH /api/v1/addons/{addonId}/entitlements/{id}": LIMITED,
    "POST /api/v1/customers": {"id": "new"},
    "PATCH /api/v1/customers/{id}": {"name": "Renamed"},
    "POST /api/v1/customers/import": {
        "customers": [{"id": "c", "name": "Brought in", "email": None}]
    },
    "POST /api/v1/customers/{id}/promotional-entitlements": {
        "promotionalEntitlements": [
            {"featureId": "seats", "period": "lifetime", "hasUnlimitedUsage": True}
        ]
    },
    "POST /api/v1/subscriptions": SUBSCRIBED,
    "PATCH /api/v1/subscriptions/{id}": {"metadata": {"colour": "red"}},
    "POST /api/v1/subscriptions/{id}/cancel": {},
    "POST /api/v1/subscriptions/{id}/migrate": {},
    "POST /api/v1/subscriptions/{id}/transfer": {"destinationResourceId": "other"},
    "POST /api/v1/subscriptions/{id}/delegate": {"targetCustomerId": "d"},
    "POST /api/v1/subscriptions/preview": SUBSCRIBED,
    "POST /api/v1/subscriptions/import": {
        "subscriptions": [{"id": "brought-in", "customerId": "c", "planId": "plan"}]
    },
    "POST /tally/v1/sources": {"url": "file:///nowhere"},
    "PATCH /tally/v1/sources/{id}": {"pattern": "*.csv"},
    # Where the clock stands already, or before: it is everybody's and only moves forward.
    "POST /tally/v1/test-clock": {"now": "2026-01-01T00:00:00Z"},
}


def make_everything(door: Door, key: str) -> None:
    """A catalog, customers with subscriptions, an add-on, a promotion, a draft, reports and counted
    events, in the environment of ``key``."""
    own, door.key = door.key, key
    try:
        prepare(door)
        _make_the_rest(door)
    finally:
        door.key = own
    # Files count once they have been unchanged for a while, of real time.
    with patch.object(limits, "OBJECT_SETTLED_SECONDS", 0):
        door.fold()
    GIVEN[key]["objects"] = failed_object(door, key, GIVEN[key]["sources"], GIVEN[key]["runs"])


def failed_object(door: Door, key: str, source: str, run: str) -> str:
    """The object of a run that cannot be read."""
    told = door.get(f"/tally/v1/sources/{source}/runs/{run}", key=key).data
    (failed,) = [each["id"] for each in told["objects"] if each["state"] == "failed"]
    return str(failed)


def _make_source(door: Door, folder: Path) -> None:
    """A source of a good and a damaged file, about to be read."""
    folder.mkdir(parents=True)
    (folder / "good.jsonl").write_text(json.dumps(event("of an object")))
    (folder / "damaged.csv").write_text("no,column,of,ours\n1,2,3,4\n")
    made = door.post("/tally/v1/sources", {"url": f"file://{folder}"}).data["id"]
    asked = door.post(f"/tally/v1/sources/{made}/run").data["runId"]
    GIVEN[door.key] = {"sources": made, "runs": asked}


def _make_the_rest(door: Door) -> None:
    add(door, "/api/v1/addons", id="addon", displayName=SECRET, productId="product")
    add(
        door,
        "/api/v1/addons/addon/entitlements",
        entitlements=[{"id": "sso", "type": "FEATURE"}],
    )
    add(door, "/api/v1/addons/addon/publish", migrationType="NEW_CUSTOMERS")
    add(door, "/api/v1/customers", id="d", name=SECRET)
    add(
        door,
        "/api/v1/subscriptions",
        id="subscription",
        customerId="c",
        planId="plan",
        resourceId="r",
        metadata={"secret": SECRET},
        addons=[{"id": "addon", "quantity": 1}],
    )
    add(
        door,
        "/api/v1/customers/c/promotional-entitlements",
        promotionalEntitlements=[{"featureId": "seats", "period": "lifetime", "usageLimit": 7}],
    )
    for path in ("products/product", "features/calls", "customers/c"):
        field = "name" if path.startswith("customers") else "displayName"
        renamed = door.run(door.call("PATCH", f"/api/v1/{path}", {field: SECRET}))
        assert renamed.status == 200, renamed.body
    add(door, "/api/v1/plans/plan/draft")
    add(door, "/api/v2/usage", usages=[usage(2), usage(5, resourceId="r")])
    add(door, "/api/v1/events", events=[event(str(number)) for number in range(4)])
    _make_source(door, door.folder.path.parent / SECRET / str(len(GIVEN)))


def path_of(door: Door, route: Route, key: str | None) -> str:
    """The path of the thing made here that a route concerns, with what must be asked: of the key's
    own, or of the door's where it has none."""
    names = NAMES | GIVEN.get(key or "", GIVEN[door.key])
    segments = route.path.split("/")
    named = [
        names[before] if segment.startswith("{") else segment
        for before, segment in zip(["", *segments], segments, strict=False)
    ]
    query = QUERIES.get(route.path)
    return "/".join(named) + (f"?{query}" if query else "")


def call(door: Door, route: Route, key: str | None) -> Answered:
    """One call of the route."""
    body = BODIES[f"{route.method} {route.path}"] if route.body is not None else None
    return door.run(door.call(route.method, path_of(door, route, key), body, key=key))


TABLES: Final = """
SELECT tables.name FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table' AND columns.name = 'environment'
"""


def tables_of(door: Door, environment: str) -> dict[str, list[Any]]:
    """Every row of an environment in every table of both stores."""
    found = {}
    for store in (door.services.state, door.services.inbox_store):
        with store.reading() as transaction:
            for (name,) in cast("list[tuple[str]]", transaction.all(TABLES)):
                rows = f"SELECT * FROM {name} WHERE environment = ?"
                found[name] = transaction.all(rows, environment)
    return found
