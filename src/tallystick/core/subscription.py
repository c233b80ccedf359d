"""From the history of one subscription to what it grants, instant by instant.

Owns: which version of its plan and add-ons a subscription has when, and joining those with its
overrides into phases. Everything a subscription was told keeps the instant it holds from, also
where that is still to come; so nothing has to run then, and the past keeps its rules. Leaves to
others: what of one feature adds up to what (``packages``), and several subscriptions
(``timeline``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple

from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement
from tallystick.core.packages import Held, Override, overridden, with_addons
from tallystick.core.timeline import Phase

_NOTHING: Final[Mapping[str, Entitlement]] = {}
_NO_MOVES: Final[Mapping[int, Instant]] = {}


@dataclass(frozen=True, slots=True)
class Version:
    """A published version of a plan or an add-on and what it grants by feature, inherited grants
    included. ``for_everyone``: whoever has an earlier version gets it when it is published."""

    number: int
    published_at: Instant
    for_everyone: bool
    entitlements: Mapping[str, Entitlement]


class AddonHeld(NamedTuple):
    """An add-on of a subscription: how many, and the version it was taken in."""

    addon: str
    quantity: int
    version: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a subscription was told, over time; in lists by instant the last at or before holds.

    ``plan_version`` is the one subscribed to; ``plan_moves`` are migrations, by version: when.
    ``addons`` and ``overrides`` are complete lists from their instant on; ``addon_moves`` are
    migrations by add-on and version. At ``resets`` usage was reset; one at ``start`` says that the
    plan change which began it did. What begins at ``foreseen`` instants was told before.
    """

    start: Instant
    end: Instant | None
    plan_version: int
    plan_moves: Mapping[int, Instant] = field(default_factory=dict)
    addons: Sequence[tuple[Instant, Sequence[AddonHeld]]] = ()
    addon_moves: Mapping[str, Mapping[int, Instant]] = field(default_factory=dict)
    overrides: Sequence[tuple[Instant, Sequence[Override]]] = ()
    resets: Sequence[Instant] = ()
    foreseen: Collection[Instant] = ()


class _Line(NamedTuple):
    """Which version of a package is held from which instant on, in order."""

    instants: list[Instant]
    versions: list[Version]

    def granted(self, at: int) -> Mapping[str, Entitlement]:
        """What is granted at an instant."""
        place = bisect_right(self.instants, at) - 1
        return _NOTHING if place < 0 else self.versions[place].entitlements


class _Taken(NamedTuple):
    """An add-on while a list of add-ons holds."""

    addon: str
    quantity: int
    line: _Line


class _Stage(NamedTuple):
    """From ``at`` on these add-ons are held."""

    at: Instant
    taken: Sequence[_Taken]


def phases_of(
    terms: Terms, plan: Sequence[Version], addons: Mapping[str, Sequence[Version]]
) -> tuple[Phase, ...]:
    """What a subscription grants over time; never empty, the first from its start on.

    ``plan`` and ``addons`` are the published versions of its plan, and by id of every add-on that
    ``terms`` names, oldest first. Where nothing changes there is no phase.
    """
    line = _line_of(plan, terms.plan_version, terms.plan_moves, terms.start)
    stages = _stages(terms, addons)
    overrides = sorted(terms.overrides, key=itemgetter(0))
    phases: list[Phase] = []
    for at in _turning_points(terms, line, stages):
        granted = _stated(line.granted(at), overrides, terms.start, at)
        granted = _with_addons(granted, stages, at)
        restart = at in terms.resets
        if not phases or restart or granted != phases[-1].entitlements:
            phases.append(Phase(at, granted, restart, at in terms.foreseen))
    return tuple(phases)


def _line_of(
    versions: Sequence[Version], pinned: int, moves: Mapping[int, Instant], since: Instant
) -> _Line:
    """Which version is held when, of a package that was taken in one version since an instant.

    A younger version never gives way to an older one that arrives later.
    """
    line = _Line([], [])
    for version in versions:
        arrival = _arrival(version, pinned, moves, since)
        if arrival is None:
            continue
        while line.instants and line.instants[-1] >= arrival:
            line.instants.pop()
            line.versions.pop()
        line.instants.append(arrival)
        line.versions.append(version)
    return line


def _arrival(
    version: Version, pinned: int, moves: Mapping[int, Instant], since: Instant
) -> Instant | None:
    """From when on a version is held, unless a younger one is; None when it never is.

    What begins later than it was agreed begins with the newest version that exists then.
    """
    if version.number < pinned:
        return None
    if version.number == pinned or version.published_at < since:
        return since
    arrivals = [version.published_at] if version.for_everyone else []
    if version.number in moves:
        arrivals.append(moves[version.number])
    return max(since, min(arrivals)) if arrivals else None


def _stages(terms: Terms, addons: Mapping[str, Sequence[Version]]) -> list[_Stage]:
    """The lists of add-ons, each add-on with the versions it has while it is held."""
    stages = []
    since: dict[tuple[str, int], Instant] = {}
    for at, listed in sorted(terms.addons, key=itemgetter(0)):
        # One that was held before goes on: its version was pinned when it was first taken.
        since = {
            (one.addon, one.version): since.get((one.addon, one.version), max(at, terms.start))
            for one in listed
        }
        taken = [
            _Taken(one.addon, one.quantity, _line_of(
                addons.get(one.addon, ()), one.version, terms.addon_moves.get(one.addon, _NO_MOVES),
                since[one.addon, one.version],
            ))
            for one in listed
        ]  # fmt: skip
        stages.append(_Stage(at, taken))
    return stages


def _turning_points(terms: Terms, line: _Line, stages: Sequence[_Stage]) -> list[Instant]:
    """Every instant of the subscription at which something may change, its start first."""

    def instants() -> Iterator[Instant]:
        yield from line.instants
        for stage in stages:
            yield stage.at
            for taken in stage.taken:
                yield from taken.line.instants
        yield from (at for at, _ in terms.overrides)
        yield from terms.resets

    later = {at for at in instants() if terms.start < at and (terms.end is None or at < terms.end)}
    return [terms.start, *sorted(later)]


def _stated(
    granted: Mapping[str, Entitlement],
    overrides: Sequence[tuple[Instant, Sequence[Override]]],
    start: Instant,
    at: Instant,
) -> Mapping[str, Entitlement]:
    """What a version grants, with what the subscription states instead at an instant."""
    place = bisect_right(overrides, at, key=itemgetter(0)) - 1
    if place < 0:
        return granted
    made_at, stated = overrides[place]
    joined = dict(granted)
    for override in stated:
        before = joined.get(override.feature)
        joined[override.feature] = overridden(before, override, max(made_at, start))
    return joined


def _with_addons(
    granted: Mapping[str, Entitlement], stages: Sequence[_Stage], at: Instant
) -> Mapping[str, Entitlement]:
    """What the plan grants, with the add-ons that are held at an instant."""
    place = bisect_right(stages, at, key=itemgetter(0)) - 1
    if place < 0:
        return granted
    held: dict[str, list[Held]] = {}
    for taken in stages[place].taken:
        for feature, entitlement in taken.line.granted(at).items():
            held.setdefault(feature, []).append(Held(taken.addon, taken.quantity, entitlement))
    if not held:
        return granted
    joined = dict(granted)
    for feature, ones in held.items():
        together = with_addons(granted.get(feature), ones)
        if together is not None:
            joined[feature] = together
    return joined
