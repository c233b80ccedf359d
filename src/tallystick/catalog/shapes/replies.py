"""What callers are answered about each noun, as it is documented; a test compares the two.

Answers are plain objects; beside these fields they may echo what was sent.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypedDict

import msgspec

from tallystick.catalog.shapes.common import (
    BillingPeriod,
    CreditRate,
    Metadata,
    PricingType,
    ResetPeriod,
)
from tallystick.catalog.shapes.features import (
    EnumValue,
    FeatureStatus,
    FeatureType,
    MeterType,
    UnitTransformation,
)
from tallystick.catalog.shapes.plans import (
    Behavior,
    Cadence,
    GrantCadence,
    TrialConfig,
    Widget,
)
from tallystick.catalog.shapes.products import ProductSettings, UsageResetCutoffRule
from tallystick.catalog.shapes.promotions import GrantPeriod, GrantStatus
from tallystick.core.meters import Meter


class IdReply(TypedDict):
    """What was removed."""

    id: str


class TaskReply(TypedDict):
    """A task to follow; none, because the work is done when the call returns."""

    taskId: str | None


class ImportReply(TypedDict):
    """An import that is done."""

    taskId: str


class RangeReply(TypedDict):
    """From an instant to another."""

    start: datetime
    end: datetime


class InvoiceReply(TypedDict):
    """Amounts, which are nobody's: no money is computed."""

    subTotal: int
    total: int
    billingPeriodRange: RangeReply


class PreviewReply(TypedDict):
    """What a subscription would be."""

    immediateInvoice: InvoiceReply
    recurringInvoice: InvoiceReply
    billingPeriodRange: RangeReply
    freeItems: list[Any]
    hasScheduledUpdates: bool
    isPlanDowngrade: None


class ProductReply(TypedDict):
    """A product."""

    id: str
    displayName: str
    description: str | None
    metadata: Metadata
    multipleSubscriptions: bool
    status: Literal["PUBLISHED", "ARCHIVED"]
    productSettings: ProductSettings | None
    usageResetCutoffRule: UsageResetCutoffRule
    createdAt: datetime
    updatedAt: datetime


class FeatureReply(TypedDict):
    """A feature."""

    id: str
    displayName: str
    description: str | None
    featureType: FeatureType
    featureStatus: FeatureStatus
    meterType: MeterType
    meter: Meter | None
    enumConfiguration: list[EnumValue] | None
    unitTransformation: UnitTransformation | None
    featureUnits: str | None
    featureUnitsPlural: str | None
    metadata: Metadata
    createdAt: datetime
    updatedAt: datetime


class ItemReply(TypedDict):
    """An entitlement, by name."""

    id: str
    type: Literal["FEATURE", "CREDIT"]


class PackageReply(TypedDict):
    """A version of a plan or an add-on."""

    id: str
    productId: str
    versionNumber: int
    status: Literal["DRAFT", "PUBLISHED", "ARCHIVED"]
    isLatest: bool
    displayName: str
    description: str | None
    billingId: str | None
    metadata: Metadata
    pricingType: PricingType | None
    charges: dict[str, Any] | None
    entitlements: list[ItemReply]
    createdAt: datetime
    updatedAt: datetime


class PlanReply(PackageReply):
    """A version of a plan."""

    compatibleAddonIds: list[str] | None
    defaultTrialConfig: TrialConfig | None
    parentPlanId: str | None


class AddonReply(PackageReply):
    """A version of an add-on."""

    dependencies: list[str] | None
    maxQuantity: int | None


class ChargeReply(TypedDict):
    """A price of a plan or an add-on; nothing is billed."""

    id: str
    billingCadence: Literal["RECURRING", "ONE_OFF"]
    billingModel: Literal["FLAT_FEE", "MINIMUM_SPEND", "PER_UNIT", "USAGE_BASED", "CREDIT_BASED"]
    billingPeriod: BillingPeriod
    billingCountryCode: str | None
    billingId: str | None
    blockSize: Decimal | None
    creditGrantCadence: GrantCadence | None
    creditRate: CreditRate | None
    featureId: str | None
    maxUnitQuantity: int | None
    minUnitQuantity: int | None
    price: dict[str, Any] | None
    tiers: list[dict[str, Any]] | None
    tiersMode: Literal["VOLUME", "GRADUATED"] | None
    topUpCustomCurrencyId: str | None
    createdAt: datetime


class ResetReply(TypedDict):
    """When a reset falls."""

    accordingTo: str


# Structs, because the two are told apart by their ``type``.
class _EntitlementReply(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    id: str
    behavior: Behavior
    description: str | None
    display_name_override: str | None
    has_soft_limit: bool | None
    hidden_from_widgets: list[Widget]
    is_custom: bool | None
    is_granted: bool
    order: Decimal | None
    created_at: datetime
    updated_at: datetime


class FeatureEntitlementReply(
    _EntitlementReply, tag="FEATURE", tag_field="type", frozen=True, kw_only=True
):
    """What a plan grants of a feature."""

    enum_values: list[str] | None
    has_unlimited_usage: bool | None
    reset_period: ResetPeriod | None
    reset_period_configuration: ResetReply | None
    usage_limit: int | None


class CreditEntitlementReply(
    _EntitlementReply, tag="CREDIT", tag_field="type", frozen=True, kw_only=True
):
    """Credits a plan grants."""

    amount: Decimal | None
    cadence: Cadence | None
    dependency_feature_id: str | None


class CustomerReply(TypedDict):
    """A customer."""

    id: str
    name: str | None
    email: str | None
    billingCurrency: str | None
    billingId: str | None
    couponId: str | None
    defaultPaymentMethod: dict[str, Any] | None
    integrations: list[dict[str, Any]] | None
    language: str | None
    metadata: Metadata | None
    passthrough: dict[str, Any] | None
    timezone: str | None
    createdAt: datetime
    updatedAt: datetime
    archivedAt: datetime | None


class NewCustomersReply(TypedDict):
    """Which imported customers are new."""

    newCustomers: list[str]


class PromotionReply(TypedDict):
    """A promotional entitlement."""

    id: str
    environmentId: str
    featureId: str
    enumValues: list[str] | None
    hasSoftLimit: bool | None
    hasUnlimitedUsage: bool | None
    resetPeriod: ResetPeriod | None
    resetPeriodConfiguration: dict[str, Any] | None
    usageLimit: int | None
    description: str | None
    featureGroupIds: list[str] | None
    isVisible: bool
    period: GrantPeriod
    status: GrantStatus
    startDate: datetime
    endDate: datetime | None
    createdAt: datetime
    updatedAt: datetime


class ResourceReply(TypedDict):
    """A resource of a customer."""

    id: str
    createdAt: datetime
    updatedAt: datetime


class TrialReply(TypedDict):
    """What happens when the trial ends."""

    trialEndBehavior: Literal["CONVERT_TO_PAID", "CANCEL_SUBSCRIPTION"]


class _Overrides(TypedDict, total=False):
    subscriptionEntitlements: list[ItemReply]


class TargetReply(TypedDict):
    """A plan or an add-on."""

    id: str


class AddonHeldReply(TypedDict):
    """An add-on of a subscription and how many of it."""

    id: str
    quantity: int


class FutureUpdateReply(TypedDict):
    """What is scheduled for a subscription."""

    subscriptionScheduleType: Literal[
        "PLAN", "BILLING_PERIOD", "UNIT_AMOUNT", "PRICE_OVERRIDE", "ADDON", "COUPON",
        "MIGRATE_TO_LATEST", "ADDITIONAL_META_DATA", "BILLING_INFO_METADATA",
    ]  # fmt: skip
    scheduleStatus: Literal["SCHEDULED"]
    scheduledExecutionTime: datetime
    targetPackage: TargetReply | None


class SubscriptionReply(_Overrides):
    """A subscription; beside these it echoes its other terms."""

    id: str
    customerId: str
    resourceId: str | None
    planId: str
    productId: str
    status: Literal["ACTIVE", "EXPIRED", "IN_TRIAL", "CANCELED", "NOT_STARTED"]
    pricingType: PricingType
    paymentCollection: Literal["NOT_REQUIRED"]
    startDate: datetime
    endDate: datetime | None
    effectiveEndDate: datetime | None
    cancellationDate: datetime | None
    cancelReason: str | None
    addons: list[AddonHeldReply]
    futureUpdates: list[FutureUpdateReply]
    billingCycleAnchor: datetime
    currentBillingPeriodStart: datetime | None
    currentBillingPeriodEnd: datetime | None
    trial: TrialReply | None
    trialEndDate: datetime | None
    metadata: Metadata
    createdAt: datetime
    updatedAt: datetime


class ProvisionReply(TypedDict):
    """A new subscription."""

    id: str
    status: Literal["SUCCESS"]
    subscription: SubscriptionReply
    isScheduled: bool
