"""Reported usage after a change of rules: what the record says under the new rules."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tallystick.archive.query import QueryEngine
from tallystick.clock import DAY, HOUR, Instant
from tallystick.core import periods
from tallystick.core.parts import Part
from tallystick.core.periods import LIFETIME, Period, period_at
from tallystick.entitlements.rules import Rules
from tallystick.folder import DataFolder
from tallystick.store import Transaction
from tallystick.usage.counters import CounterKey, insert_counter
from tallystick.usage.recalculate import placed_reports, recalculate_moved
from tests.usage.building import (
    DEFAULT,
    NOW,
    START,
    Scene,
    at,
    end,
    limit,
    monthly,
    set_to,
    subscribe,
    totals,
    usage,
)


@dataclass
class Desk:
    """A scene, and what a change of rules needs besides."""

    scene: Scene
    folder: Path
    queries: Any

    def change(self, *changes: Any, customer: str = "acme") -> None:
        """Change rules and recalculate, in one transaction, as the catalog does."""
        with self.scene.store.writing() as transaction:
            self.scene.rules.refresh(transaction)
            before = placed_reports(transaction, self.scene.rules, DEFAULT, [customer])
            for change in changes:
                change(transaction)
            rules = Rules()
            recalculate_moved(self.queries, self.folder, transaction, DEFAULT, before, rules)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = DataFolder(tmp_path)
    folder.prepare()
    scene = Scene(tmp_path)
    scene.add_feature("calls")
    scene.add_plan("monthly", monthly("calls"))
    scene.add_plan("lifetime", limit("calls"))
    scene.add_plan("weekly", limit("calls", resetPeriod="WEEK"))
    scene.add_plan("nothing")
    scene.add_customer()
    engine = QueryEngine(tmp_path)
    yield Desk(scene, tmp_path, engine)
    engine.close()


def starting(plan: str, when: Instant, restarts: bool = False, chain: Instant | None = None) -> Any:
    def change(transaction: Transaction) -> None:
        subscribe(transaction, plan, "acme", "", when, chain or when, restarts)

    return change


def ending(plan: str, when: Instant) -> Any:
    def change(transaction: Transaction) -> None:
        end(transaction, plan, when, "acme")

    return change


def test_a_first_subscription_without_resets_counts_all_of_life(desk: Desk) -> None:
    desk.scene.report(usage(4), usage(3, created_at=at("2020-01-01")))
    desk.change(starting("lifetime", NOW))
    assert totals(desk.scene) == {("", "calls", LIFETIME): "7"}


def test_a_back_dated_subscription_takes_what_is_in_its_periods(desk: Desk) -> None:
    desk.scene.report(
        usage(1, created_at=at("2025-12-01")),
        usage(2, created_at=at("2026-01-12")),
        usage(4, created_at=NOW),
    )
    desk.change(starting("monthly", START))
    assert totals(desk.scene) == {
        ("", "calls", LIFETIME): "1",
        ("", "calls", START): "6",
    }
    assert desk.scene.report(usage(1))[0].current_usage == 7


def test_a_plan_change_that_resets_begins_at_nothing(desk: Desk) -> None:
    desk.scene.subscribe("monthly")
    desk.scene.report(usage(5))
    desk.scene.now = Instant(NOW + HOUR)
    desk.change(ending("monthly", desk.scene.now), starting("monthly", desk.scene.now, True, START))
    assert desk.scene.report(usage(1))[0].current_usage == 1


def test_a_plan_change_to_another_period_places_the_period_that_holds_it(desk: Desk) -> None:
    """The new rule holds from the start of its own period that contains the change."""
    desk.scene.subscribe("monthly")
    days = [at("2026-01-11"), at("2026-01-17T09:00:00"), at("2026-01-18")]
    desk.scene.report(*(usage(10**n, created_at=day) for n, day in enumerate(days)))
    desk.change(ending("monthly", NOW), starting("weekly", NOW, chain=START))
    week = at("2026-01-17T10:00:00")
    assert totals(desk.scene) == {
        ("", "calls", START): "11",
        ("", "calls", week): "100",
    }


def test_what_no_rule_covers_counts_together(desk: Desk) -> None:
    desk.scene.subscribe("monthly")
    desk.scene.report(usage(5))
    desk.change(ending("monthly", Instant(NOW + 1)))
    desk.scene.now = Instant(NOW + DAY)
    desk.scene.report(usage(2))
    (measured,) = desk.scene.report(set_to(3))
    assert (measured.value, measured.current_usage) == (1, 3)


def test_other_customers_and_event_fed_counters_stay(desk: Desk) -> None:
    desk.scene.add_customer("other")
    desk.scene.add_feature("events", meter={"filters": [], "aggregation": {"function": "COUNT"}})
    desk.scene.report(usage(1), usage(2, customer="other"))
    with desk.scene.store.writing() as transaction:
        counter = CounterKey(DEFAULT, "acme", "", "events", 0, LIFETIME)
        insert_counter(transaction, counter, Part(1, Decimal(1)))
    desk.change(starting("monthly", START))
    counters = "SELECT customer, feature, sum FROM counters JOIN counter_parts USING (id)"
    assert desk.scene.rows(f"{counters} ORDER BY 1, 2") == [
        ("acme", "calls", "1"),
        ("acme", "events", "1"),
        ("other", "calls", "2"),
    ]


def test_a_change_that_moves_nothing_reads_no_record(desk: Desk) -> None:
    desk.scene.subscribe("monthly")
    desk.scene.report(usage(5))
    desk.queries = None
    desk.change(ending("monthly", NOW), starting("monthly", NOW, chain=START))
    assert totals(desk.scene) == {("", "calls", START): "5"}


def test_customers_who_never_reported_cost_nothing(desk: Desk) -> None:
    desk.queries = None
    desk.change(starting("monthly", START))


def test_two_reports_decades_apart_make_no_period_between_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write lock is held meanwhile, and an hourly reset has 490,000 periods since 1970."""
    desk.scene.add_plan("hourly", limit("calls", resetPeriod="HOUR"))
    long_ago = at("1970-01-01T00:30:00")
    desk.scene.report(usage(1, created_at=long_ago), usage(2, created_at=NOW))
    made: list[Period] = []
    work_out = periods._period

    def watch(segment: periods.Segment, instant: int) -> Period:
        made.append(work_out(segment, instant))
        return made[-1]

    monkeypatch.setattr(periods, "_period", watch)
    desk.change(starting("hourly", at("1970-01-01")))
    assert totals(desk.scene) == {
        ("", "calls", at("1970-01-01")): "1",
        ("", "calls", NOW): "2",
    }
    assert len(made) < 20


@pytest.mark.parametrize("seed", range(12))
def test_recalculated_equals_reported_under_the_new_rules(desk: Desk, seed: int) -> None:
    """The oracle places each report by itself, with the final rules."""
    rng = random.Random(seed)
    desk.scene.add_plan("hourly", limit("calls", resetPeriod="HOUR"))
    plans = ["monthly", "weekly", "hourly", "lifetime", "nothing"]
    reported: list[tuple[int, int]] = []
    held: str | None = None
    for _ in range(8):
        desk.scene.now = Instant(desk.scene.now + rng.randrange(40) * DAY)
        if rng.random() < 0.5:
            plan, changes = rng.choice(plans), []
            if held is not None:
                changes.append(ending(held, desk.scene.now))
            restarts = held is not None and rng.random() < 0.5
            chain = START if held is not None and not restarts else desk.scene.now
            changes.append(starting(plan, desk.scene.now, restarts, chain))
            desk.change(*changes)
            held = plan
        for _ in range(5):
            when = Instant(desk.scene.now - rng.randrange(60 * DAY))
            value = rng.randrange(-5, 20)
            desk.scene.report(usage(value, created_at=when))
            reported.append((when, value))
    assert _placed(desk.scene, reported) == {
        key[2]: Decimal(total) for key, total in totals(desk.scene).items()
    }


def _placed(scene: Scene, reported: list[tuple[int, int]]) -> dict[int, Decimal]:
    with scene.store.reading() as transaction:
        segments = Rules().segments(transaction, DEFAULT, "acme", "", "calls")
    found: dict[int, Decimal] = {}
    for when, value in reported:
        period = period_at(segments, when)
        start = LIFETIME if period is None else period.counted_from
        found[start] = found.get(start, Decimal(0)) + value
    return found
