"""Promotional entitlements beside subscriptions, and subscriptions that are handed over."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import DAY, Instant
from tallystick.core.entitlements import Entitlement, decide
from tallystick.core.parts import ZERO
from tallystick.core.periods import FOREVER, LIFETIME, Rule, Segment, period_at
from tallystick.core.promotions import PERIODS, end_of
from tallystick.core.timeline import (
    Grant,
    Phase,
    Span,
    active_entitlements,
    granted_features,
    next_turn,
)
from tallystick.errors import BadInput
from tests.core.histories import (
    DAYS,
    FROM_START,
    LIFELONG,
    START,
    decides,
    grant,
    histories,
    made,
    more_generous,
    promo,
    promos,
    span,
)
from tests.core.instants import at, shown

FEB = at("2024-02-20")


def limit_at(spans: list[Span], grants: list[Grant], instant: Instant) -> int | None:
    winner = decides(spans, grants, instant)
    return None if winner is None else winner.usage_limit


# --- limits (STIGG.md 4.9) ---------------------------------------------------------------------


@pytest.mark.parametrize(("promised", "limit"), [(500, 500), (50, 100)])
def test_a_grant_raises_and_never_adds(promised: int, limit: int) -> None:
    assert limit_at([span(START, None, grant(100))], [promo(limit=promised)], FEB) == limit


def test_a_grant_needs_no_subscription() -> None:
    assert limit_at([], [promo()], FEB) == 500
    assert made(grants=[promo()])[0].start == START


def test_a_grant_is_for_every_resource() -> None:
    assert decides([], [promo()], FEB, resource="site-1") is not None
    assert len(made(grants=[promo()], resource="site-1")) == 1


def test_a_grant_holds_from_its_start_until_its_end() -> None:
    only = [promo(START, FEB)]
    found = [limit_at([], only, Instant(when)) for when in (START - 1, START, FEB - 1, FEB)]
    assert found == [None, 500, 500, None]


def test_a_grant_of_one_feature_grants_no_other() -> None:
    assert active_entitlements([], [promo()], "seats", "", FEB) == []


def test_what_is_granted_is_listed_once() -> None:
    both = span(START, None, grant(), Entitlement("seats"), Entitlement("sso", is_granted=False))
    ended = promo(START, FEB, id="ended")
    late = replace(promo(), feature="regions")
    found = granted_features([both, span(resource="site-1")], [promo(), ended, late], "", FEB)
    assert found == {"calls", "seats", "regions"}


# --- periods -----------------------------------------------------------------------------------


def test_a_grant_leaves_the_periods_of_the_subscription() -> None:
    start = at("2024-02-20")
    raised = promo(start, None, 500, according_to="SubscriptionStart")
    assert made(span(START, None, FROM_START), grants=[raised]) == made(
        span(START, None, FROM_START)
    )


def test_a_grant_follows_a_reset_of_the_subscription() -> None:
    turn = at("2024-02-15")
    for one in (grant(), FROM_START):
        spans = span(START, turn, one), span(turn, None, one, id="sub-2", restarts=True)
        raised = promo(limit=500, according_to=one.according_to)
        assert made(*spans, grants=[raised]) == made(*spans)


def test_a_grant_of_what_is_not_subscribed_to_counts_from_the_oldest_subscription() -> None:
    spans = [
        span(at("2024-01-05"), None, Entitlement("seats"), id="old"),
        span(at("2024-01-10"), None, Entitlement("seats"), id="young", product="side"),
    ]
    given = promo(at("2024-02-01"), according_to="SubscriptionStart")
    (only,) = made(*spans, grants=[given])
    assert only.rule.anchor == at("2024-01-05")
    assert shown(only.start) == "2024-01-05"  # the period that contains the grant's start


def test_without_subscription_periods_begin_with_the_grant() -> None:
    given = promo(at("2024-02-03"), according_to="SubscriptionStart")
    period = period_at(made(grants=[given]), at("2024-03-10"))
    assert period is not None
    assert (shown(period.start), shown(period.end)) == ("2024-03-03", "2024-04-03")


def test_a_grant_in_the_place_of_another_goes_on_with_its_periods() -> None:
    turn = at("2024-02-20")
    first = promo(START, turn, according_to="SubscriptionStart")
    second = promo(turn, None, 900, id="promo-2", anchor=START, according_to="SubscriptionStart")
    assert made(grants=[first, second]) == made(grants=[replace(first, end=None)])


def test_a_grant_that_never_resets_makes_a_lifetime_where_it_wins() -> None:
    lifelong = promo(FEB, None, reset_period=None, according_to=None)
    (only,) = made(span(), grants=[lifelong])
    assert only == Segment(LIFETIME, FOREVER, Rule(None), restart=False, shown_start=LIFETIME)


def test_of_equals_the_subscription_decides() -> None:
    daily = promo(START, None, 10, reset_period="DAY", according_to=None)
    assert made(span(), grants=[daily]) == made(span())


# --- when it changes by time alone -------------------------------------------------------------


def test_the_next_turn_is_the_first_of_all() -> None:
    one = span(START, at("2024-06-01"))
    one = replace(one, phases=(*one.phases, Phase(at("2024-05-01"), {})))
    given = [promo(at("2024-03-01"), at("2024-04-01"))]
    turns = [next_turn([one], given, "calls", "", at("2024-01-01"))]
    while turns[-1] is not None:
        turns.append(next_turn([one], given, "calls", "", turns[-1]))
    assert [shown(turn) for turn in turns if turn is not None] == [
        shown(START), "2024-03-01", "2024-04-01", "2024-05-01", "2024-06-01"
    ]  # fmt: skip


def test_what_holds_for_good_has_no_next_turn() -> None:
    others = [span(START, at("2024-06-01"), resource="site-1")]
    assert next_turn([span(), *others], [promo()], "calls", "", FEB) is None


@given(histories(), promos(), DAYS, st.integers(0, 100))
def test_nothing_changes_by_time_before_the_next_turn(
    spans: list[Span], grants: list[Grant], instant: Instant, days: int
) -> None:
    turn = next_turn(spans, grants, "calls", "", instant)
    later = Instant(instant + days * DAY)
    if turn is None or later < turn:
        assert decides(spans, grants, later) == decides(spans, grants, instant)


# --- subscriptions that are handed over --------------------------------------------------------


def test_each_holder_has_its_part() -> None:
    turn = at("2024-02-20")
    whole = span(START, None, FROM_START)
    first, second = whole.held("site-1", None, turn), whole.held("site-2", turn, None)
    (before,) = made(first, second, resource="site-1")
    (after,) = made(first, second, resource="site-2")
    assert (before.start, before.stop) == (START, turn)
    assert (after.start, after.stop) == (turn, FOREVER)
    assert before.rule == after.rule  # the same days of the month
    assert not after.restart


def test_what_came_before_is_not_the_new_holder_s() -> None:
    turn, later = at("2024-02-20"), at("2024-02-25")
    whole = span(START, None, FROM_START)
    whole = replace(whole, phases=(*whole.phases, Phase(later, {"calls": grant()})))
    found = made(whole.held("", turn, None))
    assert found[-1].start == turn


def test_a_reset_before_it_was_handed_over_is_its_anchor() -> None:
    reset, turn = at("2024-02-15"), at("2024-02-20")
    whole = span(START, None, FROM_START)
    whole = replace(whole, phases=(*whole.phases, Phase(reset, {"calls": FROM_START}, True)))
    (only,) = made(whole.held("", turn, None))
    assert (only.rule.anchor, only.start) == (reset, turn)


def test_a_part_ends_with_the_subscription() -> None:
    end = at("2024-03-01")
    whole = span(START, end)
    assert whole.held("", None, at("2024-04-01")).end == end
    assert whole.held("", None, None) == whole
    assert not whole.held("", at("2024-05-01"), None).holds(at("2024-05-02"))


def test_a_reset_inside_of_a_subscription_starts_over() -> None:
    reset = at("2024-02-15")
    for one in (grant(), FROM_START):
        whole = span(START, None, one)
        found = made(replace(whole, phases=(*whole.phases, Phase(reset, {"calls": one}, True))))
        assert [(shown(each.start), each.restart) for each in found] == [
            (shown(START), False), ("2024-02-15", True),
        ]  # fmt: skip


def test_a_lifetime_is_never_reset() -> None:
    whole = span(START, None, LIFELONG)
    again = Phase(at("2024-02-15"), {"calls": LIFELONG}, True)
    assert made(replace(whole, phases=(*whole.phases, again))) == made(whole)


# --- laws --------------------------------------------------------------------------------------

MONTHLY = st.integers(0, 50).map(lambda limit: replace(FROM_START, usage_limit=limit))


@given(histories(), promos(), st.randoms(use_true_random=False), DAYS)
def test_order_does_not_matter(
    spans: list[Span], grants: list[Grant], chance: Random, instant: Instant
) -> None:
    before, decided = made(*spans, grants=grants), decides(spans, grants, instant)
    chance.shuffle(spans)
    chance.shuffle(grants)
    assert made(*spans, grants=grants) == before
    assert decides(spans, grants, instant) == decided


def covered(spans: list[Span], grants: list[Grant], data: st.DataObject) -> tuple[Instant, Instant]:
    """Some [start, end) in which something grants calls all the time; empty if nothing does."""
    starts = [one.start for one in spans] + [one.start for one in grants] or [START]
    first = Instant(data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 9)) * DAY)
    until: Instant | None = first
    while until is not None and active_entitlements(spans, grants, "calls", "", until):
        until = next_turn(spans, grants, "calls", "", until)
    last = Instant(first + 200 * DAY) if until is None else until
    return first, Instant(data.draw(st.integers(first, last)))


@given(histories(), promos(), st.data())
def test_a_grant_that_never_wins_changes_no_period(
    spans: list[Span], grants: list[Grant], data: st.DataObject
) -> None:
    start, end = covered(spans, grants, data)
    small = promo(start, end, 1, id="small", reset_period="HOUR", according_to=None)
    assert made(*spans, grants=[*grants, small]) == made(*spans, grants=grants)


@given(histories(MONTHLY), st.data())
def test_a_grant_with_the_same_resets_changes_no_period(
    spans: list[Span], data: st.DataObject
) -> None:
    """However far it raises the limit, while some subscription grants the feature."""
    start, end = covered(spans, [], data)
    raised = promo(start, end, data.draw(st.integers(0, 99)), according_to="SubscriptionStart")
    assert made(*spans, grants=[raised]) == made(*spans)


@given(histories(), promos(least=1), st.data())
def test_splitting_a_grant_changes_nothing(
    spans: list[Span], grants: list[Grant], data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(grants) - 1))
    one = grants[number]
    last = Instant(one.start + 200 * DAY) if one.end is None else one.end
    turn = Instant(data.draw(st.integers(one.start + 1, last - 1)))
    pieces = [replace(one, end=turn), replace(one, id="later", start=turn)]
    split = [*grants[:number], *pieces, *grants[number + 1 :]]
    assert made(*spans, grants=split) == made(*spans, grants=grants)


@given(histories(), promos())
def test_periods_never_overlap_and_leave_no_gap_where_something_grants(
    spans: list[Span], grants: list[Grant]
) -> None:
    found = made(*spans, grants=grants)
    assert all(one.start < one.stop for one in found)
    assert all(one.stop <= other.start for one, other in pairwise(found))
    for day in range(-1, 110):
        instant = Instant(at("2024-01-01") + day * DAY)
        if decides(spans, grants, instant) is not None:
            assert period_at(found, instant) is not None


@given(histories(), promos(), DAYS, st.integers(0, 60), st.data())
def test_more_never_gives_less(
    spans: list[Span], grants: list[Grant], instant: Instant, wanted: int, data: st.DataObject
) -> None:
    """One more grant, or a larger, softer or unlimited one, never turns a yes into a no."""
    extra = data.draw(promos())
    before = decides(spans, grants, instant)
    after = decides(spans, [*_raised(grants, data), *extra], instant)
    if decide("NUMBER", "INCREMENTAL", before, ZERO, wanted, ()).granted:
        assert decide("NUMBER", "INCREMENTAL", after, ZERO, wanted, ()).granted


def _raised(grants: list[Grant], data: st.DataObject) -> list[Grant]:
    return [replace(one, entitlement=more_generous(one.entitlement, data)) for one in grants]


# --- how long a grant lasts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("1 week", "2024-02-27T10:00", "2024-03-05T10:00:00"),
        ("1 month", "2024-01-31T10:00", "2024-02-29T10:00:00"),
        ("6 month", "2024-08-31", "2025-02-28"),
        ("1 year", "2024-02-29", "2025-02-28"),
        ("lifetime", "2024-01-31", None),
        ("custom", "2024-01-31", "2024-03-03"),
    ],
)
def test_a_period_ends_by_the_calendar(period: str, start: str, end: str | None) -> None:
    found = end_of(period, at(start), at("2024-03-03"))
    assert (None if found is None else shown(found)) == end


def test_every_period_is_known() -> None:
    assert [end_of(period, START, FEB) is None for period in PERIODS].count(True) == 1


@pytest.mark.parametrize("end", [None, START, Instant(START - 1)])
def test_a_custom_period_needs_an_end_after_its_start(end: Instant | None) -> None:
    with pytest.raises(BadInput, match="customEndDate"):
        end_of("custom", START, end)
