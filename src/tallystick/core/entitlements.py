"""Entitlements: which of several wins, and whether it grants.

Owns: generosity and the order of reasons (STIGG.md 4.9 and 4.10). Leaves to others: which
entitlements hold at an instant (``timeline``), and reasons that concern the customer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from tallystick.clock import Instant
from tallystick.core.parts import CONTEXT
from tallystick.core.periods import Unit

Behavior = Literal["Increment", "Override"]
Reason = Literal[
    "NoFeatureEntitlementInSubscription", "RequestedUsageExceedingLimit", "RequestedValuesMismatch",
    "FeatureTypeMismatch",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a plan, an override or a grant says of one feature.

    ``usage_limit`` is in shown units; missing, it counts as 0. ``reset_period`` None never resets;
    ``according_to`` says where its periods begin (``periods.Rule``). ``behavior`` is an add-on's.
    """

    feature: str
    usage_limit: int | None = None
    unlimited: bool = False
    soft_limit: bool = False
    reset_period: Unit | None = None
    according_to: str | None = None
    enum_values: tuple[str, ...] = ()
    behavior: Behavior = "Increment"
    is_granted: bool = True
    updated_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a check; ``reason`` is given with a denial and only then."""

    granted: bool
    reason: Reason | None = None


GRANTED = Decision(granted=True)


def generosity(entitlement: Entitlement) -> tuple[bool, int, bool]:
    """How generous an entitlement is: unlimited, then the larger limit, then a soft limit."""
    return (entitlement.unlimited, entitlement.usage_limit or 0, entitlement.soft_limit)


def effective(entitlements: Iterable[Entitlement]) -> Entitlement | None:
    """What several entitlements to one feature grant together; None when none grants.

    The most generous, of equals the first, gives the limit, the period and the rest (STIGG.md 4.9:
    the most generous, and unlimited beats any number). Beside it every other still grants what it
    would alone: the limit is soft if any of them is, and the enum values are those of all.
    """
    granting = [one for one in entitlements if one.is_granted]
    if not granting:
        return None
    winner = max(granting, key=generosity)
    if len(granting) == 1:
        return winner
    soft = any(one.soft_limit for one in granting)
    return replace(winner, soft_limit=soft, enum_values=all_values(granting))


def all_values(entitlements: Iterable[Entitlement]) -> tuple[str, ...]:
    """The enum values that any of these names, each once, in the order they are named."""
    return tuple(dict.fromkeys(value for one in entitlements for value in one.enum_values))


def decide(
    feature_type: str,
    meter_type: str,
    entitlement: Entitlement | None,
    current: Decimal,
    requested_usage: Decimal | int,
    requested_values: Sequence[str],
) -> Decision:
    """Whether ``requested_usage`` more, or ``requested_values``, may be used now.

    ``entitlement`` is the effective one; ``current`` and ``requested_usage`` are in shown units.
    The order of the reasons is STIGG.md's (4.10), which knows values of enum features alone: asked
    for those of another type, nobody granted them.
    """
    if entitlement is None or not entitlement.is_granted:
        return _denied("NoFeatureEntitlementInSubscription")
    if requested_values and feature_type != "ENUM":
        return _denied("FeatureTypeMismatch")
    if feature_type == "ENUM":
        allowed = set(requested_values) <= set(entitlement.enum_values)
        return GRANTED if allowed else _denied("RequestedValuesMismatch")
    if feature_type == "BOOLEAN" or meter_type == "None":
        return GRANTED
    if entitlement.unlimited or entitlement.soft_limit:
        return GRANTED
    total = CONTEXT.add(current, Decimal(requested_usage))
    if total <= (entitlement.usage_limit or 0):
        return GRANTED
    return _denied("RequestedUsageExceedingLimit")


def _denied(reason: Reason) -> Decision:
    return Decision(granted=False, reason=reason)
