"""From what a subscription was told to what it grants, instant by instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import DAY, Instant
from tallystick.core.entitlements import Entitlement
from tallystick.core.packages import Override, Reset
from tallystick.core.periods import Segment, segments
from tallystick.core.subscription import AddonHeld, Terms, Version, phases_of
from tallystick.core.timeline import Phase, Span, changes_of
from tests.core.instants import at

START = at("2024-02-01")


def day(number: int) -> Instant:
    """So many days after the start."""
    return Instant(START + number * DAY)


def version(
    number: int, limit: int | None = None, published: int = -9, *, everyone: bool = False
) -> Version:
    """A version that grants so many seats (else ten times its number)."""
    seats = Entitlement("seats", usage_limit=number * 10 if limit is None else limit)
    return Version(number, day(published), everyone, {"seats": seats})


PLAN = [version(1), version(2, published=5), version(3, published=10, everyone=True)]
ADDONS = {
    "more": [version(1, 1), version(2, 2, published=5), version(3, 3, published=10, everyone=True)],
    "extra": [version(1, 100)],
}


def terms(**more: Any) -> Terms:
    """Subscribed to the first version."""
    return Terms(**({"start": START, "end": None, "plan_version": 1} | more))


def phases(
    told: Terms,
    plan: Sequence[Version] = PLAN[:1],
    addons: Mapping[str, Sequence[Version]] = ADDONS,
) -> tuple[Phase, ...]:
    return phases_of(told, plan, addons)


def limits(found: Sequence[Phase]) -> list[tuple[int, int | None]]:
    """(days after the start, seats) of phases that grant seats."""
    return [((one.at - START) // DAY, one.entitlements["seats"].usage_limit) for one in found]


def held(addon: str = "more", quantity: int = 1, number: int = 1) -> AddonHeld:
    return AddonHeld(addon, quantity, number)


# --- versions of the plan ----------------------------------------------------------------------


def test_a_subscription_keeps_its_version() -> None:
    assert limits(phases(terms(), PLAN[:2])) == [(0, 10)]


def test_a_version_for_everyone_holds_once_it_is_published() -> None:
    assert limits(phases(terms(), PLAN)) == [(0, 10), (10, 30)]


def test_a_migration_holds_from_its_instant() -> None:
    assert limits(phases(terms(plan_moves={2: day(7)}), PLAN)) == [(0, 10), (7, 20), (10, 30)]


def test_a_version_never_gives_way_to_an_older_one() -> None:
    moved = terms(plan_moves={2: day(12)})
    assert limits(phases(moved, PLAN)) == [(0, 10), (10, 30)]


def test_what_begins_later_begins_with_the_newest_version_of_then() -> None:
    late = terms(start=day(7))
    assert limits(phases(late, PLAN)) == [(7, 20), (10, 30)]


def test_a_version_published_as_it_begins_is_not_there_yet() -> None:
    assert limits(phases(terms(start=day(5)), PLAN[:2])) == [(5, 10)]


def test_a_back_dated_one_has_the_version_that_was_subscribed_to() -> None:
    assert limits(phases(terms(start=day(-20), plan_version=2), PLAN[:2])) == [(-20, 20)]


def test_an_unknown_version_grants_nothing() -> None:
    assert phases(terms(plan_version=9)) == (Phase(START, {}),)
    assert phases(terms(), []) == (Phase(START, {}),)


def test_nothing_happens_after_the_end() -> None:
    told = terms(end=day(8), plan_moves={2: day(7)}, resets=[day(8)])
    assert limits(phases(told, PLAN)) == [(0, 10), (7, 20)]


def test_one_that_never_held_has_a_phase_all_the_same() -> None:
    assert len(phases(terms(end=START))) == 1
    assert len(phases(terms(end=day(-1)))) == 1


def test_an_unchanged_subscription_shares_what_its_version_grants() -> None:
    (only,) = phases(terms())
    assert only.entitlements is PLAN[0].entitlements


# --- overrides and resets ----------------------------------------------------------------------


def test_overrides_hold_from_when_they_were_made() -> None:
    told = terms(overrides=[
        (day(3), [Override("seats", usage_limit=7)]), (day(6), []), (day(-1), []),
    ])  # fmt: skip
    assert limits(phases(told)) == [(0, 10), (3, 7), (6, 10)]


def test_overrides_of_before_the_start_hold_from_it() -> None:
    (only,) = phases(terms(overrides=[(day(-3), [Override("seats", usage_limit=7)])]))
    assert only.entitlements["seats"].usage_limit == 7
    assert only.entitlements["seats"].updated_at == START


def test_overrides_stand_beside_a_newer_version() -> None:
    told = terms(overrides=[(day(3), [Override("seats", reset=Reset("DAY", None))])])
    found = phases(told, PLAN)
    assert limits(found) == [(0, 10), (3, 10), (10, 30)]
    assert [one.entitlements["seats"].reset_period for one in found] == [None, "DAY", "DAY"]


def test_usage_is_reset_where_the_terms_say() -> None:
    found = phases(terms(resets=[day(4)]))
    assert [(one.at, one.restart) for one in found] == [(START, False), (day(4), True)]
    assert found[0].entitlements == found[1].entitlements


def test_a_plan_change_that_resets_does_so_at_its_start() -> None:
    assert [one.restart for one in phases(terms(resets=[START, day(-4)]))] == [True]


# --- add-ons -----------------------------------------------------------------------------------


def test_add_ons_add_to_what_the_plan_grants() -> None:
    told = terms(addons=[(START, [held(quantity=2), held("extra")])])
    assert limits(phases(told)) == [(0, 112), (10, 116)]


def test_add_ons_add_to_what_an_override_states() -> None:
    told = terms(
        addons=[(START, [held("extra")])],
        overrides=[(START, [Override("seats", usage_limit=7)])],
    )
    assert limits(phases(told)) == [(0, 107)]


def test_a_list_of_add_ons_is_complete() -> None:
    told = terms(addons=[
        (START, [held()]), (day(2), [held(quantity=3)]), (day(4), [held("extra")]), (day(6), []),
    ])  # fmt: skip
    assert limits(phases(told, PLAN[:1], {**ADDONS, "more": ADDONS["more"][:1]})) == [
        (0, 11), (2, 13), (4, 110), (6, 10),
    ]  # fmt: skip


def test_an_add_on_keeps_the_version_it_was_taken_in() -> None:
    told = terms(addons=[(day(1), [held()]), (day(7), [held(quantity=2)])])
    older = {"more": ADDONS["more"][:2]}
    assert limits(phases(told, PLAN[:1], older)) == [(0, 10), (1, 11), (7, 12)]


def test_an_add_on_has_what_is_published_for_everyone() -> None:
    told = terms(addons=[(START, [held()])])
    assert limits(phases(told)) == [(0, 11), (10, 13)]


def test_an_add_on_is_migrated_with_its_plan() -> None:
    told = terms(
        addons=[(START, [held()])], addon_moves={"more": {2: day(7)}}, plan_moves={2: day(7)}
    )
    assert limits(phases(told, PLAN[:2])) == [(0, 11), (7, 22), (10, 23)]


def test_an_add_on_that_is_arranged_for_later_has_the_version_of_then() -> None:
    told = terms(addons=[(day(7), [held()])])
    assert limits(phases(told)) == [(0, 10), (7, 12), (10, 13)]


def test_an_unknown_add_on_grants_nothing() -> None:
    told = terms(addons=[(START, [held("nobody"), held("more", 1, 9)])])
    assert limits(phases(told)) == [(0, 10)]


# --- laws --------------------------------------------------------------------------------------

DAYS = st.integers(-5, 20).map(day)
LISTS = st.lists(
    st.builds(AddonHeld, st.sampled_from(["more", "extra"]), st.integers(1, 3), st.just(1)),
    max_size=2,
    unique_by=lambda one: one.addon,
)
HISTORIES = st.lists(st.tuples(DAYS, LISTS), max_size=4, unique_by=lambda entry: entry[0])


@given(HISTORIES, st.randoms(use_true_random=False))
def test_the_order_of_lists_and_entries_does_not_matter(
    history: list[tuple[Instant, list[AddonHeld]]], chance: Random
) -> None:
    before = phases(terms(addons=history), PLAN)
    shuffled = [(made_at, chance.sample(listed, len(listed))) for made_at, listed in history]
    chance.shuffle(shuffled)
    assert phases(terms(addons=shuffled), PLAN) == before


@given(HISTORIES, LISTS, DAYS)
def test_to_say_again_what_holds_changes_nothing(
    later: list[tuple[Instant, list[AddonHeld]]], first: list[AddonHeld], again: Instant
) -> None:
    """A history of add-ons may be cut at any instant."""
    history = [(day(-9), first), *(entry for entry in later if entry[0] != again)]
    held = max((entry for entry in history if entry[0] < again), key=lambda entry: entry[0])
    repeated = (again, held[1])
    assert phases(terms(addons=[*history, repeated]), PLAN) == phases(terms(addons=history), PLAN)


@given(HISTORIES, DAYS)
def test_what_comes_later_does_not_change_the_past(
    history: list[tuple[Instant, list[AddonHeld]]], instant: Instant
) -> None:
    known = [entry for entry in history if entry[0] <= instant]
    before = [one for one in phases(terms(addons=known), PLAN) if one.at <= instant]
    after = [one for one in phases(terms(addons=history), PLAN) if one.at <= instant]
    assert before == after


@given(HISTORIES, st.integers(1, 3), st.integers(0, 5), DAYS)
def test_more_of_an_add_on_never_gives_less(
    history: list[tuple[Instant, list[AddonHeld]]], times: int, further: int, instant: Instant
) -> None:
    """A larger quantity, and what an add-on or a plan grants more, at any instant."""
    more = [
        (made_at, [one._replace(quantity=one.quantity * times) for one in listed])
        for made_at, listed in history
    ]
    larger = {
        name: [_raised(one, further) for one in versions] for name, versions in ADDONS.items()
    }
    before = phases(terms(addons=history), PLAN)
    after = phases(terms(addons=more), [_raised(one, further) for one in PLAN], larger)
    assert (_limit_at(before, instant) or 0) <= (_limit_at(after, instant) or 0)


def _raised(one: Version, further: int) -> Version:
    seats = one.entitlements["seats"]
    raised = replace(seats, usage_limit=(seats.usage_limit or 0) + further)
    return replace(one, entitlements={"seats": raised})


def _limit_at(found: Sequence[Phase], instant: Instant) -> int | None:
    holding = [one for one in found if one.at <= instant]
    return holding[-1].entitlements["seats"].usage_limit if holding else None


OVERRIDES = st.lists(
    st.builds(
        lambda limit, unit: Override("seats", usage_limit=limit, reset=Reset(unit, None)),
        st.integers(0, 9), st.sampled_from([None, "DAY", "MONTH"]),
    ),
    max_size=1,
)  # fmt: skip


@given(
    st.lists(st.tuples(DAYS, OVERRIDES), max_size=4, unique_by=lambda entry: entry[0]),
    OVERRIDES, DAYS,
)  # fmt: skip
def test_to_state_again_what_is_stated_changes_no_period(
    later: list[tuple[Instant, list[Override]]], first: list[Override], again: Instant
) -> None:
    """A history of overrides may be cut at any instant; only the time of the change is another."""
    history = [(day(-9), first), *(entry for entry in later if entry[0] != again)]
    held = max((entry for entry in history if entry[0] < again), key=lambda entry: entry[0])
    cut = terms(overrides=[*history, (again, held[1])])
    assert _periods(phases(cut, PLAN)) == _periods(phases(terms(overrides=history), PLAN))


def _periods(found: Sequence[Phase]) -> tuple[Segment, ...]:
    held = Span("sub-1", "main", "", START, None, START, START, tuple(found))
    return segments(changes_of([held], (), "seats", "", ()))
