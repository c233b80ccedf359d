"""Listing the periods of matches: every one that holds some, and not many more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import DAY, HOUR, Instant
from tallystick.core.periods import (
    Change,
    Rule,
    Segment,
    Unit,
    period_at,
    periods_between,
    segments,
)
from tallystick.metering.placing import (
    LISTED_MAX,
    is_scattered,
    periods_at_most,
    periods_of_cells,
)

START = 20_000 * DAY
YEARS = 5 * 365 * DAY
UNITS: tuple[Unit | None, ...] = ("HOUR", "DAY", "WEEK", "MONTH", "YEAR", None)


def ruled(*changes: tuple[int, Unit | None], restart: bool = False) -> tuple[Segment, ...]:
    """From so long after the start on, resets by a unit."""
    return segments(
        Change(Instant(START + after), Rule(unit, anchor=Instant(START)), Instant(START), restart)
        for after, unit in changes
    )


RULES = st.lists(
    st.tuples(st.integers(0, 90 * DAY), st.sampled_from(UNITS)), min_size=1, max_size=4
).flatmap(lambda changes: st.booleans().map(lambda restart: ruled(*changes, restart=restart)))

INSTANTS = st.lists(st.integers(START - DAY, START + 100 * DAY), min_size=1, max_size=30)


def cells_of(instants: list[int]) -> list[tuple[int, int]]:
    """The first and last instant in each hour that has some."""
    hours: dict[int, list[int]] = {}
    for at in sorted(instants):
        hours.setdefault(at // HOUR, []).append(at)
    return [(inside[0], inside[-1]) for inside in hours.values()]


@given(RULES, INSTANTS)
def test_every_period_that_holds_a_match_is_listed_once(
    rules: tuple[Segment, ...], instants: list[int]
) -> None:
    listed = list(periods_of_cells(rules, cells_of(instants)))
    held = {period_at(rules, at) for at in instants} - {None}
    assert held <= set(listed)
    assert len(set(listed)) == len(listed)
    assert listed == sorted(listed, key=lambda period: period.counted_from)
    assert set(listed) <= set(periods_between(rules, min(instants), max(instants)))


@given(RULES, INSTANTS)
def test_the_estimate_is_no_lower_than_what_is_listed(
    rules: tuple[Segment, ...], instants: list[int]
) -> None:
    first, last = min(instants), max(instants)
    assert len(periods_between(rules, first, last)) <= periods_at_most(rules, first, last)


def test_two_matches_five_years_apart_list_two_of_many_hours() -> None:
    hourly = ruled((0, "HOUR"))
    first, last = START, START + YEARS
    assert is_scattered(hourly, first, last, matches=2)
    assert len(list(periods_of_cells(hourly, [(first, first), (last, last)]))) == 2


def test_what_has_few_periods_or_many_matches_is_listed_without_looking() -> None:
    hourly = ruled((0, "HOUR"))
    assert not is_scattered(hourly, START, START + (LISTED_MAX - 2) * HOUR, matches=1)
    assert not is_scattered(hourly, START, START + YEARS, matches=10**6)
    assert not is_scattered(ruled((0, None)), START, START + YEARS, matches=1)
