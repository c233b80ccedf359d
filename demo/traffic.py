"""A realistic stream, from one seed: what is sent, and what must therefore be counted.

About a tenth of everything is sent twice, as clients do that did not see an answer: with the same
idempotency key, in a later request.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stigg import Stigg

from demo.catalog import CALLS, CUSTOMERS, EXPORTS, SEATS, TOKENS, USERS

EVENTS = 6_000
EVENTS_PER_REQUEST = 500
RESENT_SHARE = 0.1
SHARES = (0.6, 0.3, 0.1)
"""Of the events, by customer."""


@dataclass
class Sent:
    """What went out, and what it must amount to."""

    ways: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By way in: items sent, and how many of them were sent before."""
    expected: dict[tuple[str, str], int] = field(default_factory=dict)
    """By customer and feature."""


def send(stigg: Stigg) -> Sent:
    """Send everything and say what it was."""
    chance = random.Random(20260101)
    sent = Sent()
    _report_usage(stigg, sent)
    _report_bulk(stigg, sent)
    _report_events(stigg, sent, chance)
    return sent


def _report_usage(stigg: Stigg, sent: Sent) -> None:
    """Seats: set to what they are now; one call each, the last one sent twice."""
    seats = {"acme": 21, "globex": 8, "initech": 3}
    for customer, value in seats.items():
        usage = {"customer_id": customer, "feature_id": SEATS, "value": value,
                 "update_behavior": "SET", "idempotency_key": f"seats-{customer}-1"}  # fmt: skip
        stigg.v2.usage.report(usages=[usage])  # type: ignore[list-item]
        sent.expected[customer, SEATS] = value
    stigg.v2.usage.report(usages=[usage])  # type: ignore[list-item]
    sent.ways["Report Usage"] = (len(seats) + 1, 1)


def _report_bulk(stigg: Stigg, sent: Sent) -> None:
    """Exports: many customers in one call, and the whole call sent twice."""
    usages: list[Any] = [
        {"customer_id": customer, "feature_id": EXPORTS, "value": number,
         "idempotency_key": f"export-{customer}-{number}"}
        for customer in CUSTOMERS
        for number in (1, 2)
    ]  # fmt: skip
    for _ in range(2):
        stigg.v2.usage.report(usages=usages)
    for customer in CUSTOMERS:
        sent.expected[customer, EXPORTS] = 1 + 2
    sent.ways["Report Usage Bulk"] = (2 * len(usages), len(usages))


def _report_events(stigg: Stigg, sent: Sent, chance: random.Random) -> None:
    """API calls with dimensions."""
    events = list(_events(chance))
    resent = chance.sample(events, round(EVENTS * RESENT_SHARE))
    stream = events + resent
    for start in range(0, len(stream), EVENTS_PER_REQUEST):
        stigg.v1.events.report(events=stream[start : start + EVENTS_PER_REQUEST])
    users: dict[str, set[str]] = {customer: set() for customer in CUSTOMERS}
    totals: Counter[tuple[str, str]] = Counter()
    for event in events:
        customer, dimensions = event["customer_id"], event["dimensions"]
        totals[customer, CALLS] += 1
        totals[customer, TOKENS] += dimensions["tokens"]
        users[customer].add(dimensions["user"])
    sent.expected |= totals
    sent.expected |= {(customer, USERS): len(seen) for customer, seen in users.items()}
    sent.ways["Report Event"] = (len(stream), len(resent))


def _events(chance: random.Random) -> Iterator[Any]:
    for number in range(EVENTS):
        customer = chance.choices(list(CUSTOMERS), SHARES)[0]
        yield {
            "customer_id": customer,
            "event_name": "api_call",
            "idempotency_key": f"call-{number}",
            "dimensions": {
                "model": chance.choice(("small", "large")),
                "region": chance.choice(("eu", "us", "ap")),
                "user": f"{customer}-user-{min(int(chance.expovariate(0.05)), 99)}",
                "tokens": chance.randint(20, 1_200),
            },
        }
