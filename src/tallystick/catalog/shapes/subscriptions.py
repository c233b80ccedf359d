"""Requests about subscriptions."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from tallystick.catalog.shapes.addons import Quantity
from tallystick.catalog.shapes.common import (
    Address,
    BillingPeriod,
    Budget,
    Count,
    CreditRate,
    Currency,
    FeatureId,
    Id,
    Metadata,
    Money,
    ResetFields,
    ResourceId,
    Shape,
    TaxId,
    Tier,
)

ScheduleStrategy: TypeAlias = Literal["END_OF_BILLING_PERIOD", "END_OF_BILLING_MONTH", "IMMEDIATE"]
TrialEndBehavior: TypeAlias = Literal["CONVERT_TO_PAID", "CANCEL_SUBSCRIPTION"]


class Addon(Shape, frozen=True, kw_only=True):
    """An add-on and how many of it."""

    id: str
    quantity: Quantity


class CouponStart(Shape, frozen=True, kw_only=True):
    """When a coupon begins to count."""

    start_date: datetime | UnsetType = UNSET


class Discount(Shape, frozen=True, kw_only=True):
    """An ad-hoc discount."""

    amounts_off: list[Money] | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    duration_in_months: Decimal | UnsetType = UNSET
    name: str | UnsetType = UNSET
    percent_off: Decimal | UnsetType = UNSET


class AppliedCoupon(Shape, frozen=True, kw_only=True):
    """A coupon."""

    billing_coupon_id: str | UnsetType = UNSET
    configuration: CouponStart | UnsetType = UNSET
    coupon_id: str | UnsetType = UNSET
    discount: Discount | UnsetType = UNSET
    promotion_code: str | UnsetType | None = UNSET


class BillingInformation(Shape, frozen=True, kw_only=True):
    """What a billing vendor is to be told."""

    billing_address: Address | UnsetType = UNSET
    charge_on_behalf_of_account: str | UnsetType | None = UNSET
    coupon_id: str | UnsetType = UNSET
    integration_id: str | UnsetType | None = UNSET
    invoice_days_until_due: Decimal | UnsetType = UNSET
    is_backdated: bool | UnsetType = UNSET
    is_invoice_paid: bool | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    proration_behavior: Literal["INVOICE_IMMEDIATELY", "CREATE_PRORATIONS", "NONE"] | UnsetType = (
        UNSET
    )
    tax_ids: list[TaxId] | UnsetType = UNSET
    tax_percentage: Decimal | UnsetType = UNSET
    tax_rate_ids: list[str] | UnsetType = UNSET


class Charge(Shape, frozen=True, kw_only=True):
    """Units bought of a feature or of credits."""

    id: str
    quantity: Decimal
    type: Literal["FEATURE", "CREDIT"]


class CheckoutOptions(Shape, frozen=True, kw_only=True):
    """How a checkout page would look."""

    cancel_url: str
    success_url: str
    allow_promo_codes: bool | UnsetType = UNSET
    allow_tax_id_collection: bool | UnsetType = UNSET
    collect_billing_address: bool | UnsetType = UNSET
    collect_phone_number: bool | UnsetType = UNSET
    reference_id: str | UnsetType | None = UNSET


class FeatureOverride(ResetFields, tag="FEATURE", tag_field="type", frozen=True, kw_only=True):
    """What this subscription grants of a feature instead of the plan; what is omitted is the
    plan's."""

    id: FeatureId
    has_soft_limit: bool | UnsetType = UNSET
    has_unlimited_usage: bool | UnsetType = UNSET
    usage_limit: Count | UnsetType = UNSET


class CreditOverride(Shape, tag="CREDIT", tag_field="type", frozen=True, kw_only=True):
    """Credits instead of the plan's; stored and echoed."""

    id: str
    amount: Decimal
    cadence: Literal["MONTH", "YEAR"]
    has_soft_limit: bool | UnsetType = UNSET


class LeastSpend(Shape, frozen=True, kw_only=True):
    """The least a billing period costs."""

    amount: Decimal | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET


class PriceOverride(Shape, frozen=True, kw_only=True):
    """A price instead of the plan's."""

    addon_id: str | UnsetType | None = UNSET
    amount: Decimal | UnsetType = UNSET
    base_charge: bool | UnsetType = UNSET
    billing_country_code: str | UnsetType = UNSET
    block_size: Decimal | UnsetType = UNSET
    credit_grant_cadence: Literal["BEGINNING_OF_BILLING_PERIOD", "MONTHLY"] | UnsetType = UNSET
    credit_rate: CreditRate | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    currency_id: str | UnsetType = UNSET
    feature_id: str | UnsetType | None = UNSET
    tiers: list[Tier] | UnsetType = UNSET


class TrialOverride(Shape, frozen=True, kw_only=True):
    """A trial instead of the plan's."""

    is_trial: bool
    trial_end_behavior: TrialEndBehavior | UnsetType = UNSET
    trial_end_date: datetime | UnsetType = UNSET


class _Terms(Shape, frozen=True, kw_only=True):
    """What both a new subscription and a change of one may carry."""

    addons: list[Addon] | UnsetType = UNSET
    applied_coupon: AppliedCoupon | UnsetType = UNSET
    await_payment_confirmation: bool | UnsetType = UNSET
    billing_cycle_anchor: Literal["UNCHANGED", "NOW"] | UnsetType = UNSET
    billing_information: BillingInformation | UnsetType = UNSET
    billing_period: BillingPeriod | UnsetType = UNSET
    budget: Budget | UnsetType | None = UNSET
    charges: list[Charge] | UnsetType = UNSET
    entitlements: list[FeatureOverride | CreditOverride] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    minimum_spend: LeastSpend | UnsetType | None = UNSET
    price_overrides: list[PriceOverride] | UnsetType = UNSET
    salesforce_id: str | UnsetType | None = UNSET
    schedule_strategy: ScheduleStrategy | UnsetType = UNSET


class ProvisionSubscription(_Terms, frozen=True, kw_only=True):
    """A new subscription, or another plan for the product the customer is subscribed to."""

    customer_id: str
    plan_id: str
    id: Id | UnsetType = UNSET
    billing_country_code: str | UnsetType | None = UNSET
    billing_id: str | UnsetType | None = UNSET
    cancellation_date: datetime | UnsetType = UNSET
    checkout_options: CheckoutOptions | UnsetType = UNSET
    paying_customer_id: str | UnsetType | None = UNSET
    payment_collection_method: Literal["CHARGE", "INVOICE", "NONE"] | UnsetType = UNSET
    resource_id: ResourceId | UnsetType | None = UNSET
    start_date: datetime | UnsetType = UNSET
    trial_override_configuration: TrialOverride | UnsetType = UNSET
    unit_quantity: int | UnsetType = UNSET


class UpdateSubscription(_Terms, frozen=True, kw_only=True):
    """A change of a subscription; what is omitted stays, lists and objects are replaced whole."""

    cancellation_date: datetime | UnsetType | None = UNSET
    promotion_code: str | UnsetType = UNSET
    trial_end_date: datetime | UnsetType = UNSET


class CancelSubscription(Shape, frozen=True, kw_only=True):
    """When a subscription ends."""

    cancellation_action: Literal["DEFAULT", "REVOKE_ENTITLEMENTS"] = "DEFAULT"
    cancellation_time: (
        Literal["END_OF_BILLING_PERIOD", "IMMEDIATE", "SPECIFIC_DATE"] | UnsetType
    ) = UNSET
    end_date: datetime | UnsetType = UNSET
    prorate: bool | UnsetType = UNSET


class MigrateSubscription(Shape, frozen=True, kw_only=True):
    """Move to the newest version of the plan."""

    subscription_migration_time: Literal["END_OF_BILLING_PERIOD", "IMMEDIATE"] = "IMMEDIATE"
