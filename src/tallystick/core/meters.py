"""Meters: which events count for a feature, and what of them.

Owns: the shape of a meter as it is sent and stored (Stigg's names), what makes one valid, and which
event names it can match. What a meter means is spelled once, in SQL (``metering.compile``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from tallystick import limits
from tallystick.core.numbers import parse_number
from tallystick.core.parts import Function
from tallystick.errors import BadInput

Operation = Literal[
    "EQUALS",
    "NOT_EQUALS",
    "GREATER_THAN",
    "GREATER_THAN_OR_EQUAL",
    "LESS_THAN",
    "LESS_THAN_OR_EQUAL",
    "IS_NULL",
    "IS_NOT_NULL",
    "CONTAINS",
    "STARTS_WITH",
    "ENDS_WITH",
    "IN",
]

EVENT_NAME: Final = "eventName"
RESERVED_FIELDS: Final = (EVENT_NAME, "customerId", "resourceId")
"""Fields of the event itself; a dimension of the same name is ``dimensions.<name>``."""
DIMENSION_PREFIX: Final = "dimensions."
OURS_PREFIX: Final = "$"
"""Event names that begin so are the product's own records; no meter matches them."""

_WITHOUT_VALUE: Final = ("IS_NULL", "IS_NOT_NULL")


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One comparison of a field. ``values`` goes with IN, ``value`` with the rest but IS_…NULL."""

    field: str
    operation: Operation
    value: str | None = None
    values: tuple[str, ...] | None = None


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Conditions that must all hold."""

    conditions: tuple[Condition, ...]


class Aggregation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is made of the events that count; ``field`` is needed by all but COUNT."""

    function: Function
    field: str | None = None


class Meter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event counts when at least one filter matches it."""

    filters: tuple[Filter, ...]
    aggregation: Aggregation


def check_meter(meter: Meter) -> None:
    """Raise ``BadInput`` naming the field of the first thing that is wrong with a meter."""
    _check_size(meter)
    if not meter.filters:
        raise BadInput("meter.filters: at least one filter is needed")
    for number, one in enumerate(meter.filters):
        where = f"meter.filters[{number}].conditions"
        if not one.conditions:
            raise BadInput(f"{where}: at least one condition is needed")
        for place, condition in enumerate(one.conditions):
            _check_condition(condition, f"{where}[{place}]")
    function = meter.aggregation.function
    if function != "COUNT":
        _check_field(meter.aggregation.field, "meter.aggregation.field", f"{function} needs one")


def dimension_of(field: str) -> str | None:
    """The dimension that a field of a meter names; None for a reserved field."""
    if field in RESERVED_FIELDS:
        return None
    return field.removeprefix(DIMENSION_PREFIX)


def values_of(condition: Condition) -> tuple[str, ...]:
    """What a condition compares with: of IN its values, else its value, if any."""
    if condition.operation == "IN":
        return condition.values or ()
    return () if condition.value is None else (condition.value,)


def event_names(meter: Meter) -> frozenset[str] | None:
    """The event names a meter can match; None when a filter leaves them open."""
    names: set[str] = set()
    for one in meter.filters:
        pinned = _pinned_names(one.conditions)
        if pinned is None:
            return None
        names |= pinned
    return frozenset(names)


def _pinned_names(conditions: Iterable[Condition]) -> frozenset[str] | None:
    """The names that conditions pin together; None when none of them pins any."""
    pinned: frozenset[str] | None = None
    for condition in conditions:
        names = _names(condition)
        if names is not None:
            pinned = names if pinned is None else pinned & names
    return pinned


def _names(condition: Condition) -> frozenset[str] | None:
    """The names one condition pins; a number pins none, because it equals other texts too."""
    if condition.field != EVENT_NAME or condition.operation not in ("EQUALS", "IN"):
        return None
    names = values_of(condition)
    if any(parse_number(name) is not None for name in names):
        return None
    return frozenset(names)


def _check_size(meter: Meter) -> None:
    """Every step that its events concern plans a meter anew, and everyone waits for it."""
    conditions = [condition for one in meter.filters for condition in one.conditions]
    size = sum(map(len, map(values_of, conditions)))
    _at_most(limits.METER_FILTERS_MAX, "filters", len(meter.filters))
    _at_most(limits.METER_CONDITIONS_MAX, "conditions in all filters", len(conditions))
    _at_most(limits.METER_VALUES_MAX, "values in all conditions", size)
    _at_most(limits.METER_BYTES_MAX, "bytes", len(msgspec.json.encode(meter)))


def _at_most(bound: int, what: str, given: int) -> None:
    if given > bound:
        raise BadInput(f"meter: at most {bound:,} {what}, and this one has {given:,}")


def _check_condition(condition: Condition, where: str) -> None:
    operation = condition.operation
    _check_field(condition.field, f"{where}.field", "a field is needed")
    if operation in _WITHOUT_VALUE or values_of(condition):
        return
    needed = "values: IN needs at least one value"
    raise BadInput(f"{where}.{needed if operation == 'IN' else f'value: {operation} needs one'}")


def _check_field(field: str | None, where: str, needed: str) -> None:
    if not field or field == DIMENSION_PREFIX:
        raise BadInput(f"{where}: {needed}")
    if "\0" in field:
        raise BadInput(f"{where}: NUL is not allowed")
