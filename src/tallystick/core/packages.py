"""What one subscription grants of a feature: its plan, what it overrides, and its add-ons.

Owns: the first step of the calculation in STIGG.md 4.9. An override of the subscription stands for
the plan's value; add-ons then add to that (``Increment``) or replace it (``Override``), each times
its quantity. Leaves to others: which version of what is held when (``subscription``), and what
other subscriptions and grants add (``entitlements.effective``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement, all_values, generosity
from tallystick.core.periods import Unit


class Reset(NamedTuple):
    """How usage resets: ``period`` None is never; ``according_to`` as in ``Entitlement``."""

    period: Unit | None
    according_to: str | None


class Override(NamedTuple):
    """What a subscription states of a feature instead of its plan; what is UNSET is the plan's."""

    feature: str
    usage_limit: int | UnsetType | None = UNSET
    unlimited: bool | UnsetType = UNSET
    soft_limit: bool | UnsetType = UNSET
    reset: Reset | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Held:
    """What an add-on says of a feature, and how many of the add-on are held."""

    addon: str
    quantity: int
    entitlement: Entitlement

    @property
    def limit(self) -> int | None:
        """The limit of all that are held together, in shown units."""
        limit = self.entitlement.usage_limit
        return None if limit is None else limit * self.quantity


def overridden(plan: Entitlement | None, stated: Override, since: Instant) -> Entitlement:
    """What a plan grants of a feature, with what a subscription states instead since then.

    A stated limit ends that the plan's was unlimited, unless that is stated too.
    """
    base = Entitlement(stated.feature) if plan is None else plan
    limit, unlimited, soft = base.usage_limit, base.unlimited, base.soft_limit
    reset = Reset(base.reset_period, base.according_to)
    if stated.usage_limit is not UNSET:
        limit, unlimited = stated.usage_limit, False
    if stated.unlimited is not UNSET:
        unlimited = stated.unlimited
    if stated.soft_limit is not UNSET:
        soft = stated.soft_limit
    if stated.reset is not UNSET:
        reset = stated.reset
    return replace(
        base, usage_limit=limit, unlimited=unlimited, soft_limit=soft, reset_period=reset.period,
        according_to=reset.according_to, is_granted=True, updated_at=since,
    )  # fmt: skip


def with_addons(plan: Entitlement | None, held: Sequence[Held]) -> Entitlement | None:
    """What the plan and the add-ons of a subscription grant of a feature; None for nothing.

    The order of ``held`` has no meaning. If any of them is unlimited, all is. An ``Override``, the
    largest of several, replaces the plan's limit and values, and ``Increment``s with it; without
    one, increments add to the plan (STIGG.md 4.9). The period stays the plan's, unless the override
    that decides states one, or the plan grants nothing.
    """
    granted = plan if plan is not None and plan.is_granted else None
    counted = sorted(
        (one for one in held if one.entitlement.is_granted and one.quantity > 0), key=_seniority
    )
    if not counted:
        return granted
    overrides = [one for one in counted if one.entitlement.behavior == "Override"]
    made = _replaced(granted, overrides) if overrides else _raised(granted, counted)
    sources = [one.entitlement for one in counted] + ([] if granted is None else [granted])
    return replace(
        made, unlimited=any(one.unlimited for one in sources), updated_at=_latest(sources)
    )


def _replaced(plan: Entitlement | None, overrides: Sequence[Held]) -> Entitlement:
    """What the overrides grant instead of the plan."""
    winner = max(overrides, key=_decisiveness).entitlement
    rule = winner if winner.reset_period is not None or plan is None else plan
    limits = [one.limit for one in overrides if one.limit is not None]
    entitlements = [one.entitlement for one in overrides]
    return Entitlement(
        feature=winner.feature,
        usage_limit=max(limits, default=None),
        soft_limit=any(one.soft_limit for one in entitlements),
        reset_period=rule.reset_period,
        according_to=rule.according_to,
        enum_values=all_values(entitlements),
    )


def _raised(plan: Entitlement | None, increments: Sequence[Held]) -> Entitlement:
    """What the plan grants and the increments on top."""
    entitlements = [one.entitlement for one in increments]
    limits = [one.limit for one in increments if one.limit is not None]
    if plan is not None:
        entitlements.insert(0, plan)
        limits += [] if plan.usage_limit is None else [plan.usage_limit]
    return replace(
        entitlements[0],
        behavior="Increment",
        usage_limit=sum(limits) if limits else None,
        soft_limit=any(one.soft_limit for one in entitlements),
        enum_values=all_values(entitlements),
    )


def _decisiveness(one: Held) -> tuple[bool, int, bool, bool]:
    """Which override gives the period: the most generous; of equals one that states a period."""
    entitlement = one.entitlement
    unlimited, _, soft = generosity(entitlement)
    return (unlimited, one.limit or 0, soft, entitlement.reset_period is not None)


def _seniority(one: Held) -> tuple[str, int, tuple[bool, int, bool], str, str]:
    """The order in which equals are taken, whatever order they were given in."""
    entitlement = one.entitlement
    rule = (entitlement.reset_period or "", entitlement.according_to or "")
    return (one.addon, one.quantity, generosity(entitlement), *rule)


def _latest(sources: Sequence[Entitlement]) -> Instant | None:
    return max((one.updated_at for one in sources if one.updated_at is not None), default=None)
