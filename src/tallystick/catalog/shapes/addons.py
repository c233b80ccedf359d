"""Requests about add-ons."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.catalog.shapes.common import Id, Metadata, PricingType, Shape
from tallystick.catalog.shapes.plans import Charges

Quantity: TypeAlias = Annotated[int, Meta(ge=1, le=limits.USAGE_INTEGER_MAX)]


class CreateAddon(Shape, frozen=True, kw_only=True):
    """A new add-on; it begins as a draft."""

    id: Id
    display_name: str
    product_id: str
    billing_id: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    max_quantity: Quantity | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    pricing_type: PricingType | UnsetType | None = UNSET
    status: Literal["DRAFT", "PUBLISHED", "ARCHIVED"] = "DRAFT"


class UpdateAddon(Shape, frozen=True, kw_only=True):
    """A change of an add-on; what is omitted stays."""

    billing_id: str | UnsetType | None = UNSET
    charges: Charges | UnsetType = UNSET
    dependencies: list[str] | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    display_name: str | UnsetType = UNSET
    max_quantity: Quantity | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    status: Literal["DRAFT", "PUBLISHED", "ARCHIVED"] | UnsetType = UNSET
