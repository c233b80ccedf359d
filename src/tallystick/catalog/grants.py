"""What a plan grants and what a subscription overrides, item by item.

Owns: the checks of an entitlement, and the form it is stored in: a reset period with the one
configuration that belongs to it, instants as numbers. ``entitlements.loading`` turns stored items
into what the core decides with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
from msgspec import UNSET

from tallystick.catalog import features
from tallystick.catalog.rows import Body, given, shown
from tallystick.catalog.shapes.common import ResetFields
from tallystick.catalog.shapes.plans import (
    CreditEntitlement,
    EntitlementUpdate,
    FeatureEntitlement,
    UpdateCreditEntitlement,
    UpdateFeatureEntitlement,
)
from tallystick.catalog.shapes.promotions import PromotionalEntitlement
from tallystick.catalog.shapes.subscriptions import CreditOverride, FeatureOverride
from tallystick.clock import Instant
from tallystick.errors import BadInput, Conflict
from tallystick.store import Transaction

_CONFIGURATIONS = {
    "YEAR": "yearlyResetPeriodConfiguration",
    "MONTH": "monthlyResetPeriodConfiguration",
    "WEEK": "weeklyResetPeriodConfiguration",
}
# What an entitlement may say of a feature, beside whether it is granted and how it is shown.
_METERED = ("usageLimit", "hasUnlimitedUsage", "hasSoftLimit", "resetPeriod")
_FITTING: dict[str, tuple[str, ...]] = {
    "BOOLEAN": (),
    "ENUM": ("enumValues",),
    "NUMBER": ("usageLimit", "hasUnlimitedUsage"),
}
_FROM_START = {"accordingTo": "SubscriptionStart"}
_DEFAULTS: Body = {"behavior": "Increment", "isGranted": True, "hiddenFromWidgets": []}


def new_items(
    transaction: Transaction,
    environment: str,
    requests: Sequence[FeatureEntitlement | CreditEntitlement],
    now: Instant,
) -> list[Body]:
    """Entitlements as a plan stores them. Raises ``NotFound`` and ``BadInput``."""
    return [
        _DEFAULTS
        | _checked(transaction, environment, request.id, request, {})
        | {"id": request.id, "createdAt": now, "updatedAt": now}
        for request in requests
    ]


def changed_item(
    transaction: Transaction,
    environment: str,
    item: Body,
    request: EntitlementUpdate,
    now: Instant,
) -> Body:
    """A stored entitlement after a change. Raises ``BadInput``."""
    if isinstance(request, UpdateFeatureEntitlement) != (item["type"] == "FEATURE"):
        raise BadInput(f"type: entitlement {item['id']!r} is a {item['type']}")
    change = _checked(transaction, environment, item["id"], request, item)
    return item | change | {"updatedAt": now}


def override_items(
    transaction: Transaction,
    environment: str,
    requests: Sequence[FeatureOverride | CreditOverride],
) -> list[Body]:
    """Overrides as a subscription stores them: only what they state."""
    items = [
        _checked(transaction, environment, request.id, request, {}) | {"id": request.id}
        for request in requests
    ]
    check_once(items)
    return items


def promotional_item(
    transaction: Transaction, environment: str, feature: str, request: PromotionalEntitlement
) -> Body:
    """What a request grants of a feature to a customer, as a plan would store it."""
    return _checked(transaction, environment, feature, request, {})


def check_once(items: Sequence[Body]) -> None:
    """Raises ``Conflict`` when a feature or currency is in a list twice."""
    seen = set()
    for item in items:
        if item["id"] in seen:
            raise Conflict(f"entitlements: {item['id']!r} is there already; update it instead")
        seen.add(item["id"])


def answer(item: Body) -> Body:
    """A plan's entitlement as callers see it."""
    common = {
        "id": item["id"],
        "type": item["type"],
        "behavior": item["behavior"],
        "description": item.get("description"),
        "displayNameOverride": item.get("displayNameOverride"),
        "hasSoftLimit": item.get("hasSoftLimit"),
        "hiddenFromWidgets": item["hiddenFromWidgets"],
        "isCustom": item.get("isCustom"),
        "isGranted": item["isGranted"],
        "order": item.get("order"),
        "createdAt": shown(item["createdAt"]),
        "updatedAt": shown(item["updatedAt"]),
    }
    names = _CREDIT_FIELDS if item["type"] == "CREDIT" else _FEATURE_FIELDS
    return common | {name: item.get(name) for name in names}


_FEATURE_FIELDS = (
    "enumValues", "hasUnlimitedUsage", "resetPeriod", "resetPeriodConfiguration", "usageLimit",
)  # fmt: skip
_CREDIT_FIELDS = ("amount", "cadence", "dependencyFeatureId")


def in_order(items: Sequence[Body]) -> list[Body]:
    """Entitlements as they are shown: by their ``order``, then those that have none, as added."""
    return sorted(items, key=lambda item: (item.get("order") is None, item.get("order") or 0))


def summary(items: Sequence[Body]) -> list[Body]:
    """Which entitlements there are."""
    return [{"id": item["id"], "type": item["type"]} for item in items]


def _checked(
    transaction: Transaction,
    environment: str,
    feature: str,
    request: ResetFields | UpdateCreditEntitlement | CreditOverride,
    before: Body,
) -> Body:
    """What a request states, as stored. ``before`` is what is stored now."""
    body = given(request, *_CONFIGURATIONS.values())
    if isinstance(request, ResetFields):
        _check_feature(transaction, environment, feature, request, new=not before)
        body |= _reset(request, before)
    return body


def _check_feature(
    transaction: Transaction, environment: str, feature: str, request: ResetFields, new: bool
) -> None:
    stored = features.stored(transaction, environment, feature)
    if new and stored["featureStatus"] == "SUSPENDED":
        raise BadInput(f"id: feature {feature!r} is archived", code="EntityIsArchivedError")
    _check_fit(feature, stored, cast("Body", msgspec.to_builtins(request)))
    if isinstance(request, UpdateFeatureEntitlement | PromotionalEntitlement):
        allowed = [item["value"] for item in stored.get("enumConfiguration") or ()]
        unknown = [value for value in request.enum_values or () if value not in allowed]
        if unknown:
            raise BadInput(f"enumValues: {feature!r} has no value {unknown[0]!r}")


def _check_fit(feature: str, stored: Body, stated: Body) -> None:
    """Raises ``BadInput`` for what makes no sense of such a feature; null and false say nothing."""
    kind = stored["featureType"]
    fitting = _METERED if stored["meterType"] != "None" else _FITTING[kind]
    for field in _METERED + _FITTING["ENUM"]:
        value = stated.get(field)
        if field not in fitting and value is not None and value is not False and value != []:
            described = "is not metered" if kind == "NUMBER" else f"is a {kind}"
            raise BadInput(
                f"{field}: feature {feature!r} {described}, so it has none",
                code="UnsupportedFeatureType",
            )


def _reset(request: ResetFields, before: Body) -> Body:
    """The reset period with its configuration, as far as a request states them.

    Raises ``BadInput`` (``InvalidEntitlementResetPeriod``) for the configuration of another period.
    """
    stated = cast("Body", msgspec.to_builtins(request))
    configurations = {
        unit: stated[name] for unit, name in _CONFIGURATIONS.items() if stated.get(name) is not None
    }
    if request.reset_period is UNSET and not configurations:
        return {}
    unit = before.get("resetPeriod") if request.reset_period is UNSET else request.reset_period
    for other in configurations:
        if other != unit:
            raise BadInput(
                f"{_CONFIGURATIONS[other]}: does not fit resetPeriod {unit or 'null'}",
                code="InvalidEntitlementResetPeriod",
            )
    default = _FROM_START if unit in _CONFIGURATIONS else None
    kept = before.get("resetPeriodConfiguration") if unit == before.get("resetPeriod") else None
    configuration = configurations.get(unit or "") or kept or default
    return {"resetPeriod": unit, "resetPeriodConfiguration": configuration}
