"""The bench: what its rows say, for the part that needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from bench import dedupe, imports, run


def measured(keys: int, ns: float) -> dict[str, Any]:
    """What a measurement of so many keys finds."""
    return {"keys": keys, "ns_per_key": {"wall": {"hot": ns}, "cpu": {"hot": 1.0}}}


def test_the_cost_of_dedupe_at_many_keys_is_a_row_against_a_million(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = {1_000_000: 900.0, 10_000_000: 945.0, 100_000_000: 990.0}
    monkeypatch.setattr(
        dedupe, "measure_each", lambda sizes: [measured(size, costs[size]) for size in sizes]
    )
    row = run.dedupe_result(100_000_000)
    assert (row.work, row.floor, row.aim) == (
        "dedupe cost at 10M and 100M keys against 1M keys", "1.5×", "1.1×"
    )  # fmt: skip
    assert row.tallystick == "not measured"
    run.measure_dedupe(row, 100_000_000)
    assert row.tallystick == "1.05×, 1.10×: 900 ns, 945 ns, 990 ns a key"
    assert row.details["tallystick"]["sizes"][2]["keys"] == 100_000_000
    assert row.tallystick in run.table([row])


def test_it_is_measured_in_processes_of_their_own() -> None:
    few, many = dedupe.measure_each((100_000, 200_000), batches=2)
    assert (few["keys"], many["keys"]) == (100_000, 200_000)
    for found in (few, many):
        assert found["ns_per_key"]["wall"]["hot"] > 0
        assert found["runs"] >= 8


def test_an_import_is_a_row_beside_what_only_reads_the_file() -> None:
    ndjson, parquet = run.import_results()
    assert (ndjson.floor, ndjson.aim) == ("300k/s", "1M/s")
    assert (parquet.floor, parquet.aim) == ("600k/s", "2M/s")
    found = {"counted_per_second": 312_000.0, "wc_per_second": 9_000_000.0,
             "duckdb_per_second": 1_500_000.0, "api_per_second": 101_000.0}  # fmt: skip
    assert run.told_import(found) == (
        "312.0k/s; wc -l 9.0M/s, DuckDB only parsing 1.5M/s, by requests 101.0k/s"
    )
    assert run.told_import({"counted_per_second": 650_000.0, "duckdb_per_second": 4e6}) == (
        "650.0k/s; DuckDB only parsing 4.0M/s"
    )


@pytest.mark.parametrize("kind", imports.KINDS)
def test_files_to_import_hold_what_they_should(kind: imports.Kind, tmp_path: Path) -> None:
    path = tmp_path / f"events.{kind}"
    imports.write_events(path, kind, 2_000)
    found = duckdb.execute(f"""
        SELECT count(*), count(DISTINCT "idempotencyKey"), min("customerId") FROM '{path}'
    """).fetchall()
    assert found == [(2_000, 2_000, "customer-00000")]
