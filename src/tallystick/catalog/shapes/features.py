"""Requests about features."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from tallystick import limits
from tallystick.catalog.shapes.common import FeatureId, Metadata, Shape
from tallystick.core.meters import Meter

FeatureType: TypeAlias = Literal["BOOLEAN", "NUMBER", "ENUM"]
FeatureStatus: TypeAlias = Literal["NEW", "SUSPENDED", "ACTIVE"]
MeterType: TypeAlias = Literal["None", "FLUCTUATING", "INCREMENTAL"]


class EnumValue(Shape, frozen=True, kw_only=True):
    """A value that an ENUM feature may take."""

    value: str
    display_name: str


class UnitTransformation(Shape, frozen=True, kw_only=True):
    """Usage is shown and compared divided by ``divide``, rounded."""

    divide: Annotated[int, Meta(ge=1, le=limits.USAGE_INTEGER_MAX)]
    round: Literal["UP", "DOWN"] = "UP"
    feature_units: str | UnsetType | None = UNSET
    feature_units_plural: str | UnsetType | None = UNSET


class CreateFeature(Shape, frozen=True, kw_only=True):
    """A new feature."""

    id: FeatureId
    display_name: str
    feature_type: FeatureType
    description: str | UnsetType | None = UNSET
    enum_configuration: list[EnumValue] | UnsetType | None = UNSET
    feature_status: FeatureStatus = "ACTIVE"
    feature_units: str | UnsetType | None = UNSET
    feature_units_plural: str | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    meter: Meter | UnsetType | None = UNSET
    meter_type: MeterType | UnsetType = UNSET
    unit_transformation: UnitTransformation | UnsetType | None = UNSET


class UpdateFeature(Shape, frozen=True, kw_only=True):
    """A change of a feature; what is omitted stays."""

    description: str | UnsetType | None = UNSET
    display_name: str | UnsetType = UNSET
    enum_configuration: list[EnumValue] | UnsetType = UNSET
    feature_units: str | UnsetType | None = UNSET
    feature_units_plural: str | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    meter: Meter | UnsetType | None = UNSET
    unit_transformation: UnitTransformation | UnsetType | None = UNSET
