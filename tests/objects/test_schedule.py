"""When a source is looked at next, across changes of the clock."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import HOUR, MINUTE, Instant, from_datetime, parse_instant, to_datetime
from tallystick.errors import BadInput
from tallystick.objects.errors import MissingExtra
from tallystick.objects.schedule import HOURLY, schedule_of


def at(text: str) -> Instant:
    instant = parse_instant(text)
    assert instant is not None
    return instant


def nexts(value: object, start: str, count: int) -> list[str]:
    schedule, instant, found = schedule_of(value), at(start), []
    for _ in range(count):
        instant = schedule.next_after(instant)
        found.append(to_datetime(instant).strftime("%m-%dT%H:%MZ"))
    return found


def berlin(cron: str) -> dict[str, str]:
    return {"cron": cron, "timeZone": "Europe/Berlin"}


def test_hourly_unless_said_otherwise() -> None:
    assert schedule_of(None) == HOURLY == schedule_of({"every": "1h"})
    assert nexts(None, "2026-11-30T10:20:00Z", 2) == ["11-30T11:00Z", "11-30T12:00Z"]


def test_an_interval_has_its_instants_however_it_is_asked() -> None:
    assert nexts({"every": "15m"}, "2026-11-30T10:20:00Z", 3) == [
        "11-30T10:30Z", "11-30T10:45Z", "11-30T11:00Z",
    ]  # fmt: skip
    assert nexts({"every": "90s"}, "2026-11-30T10:00:00Z", 2) == ["11-30T10:01Z", "11-30T10:03Z"]
    assert nexts({"every": "1d"}, "2026-11-30T10:00:00Z", 1) == ["12-01T00:00Z"]


def test_cron_is_in_its_time_zone() -> None:
    assert nexts({"cron": "0 2 * * *"}, "2026-11-30T10:20:00Z", 1) == ["12-01T02:00Z"]
    assert nexts(berlin("0 2 * * *"), "2026-11-30T10:20:00Z", 1) == ["12-01T01:00Z"]
    assert nexts(berlin("*/20 9-10 * * MON"), "2026-11-29T00:00:00Z", 3) == [
        "11-30T08:00Z", "11-30T08:20Z", "11-30T08:40Z",
    ]  # fmt: skip


def test_what_the_clock_skips_runs_right_after() -> None:
    """In Berlin, 02:00 to 03:00 of 29 March 2026 does not exist."""
    assert nexts(berlin("30 2 * * *"), "2026-03-28T12:00:00Z", 2) == [
        "03-29T01:00Z",
        "03-30T00:30Z",
    ]
    assert nexts(berlin("0 * * * *"), "2026-03-28T23:30:00Z", 3) == [
        "03-29T00:00Z", "03-29T01:00Z", "03-29T02:00Z",
    ]  # fmt: skip


def test_what_the_clock_repeats_runs_once_unless_it_is_hourly() -> None:
    """In Berlin, 02:00 to 03:00 of 25 October 2026 comes twice."""
    assert nexts(berlin("30 2 * * *"), "2026-10-24T12:00:00Z", 2) == [
        "10-25T00:30Z",
        "10-26T01:30Z",
    ]
    assert nexts(berlin("0 * * * *"), "2026-10-24T23:30:00Z", 4) == [
        "10-25T00:00Z", "10-25T01:00Z", "10-25T02:00Z", "10-25T03:00Z",
    ]  # fmt: skip


INSTANTS = st.integers(0, 2_000_000_000_000_000).map(Instant)
VALUES: list[Any] = [
    {"every": "1m"}, {"every": "7h"}, {"cron": "*/5 * * * *"}, berlin("15 2 * * *"),
    {"cron": "0 0 29 2 *", "timeZone": "America/St_Johns"}, berlin("0 * * * *"),
]  # fmt: skip


@given(st.sampled_from(VALUES), INSTANTS)
def test_the_next_is_later_and_there_is_none_in_between(value: object, instant: Instant) -> None:
    schedule = schedule_of(value)
    following = schedule.next_after(instant)
    assert following > instant
    assert schedule.next_after(Instant(following - 1)) == following
    middle = Instant((instant + following) // 2)
    assert schedule.next_after(middle) == following


@given(
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]), INSTANTS
)
def test_every_minute_is_every_minute_even_when_the_clock_changes(
    zone: str, instant: Instant
) -> None:
    schedule = schedule_of({"cron": "* * * * *", "timeZone": zone})
    following = schedule.next_after(instant)
    assert following == (instant // MINUTE + 1) * MINUTE


def test_berlin_has_two_hours_of_the_same_name() -> None:
    """The footing of the tests above."""
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=zone)
    assert from_datetime(first.replace(fold=1)) - from_datetime(first) == HOUR
    assert first.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("value", [None, {"every": "90s"}, {"every": "2d"}, berlin("0 * * * *")])
def test_a_schedule_is_spelled_as_it_is_read(value: object) -> None:
    schedule = schedule_of(value)
    assert schedule_of(schedule.as_json()) == schedule


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hourly", "^schedule: "),
        ({}, "^schedule: give either"),
        ({"cron": "0 * * * *", "every": "1h"}, "^schedule: give either"),
        ({"crom": "0 * * * *"}, r"^schedule\.crom: unknown"),
        ({"every": "15"}, r"^schedule\.every: must be a number and"),
        ({"every": "0m"}, r"^schedule\.every: "),
        ({"every": 900}, r"^schedule\.every: "),
        ({"every": "59s"}, r"^schedule\.every: must be at least 60 seconds"),
        ({"every": "15m", "timeZone": "UTC"}, r"^schedule\.timeZone: "),
        ({"cron": "0 * * *"}, r"^schedule\.cron: must have five fields"),
        ({"cron": "* * * * * *"}, r"^schedule\.cron: must have five fields"),
        ({"cron": "61 * * * *"}, r"^schedule\.cron: "),
        ({"cron": "0 0 30 2 *"}, r"^schedule\.cron: "),
        ({"cron": 5}, r"^schedule\.cron: "),
        ({"cron": "0 * * * *", "timeZone": "Mars/Olympus"}, r"^schedule\.timeZone: "),
        ({"cron": "0 * * * *", "timeZone": "../etc/passwd"}, r"^schedule\.timeZone: "),
        ({"cron": "0 * * * *", "timeZone": ""}, r"^schedule\.timeZone: "),
        ({"cron": "0 * * * *", "timeZone": None}, r"^schedule\.timeZone: "),
    ],
)
def test_what_cannot_be_meant_names_its_field(value: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        schedule_of(value)


def test_without_the_library_an_interval_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    assert schedule_of({"every": "1h"}) == HOURLY
    with pytest.raises(MissingExtra, match=r"tallystick\[objects\]"):
        schedule_of({"cron": "0 * * * *"})
