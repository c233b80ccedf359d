"""History: every point is the period's running total at its bucket's end."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tallystick import limits
from tallystick.archive.history import History, UsageHistory
from tallystick.archive.query import QueryEngine
from tallystick.archive.series import Marker, Point
from tallystick.clock import DAY, HOUR, Instant, format_instant
from tallystick.entitlements.rules import Rules
from tallystick.errors import BadInput, NotFound, Unavailable
from tests.archive.building import DEFAULT, Archive, Event, at, report
from tests.archive.configuring import Configuration

T0 = at("2026-01-15T12:00:00")


class Reader:
    """Reads histories of ``calls`` of ``acme`` unless told otherwise."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.configured = Configuration(archive.state)
        self.engine = QueryEngine(archive.folder)

    def read(
        self,
        start: int,
        end: int | None = None,
        *group_by: str,
        now: int = T0,
        customer: str = "acme",
        resource: str = "",
        feature: str = "calls",
    ) -> History:
        history = UsageHistory(self.engine, self.archive.folder)
        with self.archive.state.reading() as transaction:
            rules = Rules()
            rules.refresh(transaction)
            return history.read(
                transaction, rules, DEFAULT, customer, resource, feature, Instant(start),
                None if end is None else Instant(end), group_by, Instant(now),
            )  # fmt: skip

    def values(self, start: int, end: int | None = None, **more: Any) -> list[str]:
        """The values of the only series; a reset as ``!``."""
        (series,) = self.read(start, end, **more).series
        return [shown(point) for point in series.points]

    def subscribed(self, reset: str | None, start: Instant, **feature: Any) -> None:
        """acme, subscribed to a plan with the feature ``calls``."""
        self.configured.feature(**feature)
        self.configured.customer()
        self.configured.plan("plan", reset, "calls")
        self.configured.subscription("plan", start)


def shown(point: Point) -> str:
    assert not point.is_reset_point or point.value == 0
    return "!" if point.is_reset_point else f"{point.value:f}".rstrip("0").rstrip(".") or "0"


@pytest.fixture
def reader(archive: Archive) -> Iterator[Reader]:
    built = Reader(archive)
    yield built
    built.engine.close()


def test_points_are_running_totals_at_hourly_bucket_ends(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    reader.archive.add(Event(T0), Event(T0 + HOUR - 1), Event(T0 + 2 * HOUR))
    history = reader.read(T0, T0 + 4 * HOUR)
    assert history.markers == []
    (series,) = history.series
    assert series.tags == ()
    assert [point.timestamp for point in series.points] == [T0 + n * HOUR for n in range(4)]
    assert [shown(point) for point in series.points] == ["2", "2", "3", "3"]


def test_the_first_bucket_begins_at_the_start_and_ends_with_the_hour(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    reader.archive.add(Event(T0 + HOUR - 1), Event(T0 + HOUR))
    (series,) = reader.read(T0 + HOUR // 2, T0 + HOUR + 1).series
    stamps = [(format_instant(point.timestamp), shown(point)) for point in series.points]
    assert stamps == [("2026-01-15T12:30:00.000Z", "1"), ("2026-01-15T13:00:00.000Z", "2")]


def test_what_was_used_before_the_range_is_in_its_running_total(reader: Reader) -> None:
    reader.subscribed("MONTH", at("2026-01-01"), function="COUNT")
    reader.archive.add(Event(at("2026-01-02")), Event(at("2025-12-31")), Event(T0))
    assert reader.values(T0, T0 + HOUR) == ["2"]


def test_hourly_up_to_seven_days_else_daily(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    assert len(reader.values(T0, T0 + 7 * DAY)) == 7 * 24
    assert len(reader.values(T0, T0 + 7 * DAY + 1)) == 8
    assert len(reader.values(T0 - 7 * DAY, now=T0)) == 7 * 24 + 1


def test_without_an_end_the_last_point_is_current_usage_less_what_is_later(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    reader.archive.add(Event(T0), Event(T0 + 1))
    assert reader.values(T0 - HOUR, now=T0) == ["0", "1"]


def test_a_periodic_reset_is_a_marker_and_a_point_of_zero(reader: Reader) -> None:
    reader.subscribed("DAY", at("2026-01-10T06:00:00"), function="COUNT")
    reset = at("2026-01-12T06:00:00")
    reader.archive.add(Event(Instant(reset - 1)), Event(reset), Event(Instant(reset + HOUR)))
    history = reader.read(reset - HOUR, reset + 2 * HOUR)
    assert history.markers == [Marker(reset, "PERIODIC_RESET")]
    assert [(point.timestamp - reset, shown(point)) for point in history.series[0].points] == [
        (-HOUR, "1"), (0, "!"), (0, "1"), (HOUR, "2"),
    ]  # fmt: skip


def test_a_reset_inside_a_bucket(reader: Reader) -> None:
    start = at("2026-01-10T06:30:00")
    reader.subscribed("DAY", start, function="COUNT")
    reset = start + DAY
    reader.archive.add(Event(reset - 1), Event(reset), Event(reset + 1))
    history = reader.read(reset - HOUR // 2, reset + 2 * HOUR)
    assert [(point.timestamp - reset, shown(point)) for point in history.series[0].points] == [
        (-HOUR // 2, "2"), (0, "!"), (HOUR // 2, "2"), (HOUR // 2 * 3, "2"),
    ]  # fmt: skip


def test_a_reset_inside_the_last_bucket_is_followed_by_what_is_used_since(reader: Reader) -> None:
    """The bucket's own point, the reset, and the last point: what a check shows now."""
    reader.subscribed("DAY", at("2026-01-01T06:00:00"), function="COUNT")
    reset = at("2026-01-15T06:00:00")
    times = (reset - DAY, reset - 1, reset, reset + 1, T0)
    reader.archive.add(*(Event(Instant(time)) for time in times))
    history = reader.read(reset - 10 * DAY, now=T0)
    last = [(point.timestamp - reset, shown(point)) for point in history.series[0].points[-5:]]
    today = -6 * HOUR
    assert last == [(today - DAY, "1"), (-DAY, "!"), (today, "3"), (0, "!"), (0, "3")]
    assert history.markers[-1] == Marker(reset, "PERIODIC_RESET")


def test_a_series_ends_with_what_is_used_whenever_the_reset_was(reader: Reader) -> None:
    reader.subscribed("HOUR", at("2026-01-01T00:20:00"), function="COUNT")
    reader.archive.add(Event(T0), Event(T0 + HOUR // 2), Event(T0 + HOUR // 2 + 1))
    for minute, used in ((19, "1"), (20, "0"), (21, "0"), (30, "1"), (59, "2")):
        for days in (1, 8):
            now = T0 + minute * HOUR // 60
            (series,) = reader.read(now - days * DAY, now=now).series
            assert not series.points[-1].is_reset_point
            assert shown(series.points[-1]) == used
            stamps = [point.timestamp for point in series.points]
            assert stamps == sorted(stamps)


def test_resets_of_a_back_dated_subscription_show_in_every_series(reader: Reader) -> None:
    reader.subscribed("MONTH", at("2025-10-31"), function="COUNT")
    for month in ("2025-10-31", "2025-11-15", "2025-12-01", "2026-01-14"):
        reader.archive.add(Event(at(month), dimensions={"region": month[:4]}))
    history = reader.read(at("2025-10-01"), None, "region")
    days = [format_instant(marker.timestamp)[:10] for marker in history.markers]
    assert days == ["2025-11-30", "2025-12-31"]
    for series in history.series:
        resets = [point.timestamp for point in series.points if point.is_reset_point]
        assert resets == [marker.timestamp for marker in history.markers]


def test_a_plan_change_that_resets_usage(reader: Reader) -> None:
    start, change = at("2026-01-01"), at("2026-01-10T10:00:00")
    reader.configured.feature(function="COUNT")
    reader.configured.customer()
    reader.configured.plan("a", "MONTH", "calls")
    reader.configured.subscription("a", start, change)
    reader.configured.subscription("a", change, chain_start=start, restarts=True)
    reader.archive.add(Event(Instant(change - 1)), Event(change))
    history = reader.read(change - HOUR, change + HOUR)
    assert history.markers == [Marker(change, "SUBSCRIPTION_CHANGE_RESET")]
    assert [shown(point) for point in history.series[0].points] == ["1", "!", "1"]


def test_usage_up_to_a_cancellation_shows_in_its_bucket(reader: Reader) -> None:
    start = at("2026-01-01")
    reader.configured.feature(function="COUNT")
    reader.configured.customer()
    reader.configured.plan("a", "MONTH", "calls")
    reader.configured.subscription("a", start, Instant(T0 + 10))
    reader.archive.add(Event(T0), Event(T0 + 20))
    assert reader.values(T0, T0 + 2 * HOUR) == ["1", "0"]


def test_what_no_rule_ever_covered_is_zero_of_events_and_counts_of_reports(reader: Reader) -> None:
    reader.configured.customer()
    reader.configured.feature(function="COUNT")
    reader.configured.feature("seats")
    reader.archive.add(Event(T0))
    reader.archive.add(report("seats", "3", time=T0))
    reader.archive.add_waiting(report("seats", "4", time=T0 + HOUR))
    assert reader.values(T0, T0 + 2 * HOUR) == ["0", "0"]
    assert reader.values(T0, T0 + 2 * HOUR, feature="seats") == ["3", "7"]


def test_reports_of_the_time_between_two_subscriptions_are_one_total(reader: Reader) -> None:
    reader.configured.customer()
    reader.configured.feature("calls")
    reader.configured.plan("a", "MONTH", "calls")
    reader.configured.subscription("a", Instant(T0 + HOUR), Instant(T0 + 2 * HOUR))
    reader.archive.add(*(report("calls", "1", time=T0 + n * HOUR) for n in range(4)))
    assert reader.values(T0, T0 + 5 * HOUR) == ["1", "1", "2", "3", "3"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("SUM", ["5", "7.5", "7.5"]),
        ("MIN", ["5", "2.5", "2.5"]),
        ("MAX", ["5", "5", "5"]),
        ("AVG", ["5", "3.75", "3.75"]),
        ("UNIQUE", ["1", "2", "2"]),
        ("COUNT", ["2", "3", "4"]),
    ],
)
def test_every_aggregation_runs_on(reader: Reader, function: str, expected: list[str]) -> None:
    field = None if function == "COUNT" else "size"
    reader.subscribed(None, T0, function=function, field=field)
    reader.archive.add(Event(T0, dimensions={"size": 5}), Event(T0 + 1))
    reader.archive.add(Event(T0 + HOUR, dimensions={"size": 2.5}))
    if function == "UNIQUE":
        reader.archive.add(Event(T0 + 2 * HOUR, dimensions={"size": "5"}))
    elif function == "COUNT":
        reader.archive.add(Event(T0 + 2 * HOUR))
    assert reader.values(T0, T0 + 3 * HOUR) == expected


def test_a_unique_value_counts_anew_after_a_reset(reader: Reader) -> None:
    reader.subscribed("HOUR", T0, function="UNIQUE", field="user")
    for offset in (0, 1, HOUR, HOUR + 1):
        reader.archive.add(Event(T0 + offset, dimensions={"user": "ann"}))
    assert reader.values(T0, T0 + 2 * HOUR) == ["1", "!", "1"]


def test_groups_run_by_tag_combination_and_missing_ones_omit_their_tag(reader: Reader) -> None:
    reader.subscribed(None, T0, function="SUM", field="size")
    sent: list[dict[str, object]] = [
        {"size": 1, "region": "eu", "paid": True},
        {"size": 2, "region": "eu", "paid": True},
        {"size": 4, "region": "eu"},
        {"size": 8, "region": None},
        {"size": 16, "a/b~c": 7},
    ]
    for dimensions in sent:
        reader.archive.add(Event(T0, dimensions=dimensions))
    found = reader.read(T0, T0 + HOUR, "region", "paid", "a/b~c")
    assert {series.tags: shown(series.points[0]) for series in found.series} == {
        (): "8",
        (("region", "eu"),): "4",
        (("region", "eu"), ("paid", "true")): "3",
        (("a/b~c", "7"),): "16",
    }


def test_groups_of_nothing_are_no_series(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    assert reader.read(T0, T0 + HOUR, "region").series == []


def test_reports_are_split_by_their_dimensions(reader: Reader) -> None:
    reader.subscribed("MONTH", at("2026-01-01"))
    reader.archive.add(report("calls", "1", time=T0, dimensions={"region": "eu"}))
    reader.archive.add_waiting(report("calls", "2", time=T0, dimensions={"region": "eu"}))
    reader.archive.add_waiting(report("calls", "-4.5", time=T0))
    found = reader.read(T0, T0 + HOUR, "region")
    assert {series.tags: series.points[0].value for series in found.series} == {
        (("region", "eu"),): Decimal(3),
        (): Decimal("-4.5"),
    }


def test_a_resource_is_its_own(reader: Reader) -> None:
    reader.configured.feature(function="COUNT")
    reader.configured.customer()
    reader.configured.plan("a", None, "calls")
    reader.configured.subscription("a", T0, resource="site")
    reader.configured.subscription("a", T0)
    reader.archive.add(Event(T0, resource="site"), Event(T0), Event(T0, customer="other"))
    reader.archive.add(Event(T0, resource="site"), Event(T0, environment="other"))
    assert reader.values(T0, T0 + HOUR) == ["1"]
    assert reader.values(T0, T0 + HOUR, resource="site") == ["2"]


def test_points_are_shown_in_units(reader: Reader) -> None:
    reader.subscribed(None, T0, unitTransformation={"divide": 1000, "round": "UP"})
    reader.archive.add(report("calls", "1500", time=T0))
    assert reader.values(T0, T0 + HOUR) == ["2"]


def test_unknown_names_are_told(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    with pytest.raises(NotFound) as customer:
        reader.read(T0, T0 + 1, customer="nobody")
    with pytest.raises(NotFound) as feature:
        reader.read(T0, T0 + 1, feature="nothing")
    assert (customer.value.code, feature.value.code) == ("CustomerNotFound", "FeatureNotFound")


def test_ranges_that_cannot_be_answered_are_refused(reader: Reader) -> None:
    reader.subscribed("HOUR", at("1900-01-01"), function="COUNT")
    with pytest.raises(BadInput, match="endDate"):
        reader.read(T0, T0)
    with pytest.raises(BadInput, match="endDate"):
        reader.read(T0 + 1, now=T0)
    with pytest.raises(BadInput, match="more than 200000 points"):
        reader.read(at("0001-01-01"), T0)
    with pytest.raises(BadInput, match="more than 200000 points"):
        reader.read(at("1950-01-01"), T0)


def test_too_many_series_are_refused(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    events = [Event(T0, dimensions={"user": n}) for n in range(limits.HISTORY_SERIES_MAX + 1)]
    reader.archive.add(*events)
    assert len(reader.read(T0, T0 + HOUR).series) == 1
    with pytest.raises(BadInput, match="more than 1000 combinations"):
        reader.read(T0, T0 + HOUR, "user")


@pytest.mark.parametrize("group_by", [("a", "a"), ("",), ("x" * 256,), tuple("abcdefghijk")])
def test_odd_groups_are_refused(reader: Reader, group_by: tuple[str, ...]) -> None:
    reader.subscribed(None, T0, function="COUNT")
    with pytest.raises(BadInput, match="groupBy"):
        reader.read(T0, T0 + HOUR, *group_by)


def test_a_file_that_was_collected_meanwhile_means_try_again(reader: Reader) -> None:
    reader.subscribed(None, T0, function="COUNT")
    file = reader.archive.add(Event(T0))
    (reader.archive.folder / file.name).unlink()
    with pytest.raises(Unavailable, match="try again"):
        reader.read(T0, T0 + HOUR)
