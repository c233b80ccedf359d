"""Requests that hand subscriptions over, bring them in, or try one out."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.catalog.shapes.common import BillingPeriod, Id, Metadata, ResourceId, Shape
from tallystick.catalog.shapes.subscriptions import Addon, Charge, ProvisionSubscription


class TransferSubscription(Shape, frozen=True, kw_only=True):
    """The resource that gets it."""

    destination_resource_id: ResourceId


class DelegateSubscription(Shape, frozen=True, kw_only=True):
    """The customer who gets it."""

    target_customer_id: str


class ImportedSubscription(Shape, frozen=True, kw_only=True):
    """A subscription as another system knows it."""

    id: Id
    customer_id: str
    plan_id: str
    addons: list[Addon] | UnsetType = UNSET
    billing_id: str | UnsetType | None = UNSET
    billing_period: BillingPeriod | UnsetType = UNSET
    charges: list[Charge] | UnsetType = UNSET
    end_date: datetime | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    resource_id: ResourceId | UnsetType | None = UNSET
    start_date: datetime | UnsetType = UNSET


class ImportSubscriptions(Shape, frozen=True, kw_only=True):
    """Subscriptions to bring in."""

    subscriptions: Annotated[
        list[ImportedSubscription],
        Meta(min_length=1, max_length=limits.IMPORT_ITEMS_MAX),
    ]
    integration_id: str | UnsetType | None = UNSET


class BillableFeature(Shape, frozen=True, kw_only=True):
    """Units of a feature that would be bought."""

    feature_id: str
    quantity: Decimal


class PreviewSubscription(ProvisionSubscription, frozen=True, kw_only=True):
    """A subscription that might be made."""

    billable_features: list[BillableFeature] | UnsetType = UNSET
