"""Subscriptions, grants and zones with ordinary defaults, and strategies that make many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import strategies as st

from tallystick.clock import DAY, Instant
from tallystick.core.entitlements import Entitlement, effective
from tallystick.core.periods import START_OF_MONTH, Segment, segments
from tallystick.core.timeline import Grant, Phase, Span, active_entitlements, changes_of
from tests.core.instants import at


@dataclass(frozen=True)
class Zone:
    """The customer's zone from an instant on."""

    at: Instant
    zone: str


UTC = [Zone(at("2020-01-01"), "UTC")]
START = at("2024-01-10T12:00")


def grant(limit: int | None = 10, **more: object) -> Entitlement:
    """A monthly entitlement to calls, by the calendar."""
    given: dict[str, object] = {"reset_period": "MONTH", "according_to": START_OF_MONTH}
    return Entitlement("calls", usage_limit=limit, **(given | more))  # type: ignore[arg-type]


LIFELONG = grant(reset_period=None, according_to=None)
FROM_START = grant(according_to="SubscriptionStart")


def span(start: int = START, end: int | None = None, *grants: Entitlement, **more: object) -> Span:
    """A subscription to a plan with these entitlements."""
    listed = grants or (grant(),)
    restarts, chain = bool(more.pop("restarts", False)), more.pop("chain_start", start)
    chain = start if restarts else chain
    phase = Phase(Instant(start), {one.feature: one for one in listed}, restarts)
    fields: dict[str, object] = {
        "id": "sub-1", "product": "main", "resource": "", "start": Instant(start), "end": end,
        "anchor": chain, "floor": chain, "phases": (phase,),
    }  # fmt: skip
    return Span(**(fields | more))  # type: ignore[arg-type]


def promo(
    start: int = START, end: int | None = None, limit: int | None = 500, **more: object
) -> Grant:
    """A promotional entitlement to calls, monthly by the calendar."""
    chosen = {name: more.pop(name) for name in ("id", "anchor") if name in more}
    fields: dict[str, object] = {
        "id": "promo-1", "feature": "calls", "start": Instant(start), "end": end, "anchor": start,
        "entitlement": grant(limit, **more),
    }  # fmt: skip
    return Grant(**(fields | chosen))  # type: ignore[arg-type]


def made(
    *spans: Span, resource: str = "", zones: Sequence[Zone] = UTC, grants: Sequence[Grant] = ()
) -> tuple[Segment, ...]:
    """The segments of calls."""
    return segments(changes_of(spans, grants, "calls", resource, zones))


def decides(
    spans: Sequence[Span], grants: Sequence[Grant], instant: Instant, resource: str = ""
) -> Entitlement | None:
    """What decides about calls at an instant."""
    return effective(active_entitlements(spans, grants, "calls", resource, instant))


DAYS = st.integers(0, 100).map(lambda n: Instant(at("2024-01-01") + n * DAY))
GRANTS = st.sampled_from(
    [grant(), grant(20), FROM_START, LIFELONG, grant(30, reset_period="DAY", according_to=None),
     grant(15, reset_period="WEEK", according_to="EverySunday"), grant(None, unlimited=True),
     Entitlement("seats")]
)  # fmt: skip


@st.composite
def histories(draw: st.DrawFn, granted: st.SearchStrategy[Entitlement] = GRANTS) -> list[Span]:
    """One or two products, each a chain of plans that may have a gap, with phases that may reset
    usage. A chain that was reset inside of a plan goes on from there."""
    found = []
    for product in draw(st.sampled_from([["main"], ["main", "side"]])):
        edges = sorted(draw(st.sets(DAYS, min_size=2, max_size=5)))
        chain: Instant = edges[0]
        for number, (start, end) in enumerate(pairwise(edges)):
            if number and draw(st.booleans()) and draw(st.booleans()):
                chain = Instant(end)  # a gap: this one was cancelled, the next begins a chain
                continue
            restarts = start != chain and draw(st.booleans())
            turns = [start, *sorted(day for day in draw(st.sets(DAYS, max_size=2)) if day > start)]
            found.append(
                Span(
                    id=f"{product}-{number}",
                    product=product,
                    resource="",
                    start=start,
                    end=end if draw(st.booleans()) or end != edges[-1] else None,
                    anchor=start if restarts else chain,
                    floor=start if restarts else chain,
                    phases=tuple(
                        Phase(turn, {one.feature: one}, restarts if turn == start else reset)
                        for turn in turns
                        for one, reset in [(draw(granted), draw(st.booleans()))]
                    ),
                )
            )
            chain = found[-1].origin(end).anchor
    return found


@st.composite
def promos(draw: st.DrawFn, least: int = 0) -> list[Grant]:
    """Promotional entitlements that follow each other, each perhaps in the place of the last."""
    found: list[Grant] = []
    edges = sorted(draw(st.sets(DAYS, min_size=least, max_size=4)))
    for number, start in enumerate(edges):
        later = [*edges[number + 1 :], None]
        end = later[0] if draw(st.booleans()) else draw(st.sampled_from(later))
        last = found[-1] if found else None
        follows = last is not None and last.end == start and draw(st.booleans())
        entitlement = draw(GRANTS)
        found.append(
            Grant(
                f"promo-{number}", entitlement.feature, start, end,
                last.anchor if follows and last is not None else start, entitlement,
            )
        )  # fmt: skip
    return found


def more_generous(one: Entitlement, data: st.DataObject) -> Entitlement:
    """The same with a larger limit, soft or unlimited, as the data says."""
    limit = (one.usage_limit or 0) + data.draw(st.integers(0, 40))
    unlimited, soft = data.draw(st.booleans()), data.draw(st.booleans())
    return replace(
        one, usage_limit=limit, unlimited=one.unlimited or unlimited,
        soft_limit=one.soft_limit or soft,
    )  # fmt: skip
