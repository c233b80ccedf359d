"""Hourly resets over long ranges: 43,800 periods in five years, of which few hold an event."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.clock import HOUR, format_instant
from tallystick.verify.counters import _Checker
from tests.archive.building import NOON, at
from tests.verify.counted import Counted

HOURS = 5 * 8_760
COUNTERS = "SELECT count(*) FROM counters WHERE feature = ?"


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    """Two meters with hourly resets, subscribed to for more than five years."""
    built = Counted(tmp_path / "data")
    built.configured.feature("calls", function="COUNT")
    built.configured.feature("users", function="UNIQUE", field="user")
    built.configured.plan("plan", "HOUR", "calls", "users")
    yield built
    built.close()


def subscribe(counted: Counted, customer: str) -> None:
    counted.configured.customer(customer)
    counted.configured.subscription("plan", at("2021-01-01T00:20:00"), customer=customer)


def hours_of(events: int, seed: int) -> list[int]:
    """How many hours ago each happened: the first and the last of five years, and between."""
    chance = random.Random(seed)
    return [0, HOURS - 1, *(chance.randrange(HOURS) for _ in range(events - 2))]


def send(counted: Counted, customer: str, hours: list[int]) -> None:
    for start in range(0, len(hours), 1_000):
        request = enumerate(hours[start : start + 1_000], start)
        counted.accept(*(event(customer, number, hour) for number, hour in request))


def event(customer: str, number: int, hours_ago: int) -> dict[str, object]:
    return {
        "customerId": customer,
        "idempotencyKey": f"{number}",
        "timestamp": format_instant(NOON - hours_ago * HOUR),
        "dimensions": {"user": f"{number % 7}"},
    }


def counters(counted: Counted, feature: str) -> int:
    with counted.state.reading() as transaction:
        row = transaction.one(COUNTERS, feature)
    assert row is not None
    return int(row[0] or 0)


def test_a_batch_over_five_years_of_hourly_resets_counts_in_each_of_its_hours(
    counted: Counted,
) -> None:
    subscribe(counted, "acme")
    hours = hours_of(2_000, seed=1)
    send(counted, "acme", hours)
    assert counted.worker.fold.step()
    assert not counted.worker.fold.step(), "it was one batch"
    assert counters(counted, "calls") == counters(counted, "users") == len(set(hours))
    assert counted.verify().equal, list(counted.verify().lines())


def test_verification_lists_no_more_periods_than_there_are_events(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[int] = []
    load = _Checker._load_stretches

    def watch(checker: _Checker, rows: list[tuple[int, int, int]]) -> None:
        listed.append(len(rows))
        load(checker, rows)

    monkeypatch.setattr(_Checker, "_load_stretches", watch)
    for customer in ("acme", "globex"):
        subscribe(counted, customer)
        send(counted, customer, [0, HOURS - 1])
    counted.count()
    assert counted.verify().equal
    assert sum(listed) == 2 * 2 * 2, "hours of each customer and meter"
