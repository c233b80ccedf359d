"""Every case of the table, through every way a meter is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import duckdb
import pytest

from tallystick.core.meters import check_meter
from tallystick.metering.compile import SUMS, compile_meter, sums_of, union_of
from tests.metering.cases import CASES
from tests.metering.relations import START, as_archived, as_folded, open_engine

Results: TypeAlias = Mapping[int, tuple[Decimal | None, str | None]]
"""What came out of each case's own event, by the number of the case."""


def one_by_one(engine: duckdb.DuckDBPyConnection) -> Results:
    """Each meter as a select of its own, as history runs it."""
    results = {}
    for number, case in enumerate(CASES):
        compiled = compile_meter(case.meter)
        mine = f"epoch_us(event_time) = {START + number}"
        sql = f"SELECT number, text FROM ({compiled.sql}) WHERE {mine}"
        for row in engine.execute(sql, list(compiled.params)).fetchall():
            assert number not in results, "an event counts once"
            results[number] = row
    return results


def together(engine: duckdb.DuckDBPyConnection) -> Results:
    """All meters in one statement, as the fold runs them."""
    sql, params = union_of([(n, compile_meter(case.meter)) for n, case in enumerate(CASES)])
    mine = f"epoch_us(event_time) = {START} + meter_no"
    rows = engine.execute(
        f"SELECT meter_no, number, text FROM ({sql}) WHERE {mine}", params
    ).fetchall()
    assert len({row[0] for row in rows}) == len(rows), "an event counts once"
    return {number: (quantity, text) for number, quantity, text in rows}


@pytest.mark.parametrize("run", [one_by_one, together])
@pytest.mark.parametrize("load", [as_folded, as_archived])
def test_every_case(
    load: Callable[..., None],
    run: Callable[[duckdb.DuckDBPyConnection], Results],
    tmp_path: Path,
) -> None:
    with open_engine() as engine:
        load(engine, [case.sent for case in CASES], tmp_path)
        results = run(engine)
    wrong = [
        f"{case}: expected {case.result}, got {results.get(number)}"
        for number, case in enumerate(CASES)
        if results.get(number) != case.result
    ]
    assert wrong == []


@pytest.mark.parametrize("load", [as_folded, as_archived])
@pytest.mark.parametrize("times", [1, 2])
def test_sums_are_those_of_the_matches(
    load: Callable[..., None], times: int, tmp_path: Path
) -> None:
    """Whether a meter shares its filters with another or with none."""
    meters = [case.meter for case in CASES] * times
    numbered = [(number, compile_meter(one)) for number, one in enumerate(meters)]
    with open_engine() as engine:
        load(engine, [case.sent for case in CASES], tmp_path)
        matches, params = union_of(numbered)
        expected = engine.execute(
            "SELECT meter_no, customer, resource, min(epoch_us(event_time)), "
            "max(epoch_us(event_time)), count(*), sum(number), min(number), max(number) "
            f"FROM ({matches}) GROUP BY meter_no, customer, resource ORDER BY 1, 2, 3",
            params,
        ).fetchall()
        sums, params = sums_of(numbered)
        columns = ", ".join(("meter_no", "customer", "resource", *SUMS))
        found = engine.execute(f"SELECT {columns} FROM ({sums}) ORDER BY 1, 2, 3", params)
        assert found.fetchall() == expected
    assert len(expected) > len(CASES) * times / 2


def test_the_table_is_long() -> None:
    assert len(CASES) >= 150
    assert len(set(map(str, CASES))) == len(CASES), "no case is there twice"


def test_every_meter_of_the_table_is_valid() -> None:
    for case in CASES:
        check_meter(case.meter)


def test_event_names_of_a_meter_are_those_it_can_match() -> None:
    for case in CASES:
        names = compile_meter(case.meter).event_names
        if case.result is not None:
            assert names is None or case.sent.name in names, str(case)
