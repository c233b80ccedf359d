"""A history over years of hourly resets: every reset shows, within the bound of points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.archive.history import History, UsageHistory
from tallystick.archive.query import QueryEngine
from tallystick.clock import HOUR, format_instant
from tallystick.entitlements.rules import Rules
from tallystick.errors import BadInput
from tests.archive.building import DEFAULT, NOON, at
from tests.verify.counted import Counted


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    """acme, on a plan with hourly resets since 1990, and an event every 43 hours of five years."""
    built = Counted(tmp_path / "data")
    built.configured.feature("calls", function="COUNT")
    built.configured.plan("plan", "HOUR", "calls")
    built.configured.customer()
    built.configured.subscription("plan", at("1990-01-01"))
    built.accept(*(event(number) for number in range(1_000)))
    built.count()
    yield built
    built.close()


def event(number: int) -> dict[str, object]:
    at_ = format_instant(NOON - number * 43 * HOUR)
    return {"idempotencyKey": f"{number}", "timestamp": at_}


def history(counted: Counted, since: str) -> History:
    """What ``acme`` used since a day."""
    engine = QueryEngine(counted.folder, memory_mib=128, seconds=limits.QUERY_SECONDS_MAX)
    rules = Rules()
    try:
        with counted.state.reading() as transaction:
            rules.refresh(transaction)
            return UsageHistory(engine, counted.folder).read(
                transaction, rules, DEFAULT, "acme", "", "calls", at(since), None, (), NOON
            )
    finally:
        engine.close()


def test_five_years_of_hourly_resets_are_shown(counted: Counted) -> None:
    found = history(counted, "2021-01-15")
    hours = (NOON - at("2021-01-15")) // HOUR
    assert len(found.markers) == hours + 1
    (series,) = found.series
    resets = [point for point in series.points if point.is_reset_point]
    assert [point.timestamp for point in resets] == [marker.timestamp for marker in found.markers]
    assert hours // 24 <= len(series.points) - len(resets) <= hours // 24 + 2, "one for each day"


def test_more_resets_than_points_are_given_are_refused_before_they_are_listed(
    counted: Counted,
) -> None:
    with pytest.raises(BadInput, match=str(limits.HISTORY_POINTS_MAX)):
        history(counted, "1990-01-15")
