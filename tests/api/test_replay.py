"""The ``Idempotency-Key`` header."""

from __future__ import annotations

import asyncio

from tests.api.door import Answered, Door

CUSTOMERS = "/api/v1/customers"


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
