"""A real trace with known totals, counted through the official SDK."""

from __future__ import annotations

import csv
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.proof.selling import customer, metered, monthly, plan, serving, synced, usage, verified

TRACE = Path(__file__).parents[3] / "shared" / "data" / "azure-llm-2023" / "code.csv"
CUSTOMER = "llm-team"
FIELDS = {"SUM": "ContextTokens", "MIN": "ContextTokens", "MAX": "ContextTokens",
          "AVG": "ContextTokens", "UNIQUE": "ContextTokens", "COUNT": None}  # fmt: skip
CONNECTIONS = 4

pytestmark = [
    pytest.mark.needs_shared,
    pytest.mark.skipif(not TRACE.exists(), reason="the reference trace is not beside the project"),
]


def trace_events() -> list[dict[str, Any]]:
    with open(TRACE, newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            "customer_id": CUSTOMER,
            "event_name": "llm_completion",
            "idempotency_key": f"request-{number}",
            "timestamp": row["TIMESTAMP"].replace(" ", "T") + "Z",
            "dimensions": {
                "ContextTokens": int(row["ContextTokens"]),
                "GeneratedTokens": int(row["GeneratedTokens"]),
                "size": "large" if int(row["ContextTokens"]) > 2000 else "small",
            },
        }
        for number, row in enumerate(rows)
    ]


def test_the_real_trace_is_counted_exactly_however_it_is_sent(tmp_path: Path) -> None:
    events = trace_events()
    assert len(events) == 8819
    shuffle = random.Random(2023)
    sent = events + shuffle.sample(events, len(events) // 10)
    shuffle.shuffle(sent)
    batches = [sent[start : start + 97] for start in range(0, len(sent), 97)]
    flags = ("--test-clock=2023-11-16T20:00:00Z",)
    with serving(tmp_path / "data", *flags) as (server, stigg):
        for function, field in FIELDS.items():
            metered(stigg, f"tokens-{function.lower()}", function, field, "llm_completion")
        metered(stigg, "generated", "SUM", "GeneratedTokens", "llm_completion")
        features = [f"tokens-{function.lower()}" for function in FIELDS] + ["generated"]
        plan(stigg, "llm", *(monthly(feature) for feature in features))
        customer(stigg, CUSTOMER, "llm", start_date=datetime(2023, 11, 1, tzinfo=UTC))
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda batch: stigg.v1.events.report(events=batch), batches))
        synced(server)

        totals = {feature: usage(stigg, CUSTOMER, feature) for feature in features}
        assert totals == {
            "tokens-count": 8819, "tokens-sum": 18_059_974, "tokens-max": 7437, "tokens-min": 3,
            "tokens-unique": 3552, "generated": 245_896,
            "tokens-avg": pytest.approx(18_059_974 / 8819, abs=1e-9),
        }  # fmt: skip

        history = stigg.v1.usage.history(
            "tokens-sum", customer_id=CUSTOMER, start_date=datetime(2023, 11, 16, tzinfo=UTC),
            group_by="size",
        )  # fmt: skip
        by_size = {s.tags[0].value: s.points[-1].value for s in history.data.series}
        expected = Counter[str]()
        for event in events:
            expected[event["dimensions"]["size"]] += event["dimensions"]["ContextTokens"]
        assert by_size == dict(expected)
        assert sum(by_size.values()) == 18_059_974

        ledger = verified(server)
        assert (ledger["accepted"], ledger["counted"], ledger["duplicates"]) == (
            len(sent), len(events), len(sent) - len(events)
        )  # fmt: skip
