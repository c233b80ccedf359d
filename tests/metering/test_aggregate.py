"""Placing matches in periods and adding them up."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

import duckdb
import pytest

from tallystick.metering.aggregate import DISTINCT_SQL, GROUPED_SQL
from tests.metering.relations import open_engine

Match: TypeAlias = tuple[int, int, Decimal | None, str | None]
"""(key, time, number, text)"""

LARGEST = Decimal("999999999999999999.999999999")


@pytest.fixture
def engine() -> duckdb.DuckDBPyConnection:
    engine = open_engine()
    engine.execute(
        "CREATE TABLE matched "
        "(key_no INTEGER, event_time TIMESTAMP, number DECIMAL(38, 9), text VARCHAR)"
    )
    engine.execute(
        "CREATE TABLE periods (key_no INTEGER, period_start TIMESTAMP, period_stop TIMESTAMP)"
    )
    return engine


def match(engine: duckdb.DuckDBPyConnection, rows: Sequence[Match]) -> None:
    engine.executemany("INSERT INTO matched VALUES (?, make_timestamp(?), ?, ?)", rows)


def allow(engine: duckdb.DuckDBPyConnection, rows: list[tuple[int, int, int]]) -> None:
    engine.executemany("INSERT INTO periods VALUES (?, make_timestamp(?), make_timestamp(?))", rows)


def grouped(engine: duckdb.DuckDBPyConnection) -> dict[tuple[int, int], tuple[object, ...]]:
    rows = engine.execute(
        "SELECT key_no, epoch_us(period_start), * EXCLUDE (key_no, period_start) "
        f"FROM ({GROUPED_SQL})"
    ).fetchall()
    assert len({row[:2] for row in rows}) == len(rows)
    return {row[:2]: row[2:] for row in rows}


def test_periods_include_their_start_and_not_their_end(engine: duckdb.DuckDBPyConnection) -> None:
    allow(engine, [(0, 10, 20), (0, 20, 30), (1, 10, 20)])
    one = Decimal(1)
    match(engine, [(0, t, one, None) for t in (9, 10, 19, 20, 29, 30)] + [(1, 25, one, None)])
    assert grouped(engine) == {(0, 10): (2, 2, 1, 1), (0, 20): (2, 2, 1, 1)}


def test_a_gap_between_periods_counts_nowhere(engine: duckdb.DuckDBPyConnection) -> None:
    allow(engine, [(0, 10, 20), (0, 30, 40)])
    match(engine, [(0, t, None, None) for t in (15, 25, 35)])
    assert grouped(engine) == {(0, 10): (1, None, None, None), (0, 30): (1, None, None, None)}


def test_a_batch_of_the_largest_numbers_adds_up(engine: duckdb.DuckDBPyConnection) -> None:
    allow(engine, [(0, 0, 100)])
    engine.execute(
        f"INSERT INTO matched SELECT 0, make_timestamp(1), {LARGEST}, NULL FROM range(50000)"
    )
    assert grouped(engine) == {(0, 0): (50_000, LARGEST * 50_000, LARGEST, LARGEST)}


def test_ten_times_a_tenth_is_one(engine: duckdb.DuckDBPyConnection) -> None:
    allow(engine, [(0, 0, 100)])
    match(engine, [(0, 1, Decimal("0.1"), None)] * 10)
    assert grouped(engine)[0, 0][1] == 1


def test_unique_values_come_once_and_apart(engine: duckdb.DuckDBPyConnection) -> None:
    allow(engine, [(0, 0, 10), (0, 10, 20), (1, 0, 10)])
    match(
        engine,
        [(0, 1, None, "a"), (0, 2, None, "a"), (0, 3, None, "b"), (0, 11, None, "a"),
         (1, 1, None, "a"), (1, 2, None, ""), (1, 30, None, "z"), (1, 3, Decimal(1), None)],
    )  # fmt: skip
    rows = engine.execute(
        f"SELECT key_no, epoch_us(period_start), text FROM ({DISTINCT_SQL})"
    ).fetchall()
    assert sorted(rows) == [(0, 0, "a"), (0, 0, "b"), (0, 10, "a"), (1, 0, ""), (1, 0, "a")]
    assert grouped(engine) == {(1, 0): (1, 1, 1, 1)}


def test_many_periods_give_what_a_loop_gives(engine: duckdb.DuckDBPyConnection) -> None:
    """Keys of few and of many periods are placed by different joins."""
    chance = random.Random(7)
    periods: list[tuple[int, int, int]] = []
    for key in range(12):
        edges = sorted(chance.sample(range(1000), 2 * (1 + key * key)))
        periods += [(key, edges[n], edges[n + 1]) for n in range(0, len(edges), 2)]
    matches: list[Match] = [
        (
            chance.randrange(14),
            chance.randrange(1000),
            Decimal(chance.randrange(-999, 999)) / 8,
            None,
        )
        for _ in range(2000)
    ]
    allow(engine, periods)
    match(engine, matches)
    expected = defaultdict(list)
    for key, time, number, _ in matches:
        assert number is not None
        for period_key, start, stop in periods:
            if period_key == key and start <= time < stop:
                expected[key, start].append(number)
    assert grouped(engine) == {key: (len(n), sum(n), min(n), max(n)) for key, n in expected.items()}
