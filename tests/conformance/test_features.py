"""Features: what is granted, and how it is measured."""

from __future__ import annotations

from typing import Any

import pytest
from stigg import BadRequestError, ConflictError, NotFoundError

from tests.conformance.building import (
    addon,
    check,
    choice,
    customer,
    draft,
    feature,
    flag,
    granting,
    meter,
    plan,
    product,
    refused,
    shop,
    subscription,
    up_to,
    use,
)

METERED: Any = {"display_name": "E", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}


def test_b01_a_boolean_feature(stigg: Any) -> None:
    made = flag(stigg, "sso", description="Single sign-on")
    assert (made.id, made.feature_type, made.meter_type) == ("sso", "BOOLEAN", "None")
    assert made.feature_status in ("NEW", "ACTIVE")
    assert (made.metadata, made.meter, made.description) == ({}, None, "Single sign-on")
    assert stigg.v1.features.retrieve_feature("sso").data == made


@pytest.mark.parametrize("status", ["NEW", "ACTIVE"])
def test_a_feature_has_the_status_it_is_given(stigg: Any, status: str) -> None:
    assert flag(stigg, feature_status=status).feature_status == status


def test_an_enum_feature_has_its_values(stigg: Any) -> None:
    made = choice(stigg, "region", ("us", "eu"))
    assert [one.value for one in made.enum_configuration] == ["us", "eu"]
    more: Any = [{"value": value, "display_name": value} for value in ("us", "eu", "asia")]
    changed = stigg.v1.features.update_feature("region", enum_configuration=more).data
    assert [one.value for one in changed.enum_configuration] == ["us", "eu", "asia"]
    product(stigg)
    plan(stigg, "basic", granting("region", enum_values=["us"]))
    with refused(BadRequestError, "BadUserInput"):  # the plan has "us"
        stigg.v1.features.update_feature("region", enum_configuration=more[1:])
    assert stigg.v1.features.retrieve_feature("region").data == changed


def test_a_value_that_is_promoted_stays(stigg: Any) -> None:
    choice(stigg, "region", ("us", "eu"))
    customer(stigg)
    promotion: Any = {"feature_id": "region", "period": "1 week", "enum_values": ["us"]}
    stigg.v1.customers.promotional_entitlements.create("acme", promotional_entitlements=[promotion])
    less: Any = [{"value": "eu", "display_name": "EU"}]
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.features.update_feature("region", enum_configuration=less)
    assert check(stigg, "region", requested_values=["us"]).is_granted
    stigg.v1.customers.promotional_entitlements.revoke("region", id="acme")
    changed = stigg.v1.features.update_feature("region", enum_configuration=less).data
    assert [one.value for one in changed.enum_configuration] == ["eu"]


@pytest.mark.parametrize("meter_type", ["INCREMENTAL", "FLUCTUATING", "None"])
def test_a_number_is_metered_or_a_configuration(stigg: Any, meter_type: str) -> None:
    about: Any = {"feature_units": "call", "feature_units_plural": "calls", "metadata": {"a": "b"}}
    made = feature(stigg, "calls", meter_type=meter_type, **about)
    assert (made.meter_type, made.feature_units, made.metadata) == (meter_type, "call", {"a": "b"})


@pytest.mark.parametrize("function", ["COUNT", "UNIQUE", "SUM", "MIN", "MAX", "AVG"])
def test_b02_a_meter_is_answered_as_it_was_given(stigg: Any, function: str) -> None:
    stated = meter(function, None if function == "COUNT" else "tokens")
    conditions = [
        {"field": "region", "operation": "IN", "values": ["us", "eu"]},
        {"field": "tokens", "operation": "GREATER_THAN", "value": "5"},
        {"field": "dimensions.model", "operation": "IS_NOT_NULL"},
    ]
    stated["filters"].append({"conditions": conditions})
    made = feature(stigg, "events", meter=stated)
    assert made.meter.to_dict() == stated
    assert stigg.v1.features.retrieve_feature("events").data.meter.to_dict() == stated
    changed = stigg.v1.features.update_feature("events", meter=meter()).data
    assert changed.meter.to_dict() == meter()


def test_b03_b05_a_meter_that_makes_no_sense_is_refused(stigg: Any) -> None:
    cases: Any = (
        ("SUM", None, {}),  # B03
        ("UNIQUE", None, {}),
        ("MEDIAN", "tokens", {}),
        ("COUNT", None, {"operation": "REGEX"}),  # B05
        ("COUNT", None, {"operation": "IN"}),
        ("COUNT", None, {"field": ""}),
        ("COUNT", None, {"value": 5}),
        ("COUNT", None, {"surprise": 1}),
    )
    for function, field, condition in cases:
        stated = meter(function, field)
        stated["filters"][0]["conditions"][0] |= condition
        with refused(BadRequestError, "BadUserInput"):
            stigg.v1.features.create_feature(id="events", meter=stated, **METERED)
    empty: Any = ([], [{"conditions": []}])
    for filters in empty:
        with refused(BadRequestError, "BadUserInput"):
            stigg.v1.features.create_feature(
                id="events", meter=meter() | {"filters": filters}, **METERED
            )
    with refused(NotFoundError, "FeatureNotFound"):
        stigg.v1.features.retrieve_feature("events")


def test_b07_an_id_that_is_taken_is_a_conflict(stigg: Any) -> None:
    shop(stigg)
    addon(stigg)
    v1 = stigg.v1
    before = v1.features.retrieve_feature("calls").data
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        flag(stigg, "calls")
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        product(stigg)
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        draft(stigg)
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        v1.addons.create(id="extra", display_name="E", product_id="main")
    assert v1.features.retrieve_feature("calls").data == before


def test_units_are_transformed_until_somebody_has_them(stigg: Any) -> None:
    kilo: Any = {"divide": 1000, "round": "UP", "feature_units": "kB", "feature_units_plural": "kB"}
    made = feature(stigg, "bytes", unit_transformation=kilo)
    assert made.unit_transformation.to_dict(use_api_names=False) == kilo
    changed = stigg.v1.features.update_feature("bytes", unit_transformation={"divide": 10}).data
    assert (changed.unit_transformation.divide, changed.unit_transformation.round) == (10, "UP")
    product(stigg)
    plan(stigg, "basic", up_to(2, "bytes"))
    customer(stigg)
    stigg.v1.features.update_feature("bytes", unit_transformation=kilo | {"round": "DOWN"})
    subscription(stigg)
    assert use(stigg, 2999, "bytes") == 2
    assert check(stigg, "bytes").is_granted
    with refused(BadRequestError, "CannotUpdateUnitTransformationError"):
        stigg.v1.features.update_feature("bytes", unit_transformation=None)
    assert check(stigg, "bytes").current_usage == 2


def test_what_an_update_omits_stays(stigg: Any) -> None:
    feature(stigg, "calls", description="D", metadata={"a": "b"}, feature_units="call")
    changed = stigg.v1.features.update_feature("calls", display_name="New").data
    assert (changed.display_name, changed.description, changed.metadata) == ("New", "D", {"a": "b"})
    assert stigg.v1.features.update_feature("calls", metadata={"c": "d"}).data.metadata == {
        "c": "d"
    }


def test_an_archived_feature_can_be_granted_again_once_it_is_open(stigg: Any) -> None:
    product(stigg)
    flag(stigg, "sso")
    assert stigg.v1.features.archive_feature("sso").data.feature_status == "SUSPENDED"
    assert [one.id for one in stigg.v1.features.list_features(status=["SUSPENDED"])] == ["sso"]
    draft(stigg)
    with refused(BadRequestError, "EntityIsArchivedError"):
        stigg.v1.plans.entitlements.create("basic", entitlements=[granting("sso")])
    assert stigg.v1.plans.entitlements.list("basic").data == []
    assert stigg.v1.features.unarchive_feature("sso").data.feature_status == "ACTIVE"
    stigg.v1.plans.entitlements.create("basic", entitlements=[granting("sso")])
    with refused(BadRequestError, "CannotArchiveFeatureError"):
        stigg.v1.features.archive_feature("sso")
    assert stigg.v1.features.retrieve_feature("sso").data.feature_status == "ACTIVE"


def test_features_are_listed_by_type_meter_and_status(stigg: Any) -> None:
    flag(stigg, "sso")
    choice(stigg, "region")
    feature(stigg, "seats", meter_type="FLUCTUATING")
    feature(stigg, "projects", meter_type="None", feature_status="NEW")

    def ids(**wanted: Any) -> set[str]:
        return {one.id for one in stigg.v1.features.list_features(**wanted)}

    assert ids(feature_type=["BOOLEAN", "ENUM"]) == {"sso", "region"}
    assert ids(meter_type=["FLUCTUATING"]) == {"seats"}
    assert ids(status=["NEW"]) == {"projects"}
    assert ids(status=["ACTIVE"], feature_type=["NUMBER"]) == {"seats"}
    assert ids(id="none") == set()
