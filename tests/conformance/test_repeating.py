"""What is sent twice: with an ``Idempotency-Key`` (A19), and by the SDK after a 429 (A20)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stigg import DefaultHttpxClient, Stigg

from tests.conformance.driving import Site
from tests.crash.trouble import stopped_worker
from tests.proof.selling import customer, monthly, plan, reported
from tests.serving import API_KEY, Server

EVENT: Any = {"customer_id": "c", "event_name": "call"}


def test_a_post_with_the_same_key_gets_the_first_answer(site: Site, key: str) -> None:
    again = {"headers": {"Idempotency-Key": "once"}, "json": {"id": "c", "name": "C"}}
    first, *others = [site.raw("POST", "/api/v1/customers", key, **again) for _ in range(5)]
    assert first.status_code == 201
    for each in others:
        assert (each.status_code, each.content) == (201, first.content)
    assert site.raw("POST", "/api/v1/customers", key, json={"id": "c"}).status_code == 409


def test_events_and_reports_with_the_same_key_are_counted_once(
    site: Site, stigg: Any, key: str
) -> None:
    """The SDK sends the header when it is told to."""
    plan(stigg, "plan", monthly(reported(stigg, "seats")))
    customer(stigg, "c", "plan")
    once = {"Idempotency-Key": "once"}
    report: Any = {"customer_id": "c", "feature_id": "seats", "value": 4}
    told = [stigg.v2.usage.report(usages=[report], extra_headers=once) for _ in range(3)]
    assert len({each.data.usages[0].id for each in told}) == 1
    checked = stigg.v1.customers.check_entitlement("c", feature_id="seats").data
    assert checked.current_usage == 4
    for _ in range(3):
        stigg.v1.events.report(events=[EVENT | {"idempotency_key": "1"}], extra_headers=once)
    other: Any = [EVENT | {"idempotency_key": "2"}]
    refused = site.raw(
        "POST", "/api/v1/events", key, headers=once,
        json={"events": [{"customerId": "c", "eventName": "call", "idempotencyKey": "2"}]},
    )  # fmt: skip
    assert refused.status_code == 400
    stigg.v1.events.report(events=other)


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Server]:
    """A server with room for one request of events."""
    with Server(tmp_path / "data", TALLYSTICK_INBOX_MAX_BYTES="100") as server:
        yield server


def test_the_sdk_repeats_what_was_refused_for_want_of_room(narrow: Server) -> None:
    retries: list[str] = []

    def make_room(answer: httpx.Response) -> None:
        retries.append(answer.request.headers["x-stainless-retry-count"])
        if answer.status_code == 429:
            assert answer.headers["retry-after"] == "1"
            os.kill(narrow.pid_of("worker-0"), signal.SIGCONT)
            assert narrow.ask("/tally/v1/sync?timeout_s=30")[0] == 200

    with (
        stopped_worker(narrow),
        DefaultHttpxClient(event_hooks={"response": [make_room]}) as http,
    ):
        stigg = Stigg(api_key=API_KEY, base_url=narrow.url, max_retries=2, http_client=http)
        stigg.v1.events.report(events=[EVENT | {"idempotency_key": "1"}])
        stigg.v1.events.report(events=[EVENT | {"idempotency_key": "2"}])
    assert retries == ["0", "0", "1"]
