"""Features: what they may be, and what feeds their counters."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, Conflict, NotFound
from tests.catalog.building import Desk, meter


def fed_by(desk: Desk, feature: str) -> str:
    (row,) = desk.rows("SELECT fed_by FROM features WHERE id = ?", feature)
    return str(row[0])


def test_a_plain_feature(desk: Desk) -> None:
    made = desk.post("features", {"id": "sso", "displayName": "SSO", "featureType": "BOOLEAN"})
    assert (made["id"], made["meterType"], made["metadata"]) == ("sso", "None", {})
    assert made["featureStatus"] == "ACTIVE"
    assert fed_by(desk, "sso") == "nothing"


def test_a_meter_is_echoed_exactly(desk: Desk) -> None:
    wanted = {
        "filters": [
            {"conditions": [{"field": "eventName", "operation": "EQUALS", "value": "a"}]},
            {
                "conditions": [
                    {"field": "eventName", "operation": "IN", "values": ["b", "c"]},
                    {"field": "region", "operation": "IS_NOT_NULL"},
                ]
            },
        ],
        "aggregation": {"function": "SUM", "field": "tokens"},
    }
    desk.add_feature("tokens", meter=wanted)
    assert desk.get("features/tokens")["meter"] == wanted
    assert fed_by(desk, "tokens") == "events"


def test_a_meter_alone_makes_a_number_metered(desk: Desk) -> None:
    body = {"id": "f", "displayName": "F", "featureType": "NUMBER", "meter": meter()}
    assert desk.post("features", body)["meterType"] == "INCREMENTAL"


@pytest.mark.parametrize("meter_type", ["INCREMENTAL", "FLUCTUATING"])
def test_metered_without_a_meter_is_fed_by_reports(desk: Desk, meter_type: str) -> None:
    desk.add_feature("calls", meterType=meter_type)
    assert fed_by(desk, "calls") == "reports"


REGEX = {"field": "a", "operation": "REGEX", "value": "b"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"meter": meter("SUM")}, "BadUserInput"),
        ({"meter": meter() | {"filters": [{"conditions": [REGEX]}]}}, "BadUserInput"),
        ({"meter": meter("MEDIAN", "a")}, "BadUserInput"),
        ({"meter": meter() | {"filters": []}}, "BadUserInput"),
        ({"featureType": "BOOLEAN", "meter": meter()}, "MeterMustBeAssociatedToMeteredFeature"),
        ({"featureType": "ENUM", "meterType": "None", "meter": meter()},
         "MeterMustBeAssociatedToMeteredFeature"),
        ({"meterType": "None", "meter": meter()}, "MeterMustBeAssociatedToMeteredFeature"),
        ({"featureType": "ENUM"}, "MeteringNotAvailableForFeatureType"),
        ({"featureType": "TEXT"}, "BadUserInput"),
        ({"id": "-bad"}, "BadUserInput"),
        ({"id": "with space"}, "BadUserInput"),
        ({"id": "line\n"}, "BadUserInput"),
        ({"id": "x" * 256}, "BadUserInput"),
        ({"unitTransformation": {"divide": 0}}, "BadUserInput"),
        ({"enumConfiguration": [{"value": "a", "displayName": "A"}] * 2}, "BadUserInput"),
        ({"enumConfiguration": [{"value": "a", "displayName": "A"}]}, "BadUserInput"),
        ({"featureType": "ENUM", "meterType": "None"}, "BadUserInput"),
        ({"featureType": "ENUM", "meterType": "None", "enumConfiguration": []}, "BadUserInput"),
        ({"meterType": "None", "unitTransformation": {"divide": 5}}, "BadUserInput"),
        ({"surprise": 1}, "BadUserInput"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(desk: Desk, body: dict[str, Any], code: str) -> None:
    with pytest.raises(BadInput) as refused:
        desk.add_feature(**({"feature": body.pop("id")} if "id" in body else {}), **body)
    assert refused.value.code == code
    assert desk.rows("SELECT id FROM features") == []


def test_ids_may_have_slashes_and_colons(desk: Desk) -> None:
    desk.add_feature("f/1:a|b.c@d")
    assert len(desk.get("features", id="f/1:a|b.c@d")) == 1


def test_an_id_is_taken_once(desk: Desk) -> None:
    desk.add_feature("calls")
    with pytest.raises(Conflict) as refused:
        desk.add_feature("calls")
    assert refused.value.code == "DuplicatedEntityNotAllowed"


def test_update_changes_what_it_states(desk: Desk) -> None:
    desk.add_feature("calls", description="old", unitTransformation={"divide": 1000})
    changed = desk.patch("features/calls", {"displayName": "New", "metadata": {"a": "b"}})
    assert (changed["displayName"], changed["description"]) == ("New", "old")
    assert changed["unitTransformation"] == {"divide": 1000, "round": "UP"}
    assert desk.patch("features/calls", {"unitTransformation": None})["unitTransformation"] is None


def test_a_new_or_changed_meter_is_recounted_for_everyone(desk: Desk) -> None:
    desk.archive_events_of()
    desk.add_feature("calls", meter=meter())
    assert desk.recounts() == [("calls", "")]
    desk.patch("features/calls", {"meter": meter(), "displayName": "Same meter"})
    assert desk.recounts() == [("calls", "")]
    with desk.services.state.writing() as transaction:
        transaction.run("UPDATE recounts SET finished_at = 7")
    desk.patch("features/calls", {"meter": meter("MAX", "size")})
    assert desk.recounts() == [("calls", ""), ("calls", "")]


def test_nothing_archived_needs_no_recount(desk: Desk) -> None:
    desk.add_feature("calls", meter=meter())
    assert desk.recounts() == []


def test_a_feature_with_usage_cannot_switch_its_source(shop: Desk) -> None:
    shop.patch("features/calls", {"meter": meter()})
    assert fed_by(shop, "calls") == "events"
    shop.patch("features/calls", {"meter": None})
    assert fed_by(shop, "calls") == "reports"
    with shop.services.state.writing() as transaction:
        transaction.run(
            "INSERT INTO counters (environment, customer, resource, feature, generation, "
            "period_start) VALUES ('default', 'acme', '', 'calls', 0, 0)"
        )
    with pytest.raises(BadInput, match="has usage"):
        shop.patch("features/calls", {"meter": meter()})
    assert fed_by(shop, "calls") == "reports"


def test_archived_features_are_granted_no_more(shop: Desk) -> None:
    shop.post("plans/basic/draft")
    shop.delete("plans/basic/entitlements/calls")
    shop.publish("basic")
    assert shop.post("features/calls/archive")["featureStatus"] == "SUSPENDED"
    shop.post("plans", {"id": "new", "displayName": "New", "productId": "main"})
    with pytest.raises(BadInput) as refused:
        shop.grant("new", {"id": "calls", "type": "FEATURE"})
    assert refused.value.code == "EntityIsArchivedError"
    assert shop.post("features/calls/unarchive")["featureStatus"] == "ACTIVE"


def test_unknown_features_are_not_found(desk: Desk) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/archive")):
        with pytest.raises(NotFound) as refused:
            desk.call(method, f"features/none{path}")
        assert refused.value.code == "FeatureNotFound"


def test_lists_filter_and_page(desk: Desk) -> None:
    for number in range(5):
        desk.add_feature(f"number-{number}")
    desk.move("2026-01-11")
    desk.add_feature("flag", featureType="BOOLEAN", meterType="None")
    assert [item["id"] for item in desk.get("features", featureType="BOOLEAN")] == ["flag"]
    assert len(desk.get("features", featureType="BOOLEAN,NUMBER")) == 6
    assert len(desk.get("features", meterType="INCREMENTAL")) == 5
    assert len(desk.get("features", **{"createdAt[gte]": "2026-01-11T00:00:00Z"})) == 1
    assert len(desk.get("features", **{"createdAt[lt]": "2026-01-11T00:00:00Z"})) == 5


def test_pages_follow_each_other_both_ways(desk: Desk) -> None:
    for number in range(5):
        desk.add_feature(f"number-{number}")
    first = desk.page("features", limit=2)
    second = desk.page("features", limit=2, after=first.next)
    third = desk.page("features", limit=2, after=second.next)
    shown = [[item["id"][-1] for item in page.items] for page in (first, second, third)]
    assert shown == [["0", "1"], ["2", "3"], ["4"]]
    assert (first.prev, third.next) == (None, None)
    assert desk.page("features", limit=2, before=third.prev) == second
    assert desk.page("features", limit=2, before=second.prev) == first


def test_twenty_items_a_page_by_default(desk: Desk) -> None:
    for number in range(25):
        desk.add_feature(f"number-{number}")
    assert len(desk.page("features").items) == 20
    for limit in (0, 101):
        with pytest.raises(BadInput):
            desk.page("features", limit=limit)
    for cursor in ("nonsense", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTp4", "ÿ"):
        with pytest.raises(BadInput):
            desk.page("features", after=cursor)
