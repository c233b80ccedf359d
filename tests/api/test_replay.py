"""The ``Idempotency-Key`` header."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import limits
from tallystick.api.metrics import SharedCounts
from tallystick.api.routes import all_routes
from tests.api.door import Answered, Door
from tests.api.scene import add_feature, event, prepare, usage

CUSTOMERS = "/api/v1/customers"
EVENTS = "/api/v1/events"
USAGE = ("/api/v1/usage", "/api/v2/usage")


def create(door: Door, name: str, replay: str, **more: str) -> Answered:
    return door.post(CUSTOMERS, {"id": name}, headers={"Idempotency-Key": replay}, **more)


def test_the_same_request_gets_the_same_answer(door: Door) -> None:
    first, again = create(door, "c", "k"), create(door, "c", "k")
    assert first.status == 201
    assert (first.status, first.body) == (again.status, again.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert door.post(CUSTOMERS, {"id": "c"}).status == 409


def test_a_key_is_for_one_request(door: Door) -> None:
    create(door, "c", "k")
    assert create(door, "d", "k").status == 400
    assert door.get(f"{CUSTOMERS}/d").status == 404


def test_a_key_is_one_operations(door: Door) -> None:
    create(door, "c", "k")
    archived = door.post(f"{CUSTOMERS}/c/archive", headers={"Idempotency-Key": "k"})
    assert archived.status == 200
    assert "idempotency-replayed" not in archived.headers


def test_the_headers_are_those_of_the_first_answer(door: Door) -> None:
    usage = {"usages": [{"customerId": "c", "featureId": "seats", "value": 1}]}
    door.post(CUSTOMERS, {"id": "c"})
    feature = {"id": "seats", "displayName": "Seats", "featureType": "NUMBER"}
    door.post("/api/v1/features", feature | {"meterType": "FLUCTUATING"})
    first, again = (
        door.post("/api/v2/usage", usage, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    assert "tally-as-of" in first.headers
    assert again.headers == {**first.headers, "idempotency-replayed": "true"}


def test_a_key_is_one_environments(door: Door) -> None:
    other = door.new_key("other")
    assert create(door, "c", "k").status == 201
    assert create(door, "d", "k", key=other).status == 201


def test_a_refused_request_leaves_nothing(door: Door) -> None:
    door.post(CUSTOMERS, {"id": "c"})
    assert create(door, "c", "k").status == 409
    assert create(door, "d", "k").status == 201


def test_a_key_lasts_a_day(door: Door) -> None:
    create(door, "c", "k")
    door.move_clock("2026-01-21T11:59:59Z")
    assert create(door, "c", "k").status == 201
    door.move_clock("2026-01-21T12:00:01Z")
    assert create(door, "c", "k").status == 409


def test_callers_that_race_get_one_answer(door: Door) -> None:
    async def race() -> list[Answered]:
        calls = [
            door.call("POST", CUSTOMERS, {"id": "c"}, headers={"Idempotency-Key": "k"})
            for _ in range(20)
        ]
        return await asyncio.gather(*calls)

    answered = door.run(race())
    assert [each.status for each in answered] == [201] * 20
    assert len({each.body for each in answered}) == 1


def test_a_key_is_a_short_text(door: Door) -> None:
    assert create(door, "c", "k" * 255).status == 201
    assert create(door, "d", "k" * 256).status == 400
    assert create(door, "d", "").status == 400


# --------------------------------------------------------------------------- usage and events


def events(*keys: str) -> dict[str, Any]:
    return {"events": [event(key) for key in keys]}


def keyed(door: Door, path: str, body: object, replay: str = "k", **more: str) -> Answered:
    return door.post(path, body, headers={"Idempotency-Key": replay}, **more)


def accepted(door: Door) -> int:
    """How many events the environment ever had accepted."""
    return door.services.inbox.accepted().get("default", 0)


def test_every_change_goes_through_the_one_place_that_keeps_replies() -> None:
    routes = all_routes(SharedCounts(Path(), ""))
    others = {each.path for each in routes if each.method != "GET" and each.runs != "write"}
    assert others == {"/tally/v1/sources/{id}/check"}, "which changes nothing"


@pytest.mark.parametrize("path", USAGE)
def test_reports_are_answered_as_the_first_time(door: Door, path: str) -> None:
    prepare(door)
    first = keyed(door, path, {"usages": [usage(2)]})
    door.post(path, {"usages": [usage(3)]})
    again = keyed(door, path, {"usages": [usage(2)]})
    assert (again.status, again.body) == (201, first.body)
    assert keyed(door, path, {"usages": [usage(4)]}).status == 400
    check = door.get("/api/v1/customers/c/entitlements/check?featureId=seats")
    assert check.data["currentUsage"] == 5


def test_events_are_accepted_once(door: Door) -> None:
    first, again = keyed(door, EVENTS, events("1", "2")), keyed(door, EVENTS, events("1", "2"))
    assert (again.status, again.body) == (200, first.body)
    assert again.headers == {**first.headers, "idempotency-replayed": "true"}
    assert accepted(door) == 2
    assert door.services.inbox.head() == int(first.headers["tally-position"]) == 1


def test_a_key_is_for_one_request_of_events(door: Door) -> None:
    keyed(door, EVENTS, events("1"))
    refused = keyed(door, EVENTS, events("2"))
    assert (refused.status, refused.code) == (400, "BadUserInput")
    assert accepted(door) == 1
    assert keyed(door, EVENTS, events("2"), "other").status == 200
    assert keyed(door, EVENTS, events("2"), key=door.new_key("other")).status == 200


def test_a_key_of_events_lasts_a_day_and_their_own_keys_longer(door: Door) -> None:
    keyed(door, EVENTS, events("1"))
    door.move_clock("2026-01-21T11:59:59Z")
    keyed(door, EVENTS, events("1"))
    assert accepted(door) == 1
    door.move_clock("2026-01-21T12:00:01Z")
    assert keyed(door, EVENTS, events("2")).status == 200
    assert accepted(door) == 2


def test_refused_events_leave_nothing(door: Door) -> None:
    assert keyed(door, EVENTS, {"events": []}).status == 400
    assert keyed(door, EVENTS, events("1")).status == 200


def test_a_repetition_is_answered_even_when_the_inbox_is_full(tmp_path: Path) -> None:
    with Door(tmp_path / "data", inbox_max_bytes=150) as door:
        first = keyed(door, EVENTS, events("1"))
        full = keyed(door, EVENTS, events("2"), "other")
        assert (full.status, full.code) == (429, "RateLimitExceeded")
        assert keyed(door, EVENTS, events("1")).body == first.body
        door.fold()
        assert keyed(door, EVENTS, events("2"), "other").status == 200


def test_a_large_request_is_answered_as_the_first_time(door: Door) -> None:
    padding = "x" * limits.BODY_AT_ONCE_BYTES_MAX
    body = {"events": [event("1", dimensions={"padding": padding})]}
    first, again = keyed(door, EVENTS, body), keyed(door, EVENTS, body)
    assert first.headers["tally-position"] == again.headers["tally-position"]
    assert accepted(door) == 1


class Twins:
    """The same request, many times at once and through two processes' applications."""

    def __init__(self, folder: Path, path: str, body: object) -> None:
        self.answers: list[Answered] = []
        self._call = (path, body)
        first = Door(folder)
        add_feature(first, "seats", meterType="FLUCTUATING")
        first.post(CUSTOMERS, {"id": "c"})
        self.key = first.key
        self.doors = (first, Door(folder))

    def run(self, times: int) -> None:
        """Every door is called from a thread of its own."""
        threads = [
            threading.Thread(target=lambda door=door: door.run(self._race(door, times)))
            for door in self.doors
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async def _race(self, door: Door, times: int) -> None:
        path, body = self._call
        headers = {"Idempotency-Key": "k"}
        calls = (door.call("POST", path, body, headers=headers, key=self.key) for _ in range(times))
        self.answers += await asyncio.gather(*calls)

    def close(self) -> None:
        for door in self.doors:
            door.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (EVENTS, events("1", "2")),
        (USAGE[1], {"usages": [usage(7)]}),
        (CUSTOMERS, {"id": "new"}),
    ],
    ids=["events", "usage", "catalog"],
)
def test_twins_at_two_processes_get_one_answer(tmp_path: Path, path: str, body: object) -> None:
    twins = Twins(tmp_path / "data", path, body)
    twins.run(25)
    assert len(twins.answers) == 50
    assert {each.status for each in twins.answers} <= {200, 201}
    assert len({each.body for each in twins.answers}) == 1
    assert sum("idempotency-replayed" not in each.headers for each in twins.answers) == 1
    if path == EVENTS:
        assert accepted(twins.doors[0]) == 2
        assert len({each.headers["tally-position"] for each in twins.answers}) == 1
    twins.close()


CALLS = st.lists(
    st.tuples(st.sampled_from((EVENTS, *USAGE)), st.sampled_from("ab"), st.integers(1, 2)),
    max_size=20,
)


@given(calls=CALLS)
@settings(max_examples=20, deadline=None)
def test_whatever_is_sent_in_whatever_order_is_done_once_for_a_key(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, str, int]]
) -> None:
    with Door(tmp_path_factory.mktemp("property") / "data") as door:
        add_feature(door, "seats", meterType="FLUCTUATING")
        door.post(CUSTOMERS, {"id": "c"})
        first: dict[tuple[str, str], tuple[int, Answered]] = {}
        for path, key, size in calls:
            body = events(*map(str, range(size))) if path == EVENTS else {"usages": [usage(size)]}
            told = keyed(door, path, body, key)
            known, answered = first.setdefault((path, key), (size, told))
            assert (told.status in (200, 201)) == (known == size)
            assert told.status == 400 or told.body == answered.body
        done = {name: [n for (path, _), (n, _) in first.items() if path in name]
                for name in ((EVENTS,), USAGE)}  # fmt: skip
        assert accepted(door) == sum(done[EVENTS,])
        assert reported(door) == sum(done[USAGE])


def reported(door: Door) -> int:
    """What was reported of ``seats``, all of it."""
    with door.services.state.reading() as transaction:
        rows = transaction.all("SELECT value FROM reports_waiting")
    return sum(int(str(value)) for (value,) in rows)
