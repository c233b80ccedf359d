"""Usage reports at the door."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import DAY, Instant
from tallystick.errors import BadInput
from tallystick.ingest.usage import UsageItem, decode_usages

NOW = Instant(1_767_225_600_000_000)  # 2026-01-01T00:00:00Z


def a_report(**changes: Any) -> dict[str, Any]:
    return {"customerId": "c", "featureId": "f", "value": 1, **changes}


def a_body(*reports: Any) -> bytes:
    return json.dumps({"usages": list(reports)}).encode()


def of_value(literal: str) -> bytes:
    return b'{"usages":[{"customerId":"c","featureId":"f","value":%s}]}' % literal.encode()


def decoded(body: bytes) -> list[UsageItem]:
    return decode_usages(body, NOW, DAY)


def refused(body: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        decoded(body)
    return caught.value.message


def test_a_report_with_nothing_but_what_is_required() -> None:
    expected = UsageItem("c", "f", "", Decimal(1), "DELTA", None, None, "{}")
    assert decoded(a_body(a_report())) == [expected]


def test_a_report_with_everything() -> None:
    report = a_report(
        resourceId="r",
        value=-2.5,
        updateBehavior="SET",
        createdAt="2025-12-31T23:59:59.9999999+00:00",
        idempotencyKey="k",
        dimensions={"n": 1.0, "s": "x", "b": True, "z": None},
    )
    assert decoded(a_body(report)) == [
        UsageItem(
            "c",
            "f",
            "r",
            Decimal("-2.5"),
            "SET",
            Instant(NOW - 1),
            "k",
            '{"n":1,"s":"x","b":true,"z":null}',
        )
    ]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0.1", "0.1"),
        ("0.000005", "0.00001"),
        ("-0.000005", "-0.00001"),
        ("0.0000049999999999999999999999999", "0"),
        ("1.000015", "1.00002"),
        ("2.675", "2.675"),
        ("-0", "0"),
        ("-0.000001", "0"),
        ("1e3", "1000"),
        ("1e-99999999", "0"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991.0", "-9007199254740991"),
        ("34359738367.99999", "34359738367.99999"),
        ("34359738368", "34359738368"),
        ("9007199254740991e0", "9007199254740991"),
    ],
)
def test_values_are_decided_on_the_literal(literal: str, value: str) -> None:
    (item,) = decoded(of_value(literal))
    assert item.value == Decimal(value)
    assert not item.value.is_signed() or item.value < 0


@pytest.mark.parametrize(
    "literal",
    ["9007199254740992", "-9007199254740992", "34359738368.00001", "-34359738368.5", "1e16",
     "1e99999999999999", "1e999999999999999999999999", "9007199254740991.00001"],
)  # fmt: skip
def test_values_out_of_range(literal: str) -> None:
    assert "usages[0].value: is out of range" in refused(of_value(literal))


@given(st.decimals(-(2**35) + 1, 2**35 - 1, allow_nan=False, places=8))
def test_rounding_moves_a_value_by_half_a_unit_at_most(value: Decimal) -> None:
    (item,) = decoded(of_value(format(value, "f")))
    assert abs(item.value - value) <= Decimal("0.000005")
    assert abs(item.value) >= abs(value) or abs(item.value - value) < Decimal("0.000005")


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({}, "usages[0].customerId: is required; usages[0].featureId: is required; "
         "usages[0].value: is required"),
        (a_report(value="1"), "usages[0].value: expected number, got string"),
        (a_report(value=True), "usages[0].value: expected number, got boolean"),
        (a_report(value=None), "usages[0].value: expected number, got null"),
        (a_report(value=float("nan")), "usages[0].value: expected number, got NaN"),
        (a_report(featureId=""), "usages[0].featureId: must not be empty"),
        (a_report(updateBehavior="ADD"), "usages[0].updateBehavior: expected DELTA or SET, got 'A"),
        (a_report(updateBehavior=None), "usages[0].updateBehavior: expected string, got null"),
        (a_report(createdAt="2026-01-03T00:00:00Z"), "usages[0].createdAt: is more than 24 h"),
        (a_report(createdAt=5), "usages[0].createdAt: expected string, got number"),
        (a_report(idempotencyKey="k\0"), "usages[0].idempotencyKey: contains a NUL character"),
        (a_report(dimensions={"a": {}}), "usages[0].dimensions.a: expected string, number or bool"),
        (a_report(more=1), "usages[0].more: is not a known field"),
        (7, "usages[0]: expected object, got number"),
    ],
)  # fmt: skip
def test_reports_that_are_refused(report: Any, message: str) -> None:
    assert message in refused(a_body(report))


def test_one_to_a_hundred_reports_a_call() -> None:
    assert len(decoded(a_body(*[a_report()] * 100))) == 100
    assert "usages: expected 1 to 100 items, got 101" in refused(a_body(*[a_report()] * 101))
    assert "usages: expected 1 to 100 items, got 0" in refused(a_body())


def test_null_resource_and_dimensions_are_none() -> None:
    (item,) = decoded(a_body(a_report(resourceId=None, dimensions=None)))
    assert (item.resource, item.dimensions) == ("", "{}")
