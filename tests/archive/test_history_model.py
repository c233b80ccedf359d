"""History against a model that shares no code with it: a plain loop over all events."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.archive.series import Point
from tallystick.clock import DAY, HOUR, Instant
from tests.archive.building import Archive, Event, at
from tests.archive.test_history import Reader

START = at("2026-01-10T06:30:00")
RANGE_START = at("2026-01-12T03:15:00")

times = st.integers(START - DAY, START + 6 * DAY)
moments = st.lists(
    st.tuples(times, st.sampled_from(["eu", "us", None]), st.integers(0, 3)), max_size=12
)
ranges = st.tuples(
    st.integers(RANGE_START - 3 * DAY, RANGE_START), st.integers(RANGE_START + 1, START + 5 * DAY)
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each example has a data folder."""
    return tmp_path_factory.mktemp("model")


def model(
    events: list[tuple[int, str | None, int]], function: str, start: int, end: int
) -> list[tuple[int, Decimal, bool]]:
    """Points of a feature that resets every day from ``START`` on."""
    points = []
    day = START
    while day < end:
        if day >= start and day > START:
            points.append((int(day), Decimal(0), True))
        day = Instant(day + DAY)
    at_ = start
    while at_ < end:
        until = min(at_ - at_ % HOUR + HOUR, end)
        period = START + (until - 1 - START) // DAY * DAY
        inside = [v for t, _, v in events if max(period, START) <= t < until]
        value = len(set(inside)) if function == "UNIQUE" else sum(inside)
        points.append((at_, Decimal(value), False))
        at_ = until
    last = points[-1]
    points.sort(key=lambda point: (point[0], not point[2]))
    if points[-1][2]:
        points.append((points[-1][0], last[1], False))
    return points


def plain(points: Sequence[Point]) -> list[tuple[int, Decimal, bool]]:
    """Points in the model's form."""
    return [(int(p.timestamp), p.value, p.is_reset_point) for p in points]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(moments, ranges, st.sampled_from(["SUM", "UNIQUE"]))
def test_every_point_is_what_a_plain_loop_finds(
    folders: Path,
    events: list[tuple[int, str | None, int]],
    bounds: tuple[int, int],
    function: str,
) -> None:
    start, end = bounds
    archive = Archive(folders / f"{len(list(folders.iterdir()))}")
    reader = Reader(archive)
    reader.subscribed("DAY", START, function=function, field="n")
    for time, region, number in events:
        archive.add(Event(time, dimensions={"region": region, "n": number}))
    whole = reader.read(start, end).series
    groups = {series.tags: series.points for series in reader.read(start, end, "region").series}
    assert plain(whole[0].points) == model(events, function, start, end)
    for region in ("eu", "us", None):
        mine = [event for event in events if event[1] == region]
        tags = () if region is None else (("region", region),)
        expected = model(mine, function, start, end)
        if tags in groups:
            assert plain(groups[tags]) == expected
        else:
            assert not any(value for _, value, _ in expected)
    reader.engine.close()
    archive.close()
