"""The ways in and what is read of them: events, usage, checks, histories."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tallystick import limits
from tallystick.api.answers import encode
from tests.api.door import Answered, Door
from tests.api.scene import LIMIT, add_customer, event, prepare, usage

EVENTS = "/api/v1/events"


def check(door: Door, feature: str, more: str = "", **keywords: str) -> Answered:
    return door.get(f"/api/v1/customers/c/entitlements/check?featureId={feature}{more}", **keywords)


# ------------------------------------------------------------------------------------------ events


def test_accepted_events_have_a_position(door: Door) -> None:
    first = door.post(EVENTS, {"events": [event("1"), event("2")]})
    second = door.post(EVENTS, {"events": [event("3")]})
    assert (first.status, first.body) == (200, b'{"data":{}}')
    assert [each.headers["tally-position"] for each in (first, second)] == ["1", "2"]
    assert door.services.inbox.accepted() == {"default": 3}


def test_a_bad_event_refuses_the_request_and_is_named(door: Door) -> None:
    answered = door.post(EVENTS, {"events": [event("1"), event("")]})
    assert (answered.status, answered.code) == (400, "BadUserInput")
    assert "events[1].idempotencyKey" in answered.json["message"]
    assert door.services.inbox.accepted() == {}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"events":[]}', b"\xff", b'{"events":{}}'])
def test_what_is_no_event_request_is_refused(door: Door, body: bytes) -> None:
    answered = door.post(EVENTS, body)
    assert (answered.status, answered.code) == (400, "BadUserInput")


def test_a_large_request_is_accepted_too(door: Door) -> None:
    many = [event(str(index), dimensions={"text": "x" * 2000}) for index in range(1000)]
    assert door.post(EVENTS, {"events": many}).status == 200
    assert door.services.inbox.accepted() == {"default": 1000}


def test_requests_in_flight_get_positions_of_their_own(door: Door) -> None:
    async def race() -> list[Answered]:
        bodies = ({"events": [event(str(index))]} for index in range(50))
        return await asyncio.gather(*(door.call("POST", EVENTS, body) for body in bodies))

    answered = door.run(race())
    assert set(range(1, 51)) == {int(each.headers["tally-position"]) for each in answered}


def test_a_full_inbox_refuses_with_a_number(tmp_path: Path) -> None:
    with Door(tmp_path / "data", inbox_max_bytes=400) as door:
        statuses = [door.post(EVENTS, {"events": [event(str(n))]}).status for n in range(10)]
        refused = door.post(EVENTS, {"events": [event("x")]})
        assert statuses[0] == 200
        assert (refused.status, refused.code) == (429, "RateLimitExceeded")
        assert int(refused.headers["retry-after"]) >= 1
        door.fold()
        assert door.post(EVENTS, {"events": [event("x")]}).status == 200


def test_events_count_in_checks_and_histories(door: Door) -> None:
    prepare(door)
    door.post(EVENTS, {"events": [event("1"), event("2"), event("1"), event("3", customerId="x")]})
    door.fold()
    answered = check(door, "calls")
    assert tuple(answered.data[name] for name in ("isGranted", "currentUsage", "usageLimit")) == (
        True,
        4,
        LIMIT,
    )
    assert answered.headers["tally-as-of"] == "2026-01-20T12:00:00.000Z"
    history = door.get(
        "/api/v1/usage/c/history/calls?startDate=2026-01-20T10:00:00Z&groupBy=region,none"
    )
    assert history.status == 200
    (series,) = history.data["series"]
    assert series["tags"] == [{"key": "region", "value": "eu"}]
    assert series["points"][-1]["value"] == 4
    assert history.headers["tally-as-of"] == "2026-01-20T12:00:00.000Z"


# ------------------------------------------------------------------------------------------- usage


def test_a_report_is_in_the_next_check(door: Door) -> None:
    prepare(door)
    answered = door.post("/api/v2/usage", {"usages": [usage(0.1) for _ in range(10)]})
    assert answered.status == 201
    assert list(answered.data) == ["usages"]
    assert [each["currentUsage"] for each in answered.data["usages"]][-2:] == [0.9, 1]
    assert answered.data["usages"][0]["credit"] is None
    assert check(door, "seats").data["currentUsage"] == 1
    assert "tally-as-of" in answered.headers


def test_version_1_answers_the_list_itself(door: Door) -> None:
    prepare(door)
    answered = door.post("/api/v1/usage", {"usages": [usage(5), usage(2, updateBehavior="SET")]})
    assert answered.status == 201
    assert [(each["value"], each["currentUsage"]) for each in answered.data] == [(5, 5), (-3, 2)]


@pytest.mark.parametrize(
    ("status", "code", "item"),
    [
        (400, "BadUserInput", usage("5")),
        (400, "BadUserInput", usage(1, updateBehavior="ADD")),
        (400, "CannotReportUsageForEntitlementWithMeterError", usage(1, featureId="calls")),
        (404, "CustomerNotFound", usage(1, customerId="x")),
        (404, "FeatureNotFound", usage(1, featureId="x")),
    ],
)
def test_a_bad_report_refuses_all(
    door: Door, status: int, code: str, item: dict[str, object]
) -> None:
    prepare(door)
    answered = door.post("/api/v2/usage", {"usages": [usage(7), item]})
    assert (status, code) == (answered.status, answered.code)
    assert check(door, "seats").data["currentUsage"] == 0


def test_reports_beyond_what_may_wait_are_refused_with_a_number(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(door)
    monkeypatch.setattr(limits, "REPORTS_WAITING_MAX", 2)
    assert door.post("/api/v2/usage", {"usages": [usage(1), usage(1)]}).status == 201
    again = {"Idempotency-Key": "again"}
    for headers in ({}, again):
        refused = door.post("/api/v2/usage", {"usages": [usage(1)]}, headers=headers)
        assert (refused.status, refused.code) == (429, "RateLimitExceeded")
        assert int(refused.headers["retry-after"]) >= 1
    assert "tallystick_reports_waiting 2" in door.get("/metrics").body.decode()
    assert check(door, "seats").data["currentUsage"] == 2
    door.fold()
    told = door.post("/api/v2/usage", {"usages": [usage(1)]}, headers=again)
    assert told.data["usages"][0]["currentUsage"] == 3


def test_quantities_keep_their_digits_on_the_wire() -> None:
    exact = Decimal("9007199254740990.12345")
    assert encode({"value": exact}) == b'{"value":9007199254740990.12345}'
    assert msgspec.json.decode(encode({"value": exact}), type=dict[str, Decimal])["value"] == exact


# ------------------------------------------------------------------------------------------ checks


@pytest.mark.parametrize(
    ("granted", "reason", "feature", "more"),
    [
        (True, None, "sso", ""),
        (True, None, "seats", f"&requestedUsage={LIMIT}"),
        (False, "RequestedUsageExceedingLimit", "seats", f"&requestedUsage={LIMIT + 1}"),
        (True, None, "region", "&requestedValues=eu"),
        (False, "RequestedValuesMismatch", "region", "&requestedValues=eu,us"),
        (False, "RequestedValuesMismatch", "region", "&requestedValues=eu&requestedValues=us"),
        (False, "FeatureNotFound", "nope", ""),
    ],
)
def test_a_check_grants_or_says_why_not(
    door: Door, granted: bool, reason: str | None, feature: str, more: str
) -> None:
    prepare(door)
    answered = check(door, feature, more)
    assert answered.status == 200
    assert (granted, reason) == (
        answered.data["isGranted"],
        answered.data["accessDeniedReason"],
    )


def test_a_check_of_an_unknown_customer_is_an_answer(door: Door) -> None:
    answered = check(door, "sso")
    assert (answered.status, answered.data["accessDeniedReason"]) == (200, "CustomerNotFound")


@pytest.mark.parametrize(
    ("status", "query"),
    [
        (400, ""),
        (400, "?featureId=a&currencyId=b"),
        (400, "?featureId="),
        (400, "?featureId=a&featureId=b"),
        (400, "?featureId=a&requestedUsage=-1"),
        (400, "?featureId=a&requestedUsage=1.5"),
        (400, "?featureId=" + "a" * 256),
        (501, "?currencyId=b"),
    ],
)
def test_a_check_names_one_feature(door: Door, status: int, query: str) -> None:
    assert status == door.get(f"/api/v1/customers/c/entitlements/check{query}").status


def test_a_resource_is_asked_for_by_itself(door: Door) -> None:
    prepare(door)
    add_customer(door, "other")
    door.post("/api/v2/usage", {"usages": [usage(4, resourceId="r"), usage(1)]})
    assert check(door, "seats").data["currentUsage"] == 1
    assert check(door, "seats", "&resourceId=r").data["currentUsage"] == 4
    listed = door.get("/api/v1/customers/c/entitlements")
    assert sorted(each["feature"]["id"] for each in listed.data["entitlements"]) == [
        "calls",
        "region",
        "seats",
        "sso",
    ]
    assert "tally-as-of" in listed.headers


# --------------------------------------------------------------------------------------- histories


@pytest.mark.parametrize(
    ("status", "path"),
    [
        (400, "c/history/seats"),
        (400, "c/history/seats?startDate=yesterday"),
        (400, "c/history/seats?startDate=2026-01-20T12:00:00Z&endDate=2026-01-20T12:00:00Z"),
        (400, "c/history/seats?startDate=2026-01-20T00:00:00Z&groupBy=a,a"),
        (404, "x/history/seats?startDate=2026-01-20T00:00:00Z"),
        (404, "c/history/x?startDate=2026-01-20T00:00:00Z"),
    ],
)
def test_a_history_needs_a_range_of_something_that_exists(
    door: Door, status: int, path: str
) -> None:
    prepare(door)
    answered = door.get(f"/api/v1/usage/{path}")
    assert status == answered.status
    assert answered.code


def test_the_last_point_of_a_history_is_the_current_usage(door: Door) -> None:
    prepare(door)
    door.post("/api/v2/usage", {"usages": [usage(4), usage(3)]})
    answered = door.get("/api/v1/usage/c/history/seats?startDate=2026-01-19T00:00:00+00:00")
    (series,) = answered.data["series"]
    assert series["tags"] == []
    assert series["points"][-1] == {
        "timestamp": "2026-01-20T12:00:00.000Z",
        "value": 7,
        "isResetPoint": False,
    }
    assert answered.data["markers"] == []
