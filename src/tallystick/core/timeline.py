"""What a customer was entitled to over time, and the changes of period rules that follow.

Owns: which entitlements hold at an instant, which of them wins, and from which instant on a rule
counts. It reads only what is given: spans with their phases, grants, and the history of the time
zone. A span is a subscription while one customer or resource holds it; whatever changes what it
grants (a plan published to everyone, an override, an add-on) is a phase. A grant is promotional: it
holds for the customer and each of its resources, beside any subscription.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple, Protocol

from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement, generosity
from tallystick.core.periods import FROM_START, Change, Rule

_AT = attrgetter("at")


@dataclass(frozen=True, slots=True)
class Phase:
    """From ``at`` on a span grants these, by feature. ``restart``: usage was reset then;
    ``foreseen``: that it would come was told before."""

    at: Instant
    entitlements: Mapping[str, Entitlement]
    restart: bool = False
    foreseen: bool = False


class Origin(NamedTuple):
    """Where periods are counted from, the earliest they may count, and whether usage was reset at
    the very instant it was asked for."""

    anchor: Instant
    floor: Instant
    restart: bool


@dataclass(frozen=True, slots=True)
class Span:
    """What one subscription grants in [start, end); ``end`` None is open, and one that is not
    after ``start`` never held. ``phases`` are in order, the first from ``start`` on.

    ``anchor`` is where its periods are counted from until a phase restarts them: where the chain of
    plan changes began that it continues, or a later reset of that chain. ``floor``, not before it,
    is the earliest instant they may count.
    """

    id: str
    product: str
    resource: str
    start: Instant
    end: Instant | None
    anchor: Instant
    floor: Instant
    phases: tuple[Phase, ...]

    def holds(self, at: int) -> bool:
        """Whether it grants at an instant."""
        return self.start <= at and (self.end is None or at < self.end)

    def phase(self, at: int) -> Phase | None:
        """The phase of an instant at which it holds."""
        place = bisect_right(self.phases, at, key=_AT) - 1
        return self.phases[place] if place >= 0 and self.holds(at) else None

    def entitlement(self, feature: str, at: int) -> Entitlement | None:
        """What it grants of a feature at an instant; None when it grants nothing."""
        phase = self.phase(at)
        found = None if phase is None else phase.entitlements.get(feature)
        return found if found is not None and found.is_granted else None

    def origin(self, at: int) -> Origin:
        """Where its periods begin as of an instant."""
        restarts = [phase.at for phase in self.phases if phase.restart and phase.at <= at]
        if not restarts:
            return Origin(self.anchor, self.floor, False)
        return Origin(restarts[-1], max(restarts[-1], self.floor), restarts[-1] == at)

    def held(self, resource: str, since: Instant | None, until: Instant | None) -> Span:
        """The part of it that a holder had in [since, until); None is from its start, to its end.

        Periods keep their anchor when a subscription is handed over, but the new holder's count
        nothing that came before.
        """
        if since is None and until is None and resource == self.resource:
            return self
        end = self.end if until is None else until if self.end is None else min(until, self.end)
        if since is None or since <= self.start:
            return replace(self, resource=resource, end=end)
        anchor, floor, _ = self.origin(since)
        place = bisect_right(self.phases, since, key=_AT) - 1
        first = Phase(since, self.phases[place].entitlements)
        return replace(
            self, resource=resource, start=since, end=end, anchor=anchor, floor=max(floor, since),
            phases=(first, *self.phases[place + 1 :]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grant:
    """A promotional entitlement in [start, end); ``end`` None is for life.

    ``anchor``, not after ``start``, is where its periods begin while there is no subscription to
    take that from; one that replaces another without a gap goes on with the other's.
    """

    id: str
    feature: str
    start: Instant
    end: Instant | None
    anchor: Instant
    entitlement: Entitlement

    def holds(self, at: int) -> bool:
        """Whether it grants at an instant."""
        return self.start <= at and (self.end is None or at < self.end)


class ZoneFrom(Protocol):
    """The time zone from an instant on."""

    @property
    def at(self) -> Instant:
        """Since when."""
        ...

    @property
    def zone(self) -> str:
        """Its name, as ``Europe/Berlin``."""
        ...


class _Source(NamedTuple):
    """What grants a feature at an instant; in order, the one that decides comes first.

    Of the equally generous a subscription goes before a grant, and then whose periods began first.
    Ids come last, so that it makes no difference how a history is cut into pieces.
    """

    rank: tuple[bool, int, bool, bool]
    origin: Origin
    rule: tuple[str, str]
    id: str
    entitlement: Entitlement


def active_entitlements(
    spans: Iterable[Span], grants: Iterable[Grant], feature: str, resource: str, at: Instant
) -> list[Entitlement]:
    """What grants a feature to a resource ('' is the customer itself) at an instant.

    The one that decides comes first, whatever order spans and grants were given in.
    """
    mine, given = _concerned(spans, grants, feature, resource)
    return [source.entitlement for source in _sources(mine, given, feature, at)]


def granted_features(
    spans: Iterable[Span], grants: Iterable[Grant], resource: str, at: Instant
) -> set[str]:
    """Every feature that something grants to a resource at an instant."""
    found = {grant.feature for grant in grants if grant.holds(at) and grant.entitlement.is_granted}
    for span in spans:
        phase = span.phase(at) if span.resource == resource else None
        if phase is not None:
            found |= {name for name, one in phase.entitlements.items() if one.is_granted}
    return found


def next_turn(
    spans: Iterable[Span], grants: Iterable[Grant], feature: str, resource: str, at: Instant
) -> Instant | None:
    """The first instant after ``at`` at which time alone may change what is granted; None: never.

    Periods that end are not among them.
    """
    mine, given = _concerned(spans, grants, feature, resource)
    return min((turn for turn in _turning_points(mine, given, ()) if turn > at), default=None)


def changes_of(
    spans: Iterable[Span],
    grants: Iterable[Grant],
    feature: str,
    resource: str,
    zones: Sequence[ZoneFrom],
) -> tuple[Change, ...]:
    """When which period rule of a feature begins to hold for a resource.

    ``zones`` is the history of the customer's time zone, oldest first; the first is taken to have
    held always. The most generous entitlement gives the rule.
    """
    mine, given = _concerned(spans, grants, feature, resource)
    foreseen = _foreseen(mine, given, zones)
    changes: list[Change] = []
    for at in sorted(set(_turning_points(mine, given, zones))):
        change = _change_at(mine, given, feature, at, zones, is_foreseen=at in foreseen)
        before = changes[-1].rule if changes else None
        if change.restart or change.rule != before:
            changes.append(change)
    return tuple(changes)


def rule_of(entitlement: Entitlement, anchor: Instant, zone: str) -> Rule:
    """The period rule of an entitlement.

    It carries only what it depends on, so that equal rules compare equal: a lifetime neither anchor
    nor zone, a rule from the start no zone, a calendar rule no anchor.
    """
    unit = entitlement.reset_period
    if unit is None:
        return Rule(None)
    according_to = entitlement.according_to or FROM_START
    if according_to == FROM_START:
        return Rule(unit, according_to, anchor)
    return Rule(unit, according_to, zone=zone)


def _concerned(
    spans: Iterable[Span], grants: Iterable[Grant], feature: str, resource: str
) -> tuple[list[Span], list[Grant]]:
    """The spans of a resource, and the grants of a feature."""
    mine = [span for span in spans if span.resource == resource]
    given = [one for one in grants if one.feature == feature and one.entitlement.is_granted]
    return mine, given


def _turning_points(
    spans: Sequence[Span], grants: Sequence[Grant], zones: Sequence[ZoneFrom]
) -> Iterator[Instant]:
    """Every instant at which something may change."""
    bounds = [(span.start, span.end) for span in spans] + [(one.start, one.end) for one in grants]
    for start, end in bounds:
        yield start
        if end is not None:
            yield end
    for span in spans:
        yield from (phase.at for phase in span.phases if span.holds(phase.at))
    if spans or grants:
        yield from (zone.at for zone in zones[1:])


def _foreseen(
    spans: Sequence[Span], grants: Sequence[Grant], zones: Sequence[ZoneFrom]
) -> set[Instant]:
    """The turning points at which begins what was told before, and nothing that was told then."""
    phases = [phase for span in spans for phase in span.phases]
    told = {phase.at for phase in phases if not phase.foreseen}
    told |= {grant.start for grant in grants} | {zone.at for zone in zones[1:]}
    return {phase.at for phase in phases if phase.foreseen} - told


def _change_at(
    spans: Sequence[Span],
    grants: Sequence[Grant],
    feature: str,
    at: Instant,
    zones: Sequence[ZoneFrom],
    *,
    is_foreseen: bool,
) -> Change:
    sources = _sources(spans, grants, feature, at)
    if not sources:
        return Change(at, None, at, foreseen=is_foreseen)
    anchor, floor, restart = sources[0].origin
    held = [zone.zone for zone in zones if zone.at <= at] or [zone.zone for zone in zones[:1]]
    rule = rule_of(sources[0].entitlement, anchor, held[-1] if held else "UTC")
    return Change(at, rule, floor, restart, is_foreseen)


def _sources(
    spans: Sequence[Span], grants: Sequence[Grant], feature: str, at: Instant
) -> list[_Source]:
    """What grants a feature at an instant, the one that decides first."""
    holding = [span for span in spans if span.holds(at)]
    sources = []
    for span in holding:
        entitlement = span.entitlement(feature, at)
        if entitlement is not None:
            sources.append(_source(span.id, entitlement, span.origin(at), is_grant=False))
    live = [grant for grant in grants if grant.holds(at)]
    if live:
        lead = _leading_origin(sources, holding, at)
        for grant in live:
            origin = lead or Origin(grant.anchor, grant.anchor, False)
            sources.append(_source(grant.id, grant.entitlement, origin, is_grant=True))
    return sorted(sources, key=lambda source: source[:-1])


def _leading_origin(
    sources: Sequence[_Source], holding: Sequence[Span], at: Instant
) -> Origin | None:
    """Where the periods of a grant begin beside subscriptions; None when there is none.

    A grant that raises what a subscription grants leaves its periods as they are, resets included;
    else to raise a limit would make what is used look like nothing. A feature that no subscription
    grants goes with the subscription whose periods began first.
    """
    if sources:
        return min(sources, key=lambda source: source[:-1]).origin
    return min((span.origin(at) for span in holding), default=None)


def _source(id_: str, entitlement: Entitlement, origin: Origin, *, is_grant: bool) -> _Source:
    unlimited, limit, soft = generosity(entitlement)
    rank = (not unlimited, -limit, not soft, is_grant)
    rule = (entitlement.reset_period or "", entitlement.according_to or "")
    return _Source(rank, origin, rule, id_, entitlement)
