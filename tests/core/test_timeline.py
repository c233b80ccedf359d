"""From subscriptions to rules: plan changes, several products, phases, zones."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import DAY, Instant
from tallystick.core.entitlements import Entitlement, decide, effective
from tallystick.core.parts import ZERO
from tallystick.core.periods import (
    FOREVER,
    LIFETIME,
    START_OF_MONTH,
    Period,
    Rule,
    Segment,
    period_at,
    periods_between,
)
from tallystick.core.timeline import Grant, Phase, Span, active_entitlements, changes_of
from tests.core.histories import (
    DAYS,
    FROM_START,
    LIFELONG,
    START,
    UTC,
    Zone,
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


def replaced(
    at_: str, *, restarts: bool, after: Entitlement, before: Entitlement | None = None
) -> tuple[Segment, ...]:
    """The segments of one plan that another replaces."""
    turn = at(at_)
    return made(
        span(START, turn, before or after),
        span(turn, None, after, id="sub-2", chain_start=START, restarts=restarts),
    )


def counted(period: Period | None) -> tuple[str, str]:
    assert period is not None
    return shown(period.counted_from), shown(period.counted_until)


# --- one subscription --------------------------------------------------------------------------


def test_a_subscription_counts_from_its_start() -> None:
    period = period_at(made(span()), at("2024-01-20"))
    assert counted(period) == (shown(START), "2024-02-01")
    assert period_at(made(span()), START - 1) is None


def test_a_back_dated_start_is_a_start() -> None:
    assert made(span(at("2020-06-01")))[0].start == at("2020-06-01")


def test_nothing_holds_after_the_end() -> None:
    end = at("2024-02-15")
    assert made(span(START, end))[-1].stop == end


def test_a_subscription_that_never_held_leaves_nothing() -> None:
    assert made(span(START, START)) == ()
    assert made(span(START, START - DAY)) == ()


def test_a_lifetime_counts_what_was_before_the_subscription() -> None:
    assert made(span(START, None, LIFELONG)) == (
        Segment(LIFETIME, FOREVER, Rule(None), restart=False, shown_start=LIFETIME),
    )


def test_a_feature_that_is_not_granted_has_no_rule() -> None:
    assert changes_of([span()], (), "seats", "", UTC) == ()
    assert made(span(START, None, grant(is_granted=False))) == ()


def test_a_resource_is_its_own() -> None:
    mine = span(resource="site-1")
    assert made(mine) == ()
    assert len(made(mine, resource="site-1")) == 1


# --- plan changes ------------------------------------------------------------------------------


def test_a_plan_change_that_resets_starts_over() -> None:
    found = replaced("2024-02-15", restarts=True, after=grant())
    assert counted(period_at(found, at("2024-02-20"))) == ("2024-02-15", "2024-03-01")
    assert counted(period_at(found, at("2024-02-14"))) == ("2024-02-01", "2024-02-15")


def test_a_plan_change_that_resets_moves_the_anchor() -> None:
    found = replaced("2024-02-15", restarts=True, after=FROM_START)
    assert counted(period_at(found, at("2024-03-20"))) == ("2024-03-15", "2024-04-15")


def test_a_plan_change_that_does_not_reset_leaves_periods_as_they_are() -> None:
    for one in (grant(), FROM_START, LIFELONG):
        found = replaced(
            "2024-02-15", restarts=False, before=one, after=replace(one, usage_limit=99)
        )
        assert found == made(span(START, None, one))


def test_a_plan_change_never_resets_a_lifetime() -> None:
    assert replaced("2024-02-15", restarts=True, after=LIFELONG) == made(
        span(START, None, LIFELONG)
    )


def test_a_new_rule_counts_from_its_own_period_but_not_from_before_the_chain() -> None:
    found = replaced("2024-01-20", restarts=False, before=FROM_START, after=grant())
    assert found[0].start == START
    assert [segment.rule for segment in found] == [Rule("MONTH", START_OF_MONTH)]


def test_a_feature_that_a_plan_change_brings_counts_in_its_period_at_once() -> None:
    other = Entitlement("seats", usage_limit=1)
    found = replaced("2024-02-15", restarts=False, before=other, after=grant())
    assert found[0].start == at("2024-02-01")


def test_after_a_reset_nothing_counts_what_was_before_it() -> None:
    turn = at("2024-02-10")
    again = Phase(at("2024-02-20"), {"calls": grant()})
    second = span(turn, None, FROM_START, id="sub-2", restarts=True)
    found = made(span(START, turn, FROM_START), replace(second, phases=(*second.phases, again)))
    assert found[-1].start == turn


def test_a_new_chain_after_a_gap_begins_with_itself() -> None:
    found = made(span(START, at("2024-02-10")), span(at("2024-02-20"), None, id="sub-2"))
    assert [(shown(one.start), shown(one.stop)) for one in found] == [
        (shown(START), "2024-02-10"), ("2024-02-20", shown(FOREVER)),
    ]  # fmt: skip


# --- phases, products, zones -------------------------------------------------------------------


def test_an_override_changes_the_rule_from_its_period_on() -> None:
    phase = Phase(
        at("2024-02-14"), {"calls": grant(reset_period="WEEK", according_to="EveryMonday")}
    )
    one = span()
    found = made(replace(one, phases=(*one.phases, phase)))
    assert [shown(segment.start) for segment in found] == [shown(START), "2024-02-12"]


def test_a_larger_limit_alone_changes_no_period() -> None:
    phase = Phase(at("2024-02-14"), {"calls": grant(10**6)})
    one = span()
    assert made(replace(one, phases=(*one.phases, phase))) == made(one)


def test_the_most_generous_product_gives_the_rule() -> None:
    weekly = grant(100, reset_period="WEEK", according_to="EveryMonday")
    side = span(at("2024-02-14"), at("2024-03-20"), weekly, id="sub-2", product="side")
    found = made(span(), side)
    assert [segment.rule.unit for segment in found] == ["MONTH", "WEEK", "MONTH"]
    assert [shown(segment.start) for segment in found[1:]] == ["2024-02-14", "2024-03-01"]


def test_a_less_generous_product_changes_nothing() -> None:
    side = span(at("2024-02-14"), None, grant(5, reset_period="DAY"), id="sub-2", product="side")
    assert made(span(), side) == made(span())
    both = active_entitlements([span(), side], (), "calls", "", at("2024-03-01"))
    winner = effective(both)
    assert len(both) == 2
    assert winner is not None
    assert winner.usage_limit == 10


def test_a_reset_of_a_product_that_does_not_win_resets_nothing() -> None:
    turn = at("2024-02-15")
    small = grant(1)
    found = made(
        span(),
        span(START, turn, small, id="side-1", product="side"),
        span(turn, None, small, id="side-2", product="side", restarts=True),
    )
    assert found == made(span())


def test_a_new_zone_holds_from_its_own_period_on() -> None:
    zones = [*UTC, Zone(at("2024-02-14"), "America/New_York")]
    found = made(span(), zones=zones)
    assert [shown(segment.start) for segment in found] == [shown(START), "2024-02-01T05:00:00"]
    assert counted(period_at(found, at("2024-03-05"))) == (
        "2024-03-01T05:00:00", "2024-04-01T04:00:00"
    )  # fmt: skip


def test_a_new_zone_moves_no_rule_from_the_start() -> None:
    zones = [*UTC, Zone(at("2024-02-14"), "America/New_York")]
    for one in (FROM_START, LIFELONG):
        assert made(span(START, None, one), zones=zones) == made(span(START, None, one))


def test_the_first_zone_held_always() -> None:
    zones = [Zone(at("2025-01-01"), "Asia/Tokyo")]
    assert made(span(), zones=zones)[0].rule.zone == "Asia/Tokyo"


# --- laws --------------------------------------------------------------------------------------


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_subscriptions_does_not_matter(spans: list[Span], chance: Random) -> None:
    before = made(*spans)
    chance.shuffle(spans)
    assert made(*spans) == before


@given(histories(), DAYS, st.integers(0, 40), st.data())
def test_subscriptions_that_grant_more_never_give_less(
    spans: list[Span], instant: Instant, wanted: int, data: st.DataObject
) -> None:
    """In any phase of any of them: a larger, softer or unlimited one never turns a yes to a no."""
    larger = [
        replace(one, phases=tuple(
            replace(phase, entitlements={
                name: more_generous(stated, data) for name, stated in phase.entitlements.items()
            })
            for phase in one.phases
        ))
        for one in spans
    ]  # fmt: skip
    before, after = decides(spans, (), instant), decides(larger, (), instant)
    if decide("NUMBER", "INCREMENTAL", before, ZERO, wanted, ()).granted:
        assert decide("NUMBER", "INCREMENTAL", after, ZERO, wanted, ()).granted


@given(histories(), promos(), DAYS, DAYS)
def test_unlimited_beats_any_number_while_it_holds(
    spans: list[Span], grants: list[Grant], start: Instant, instant: Instant
) -> None:
    """Another product's unlimited plan, beside whatever is subscribed to and promised."""
    free = span(start, None, grant(None, unlimited=True), id="free", product="free")
    winner = decides([*spans, free], [*grants, promo(start, None, 10**15)], instant)
    if instant >= start:
        assert winner is not None
        assert winner.unlimited


@given(histories(), promos(), st.sampled_from(["", "site-1"]))
def test_periods_follow_each_other_without_a_gap_while_something_grants(
    spans: list[Span], grants: list[Grant], resource: str
) -> None:
    """Also of a resource, which has the grants alone."""
    found = made(*spans, resource=resource, grants=grants)
    first, last = Instant(at("2023-12-01")), Instant(at("2024-06-01"))
    periods = periods_between(found, first, last)
    for one, following in pairwise(periods):
        assert one.counted_from < one.counted_until <= following.counted_from
        gap = range(one.counted_until, following.counted_from, DAY)
        assert all(decides(spans, grants, Instant(day), resource) is None for day in gap)
    for one in periods:
        assert one.start <= one.counted_from
        assert one.counted_until <= one.end


@given(histories(), promos(), st.data())
def test_splitting_a_subscription_changes_nothing(
    spans: list[Span], grants: list[Grant], data: st.DataObject
) -> None:
    """A plan change to the same plan, without a reset, at any instant."""
    number = data.draw(st.integers(0, len(spans) - 1)) if spans else -1
    if number < 0:
        return
    one = spans[number]
    turn = data.draw(DAYS)
    if not one.start < turn < (one.end or FOREVER):
        return
    held = [phase for phase in one.phases if phase.at <= turn][-1]
    later = tuple(phase for phase in one.phases if phase.at > turn)
    first = replace(one, end=turn)
    anchor, floor, _ = one.origin(turn)
    held = replace(held, at=turn, restart=held.restart and held.at == turn)
    second = replace(
        one, id=f"{one.id}-2", start=turn, anchor=anchor, floor=floor, phases=(held, *later)
    )
    split = [*spans[:number], first, second, *spans[number + 1 :]]
    assert made(*split, grants=grants) == made(*spans, grants=grants)


@given(histories(), DAYS)
def test_what_holds_has_the_winner_s_rule(spans: list[Span], instant: Instant) -> None:
    """At the last turning point before an instant, the winner's rule began to hold."""
    seen = [span for span in spans if span.start <= instant]
    clipped = [
        replace(one, end=None if one.end is None or one.end > instant else one.end,
                phases=tuple(phase for phase in one.phases if phase.at <= instant))
        for one in seen
    ]  # fmt: skip
    winner = effective(active_entitlements(clipped, (), "calls", "", instant))
    period = period_at(made(*clipped), instant)
    assert (period is None) == (winner is None)


@given(histories(), DAYS)
def test_the_past_does_not_depend_on_a_later_subscription(
    spans: list[Span], instant: Instant
) -> None:
    """A subscription of another product from an instant on leaves ended periods as they were."""
    late = span(instant, None, grant(10**6), id="late", product="late")
    before, after = made(*spans), made(*spans, late)
    for day in range(at("2023-12-25"), instant - 32 * DAY, 5 * DAY):
        old, new = period_at(before, day), period_at(after, day)
        if old is not None and old.counted_until <= instant - 32 * DAY:
            assert old == new
