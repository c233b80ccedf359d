"""What a compiled meter promises besides its cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.core.meters import Operation
from tallystick.metering.compile import OUTPUT, compile_meter, sums_of, union_of
from tests.metering.cases import CALLED, CASES, Sent, condition, meter
from tests.metering.relations import as_folded, open_engine

VALUES = [f"v{number}" for number in range(1_000)]
HOSTILE = "x'); DROP TABLE events; --"


@pytest.mark.parametrize(
    "operation", ["EQUALS", "NOT_EQUALS", "GREATER_THAN", "CONTAINS", "STARTS_WITH", "ENDS_WITH"]
)
def test_no_text_of_a_user_is_in_the_sql(operation: Operation) -> None:
    hostile = meter(
        (condition("eventName", "EQUALS", HOSTILE), condition(HOSTILE, operation, HOSTILE)),
        function="SUM",
        field=f"dimensions.{HOSTILE}",
    )
    compiled = compile_meter(hostile)
    assert HOSTILE not in compiled.sql
    assert "DROP" not in compiled.sql
    assert compiled.sql.count("?") - compiled.sql.count(")?") >= len(compiled.params)


def test_the_same_meter_is_compiled_once() -> None:
    first = compile_meter(meter((CALLED,), function="SUM", field="tokens"))
    assert compile_meter(meter((CALLED,), function="SUM", field="tokens")) is first


def test_a_reading_is_shared_by_the_meters_of_an_event_name() -> None:
    meters = [meter((CALLED,), function=function, field="tokens") for function in ("SUM", "MAX")]
    for select in (union_of, sums_of):
        sql, params = select([(n, compile_meter(one)) for n, one in enumerate(meters)])
        assert sql.count("json_extract_string") == 1
        assert params.count(["/tokens"]) == 1


def test_meters_of_the_same_filters_are_added_up_in_one_pass() -> None:
    alike = [meter((CALLED,), function=function, field="tokens") for function in ("SUM", "MAX")]
    other = meter((CALLED, condition("tokens", "GREATER_THAN", "5")))
    numbered = [(n, compile_meter(one)) for n, one in enumerate([*alike, other])]
    sql, _ = sums_of(numbered)
    assert sql.count("GROUP BY") == 2


def test_own_records_are_in_no_meter() -> None:
    with open_engine() as engine:
        engine.execute(
            "CREATE TABLE events AS SELECT 'test' AS environment, 'acme' AS customer, "
            "NULL::VARCHAR AS resource, '$usage.reported' AS event_name, "
            "TIMESTAMP '2026-01-01' AS event_time, NULL::VARCHAR AS dimensions"
        )
        for case in CASES:
            compiled = compile_meter(case.meter)
            assert engine.execute(compiled.sql, list(compiled.params)).fetchall() == []


def test_the_columns_and_their_types(tmp_path: Path) -> None:
    with open_engine() as engine:
        as_folded(engine, [Sent()], tmp_path)
        for one in (
            meter((CALLED,)),
            meter((CALLED,), function="SUM", field="x"),
            meter((CALLED,), function="UNIQUE", field="x"),
        ):
            compiled = compile_meter(one)
            described = engine.execute(f"DESCRIBE {compiled.sql}", list(compiled.params)).fetchall()
            assert ", ".join(row[0] for row in described) == OUTPUT
            assert [row[1] for row in described] == [
                "VARCHAR", "VARCHAR", "VARCHAR", "TIMESTAMP", "DECIMAL(38,9)", "VARCHAR"
            ]  # fmt: skip


def test_a_resource_is_its_own_and_none_is_empty(tmp_path: Path) -> None:
    with open_engine() as engine:
        as_folded(engine, [Sent(), Sent(resource="r1")], tmp_path)
        compiled = compile_meter(meter((CALLED,)))
        rows = engine.execute(
            f"SELECT resource FROM ({compiled.sql}) ORDER BY 1", list(compiled.params)
        ).fetchall()
        assert rows == [("",), ("r1",)]


def test_a_meter_may_be_run_over_any_relation(tmp_path: Path) -> None:
    with open_engine() as engine:
        as_folded(engine, [Sent(), Sent(customer="globex")], tmp_path)
        counted = [(7, compile_meter(meter((CALLED,))))]
        sql, params = union_of(counted, "(SELECT * FROM events WHERE customer = 'globex')")
        assert engine.execute(f"SELECT meter_no, customer FROM ({sql})", params).fetchall() == [
            (7, "globex")
        ]


@pytest.mark.parametrize("values", [VALUES, [f"{number}" for number in range(2_000)]])
def test_the_values_of_in_are_one_parameter(values: list[str]) -> None:
    """An expression for each took DuckDB seconds to plan, on every step."""
    few = compile_meter(meter((CALLED, condition("x", "IN", values[:2]))))
    many = compile_meter(meter((CALLED, condition("x", "IN", values))))
    assert many.sql == few.sql
    assert len(many.params) == len(few.params)


def test_many_values_are_compared_as_each_is(tmp_path: Path) -> None:
    """Words, numbers, numbers too large for a decimal, and many names of events."""
    far = [f"{number}e300" for number in range(2, 40)]
    values = [*VALUES, *(f"{number}" for number in range(100, 200)), *far, f"-{far[0]}"]
    sent = [
        Sent('{"x": "v7"}'), Sent('{"x": 107.0}'), Sent('{"x": "3e300"}'), Sent('{"x": -2e300}'),
        Sent('{"x": "v1000000"}'), Sent('{"x": 7}'), Sent('{"x": -3e300}'), Sent('{"x": null}'),
        Sent("{}"), Sent('{"x": 1}', name="n7"), Sent('{"x": 1}', name="n77"),
    ]  # fmt: skip
    names = [f"n{number}" for number in range(20)]
    one = meter(
        (CALLED, condition("x", "IN", values)),
        (condition("eventName", "IN", names),),
        function="UNIQUE", field="x",
    )  # fmt: skip
    with open_engine() as engine:
        as_folded(engine, sent, tmp_path)
        compiled = compile_meter(one)
        found = engine.execute(f"SELECT text FROM ({compiled.sql})", list(compiled.params))
        assert {row[0] for row in found.fetchall()} == {"v7", "107", "3e300", "-2E+300", "1"}
