"""Hourly resets over long ranges: 43,800 periods in five years, of which few hold an event."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.catalog.changes import queue_recount
from tallystick.clock import HOUR, Instant, format_instant
from tallystick.core import periods
from tallystick.core.periods import Period
from tallystick.metering import placing
from tallystick.store import Row
from tallystick.verify.counters import _Checker
from tests.archive.building import DEFAULT, NOON, at
from tests.verify.counted import Counted

HOURS = 5 * 8_760
COUNTERS = "SELECT count(*) FROM counters WHERE feature = ?"
ALL_COUNTERS = """
SELECT feature, period_start, count, sum, minimum, maximum
FROM counters JOIN counter_parts USING (id) ORDER BY 1, 2
"""
METERS = (("calls", "COUNT", None), ("users", "UNIQUE", "user"), ("sizes", "SUM", "user"))


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
    hours = hours_of(limits.STEP_EVENTS_MIN, seed=1)
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


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Period]:
    """Every period that is worked out, whoever asks."""
    found: list[Period] = []
    work_out = periods._period

    def watch(segment: periods.Segment, instant: int) -> Period:
        found.append(work_out(segment, instant))
        return found[-1]

    monkeypatch.setattr(periods, "_period", watch)
    return found


def test_a_batch_makes_no_period_between_two_events_far_apart(
    counted: Counted, made: list[Period]
) -> None:
    subscribe(counted, "acme")
    send(counted, "acme", [0, HOURS - 1])
    assert counted.worker.fold.step()
    assert counters(counted, "calls") == counters(counted, "users") == 2
    assert len(made) < 50


def test_a_recount_makes_no_period_between_two_events_far_apart(
    counted: Counted, made: list[Period]
) -> None:
    send(counted, "acme", [0, HOURS - 1])
    counted.count()
    subscribe(counted, "acme")
    with counted.state.writing() as transaction:
        for feature in ("calls", "users"):
            queue_recount(transaction, DEFAULT, feature, "acme", "subscribed", Instant(0), NOON)
    counted.count()
    assert counters(counted, "calls") == counters(counted, "users") == 2
    assert len(made) < 50


@pytest.mark.parametrize("reset", ["HOUR", "DAY", "MONTH"])
@pytest.mark.parametrize("seed", range(3))
def test_looking_first_counts_what_listing_every_period_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reset: str, seed: int
) -> None:
    """One of the two may list no more than the hours that hold something, the other lists all."""
    looked = counted_in_all(tmp_path / "looked", reset, seed)
    monkeypatch.setattr(placing, "LISTED_MAX", 10**9)
    assert counted_in_all(tmp_path / "listed", reset, seed) == looked
    assert len(looked) > 20


def counted_in_all(folder: Path, reset: str, seed: int) -> list[Row]:
    """Every counter after events of two months in two batches, with a gap between two plans."""
    built = Counted(folder)
    for feature, function, field in METERS:
        built.configured.feature(feature, function=function, field=field)
    features = [feature for feature, _, _ in METERS]
    built.configured.plan("first", reset, *features)
    built.configured.plan("second", "HOUR", *features)
    built.configured.customer("acme")
    gone, back = at("2025-12-10T00:30:00"), at("2025-12-20T00:10:00")
    built.configured.subscription("first", at("2025-11-20T00:20:00"), gone)
    built.configured.subscription("second", back)
    chance = random.Random(seed)
    for batch in range(2):
        hours = [chance.randrange(60 * 24) for _ in range(40)]
        built.accept(*(event("acme", 100 * batch + n, hour) for n, hour in enumerate(hours)))
        assert built.worker.fold.step()
    with built.state.reading() as transaction:
        rows = transaction.all(ALL_COUNTERS)
    built.close()
    return rows
