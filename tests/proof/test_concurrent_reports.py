"""Usage reports from many threads at once: exact, enforced when the call returns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.proof.selling import customer, for_life, plan, reported, serving, usage, verified


def test_fifty_threads_of_twenty_reports_make_exactly_a_thousand(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--workers", "2") as (server, stigg):
        plan(stigg, "seats-plan", for_life(reported(stigg, "seats")))
        customer(stigg, "acme", "seats-plan")

        # As the SDK comes: it repeats a call whose connection broke, and the key makes that safe.
        # (Its connection pool closes a connection under another thread's read, rarely.)
        patient = stigg.with_options(max_retries=2)

        def report(thread: int) -> None:
            for number in range(20):
                patient.v2.usage.report(usages=[
                    {"customer_id": "acme", "feature_id": "seats", "value": 1,
                     "idempotency_key": f"{thread}-{number}"}
                ])  # fmt: skip

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(report, range(50)))
        assert usage(stigg, "acme", "seats") == 1000
        assert verified(server)["accepted"] == 1000


def test_ten_times_a_tenth_is_one(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (_, stigg):
        plan(stigg, "p", for_life(reported(stigg, "hours")))
        customer(stigg, "acme", "p")
        for _ in range(10):
            stigg.v2.usage.report(
                usages=[{"customer_id": "acme", "feature_id": "hours", "value": 0.1}]
            )
        assert usage(stigg, "acme", "hours") == 1


def test_a_report_is_enforced_when_the_call_returns(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (_, stigg):
        plan(stigg, "p", for_life(reported(stigg, "seats"), usage_limit=3))
        customer(stigg, "acme", "p")
        for used in range(1, 4):
            stigg.v2.usage.report(
                usages=[{"customer_id": "acme", "feature_id": "seats", "value": 1}]
            )
            check = stigg.v1.customers.check_entitlement(
                "acme", feature_id="seats", requested_usage=1
            )
            assert check.data.is_granted is (used < 3)
        assert check.data.access_denied_reason == "RequestedUsageExceedingLimit"
