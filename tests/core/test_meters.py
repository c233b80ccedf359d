"""Meters: their shape, what is refused, and the event names they can match."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tallystick.core.meters import Meter, check_meter, dimension_of, event_names
from tallystick.errors import BadInput


def meter(*filters: list[dict[str, Any]], **aggregation: str) -> Meter:
    """A meter as it is sent."""
    sent = {
        "filters": [{"conditions": conditions} for conditions in filters],
        "aggregation": aggregation or {"function": "COUNT"},
    }
    return msgspec.json.decode(msgspec.json.encode(sent), type=Meter)


def where(field: str, operation: str = "EQUALS", **more: Any) -> dict[str, Any]:
    """A condition as it is sent."""
    return {"field": field, "operation": operation} | more


CALLED = where("eventName", value="call")


def test_a_meter_is_told_as_it_was_sent() -> None:
    text = (
        b'{"filters":[{"conditions":[{"field":"eventName","operation":"EQUALS","value":"call"},'
        b'{"field":"region","operation":"IN","values":["eu","us"]}]}],'
        b'"aggregation":{"function":"SUM","field":"tokens"}}'
    )
    assert msgspec.json.encode(msgspec.json.decode(text, type=Meter)) == text


@pytest.mark.parametrize("operation", ["REGEX", "equals", "", None])
def test_unknown_operations_are_refused(operation: str | None) -> None:
    with pytest.raises(msgspec.ValidationError, match="operation"):
        meter([{"field": "x", "operation": operation, "value": "1"}])


@pytest.mark.parametrize("function", ["LAST", "sum", ""])
def test_unknown_functions_are_refused(function: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="function"):
        meter([CALLED], function=function, field="x")


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown"):
        meter([where("x", value="1", unknown=1)])


@pytest.mark.parametrize(
    ("one", "named"),
    [
        (meter(), "meter.filters"),
        (meter([]), "meter.filters[0].conditions"),
        (meter([CALLED], [where("x")]), "meter.filters[1].conditions[0].value"),
        (meter([CALLED, where("x", "GREATER_THAN")]), "meter.filters[0].conditions[1].value"),
        (meter([where("x", "IN")]), "meter.filters[0].conditions[0].values"),
        (meter([where("x", "IN", values=[])]), "meter.filters[0].conditions[0].values"),
        (meter([where("x", "IN", value="a")]), "meter.filters[0].conditions[0].values"),
        (meter([where("x", values=["a"])]), "meter.filters[0].conditions[0].value"),
        (meter([where("", value="a")]), "meter.filters[0].conditions[0].field"),
        (meter([where("dimensions.", value="a")]), "meter.filters[0].conditions[0].field"),
        (meter([CALLED], function="SUM"), "meter.aggregation.field"),
        (meter([CALLED], function="UNIQUE", field=""), "meter.aggregation.field"),
        (meter([CALLED], function="AVG"), "meter.aggregation.field"),
        (meter([CALLED], function="MIN"), "meter.aggregation.field"),
        (meter([CALLED], function="MAX"), "meter.aggregation.field"),
        (meter([CALLED], function="SUM", field="a\0b"), "meter.aggregation.field"),
    ],
)
def test_what_is_wrong_is_named(one: Meter, named: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_meter(one)
    assert caught.value.message.startswith(f"{named}: ")


@pytest.mark.parametrize(
    "one",
    [
        meter([CALLED]),
        meter([CALLED], function="COUNT", field="ignored"),
        meter([CALLED, where("x", "IS_NULL")]),
        meter([where("x", "IS_NOT_NULL", value="ignored")]),
        meter([where("x", value="")]),
        meter([where("x", "IN", values=[""])]),
        meter([where("$x", value="$y")], function="UNIQUE", field="customerId"),
    ],
)
def test_valid_meters(one: Meter) -> None:
    check_meter(one)


def listed(count: int, value: str = "v") -> dict[str, Any]:
    """A condition with many values."""
    return where("x", "IN", values=[f"{value}{number}" for number in range(count)])


@pytest.mark.parametrize(
    ("one", "bound"),
    [
        (meter(*[[CALLED]] * 17), "at most 16 filters, and this one has 17"),
        (meter([CALLED] * 16, [CALLED] * 17), "at most 32 conditions in all filters"),
        (meter([listed(1_001)]), "at most 1,000 values in all conditions"),
        (meter([CALLED, listed(500)], [listed(500)]), "at most 1,000 values in all conditions"),
        (meter([listed(100, "v" * 1_000)]), "at most 65,536 bytes"),
        (meter([where("x" * 70_000, "IS_NULL")]), "at most 65,536 bytes"),
    ],
)
def test_a_meter_that_is_too_large_is_told_the_bound(one: Meter, bound: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_meter(one)
    assert caught.value.message.startswith(f"meter: {bound}")


def test_the_largest_meters() -> None:
    check_meter(meter(*[[CALLED, CALLED]] * 16))
    check_meter(meter([CALLED, listed(999)]))


@pytest.mark.parametrize(
    ("one", "names"),
    [
        (meter([CALLED]), {"call"}),
        (meter([CALLED], [where("eventName", value="b")]), {"call", "b"}),
        (meter([where("eventName", "IN", values=["a", "b"])]), {"a", "b"}),
        (meter([where("eventName", "IN", values=["a", "call"]), CALLED]), {"call"}),
        (meter([CALLED, where("eventName", value="b")]), set()),
        (meter([CALLED, where("x", value="1")]), {"call"}),
        (meter([CALLED], [where("x", value="1")]), None),
        (meter([where("eventName", "STARTS_WITH", value="c")]), None),
        (meter([where("eventName", "NOT_EQUALS", value="c")]), None),
        (meter([where("eventName", "STARTS_WITH", value="c"), CALLED]), {"call"}),
        (meter([where("dimensions.eventName", value="c")]), None),
        (meter([where("eventName", value="1")]), None),  # "1.0" is equal to it
    ],
)
def test_event_names(one: Meter, names: set[str] | None) -> None:
    assert event_names(one) == names


@pytest.mark.parametrize(
    ("field", "dimension"),
    [
        ("x", "x"), ("dimensions.x", "x"), ("eventName", None), ("customerId", None),
        ("resourceId", None), ("dimensions.eventName", "eventName"), ("timestamp", "timestamp"),
        ("dimensions.dimensions.x", "dimensions.x"), ("a.b", "a.b"), ("eventname", "eventname"),
    ],
)  # fmt: skip
def test_which_dimension_a_field_names(field: str, dimension: str | None) -> None:
    assert dimension_of(field) == dimension
