"""Requests about promotional entitlements."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from tallystick.catalog.shapes.common import Count, FeatureId, ResetFields, Shape

GrantPeriod: TypeAlias = Literal["1 week", "1 month", "6 month", "1 year", "lifetime", "custom"]
GrantStatus: TypeAlias = Literal["Active", "Expired", "Paused"]


class PromotionalEntitlement(ResetFields, frozen=True, kw_only=True):
    """What a customer is granted of a feature beside its subscriptions, and for how long."""

    feature_id: FeatureId
    period: GrantPeriod
    custom_end_date: datetime | UnsetType | None = UNSET
    enum_values: list[str] | UnsetType | None = UNSET
    has_soft_limit: bool | UnsetType | None = UNSET
    has_unlimited_usage: bool | UnsetType | None = UNSET
    is_visible: bool | UnsetType | None = UNSET
    usage_limit: Count | UnsetType | None = UNSET


class GrantPromotions(Shape, frozen=True, kw_only=True):
    """Entitlements to grant, all or none."""

    promotional_entitlements: Annotated[
        list[PromotionalEntitlement], Meta(min_length=1, max_length=1_000)
    ]
