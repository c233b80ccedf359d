"""Usage as a pipeline exports it: the same events in every format, and a server that reads them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import duckdb
import zstandard
from stigg import DefaultHttpxClient, Stigg

from tests.objects.scenes import CloudScene, Scene
from tests.serving import NO_TLS, Server, command, wait_until

NOW: Final = "2026-01-20T12:30:00Z"
FEATURES: Final = {
    "calls": ("COUNT", None), "tokens": ("SUM", "tokens"), "regions": ("UNIQUE", "region"),
}  # fmt: skip
SENT: Final = ("customerId", "eventName", "idempotencyKey", "timestamp")

Event = dict[str, Any]


def events(first: int, last: int, customer: str = "acme") -> list[Event]:
    """Events ``[first, last)`` of a customer; each has a key and dimensions of its own."""
    return [
        {
            "customerId": customer,
            "eventName": "completion",
            "idempotencyKey": f"{customer}-{number}",
            "timestamp": f"2026-01-20T10:{number % 60:02}:00Z",
            "dimensions": {"region": f"region-{number % 7}", "tokens": 10 * number},
        }
        for number in range(first, last)
    ]


def jsonl(sent: Sequence[Event]) -> bytes:
    """Nested dimensions, as the API takes them."""
    return "".join(json.dumps(event) + "\n" for event in sent).encode()


def flat(event: Event) -> Event:
    """The same with dimensions as columns."""
    dimensions = {f"dimensions.{name}": value for name, value in event["dimensions"].items()}
    return {name: event[name] for name in SENT} | dimensions


def flat_jsonl(sent: Sequence[Event]) -> bytes:
    """Flattened dimensions, as Stigg documents for files."""
    return "".join(json.dumps(flat(event)) + "\n" for event in sent).encode()


def as_csv(sent: Sequence[Event], names: dict[str, str] | None = None) -> bytes:
    """A header and rows; ``names`` renames columns."""
    text = io.StringIO()
    rows = [flat(event) for event in sent]
    writer = csv.writer(text)
    writer.writerow([(names or {}).get(name, name) for name in rows[0]])
    writer.writerows(row.values() for row in rows)
    return text.getvalue().encode()


def parquet(sent: Sequence[Event]) -> bytes:
    """A struct of dimensions, and real timestamps."""
    with tempfile.TemporaryDirectory() as folder:
        lines, made = Path(folder) / "lines", Path(folder) / "made"
        lines.write_bytes(jsonl(sent))
        with duckdb.connect() as engine:
            engine.execute(
                f"COPY (SELECT * FROM read_ndjson('{lines}')) TO '{made}' (FORMAT parquet)"
            )
        return made.read_bytes()


def put_every_format(scene: Scene, customer: str = "acme") -> list[Event]:
    """An object of each format, and one that is none; returns what is in them."""
    sent = events(0, 60, customer)
    parts = [sent[number : number + 10] for number in range(0, 60, 10)]
    scene.put("2026/01/nested.jsonl", jsonl(parts[0]))
    scene.put("2026/01/flat.ndjson.gz", gzip.compress(flat_jsonl(parts[1])))
    scene.put("2026/01/table.csv", as_csv(parts[2]))
    scene.put("2026/01/table.csv.zst", zstandard.compress(as_csv(parts[3])))
    scene.put("2026/01/rows.parquet", parquet(parts[4]))
    scene.put("2026/01/more.jsonl.zst", zstandard.compress(jsonl(parts[5])))
    scene.put("2026/01/upload.tmp", b"half an upload")
    return sent


class Tenant:
    """An environment of a server: its catalog, its sources, and what is counted in it."""

    def __init__(self, server: Server, environment: str) -> None:
        self.server = server
        self.environment = environment
        made = command(
            "keys", "create", "--environment", environment, "--json",
            "--data-dir", str(server.folder),
        )  # fmt: skip
        self.key = str(json.loads(made.stdout)["key"])
        self._make_catalog()

    def ask(self, path: str, body: Any = None, *, method: str | None = None) -> tuple[int, Any]:
        """Status and JSON of a request below ``/tally/v1/sources``."""
        return self.server.ask(f"/tally/v1/sources{path}", body, key=self.key, method=method)

    def data(self, path: str, body: Any = None, *, method: str | None = None) -> Any:
        """What a request that succeeds is answered."""
        status, told = self.ask(path, body, method=method)
        assert status < 300, told
        return told["data"]

    def add(self, scene: Scene, **settings: Any) -> str:
        """A source of a scene; returns its id."""
        access = {}
        if isinstance(scene, CloudScene):
            said = {
                "endpoint": "endpoint", "region": "region", "key_id": "keyId", "secret": "secret",
            }  # fmt: skip
            given = asdict(scene.access)
            access = {"access": {said[name]: given[name] for name in said if given[name]}}
        return str(self.data("", {"url": scene.url} | access | settings)["id"])

    def run(self, source: str) -> Any:
        """Look at a source now; returns the run at its end."""
        status, told = self.ask(f"/{source}/run", {})
        assert status == 202, told
        return self.ended(source, told["data"]["runId"])

    def ended(self, source: str, run: str) -> Any:
        """A run, once it has ended."""
        wait_until(
            lambda: self.data(f"/{source}/runs/{run}")["endedAt"] is not None, f"run {run} to end"
        )
        return self.data(f"/{source}/runs/{run}")

    def scheduled(self, source: str, now: str) -> Any:
        """Move the clock; returns the newest run of the source, which the schedule asked for."""
        assert self.server.ask("/tally/v1/test-clock", {"now": now}, key=self.key)[0] == 200
        wait_until(lambda: self.data(f"/{source}/runs"), f"source {source} to be looked at")
        newest = self.data(f"/{source}/runs")[0]
        assert newest["cause"] == "schedule"
        return self.ended(source, newest["id"])

    def totals(self, customer: str = "acme") -> dict[str, float]:
        """What a check says that was used, of each feature."""
        return {feature: self._checked(customer, feature)["currentUsage"] for feature in FEATURES}

    def history(self, feature: str, customer: str = "acme") -> dict[str, float]:
        """What a customer's history of a feature ends with, for each region."""
        since = "startDate=2026-01-20T00:00:00Z"
        path = f"/api/v1/usage/{customer}/history/{feature}?{since}&groupBy=region"
        status, told = self.server.ask(path, key=self.key)
        assert status == 200, told
        return {
            series["tags"][0]["value"]: series["points"][-1]["value"]
            for series in told["data"]["series"]
        }

    def report(self, sent: Sequence[Event]) -> None:
        """Send events with the SDK, and wait until they are counted."""
        named = {"customerId": "customer_id", "eventName": "event_name",
                 "idempotencyKey": "idempotency_key"}  # fmt: skip
        told: Any = [
            {named.get(name, name): value for name, value in each.items()} for each in sent
        ]
        http = DefaultHttpxClient(verify=NO_TLS)
        with Stigg(api_key=self.key, base_url=self.server.url, http_client=http) as stigg:
            stigg.v1.events.report(events=told)
        assert self.server.ask("/tally/v1/sync", key=self.key)[0] == 200

    def _checked(self, customer: str, feature: str) -> Any:
        path = f"/api/v1/customers/{customer}/entitlements/check?featureId={feature}"
        status, told = self.server.ask(path, key=self.key)
        assert status == 200, told
        return told["data"]

    def _make_catalog(self) -> None:
        for feature, (function, field) in FEATURES.items():
            condition = {"field": "eventName", "operation": "EQUALS", "value": "completion"}
            aggregation = {"function": function} | ({"field": field} if field else {})
            self._make("features", {
                "id": feature, "displayName": feature, "featureType": "NUMBER",
                "meterType": "INCREMENTAL",
                "meter": {"filters": [{"conditions": [condition]}], "aggregation": aggregation},
            })  # fmt: skip
        self._make("products", {"id": "product", "displayName": "Product"})
        self._make("plans", {"id": "plan", "displayName": "Plan", "productId": "product"})
        granted = [{"id": each, "type": "FEATURE", "hasUnlimitedUsage": True} for each in FEATURES]
        self._make("plans/plan/entitlements", {"entitlements": granted})
        self._make("plans/plan/publish", {"migrationType": "NEW_CUSTOMERS"})
        for customer in ("acme", "globex"):
            self._make("customers", {"id": customer})
            self._make("subscriptions", {"customerId": customer, "planId": "plan"})

    def _make(self, path: str, body: Any) -> None:
        status, told = self.server.ask(f"/api/v1/{path}", body, key=self.key)
        assert status < 300, told
