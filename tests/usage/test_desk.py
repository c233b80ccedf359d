"""Calls that are counted together: each is told its own, and a bad one harms nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick import limits
from tallystick.clock import Instant
from tallystick.entitlements.rules import Rules
from tallystick.errors import BadInput, NotFound, TooManyRequests
from tallystick.ingest.usage import UsageItem
from tallystick.usage.desk import Measurements, ReportDesk
from tallystick.usage.report import Call, Refusal
from tests.usage.building import (
    DEFAULT,
    NOW,
    WINDOW,
    Scene,
    limit,
    monthly,
    set_to,
    totals,
    usage,
)


class FixedClock:
    """A clock that stands still."""

    def now(self) -> Instant:
        return NOW


class Place:
    """A scene and its desk."""

    def __init__(self, folder: Path) -> None:
        self.scene = Scene(folder)
        self.desk = ReportDesk(Rules, FixedClock(), WINDOW)
        for feature in ("calls", "seats"):
            self.scene.add_feature(feature)
        self.scene.add_plan("basic", monthly("calls"), limit("seats"))
        self.scene.add_customer()
        self.scene.subscribe("basic")

    def together(self, *calls: list[UsageItem]) -> list[Measurements | Refusal]:
        """Count calls in one transaction."""
        with self.scene.store.writing() as transaction:
            return self.desk.count(transaction, [Call(DEFAULT, items) for items in calls])

    def counted(self, *calls: list[UsageItem]) -> list[Measurements]:
        """The same, none of them refused."""
        told = self.together(*calls)
        return [each for each in told if not isinstance(each, Refusal)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_each_call_is_told_the_total_right_after_it(place: Place) -> None:
    told = place.counted([usage(5)], [usage(1), usage(2, "seats")], [set_to(10)], [usage(1)])
    results = [[each.current_usage for each in measurements] for measurements in told]
    assert results == [[5], [6, 2], [10], [11]]


def test_a_refused_call_leaves_nothing_and_harms_nobody(place: Place) -> None:
    good, unknown, large, last = place.together(
        [usage(5)],
        [usage(1, key="k"), usage(1, customer="nobody")],
        [usage(2, key="k"), usage(9007199254740991)],
        [usage(3, key="k")],
    )
    assert not isinstance(good, Refusal)
    assert not isinstance(last, Refusal)
    assert good[0].current_usage == 5
    assert isinstance(unknown, NotFound)
    assert isinstance(large, BadInput)
    assert last[0].current_usage == 8, "the key of refused calls is free"
    assert list(totals(place.scene).values()) == ["8"]
    assert place.scene.rows("SELECT accepted_reports, duplicate_reports FROM totals") == [(2, 0)]


def test_a_key_in_several_calls_of_a_group_counts_once(place: Place) -> None:
    first, again = place.counted([usage(5, key="k")], [usage(5, key="k")])
    assert first[0].id == again[0].id
    assert again[0].current_usage == 5
    assert place.scene.rows("SELECT accepted_reports, duplicate_reports FROM totals") == [(2, 1)]


def test_more_calls_than_one_statement_takes(place: Place) -> None:
    told = place.counted(*([usage(1, key=f"k{n}")] for n in range(150)))
    assert [each[0].current_usage for each in told] == list(range(1, 151))
    again = place.counted(*([usage(1, key=f"k{n}")] for n in range(150)))
    assert {each[0].current_usage for each in again} == {150}


def test_what_finds_no_room_is_refused_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORTS_WAITING_MAX", 3)
    two, too_many, repeated, last, full = place.together(
        [usage(1, key="a"), usage(1, key="b")],
        [usage(1, key="c"), usage(1, key="d")],
        [usage(1, key="a")],
        [usage(1, key="d")],
        [usage(1)],
    )
    assert isinstance(too_many, TooManyRequests)
    assert isinstance(full, TooManyRequests)
    told = [each for each in (two, repeated, last) if not isinstance(each, Refusal)]
    assert [[each.current_usage for each in measurements] for measurements in told] == [
        [1, 2],
        [2],
        [3],
    ]
    assert place.scene.rows("SELECT accepted_reports, duplicate_reports FROM totals") == [(4, 1)]
