"""From rows of plans and add-ons, and stored entitlements, to what the pure core takes.

Owns: reading the published versions of a package (a plan or an add-on), and the form entitlements
are stored in (``catalog/grants`` writes it). Keeps nothing: ``rules`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET

from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement
from tallystick.core.packages import Override, Reset
from tallystick.core.subscription import Version
from tallystick.store import Row, Transaction

Kind: TypeAlias = Literal["plan", "addon"]

PackageName: TypeAlias = tuple[Kind, str]
"""Kind and id."""

FindPackage: TypeAlias = Callable[[Kind, str], Sequence[Version]]
"""The published versions of a package, oldest first; none of one that is unknown."""

# The versions of a plan that someone can be subscribed to, oldest first.
SELECT_PLAN = """
SELECT version, migration, published_at, entitlements, body FROM plans
WHERE environment = ? AND id = ? AND published_at IS NOT NULL ORDER BY version
"""

# The versions of an add-on that someone can have, oldest first.
SELECT_ADDON = """
SELECT version, migration, published_at, entitlements, body FROM addons
WHERE environment = ? AND id = ? AND published_at IS NOT NULL ORDER BY version
"""

_SELECT: Final[dict[Kind, str]] = {"plan": SELECT_PLAN, "addon": SELECT_ADDON}


def load_package(
    transaction: Transaction, environment: str, kind: Kind, package: str
) -> tuple[Version, ...]:
    """Every published version of a plan or an add-on, oldest first."""
    return tuple(_version(row) for row in transaction.all(_SELECT[kind], environment, package))


def _version(row: Row) -> Version:
    number, migration, published_at, own, body = cast("tuple[int, str, int, str, str]", row)
    # What a plan's parent granted when this version was published; frozen by publish().
    inherited = msgspec.json.decode(body).get("inherited", [])
    granted = entitlements_of(inherited) | entitlements_of(msgspec.json.decode(own))
    return Version(number, Instant(published_at), migration == "ALL_CUSTOMERS", granted)


def entitlements_of(items: Sequence[dict[str, Any]]) -> dict[str, Entitlement]:
    """The feature entitlements of a stored list, by feature; credits are not enforced."""
    return {item["id"]: entitlement_of(item) for item in items if item["type"] == "FEATURE"}


def entitlement_of(item: dict[str, Any], since: Instant | None = None) -> Entitlement:
    """What a stored item says of a feature; ``since`` where the item itself does not know."""
    return Entitlement(
        feature=item["id"],
        usage_limit=item.get("usageLimit"),
        unlimited=item.get("hasUnlimitedUsage") or False,
        soft_limit=item.get("hasSoftLimit") or False,
        reset_period=item.get("resetPeriod"),
        according_to=_according_to(item),
        enum_values=tuple(item.get("enumValues") or ()),
        behavior=item.get("behavior", "Increment"),
        is_granted=item.get("isGranted", True),
        updated_at=item.get("updatedAt", since),
    )


def override_of(item: dict[str, Any]) -> Override:
    """What a stored item of a subscription states, and nothing else."""
    reset = Reset(item["resetPeriod"], _according_to(item)) if "resetPeriod" in item else UNSET
    return Override(
        feature=item["id"],
        usage_limit=item.get("usageLimit", UNSET),
        unlimited=item.get("hasUnlimitedUsage", UNSET),
        soft_limit=item.get("hasSoftLimit", UNSET),
        reset=reset,
    )


def _according_to(item: dict[str, Any]) -> str | None:
    configuration = item.get("resetPeriodConfiguration")
    return configuration and cast("str", configuration["accordingTo"])
