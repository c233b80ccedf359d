"""Requests about customers."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.catalog.shapes.common import Address, Currency, Id, Metadata, Shape, TaxId

Vendor: TypeAlias = Literal[
    "AUTH0", "ZUORA", "STRIPE", "HUBSPOT", "AWS_MARKETPLACE", "SNOWFLAKE", "SALESFORCE",
    "BIG_QUERY", "OPEN_FGA", "APP_STORE", "RECEIVED", "PREQUEL", "AIRWALLEX", "STRIPE_INVOICING",
]  # fmt: skip


class Integration(Shape, frozen=True, kw_only=True):
    """The customer in another vendor's system."""

    id: str
    synced_entity_id: str | None
    vendor_identifier: Vendor


class PaymentMethod(Shape, frozen=True, kw_only=True):
    """How the customer pays."""

    billing_id: str | None
    card_expiry_month: Decimal | None
    card_expiry_year: Decimal | None
    card_last4_digits: str | None
    type: Literal["CARD", "BANK", "CASH_APP", "PAYPAL"] | None


class StripePassthrough(Shape, frozen=True, kw_only=True):
    """Handed to Stripe unread."""

    billing_address: Address | UnsetType = UNSET
    customer_name: str | UnsetType = UNSET
    invoice_custom_fields: dict[str, str] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    payment_method_id: str | UnsetType = UNSET
    shipping_address: Address | UnsetType = UNSET
    tax_ids: list[TaxId] | UnsetType = UNSET


class ZuoraPassthrough(Shape, frozen=True, kw_only=True):
    """Handed to Zuora unread."""

    billing_address: Address | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    payment_method_id: str | UnsetType = UNSET


class Passthrough(Shape, frozen=True, kw_only=True):
    """What billing vendors are to be told."""

    stripe: StripePassthrough | UnsetType = UNSET
    zuora: ZuoraPassthrough | UnsetType = UNSET


class UpdateCustomer(Shape, frozen=True, kw_only=True):
    """A change of a customer; what is omitted stays."""

    billing_currency: Currency | UnsetType | None = UNSET
    billing_id: str | UnsetType | None = UNSET
    coupon_id: str | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    integrations: list[Integration] | UnsetType = UNSET
    language: str | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    passthrough: Passthrough | UnsetType = UNSET
    timezone: str | UnsetType | None = UNSET


class ProvisionCustomer(UpdateCustomer, frozen=True, kw_only=True):
    """A new customer."""

    id: Id
    default_payment_method: PaymentMethod | UnsetType | None = UNSET


class ImportedCustomer(Shape, frozen=True, kw_only=True):
    """One customer of an import."""

    id: Id
    email: str | None
    name: str | None
    billing_id: str | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    payment_method_id: str | UnsetType = UNSET
    salesforce_id: str | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET


class ImportCustomers(Shape, frozen=True, kw_only=True):
    """Many customers at once; those that exist are updated."""

    customers: Annotated[
        list[ImportedCustomer], Meta(min_length=1, max_length=limits.IMPORT_ITEMS_MAX)
    ]
    integration_id: str | UnsetType = UNSET
