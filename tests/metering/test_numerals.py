"""Numbers in SQL against Python's decimals: thousands of spellings, every operator."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from decimal import Decimal

import duckdb
import pytest

from tallystick.core.numbers import canonical_text, parse_number, round_half_away
from tallystick.metering import numerals
from tallystick.metering.compile import compile_meter
from tests.metering.cases import CALLED, condition, meter
from tests.metering.relations import open_engine

SEED = 20_260_102

OPERATORS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "EQUALS": operator.eq,
    "NOT_EQUALS": operator.ne,
    "GREATER_THAN": operator.gt,
    "GREATER_THAN_OR_EQUAL": operator.ge,
    "LESS_THAN": operator.lt,
    "LESS_THAN_OR_EQUAL": operator.le,
}

EDGES = [
    "0", "-0", "0.0", "0e5", "1", "-1", "1e28", "1e29", "-1e29", "1e30", "9.99e28",
    "99999999999999999999999999999", "99999999999999999999999999999.999999999",
    "99999999999999999999999999999.9999999995", "99999999999999999999999999999.9999999994",
    "-99999999999999999999999999999.9999999995", "1e-9", "5e-10", "4.9999e-10", "-5e-10", "1e-11",
    "123456789012345678901234567890", "1234567890123456789012345678900e-1", "1e99999999999999999",
    "1e-99999999999999999", "1.5e0000000000000000000000000000000000001", "0e99999999999999999",
]  # fmt: skip


def texts(count: int) -> list[str]:
    """Spellings of numbers, many of them near each other or near a limit."""
    chance = random.Random(SEED)

    def digits(most: int) -> str:
        return "".join(chance.choices("0123456789", k=chance.randint(1, most)))

    def one() -> str:
        whole = str(int(digits(chance.choice((1, 3, 20, 45)))))
        if whole != "0" and chance.random() < 0.3:
            whole += "0" * chance.randint(0, 40)
        fraction = "." + digits(chance.choice((1, 9, 12, 40))) if chance.random() < 0.5 else ""
        sign = chance.choice(("", "", "-"))
        exponent = f"{chance.choice('eE')}{chance.randint(-60, 60):+d}"
        return sign + whole + fraction + (exponent if chance.random() < 0.4 else "")

    return EDGES + [one() for _ in range(count)]


def stored(number: Decimal) -> Decimal:
    """A number as comparisons see it: rounded where it fits."""
    return round_half_away(number, 9) if numerals.fits(number) else number


def parsed(text: str) -> Decimal:
    number = parse_number(text)
    assert number is not None, text
    return number


@pytest.fixture
def engine() -> duckdb.DuckDBPyConnection:
    return open_engine()


def fill(engine: duckdb.DuckDBPyConnection, values: list[str]) -> None:
    """Make ``events``, the number of each event being its customer."""
    engine.execute(
        """
        CREATE TABLE events AS
        SELECT 'test' AS environment, CAST(n - 1 AS VARCHAR) AS customer,
               NULL::VARCHAR AS resource, 'call' AS event_name,
               TIMESTAMP '2026-01-01' AS event_time, json_object('x', v) AS dimensions
        FROM (SELECT unnest(?::VARCHAR[]) AS v, unnest(range(1, len(?) + 1)) AS n)
        """,
        [values, values],
    )


def matches(engine: duckdb.DuckDBPyConnection, operation: str, value: str) -> set[int]:
    compiled = compile_meter(meter((CALLED, condition("x", operation, value))))  # type: ignore[arg-type]
    rows = engine.execute(f"SELECT customer FROM ({compiled.sql})", list(compiled.params))
    return {int(row[0]) for row in rows.fetchall()}


@pytest.mark.parametrize("operation", OPERATORS)
def test_comparisons_are_exact(engine: duckdb.DuckDBPyConnection, operation: str) -> None:
    values = texts(600)
    fill(engine, values)
    numbers = [stored(parsed(value)) for value in values]
    for other in [*EDGES, *texts(20)[-20:]]:
        right = stored(parsed(other))
        expected = {
            place for place, left in enumerate(numbers) if OPERATORS[operation](left, right)
        }
        found = matches(engine, operation, other)
        wrong = [(values[place], operation, other) for place in expected ^ found]
        assert wrong == []


def test_sums_take_exact_numbers(engine: duckdb.DuckDBPyConnection) -> None:
    values = texts(3000)
    fill(engine, values)
    compiled = compile_meter(meter((CALLED,), function="SUM", field="x"))
    rows = engine.execute(
        f"SELECT customer, number FROM ({compiled.sql})", list(compiled.params)
    ).fetchall()
    found = {values[int(place)]: number for place, number in rows}
    rounded = {value: round_half_away(parsed(value), 9) for value in values}
    expected = {value: n for value, n in rounded.items() if -(10**18) < n < 10**18}
    assert found == expected
    assert len(expected) > 1000


def test_a_number_equals_its_canonical_text(engine: duckdb.DuckDBPyConnection) -> None:
    values = texts(300)
    fill(engine, values)
    for place, value in enumerate(values):
        assert place in matches(engine, "EQUALS", canonical_text(parsed(value))), value
