"""Environments never see each other's anything, and keys do what they are for.

Every test walks the route table of the application, so that no new route is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.api.http import Route
from tallystick.api.metrics import SharedCounts
from tallystick.api.routes import all_routes
from tests.api.door import Answered, Door
from tests.api.everything import SECRET, call, make_everything, tables_of

ROUTES = all_routes(SharedCounts(Path(), ""))
OWNER, OTHER = "environment-of-the-owner", "environment-of-another"

# What concerns the server as a whole; none of it tells what belongs to one environment.
OF_THE_SERVER = {
    "/health", "/ready", "/metrics", "/openapi.json", "/docs", "/tally/v1/sync",
    "/tally/v1/test-clock",
}  # fmt: skip
# What needs nothing that exists already: it makes something of the caller's own.
MAKES_ITS_OWN = {
    "POST /api/v1/events", "POST /api/v1/products", "POST /api/v1/features",
    "POST /api/v1/customers", "POST /api/v1/customers/import", "POST /tally/v1/sources",
}  # fmt: skip
# What a client key may do: ask what is granted, and read what there is to buy.
CLIENTS = {
    "/api/v1/customers/{id}/entitlements", "/api/v1/customers/{id}/entitlements/check",
    "/api/v1/products", "/api/v1/features", "/api/v1/features/{id}",
    "/api/v1/plans", "/api/v1/plans/{id}", "/api/v1/plans/{id}/charges",
    "/api/v1/plans/{id}/overage-charges", "/api/v1/plans/{planId}/entitlements",
    "/api/v1/addons", "/api/v1/addons/{id}", "/api/v1/addons/{id}/charges",
    "/api/v1/addons/{addonId}/entitlements",
}  # fmt: skip


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """An application whose environment ``OWNER`` has one of everything; ``door.key`` is its key."""
    with Door(tmp_path_factory.mktemp("isolation") / "data", entity_calls_per_minute=0) as door:
        key = door.new_key(OWNER)
        make_everything(door, key)
        door.key = key
        yield door


def answers(door: Door) -> dict[str, Answered]:
    """What the owner is answered, wherever something can be read."""
    return {
        route.path: call(door, route, door.key)
        for route in ROUTES
        if route.method == "GET" and route.path not in OF_THE_SERVER
    }


def test_the_owner_sees_everything(owned: Door) -> None:
    """Else the other tests would show nothing."""
    told = answers(owned)
    assert {path: each.status for path, each in told.items() if each.status != 200} == {}
    empty = {path for path, each in told.items() if each.data == []}
    assert empty <= {"/api/v1/plans/{id}/charges", "/api/v1/plans/{id}/overage-charges",
                     "/api/v1/addons/{id}/charges"}  # fmt: skip
    assert sum(SECRET.encode() in each.body for each in told.values()) >= 10


def sees_nothing(route: Route, answered: Answered) -> bool:
    """Whether an answer is what one gets where there is nothing."""
    if route.path in OF_THE_SERVER:
        return True
    if name_of(route) in MAKES_ITS_OWN:
        return answered.status in (200, 201)
    if answered.status == 200 and route.page:
        return bool(answered.json == {"data": [], "pagination": {"next": None, "prev": None}})
    if answered.status == 200:
        told = answered.data
        return told.get("isGranted") is False or told.get("accessDeniedReason") is not None
    return answered.status == 404


@pytest.mark.parametrize("kind", ["server", "client"])
def test_nobody_else_sees_or_changes_anything(owned: Door, kind: str) -> None:
    before, rows = answers(owned), tables_of(owned, OWNER)
    wrong = {}
    for number, route in enumerate(ROUTES):
        key = owned.new_key(f"{OTHER}-{kind}-{number}", kind)
        answered = call(owned, route, key)
        assert SECRET.encode() not in answered.body, name_of(route)
        assert OWNER.encode() not in answered.body, name_of(route)
        assert tables_of(owned, OWNER) == rows, name_of(route)
        is_allowed = kind == "server" or route.access != "server"
        expected = sees_nothing(route, answered) if is_allowed else answered.status == 403
        if not expected:
            wrong[name_of(route)] = answered
    assert wrong == {}
    owned.fold()
    assert answers(owned) == before


def test_a_denial_says_what_is_not_there(owned: Door) -> None:
    check = "/api/v1/customers/c/entitlements/check?featureId=calls"
    told = owned.get(check, key=owned.new_key(OTHER + "-check")).data
    assert (told["isGranted"], told["accessDeniedReason"]) == (False, "CustomerNotFound")


def test_whoever_has_the_same_names_changes_its_own(owned: Door) -> None:
    """The same ids stand for other things in another environment, whatever is done to them."""
    key = owned.new_key(OTHER)
    make_everything(owned, key)
    before, rows = answers(owned), tables_of(owned, OWNER)
    done = set()
    for route in sorted(ROUTES, key=_violence):
        answered = call(owned, route, key)
        assert answered.status < 500, (name_of(route), answered)
        assert tables_of(owned, OWNER) == rows, name_of(route)
        if answered.status < 300:
            done.add(name_of(route))
    changes = {name_of(each) for each in ROUTES if each.method != "GET"}
    assert len(changes & done) > len(changes) * 3 // 4, sorted(changes - done)
    owned.fold()
    assert answers(owned) == before


def _violence(route: Route) -> int:
    """Reads before changes, and what ends something last, so that most of it can be done."""
    action = f"{route.method} {route.path.rpartition('/')[2]}"
    order = ("POST publish", "DELETE draft", "POST cancel", "POST archive", "POST unarchive")
    if action in order:
        return 4 + order.index(action)
    return ("GET", "PATCH", "POST", "DELETE").index(route.method)


def test_a_client_key_reads_and_never_changes(owned: Door) -> None:
    assert {each.path for each in ROUTES if each.access == "client"} == CLIENTS
    assert {each.method for each in ROUTES if each.access == "client"} == {"GET"}
    client, rows = owned.new_key(OWNER, "client"), tables_of(owned, OWNER)
    for route in ROUTES:
        answered = call(owned, route, client)
        if route.access == "server":
            assert (answered.status, answered.code) == (403, "AccessDeniedError"), name_of(route)
        else:
            assert answered.status == 200, name_of(route)
    after = tables_of(owned, OWNER)
    del rows["api_keys"], after["api_keys"]
    assert after == rows


@pytest.mark.parametrize("key", [None, "server-nobody-has-this-key"])
def test_without_a_key_nobody_learns_whose_the_server_is(owned: Door, key: str | None) -> None:
    rows = tables_of(owned, OWNER)
    public = set()
    for route in ROUTES:
        answered = call(owned, route, key)
        assert SECRET.encode() not in answered.body, name_of(route)
        assert b"environment-of-" not in answered.body, name_of(route)
        if answered.status != 401:
            public.add(route.path)
        else:
            assert answered.code == "Unauthenticated"
    assert public <= {"/health", "/ready", "/metrics", "/openapi.json", "/docs"}
    assert ("/metrics" in public) == (key is None)
    assert tables_of(owned, OWNER) == rows
