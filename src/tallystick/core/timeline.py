"""What a customer was entitled to over time, and the changes of period rules that follow.

Owns: which entitlements hold at an instant, which of them wins, and from which instant on a rule
counts. It reads only what is given: spans with their phases, and the history of the time zone.
Anything that grants for a while (a subscription, a trial, an add-on, a promotional grant) is a
span; anything that changes what it grants (a plan published to everyone, an override) is a phase.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement, generosity
from tallystick.core.periods import FROM_START, Change, Rule


@dataclass(frozen=True, slots=True)
class Phase:
    """From ``at`` on a span grants these, by feature."""

    at: Instant
    entitlements: Mapping[str, Entitlement]


@dataclass(frozen=True, slots=True)
class Span:
    """What one subscription grants in [start, end); ``end`` None is open, and one that is not
    after ``start`` never held. ``phases`` are in order, the first from ``start`` on.

    ``chain_start`` is where the chain of plan changes began that this span continues (``start`` of
    a first one). ``restarts``: this plan change reset usage, so that its periods begin anew.
    """

    id: str
    product: str
    resource: str
    start: Instant
    end: Instant | None
    chain_start: Instant
    restarts: bool
    phases: tuple[Phase, ...]

    @property
    def anchor(self) -> Instant:
        """Where its periods are counted from, and the earliest they may count."""
        return self.start if self.restarts else self.chain_start

    def holds(self, at: int) -> bool:
        """Whether it grants at an instant."""
        return self.start <= at and (self.end is None or at < self.end)

    def entitlement(self, feature: str, at: int) -> Entitlement | None:
        """What it grants of a feature at an instant; None when it grants nothing."""
        if not self.holds(at):
            return None
        reached = [phase for phase in self.phases if phase.at <= at]
        found = reached[-1].entitlements.get(feature) if reached else None
        return found if found is not None and found.is_granted else None


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


def active_entitlements(
    spans: Iterable[Span], feature: str, resource: str, at: Instant
) -> list[Entitlement]:
    """What grants a feature to a resource ('' is the customer itself) at an instant."""
    return [entitlement for _, entitlement in _granting(spans, feature, resource, at)]


def changes_of(
    spans: Sequence[Span], feature: str, resource: str, zones: Sequence[ZoneFrom]
) -> tuple[Change, ...]:
    """When which period rule of a feature begins to hold for a resource.

    ``zones`` is the history of the customer's time zone, oldest first; the first is taken to have
    held always. The most generous entitlement gives the rule; of equals, that of the older span.
    """
    mine = sorted(
        (span for span in spans if span.resource == resource), key=lambda s: (s.start, s.id)
    )
    changes: list[Change] = []
    for at in sorted(set(_turning_points(mine, feature, zones))):
        change = _change_at(mine, feature, at, zones)
        before = changes[-1].rule if changes else None
        if change.restart or change.rule != before:
            changes.append(change)
    return tuple(changes)


def _turning_points(
    spans: Sequence[Span], feature: str, zones: Sequence[ZoneFrom]
) -> Iterator[Instant]:
    """Every instant at which the rule of a feature may change."""
    for span in spans:
        yield span.start
        if span.end is not None:
            yield span.end
        yield from (phase.at for phase in span.phases if span.holds(phase.at))
    if spans:
        yield from (zone.at for zone in zones[1:])


def _change_at(
    spans: Sequence[Span], feature: str, at: Instant, zones: Sequence[ZoneFrom]
) -> Change:
    granting = _granting(spans, feature, spans[0].resource, at)
    if not granting:
        return Change(at, None, at)
    span, entitlement = max(granting, key=lambda one: generosity(one[1]))
    held = [zone.zone for zone in zones if zone.at <= at] or [zone.zone for zone in zones[:1]]
    rule = rule_of(entitlement, span.anchor, held[-1] if held else "UTC")
    return Change(at, rule, span.anchor, span.restarts and at == span.start)


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


def _granting(
    spans: Iterable[Span], feature: str, resource: str, at: Instant
) -> list[tuple[Span, Entitlement]]:
    found = []
    for span in spans:
        if span.resource == resource:
            entitlement = span.entitlement(feature, at)
            if entitlement is not None:
                found.append((span, entitlement))
    return found
