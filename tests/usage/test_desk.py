"""Calls that are counted together: each is told its own, and a bad one harms nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick.clock import Instant
from tallystick.entitlements.rules import Rules
from tallystick.errors import BadInput, NotFound, Unavailable
from tallystick.ingest.usage import UsageItem
from tallystick.store import Transaction
from tallystick.store.writer import GroupWriter
from tallystick.usage.desk import ReportDesk
from tallystick.usage.report import Call, Measurement
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

SECONDS = 20


class FixedClock:
    """A clock that stands still."""

    def now(self) -> Instant:
        return NOW


class Place:
    """A scene, its writer and its desk."""

    def __init__(self, folder: Path) -> None:
        self.scene = Scene(folder)
        self.writer = GroupWriter(self.scene.store, "state-writer")
        self.desk = ReportDesk(self.writer, lambda: Rules(self.scene.store), FixedClock(), WINDOW)
        for feature in ("calls", "seats"):
            self.scene.add_feature(feature)
        self.scene.add_plan("basic", monthly("calls"), limit("seats"))
        self.scene.add_customer()
        self.scene.subscribe("basic")

    def together(self, *calls: list[UsageItem]) -> list[Future[list[Measurement]]]:
        """Hand in calls while the writer is busy, so that they share a group."""
        with self.busy():
            return [self.desk.report(Call(DEFAULT, items)) for items in calls]

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The writer is in the middle of a commit until the block ends."""
        begun, end = threading.Event(), threading.Event()

        def job(_: Transaction) -> None:
            begun.set()
            assert end.wait(SECONDS)

        self.writer.submit(job)
        assert begun.wait(SECONDS)
        try:
            yield
        finally:
            end.set()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    it = Place(tmp_path)
    yield it
    it.writer.close()


def test_each_call_is_told_the_total_right_after_it(place: Place) -> None:
    told = place.together([usage(5)], [usage(1), usage(2, "seats")], [set_to(10)], [usage(1)])
    results = [[each.current_usage for each in future.result(SECONDS)] for future in told]
    assert results == [[5], [6, 2], [10], [11]]


def test_a_refused_call_leaves_nothing_and_harms_nobody(place: Place) -> None:
    good, unknown, large, last = place.together(
        [usage(5)],
        [usage(1, key="k"), usage(1, customer="nobody")],
        [usage(2, key="k"), usage(9007199254740991)],
        [usage(3, key="k")],
    )
    assert good.result(SECONDS)[0].current_usage == 5
    with pytest.raises(NotFound):
        unknown.result(SECONDS)
    with pytest.raises(BadInput):
        large.result(SECONDS)
    assert last.result(SECONDS)[0].current_usage == 8, "the key of refused calls is free"
    assert list(totals(place.scene).values()) == ["8"]
    assert place.scene.rows("SELECT accepted_reports, duplicate_reports FROM totals") == [(2, 0)]


def test_a_key_in_several_calls_of_a_group_counts_once(place: Place) -> None:
    first, again = place.together([usage(5, key="k")], [usage(5, key="k")])
    assert first.result(SECONDS)[0].id == again.result(SECONDS)[0].id
    assert again.result(SECONDS)[0].current_usage == 5
    assert place.scene.rows("SELECT accepted_reports, duplicate_reports FROM totals") == [(2, 1)]


def test_more_calls_than_one_statement_takes(place: Place) -> None:
    told = place.together(*([usage(1, key=f"k{n}")] for n in range(150)))
    results = [future.result(SECONDS)[0].current_usage for future in told]
    assert results == list(range(1, 151))
    again = place.together(*([usage(1, key=f"k{n}")] for n in range(150)))
    assert {future.result(SECONDS)[0].current_usage for future in again} == {150}


def test_a_closed_desk_refuses(place: Place) -> None:
    place.writer.close()
    with pytest.raises(Unavailable):
        place.desk.report(Call(DEFAULT, [usage(1)]))
