"""Requests about plans, what they grant and what they charge."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.catalog.shapes.common import (
    BillingPeriod,
    Budget,
    Count,
    CreditRate,
    FeatureId,
    Id,
    Metadata,
    Money,
    PricingType,
    ResetFields,
    Shape,
    Tier,
)

Behavior: TypeAlias = Literal["Increment", "Override"]
Widget: TypeAlias = Literal["PAYWALL", "CUSTOMER_PORTAL", "CHECKOUT"]
Cadence: TypeAlias = Literal["MONTH", "YEAR"]
GrantCadence: TypeAlias = Literal["BEGINNING_OF_BILLING_PERIOD", "MONTHLY"]


class TrialConfig(Shape, frozen=True, kw_only=True):
    """The trial that a new subscription begins with."""

    duration: Decimal
    units: Literal["DAY", "MONTH"]
    budget: Budget | UnsetType | None = UNSET
    trial_end_behavior: Literal["CONVERT_TO_PAID", "CANCEL_SUBSCRIPTION"] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.duration <= limits.TRIAL_DURATION_MAX:
            raise ValueError(f"duration must be over 0, and {limits.TRIAL_DURATION_MAX} at most")
        if self.units == "MONTH" and self.duration != int(self.duration):
            raise ValueError("duration must be a whole number of months")


class CreatePlan(Shape, frozen=True, kw_only=True):
    """A new plan; it begins as a draft."""

    id: Id
    display_name: str
    product_id: str
    billing_id: str | UnsetType | None = UNSET
    default_trial_config: TrialConfig | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    parent_plan_id: str | UnsetType | None = UNSET
    pricing_type: PricingType | UnsetType | None = UNSET
    status: Literal["DRAFT", "PUBLISHED", "ARCHIVED"] = "DRAFT"


class MinimumSpend(Shape, frozen=True, kw_only=True):
    """The least a billing period costs."""

    billing_period: BillingPeriod
    minimum: Money


class PricePeriod(Shape, frozen=True, kw_only=True):
    """A price for a billing period."""

    billing_period: BillingPeriod
    billing_country_code: str | UnsetType = UNSET
    block_size: Decimal | UnsetType = UNSET
    credit_grant_cadence: GrantCadence | UnsetType = UNSET
    credit_rate: CreditRate | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    tiers: list[Tier] | UnsetType = UNSET


class CreditGrantPrice(Shape, frozen=True, kw_only=True):
    """Credits that come with an overage price."""

    amount: Decimal
    cadence: Cadence
    custom_currency_id: str


class OverageEntitlement(ResetFields, frozen=True, kw_only=True):
    """What an overage price is about."""

    feature_id: str
    has_soft_limit: bool | UnsetType = UNSET
    has_unlimited_usage: bool | UnsetType = UNSET
    usage_limit: Decimal | UnsetType = UNSET


class OveragePricing(Shape, frozen=True, kw_only=True):
    """Prices beyond the limit."""

    price_periods: list[PricePeriod]
    credit_entitlement: CreditGrantPrice | UnsetType = UNSET
    currency_id: str | UnsetType = UNSET
    entitlement: OverageEntitlement | UnsetType = UNSET
    feature_id: str | UnsetType = UNSET


class Pricing(ResetFields, frozen=True, kw_only=True):
    """Prices of a plan."""

    billing_model: Literal["FLAT_FEE", "MINIMUM_SPEND", "PER_UNIT", "USAGE_BASED", "CREDIT_BASED"]
    price_periods: list[PricePeriod]
    billing_cadence: Literal["RECURRING", "ONE_OFF"] | UnsetType = UNSET
    feature_id: str | UnsetType = UNSET
    max_unit_quantity: int | UnsetType = UNSET
    min_unit_quantity: int | UnsetType = UNSET
    tiers_mode: Literal["VOLUME", "GRADUATED"] | UnsetType = UNSET
    top_up_custom_currency_id: str | UnsetType = UNSET


class Charges(Shape, frozen=True, kw_only=True):
    """What a plan costs."""

    pricing_type: PricingType
    billing_id: str | UnsetType = UNSET
    minimum_spend: list[MinimumSpend] | UnsetType | None = UNSET
    overage_billing_period: Literal["ON_SUBSCRIPTION_RENEWAL", "MONTHLY"] | UnsetType = UNSET
    overage_pricing_models: list[OveragePricing] | UnsetType = UNSET
    pricing_models: list[Pricing] | UnsetType = UNSET


class UpdatePlan(Shape, frozen=True, kw_only=True):
    """A change of a plan; what is omitted stays."""

    billing_id: str | UnsetType | None = UNSET
    charges: Charges | UnsetType = UNSET
    compatible_addon_ids: list[str] | UnsetType | None = UNSET
    default_trial_config: TrialConfig | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    display_name: str | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    parent_plan_id: str | UnsetType | None = UNSET


class PublishPlan(Shape, frozen=True, kw_only=True):
    """Whether existing subscribers get the new version too."""

    migration_type: Literal["NEW_CUSTOMERS", "ALL_CUSTOMERS"]


# The fields shared with credit entitlements are written twice: structs have one base each.
class UpdateFeatureEntitlement(
    ResetFields, tag="FEATURE", tag_field="type", frozen=True, kw_only=True
):
    """A change of what a plan grants of a feature; what is omitted stays."""

    behavior: Behavior | UnsetType = UNSET
    description: str | UnsetType = UNSET
    display_name_override: str | UnsetType = UNSET
    enum_values: list[str] | UnsetType = UNSET
    has_soft_limit: bool | UnsetType = UNSET
    has_unlimited_usage: bool | UnsetType = UNSET
    hidden_from_widgets: list[Widget] | UnsetType = UNSET
    is_custom: bool | UnsetType = UNSET
    is_granted: bool | UnsetType = UNSET
    order: Decimal | UnsetType = UNSET
    usage_limit: Count | UnsetType | None = UNSET


class FeatureEntitlement(
    UpdateFeatureEntitlement, tag="FEATURE", tag_field="type", frozen=True, kw_only=True
):
    """What a plan grants of a feature."""

    id: FeatureId


class UpdateCreditEntitlement(Shape, tag="CREDIT", tag_field="type", frozen=True, kw_only=True):
    """A change of the credits a plan grants; stored and echoed."""

    amount: Decimal | UnsetType | None = UNSET
    behavior: Behavior | UnsetType = UNSET
    cadence: Cadence | UnsetType = UNSET
    dependency_feature_id: str | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    display_name_override: str | UnsetType = UNSET
    has_soft_limit: bool | UnsetType = UNSET
    hidden_from_widgets: list[Widget] | UnsetType = UNSET
    is_custom: bool | UnsetType = UNSET
    is_granted: bool | UnsetType = UNSET
    order: Decimal | UnsetType = UNSET


class CreditEntitlement(
    UpdateCreditEntitlement, tag="CREDIT", tag_field="type", frozen=True, kw_only=True
):
    """Credits a plan grants; stored and echoed."""

    id: str
    amount: Decimal | None
    cadence: Cadence


class CreateEntitlements(Shape, frozen=True, kw_only=True):
    """Entitlements to add to a draft."""

    entitlements: Annotated[
        list[FeatureEntitlement | CreditEntitlement], Meta(min_length=1, max_length=1_000)
    ]


EntitlementUpdate: TypeAlias = UpdateFeatureEntitlement | UpdateCreditEntitlement
