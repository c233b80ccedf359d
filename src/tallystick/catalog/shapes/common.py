"""What the shapes of several nouns share."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tallystick import limits

_SAFE = "[a-zA-Z0-9]"
# (?!\n): in Python, "$" alone also matches before a final line break.
Id: TypeAlias = Annotated[
    str, Meta(pattern=f"^{_SAFE}[a-zA-Z0-9_|.@-]*$(?!\\n)", max_length=limits.ID_CHARS_MAX)
]
"""A customer, product, plan or subscription, as the caller names it."""
FeatureId: TypeAlias = Annotated[
    str, Meta(pattern=f"^{_SAFE}[a-zA-Z0-9_|.@/:-]*$(?!\\n)", max_length=limits.ID_CHARS_MAX)
]
"""As ``Id``, with ``/`` and ``:`` beside."""
ResourceId: TypeAlias = Annotated[
    str, Meta(pattern="^[^\\x00]*$(?!\\n)", min_length=1, max_length=limits.ID_CHARS_MAX)
]
Currency: TypeAlias = Annotated[str, Meta(pattern="^[a-z]{3}$(?!\\n)")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=limits.USAGE_INTEGER_MAX)]
Metadata: TypeAlias = dict[str, str]

PricingType: TypeAlias = Literal["FREE", "PAID", "CUSTOM"]
BillingPeriod: TypeAlias = Literal["MONTHLY", "ANNUALLY"]
ResetPeriod: TypeAlias = Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"]


class Shape(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A JSON object of a request."""

    def __post_init__(self) -> None:
        # msgspec takes a Decimal from the text "NaN" too, which JSON could not carry back.
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Decimal) and not value.is_finite():
                raise ValueError(f"{name} must be a finite number")


class YearlyReset(Shape, frozen=True, kw_only=True):
    """When a yearly reset falls."""

    according_to: Literal["SubscriptionStart"]


class MonthlyReset(Shape, frozen=True, kw_only=True):
    """When a monthly reset falls."""

    according_to: Literal["SubscriptionStart", "StartOfTheMonth"]


class WeeklyReset(Shape, frozen=True, kw_only=True):
    """When a weekly reset falls."""

    according_to: Literal[
        "SubscriptionStart", "EverySunday", "EveryMonday", "EveryTuesday", "EveryWednesday",
        "EveryThursday", "EveryFriday", "EverySaturday",
    ]  # fmt: skip


class ResetFields(Shape, frozen=True, kw_only=True):
    """A reset period and its one configuration."""

    reset_period: ResetPeriod | UnsetType | None = UNSET
    yearly_reset_period_configuration: YearlyReset | UnsetType | None = UNSET
    monthly_reset_period_configuration: MonthlyReset | UnsetType | None = UNSET
    weekly_reset_period_configuration: WeeklyReset | UnsetType | None = UNSET


class Budget(Shape, frozen=True, kw_only=True):
    """A budget: stored and echoed."""

    has_soft_limit: bool
    limit: Decimal


class Money(Shape, frozen=True, kw_only=True):
    """An amount of a currency."""

    amount: Decimal
    currency: Currency | UnsetType = UNSET


class Tier(Shape, frozen=True, kw_only=True):
    """A price tier."""

    flat_price: Money | UnsetType = UNSET
    unit_price: Money | UnsetType = UNSET
    up_to: Decimal | UnsetType = UNSET


class CreditRate(Shape, frozen=True, kw_only=True):
    """What a unit costs in credits."""

    amount: Decimal
    currency_id: str
    cost_formula: str | UnsetType | None = UNSET


class Address(Shape, frozen=True, kw_only=True):
    """A postal address."""

    city: str | UnsetType | None = UNSET
    country: str | UnsetType | None = UNSET
    line1: str | UnsetType | None = UNSET
    line2: str | UnsetType | None = UNSET
    postal_code: str | UnsetType | None = UNSET
    state: str | UnsetType | None = UNSET


class TaxId(Shape, frozen=True, kw_only=True):
    """A tax number."""

    type: str
    value: str
