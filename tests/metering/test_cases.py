"""Every case of the table, through every way a meter is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import duckdb
import pytest

from tallystick.core.meters import check_meter
from tallystick.metering.compile import compile_meter, union_of
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
