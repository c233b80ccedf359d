"""Usage periods: examples people can check, and the laws that hold for all."""

from __future__ import annotations

from calendar import monthrange
from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from tallystick.clock import DAY, HOUR, Instant, to_datetime
from tallystick.core.periods import (
    FOREVER,
    FROM_START,
    LIFETIME,
    START_OF_MONTH,
    WEEKDAYS,
    Change,
    Period,
    Rule,
    Segment,
    period_at,
    periods_between,
    segments,
    window,
)
from tests.core.instants import at, shown

ZONES = ["UTC", "America/New_York", "Asia/Beirut", "America/Havana", "Pacific/Apia",
         "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Dublin", "Africa/Cairo"]  # fmt: skip

FIRST, LAST = at("1999-01-01"), at("2041-01-01")
INSTANTS = st.integers(FIRST, LAST).map(Instant)
CALENDAR = st.builds(
    Rule, st.just("MONTH"), st.just(START_OF_MONTH), zone=st.sampled_from(ZONES)
) | st.builds(Rule, st.just("WEEK"), st.sampled_from(WEEKDAYS), zone=st.sampled_from(ZONES))
ANCHORED = st.builds(
    Rule,
    st.sampled_from(["HOUR", "DAY", "WEEK", "MONTH", "YEAR"]),
    st.just(FROM_START),
    INSTANTS | st.sampled_from([at("2024-02-29T23:59:59"), at("2023-12-31"), at("2024-01-31")]),
)
RESETTING = ANCHORED | CALENDAR
RULES = RESETTING | st.just(Rule(None))

# Changes lie close together, so that they fall into each other's periods.
DAYS = st.integers(0, 120).map(lambda n: Instant(at("2024-01-15") + n * DAY))


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """A history of rules as a timeline gives it: in order, floors not after the change."""
    instants = sorted(draw(st.sets(DAYS, min_size=1, max_size=6)))
    found = []
    for instant in instants:
        rule = draw(st.none() | RULES)
        floor = draw(st.sampled_from([one for one in instants if one <= instant]))
        found.append(Change(instant, rule, floor, draw(st.booleans())))
    return found


def spans(rule: Rule, *instants: str) -> list[str]:
    """The windows that hold these instants."""
    return [" → ".join(map(shown, window(rule, at(instant)))) for instant in instants]


# --- windows -----------------------------------------------------------------------------------


def test_a_month_from_the_31st_clamps_and_does_not_drift() -> None:
    rule = Rule("MONTH", anchor=at("2024-01-31T10:00"))
    assert spans(rule, "2024-02-15", "2024-03-01", "2024-03-31T10:00", "2025-03-01") == [
        "2024-01-31T10:00:00 → 2024-02-29T10:00:00",
        "2024-02-29T10:00:00 → 2024-03-31T10:00:00",
        "2024-03-31T10:00:00 → 2024-04-30T10:00:00",
        "2025-02-28T10:00:00 → 2025-03-31T10:00:00",
    ]


def test_a_year_from_a_leap_day() -> None:
    rule = Rule("YEAR", anchor=at("2024-02-29T06:00"))
    assert spans(rule, "2025-02-28T05:00", "2025-02-28T06:00", "2028-02-29T06:00") == [
        "2024-02-29T06:00:00 → 2025-02-28T06:00:00",
        "2025-02-28T06:00:00 → 2026-02-28T06:00:00",
        "2028-02-29T06:00:00 → 2029-02-28T06:00:00",
    ]


def test_days_and_hours_run_from_the_start() -> None:
    anchor = at("2024-03-09T10:20:30")
    assert spans(Rule("DAY", anchor=anchor), "2024-03-11") == [
        "2024-03-10T10:20:30 → 2024-03-11T10:20:30"
    ]
    assert spans(Rule("HOUR", anchor=anchor), "2024-03-11T00:20:30") == [
        "2024-03-11T00:20:30 → 2024-03-11T01:20:30"
    ]


def test_weeks_from_the_start_and_from_a_weekday() -> None:
    assert spans(Rule("WEEK", anchor=at("2024-03-06T10:00")), "2024-03-13T09:59") == [
        "2024-03-06T10:00:00 → 2024-03-13T10:00:00"
    ]
    assert spans(Rule("WEEK", "EveryMonday"), "2024-03-06", "2024-03-11") == [
        "2024-03-04 → 2024-03-11", "2024-03-11 → 2024-03-18"
    ]  # fmt: skip
    assert spans(Rule("WEEK", "EverySunday"), "2024-03-09") == ["2024-03-03 → 2024-03-10"]


def test_calendar_resets_follow_the_zone_through_daylight_saving() -> None:
    new_york = Rule("WEEK", "EveryMonday", zone="America/New_York")
    assert spans(new_york, "2024-03-08", "2024-03-11T04:00") == [
        "2024-03-04T05:00:00 → 2024-03-11T04:00:00",
        "2024-03-11T04:00:00 → 2024-03-18T04:00:00",
    ]
    tokyo = Rule("MONTH", START_OF_MONTH, zone="Asia/Tokyo")
    assert spans(tokyo, "2024-02-29T15:00") == ["2024-02-29T15:00:00 → 2024-03-31T15:00:00"]


def test_a_midnight_that_is_skipped_begins_where_the_clock_jumps() -> None:
    # Beirut went from 2024-03-31 00:00 to 01:00; a Sunday.
    beirut = Rule("WEEK", "EverySunday", zone="Asia/Beirut")
    assert spans(beirut, "2024-03-31T00:00") == ["2024-03-30T22:00:00 → 2024-04-06T21:00:00"]


def test_a_day_that_never_was() -> None:
    # Apia had no 2011-12-30, a Friday.
    apia = Rule("WEEK", "EveryFriday", zone="Pacific/Apia")
    assert spans(apia, "2011-12-30T09:59", "2011-12-30T10:00") == [
        "2011-12-23T10:00:00 → 2011-12-30T10:00:00",
        "2011-12-30T10:00:00 → 2012-01-05T10:00:00",
    ]


@given(RESETTING, INSTANTS)
def test_windows_follow_each_other(rule: Rule, instant: Instant) -> None:
    start, end = window(rule, instant)
    assert start <= instant < end
    assert window(rule, start) == (start, end)
    assert window(rule, end - 1) == (start, end)
    assert window(rule, end)[0] == end
    assert window(rule, start - 1)[1] == start


@given(ANCHORED, INSTANTS)
def test_boundaries_are_computed_from_the_anchor(rule: Rule, instant: Instant) -> None:
    start, anchor = to_datetime(window(rule, instant)[0]), to_datetime(rule.anchor)
    if rule.unit == "HOUR":
        assert (start - anchor) % timedelta(hours=1) == timedelta()
        return
    assert start.time() == anchor.time()
    if rule.unit == "WEEK":
        assert start.weekday() == anchor.weekday()
    elif rule.unit in ("MONTH", "YEAR"):
        assert start.day == min(anchor.day, monthrange(start.year, start.month)[1])
        assert rule.unit == "MONTH" or start.month == anchor.month


@given(CALENDAR, INSTANTS)
def test_calendar_windows_begin_with_a_local_day(rule: Rule, instant: Instant) -> None:
    start = window(rule, instant)[0]
    zone = ZoneInfo(rule.zone)
    local = to_datetime(start).astimezone(zone)
    before = to_datetime(start - 1).astimezone(zone)
    assert before.date() < local.date()
    assert local.hour <= 1
    if local.date() - before.date() == timedelta(days=1):
        on_month = rule.unit == "MONTH" and local.day == 1
        assert on_month or local.weekday() == WEEKDAYS.index(rule.according_to)


@given(RULES, st.sampled_from([LIFETIME, Instant(LIFETIME + 1), Instant(FOREVER - 1)]))
def test_the_ends_of_time_are_in_a_window(rule: Rule, instant: Instant) -> None:
    start, end = window(rule, instant)
    assert LIFETIME <= start <= instant < end <= FOREVER


# --- segments and periods ----------------------------------------------------------------------


MONTHLY = Rule("MONTH", START_OF_MONTH)
JANUARY = at("2024-01-10T12:00")


def test_a_first_period_is_shown_whole_and_counted_from_the_start() -> None:
    made = segments([Change(JANUARY, MONTHLY, JANUARY)])
    assert period_at(made, at("2024-01-20")) == Period(
        at("2024-01-01"), at("2024-02-01"), JANUARY, at("2024-02-01")
    )
    assert period_at(made, JANUARY - 1) is None
    assert period_at(made, at("2024-02-01")) == Period(
        at("2024-02-01"), at("2024-03-01"), at("2024-02-01"), at("2024-03-01")
    )


def test_a_reset_begins_a_period_of_its_own() -> None:
    change = at("2024-02-15")
    made = segments(
        [Change(JANUARY, MONTHLY, JANUARY), Change(change, MONTHLY, change, restart=True)]
    )
    assert period_at(made, change - 1) == Period(
        at("2024-02-01"), at("2024-03-01"), at("2024-02-01"), change
    )
    assert period_at(made, change) == Period(change, at("2024-03-01"), change, at("2024-03-01"))


def test_a_new_rule_holds_from_the_start_of_its_own_period() -> None:
    weekly = Rule("WEEK", "EveryMonday")
    made = segments([Change(JANUARY, MONTHLY, JANUARY), Change(at("2024-02-14"), weekly, JANUARY)])
    assert made == (
        Segment(JANUARY, at("2024-02-12"), MONTHLY, restart=False, shown_start=at("2024-01-01")),
        Segment(at("2024-02-12"), FOREVER, weekly, restart=False, shown_start=at("2024-02-12")),
    )


def test_a_new_rule_never_counts_what_was_before_its_floor() -> None:
    made = segments([Change(at("2024-02-20"), MONTHLY, at("2024-02-10"))])
    assert made[0].start == at("2024-02-10")


def test_a_lifetime_counts_all_there_ever_was() -> None:
    made = segments(
        [Change(JANUARY, MONTHLY, JANUARY), Change(at("2024-02-14"), Rule(None), JANUARY)]
    )
    assert made == (Segment(LIFETIME, FOREVER, Rule(None), restart=False, shown_start=LIFETIME),)
    assert period_at(made, at("1970-01-01")) == Period(LIFETIME, FOREVER, LIFETIME, FOREVER)


def test_a_reset_does_not_touch_a_lifetime() -> None:
    plain = segments([Change(JANUARY, Rule(None), JANUARY)])
    assert plain == segments(
        [Change(JANUARY, Rule(None), JANUARY), Change(at("2024-03-01"), Rule(None), JANUARY, True)]
    )


def test_no_rule_ends_what_held() -> None:
    end = at("2024-02-14")
    made = segments([Change(JANUARY, MONTHLY, JANUARY), Change(end, None, end)])
    assert period_at(made, end) is None
    assert period_at(made, end - 1) == Period(
        at("2024-02-01"), at("2024-03-01"), at("2024-02-01"), end
    )


def test_nothing_ever_held() -> None:
    assert segments([]) == ()
    assert segments([Change(JANUARY, None, JANUARY)]) == ()
    assert period_at((), JANUARY) is None
    assert periods_between((), JANUARY, JANUARY) == []


def test_back_and_forth_within_a_period_leaves_no_trace() -> None:
    daily = Rule("MONTH", anchor=at("2024-02-03"))
    made = segments(
        [Change(JANUARY, MONTHLY, JANUARY), Change(at("2024-02-05"), daily, JANUARY),
         Change(at("2024-02-07"), MONTHLY, JANUARY)]
    )  # fmt: skip
    assert made == segments([Change(JANUARY, MONTHLY, JANUARY)])


def test_the_same_rule_again_does_not_count_what_was_before_its_floor() -> None:
    daily = Rule("DAY", anchor=at("2024-02-16"))
    floor = at("2024-02-15")
    made = segments(
        [Change(JANUARY, MONTHLY, JANUARY), Change(at("2024-02-16"), daily, at("2024-02-16")),
         Change(at("2024-02-20"), MONTHLY, floor)]
    )  # fmt: skip
    assert [(segment.rule, segment.stop) for segment in made] == [
        (MONTHLY, floor), (MONTHLY, FOREVER)
    ]  # fmt: skip
    assert period_at(made, at("2024-02-20")) == Period(
        at("2024-02-01"), at("2024-03-01"), floor, at("2024-03-01")
    )


def test_all_periods_between() -> None:
    made = segments([Change(JANUARY, MONTHLY, JANUARY)])
    found = periods_between(made, at("2023-01-01"), at("2024-03-01"))
    assert [shown(period.start) for period in found] == ["2024-01-01", "2024-02-01", "2024-03-01"]
    assert len(periods_between(made, at("2024-01-20"), at("2024-02-01") - 1)) == 1


@given(changes())
@example([Change(JANUARY, MONTHLY, JANUARY), Change(at("2024-01-20"), Rule(None), JANUARY)])
def test_segments_are_ordered_and_apart(history: list[Change]) -> None:
    made = segments(history)
    for segment in made:
        assert segment.start < segment.stop
        assert segment.shown_start <= segment.start
    for one, next_one in pairwise(made):
        assert one.stop <= next_one.start


@given(changes())
def test_periods_tile_what_the_segments_hold(history: list[Change]) -> None:
    made = segments(history)
    first, last = Instant(history[0].at - 40 * DAY), Instant(history[-1].at + 3 * DAY)
    for segment in made:
        start, stop = max(segment.start, first), min(segment.stop, last)
        if start >= stop or segment.rule.unit == "HOUR":
            continue
        covered = start
        for period in periods_between((segment,), start, stop - 1):
            assert period.counted_from <= covered < period.counted_until
            assert period.start <= period.counted_from
            assert period.counted_until <= period.end
            covered = period.counted_until
        assert covered >= stop


@given(changes(), st.integers(-40 * 24, 160 * 24))
def test_an_instant_is_in_one_period_at_most(history: list[Change], hours: int) -> None:
    made = segments(history)
    instant = Instant(at("2024-01-15") + hours * HOUR)
    holding = [segment for segment in made if segment.start <= instant < segment.stop]
    period = period_at(made, instant)
    assert len(holding) == (0 if period is None else 1)
    assert periods_between(made, instant, instant) == ([] if period is None else [period])
    if period is not None:
        assert period.counted_from <= instant < period.counted_until
        for edge in (period.counted_from, Instant(period.counted_until - 1)):
            assert period_at(made, edge) == period


@given(changes())
def test_a_change_holds_from_its_instant_on(history: list[Change]) -> None:
    for count in range(1, len(history) + 1):
        made = segments(history[:count])
        change = history[count - 1]
        held = [segment for segment in made if segment.stop > change.at]
        if change.rule is None:
            assert held == []
        else:
            assert [segment.rule for segment in held] == [change.rule]
            assert held[0].stop == FOREVER
            assert held[0].start <= change.at


@given(changes())
def test_a_reset_counts_from_its_instant_on(history: list[Change]) -> None:
    change = history[-1]._replace(restart=True)
    made = segments([*history[:-1], change])
    if change.rule is not None and change.rule.unit is not None:
        assert made[-1].start == change.at
        assert made[-1].restart


@given(changes())
def test_earlier_time_keeps_the_old_rule(history: list[Change]) -> None:
    before, after = segments(history[:-1]), segments(history)
    if not after:
        return
    turn = after[-1].start if history[-1].rule is not None else history[-1].at
    for instant in range(history[0].at - 10 * DAY, turn, 3 * DAY):
        old, new = period_at(before, instant), period_at(after, instant)
        assert (old is None) == (new is None)
        if old is not None and new is not None and new.counted_until < turn:
            assert old == new


@given(changes())
def test_what_was_foreseen_leaves_earlier_time_alone(history: list[Change]) -> None:
    """Unless it never resets, which counts a whole life."""
    change = history[-1]._replace(foreseen=True)
    if change.rule is not None and change.rule.unit is None:
        return
    before, after = segments(history[:-1]), segments([*history[:-1], change])
    for instant in range(history[0].at - 10 * DAY, change.at, 3 * DAY):
        old, new = period_at(before, instant), period_at(after, instant)
        assert (old is None) == (new is None)
        if old is not None and new is not None:
            cut = min(old.counted_until, change.at)
            assert new in (old, old._replace(counted_until=cut))


@given(changes(), DAYS)
def test_splitting_the_history_changes_nothing(history: list[Change], instant: Instant) -> None:
    """Saying again what holds already, at any instant."""
    passed = [change for change in history if change.at < instant]
    if not passed or any(change.at == instant for change in history):
        return
    again = passed[-1]._replace(at=instant, restart=False)
    position = len(passed)
    assert segments([*history[:position], again, *history[position:]]) == segments(history)


@given(changes())
def test_the_order_in_which_changes_are_told_does_not_matter(history: list[Change]) -> None:
    assert segments(reversed(history)) == segments(history)
