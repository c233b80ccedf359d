"""Requests about products."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from tallystick.catalog.shapes.common import Id, Metadata, Shape


class CreateProduct(Shape, frozen=True, kw_only=True):
    """A new product."""

    id: Id
    display_name: str
    description: str | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    multiple_subscriptions: bool = False


class ProductSettings(Shape, frozen=True, kw_only=True):
    """How subscriptions of a product begin and end; stored and echoed."""

    subscription_cancellation_time: Literal["END_OF_BILLING_PERIOD", "IMMEDIATE", "SPECIFIC_DATE"]
    subscription_end_setup: Literal["DOWNGRADE_TO_FREE", "CANCEL_SUBSCRIPTION"]
    subscription_start_setup: Literal["PLAN_SELECTION", "TRIAL_PERIOD", "FREE_PLAN"]
    downgrade_plan_id: str | UnsetType | None = UNSET
    prorate_at_end_of_billing_period: bool | UnsetType | None = UNSET
    subscription_start_plan_id: str | UnsetType | None = UNSET


class UsageResetCutoffRule(Shape, frozen=True, kw_only=True):
    """Whether a plan change resets usage."""

    behavior: Literal["NEVER_RESET", "ALWAYS_RESET", "BILLING_PERIOD_CHANGE"]


class UpdateProduct(Shape, frozen=True, kw_only=True):
    """A change of a product; what is omitted stays."""

    description: str | UnsetType | None = UNSET
    display_name: str | UnsetType = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    multiple_subscriptions: bool | UnsetType = UNSET
    product_settings: ProductSettings | UnsetType = UNSET
    usage_reset_cutoff_rule: UsageResetCutoffRule | UnsetType = UNSET


class DuplicateProduct(Shape, frozen=True, kw_only=True):
    """A copy of a product."""

    target_id: Id
    description: str | UnsetType | None = UNSET
    display_name: str | UnsetType = UNSET
