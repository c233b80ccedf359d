"""Raw events and the meters that count them (F)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from stigg import BadRequestError, RateLimitError

from tallystick.clock import to_datetime
from tests.conformance.driving import Clients, Site
from tests.conformance.selling import (
    CUSTOMER,
    Shop,
    condition,
    event,
    hard,
    moment,
    named,
    resetting,
)

ABSENT = object()
MANY = 10**9

# What a meter asks of dimension x, and a value on either side of it.
OPERATORS: list[tuple[str, list[str], Any, Any]] = [
    ("EQUALS", ["eu"], "eu", "EU"),
    ("EQUALS", ["10"], 10.0, 1),
    ("EQUALS", ["true"], True, False),  # F14
    ("NOT_EQUALS", ["eu"], "us", "eu"),
    ("NOT_EQUALS", ["eu"], "", ABSENT),
    ("GREATER_THAN", ["9"], 10, 9),  # as text, 10 comes before 9
    ("GREATER_THAN_OR_EQUAL", ["9"], 9, 8.99),
    ("LESS_THAN", ["10"], 9, 10),
    ("LESS_THAN_OR_EQUAL", ["10"], "10.0", 10.01),
    ("CONTAINS", ["b"], "abc", "ac"),
    ("STARTS_WITH", ["a"], "abc", "bac"),
    ("ENDS_WITH", ["c"], "abc", "cab"),
    ("IN", ["eu", "us"], "us", "u"),
    ("IN", ["1", "2"], 2, 12),
    ("IS_NULL", [], ABSENT, "x"),
    ("IS_NOT_NULL", [], "x", ABSENT),
]


@pytest.fixture(scope="module")
def site(site_of_its_own: Site) -> Site:
    """Time passes here."""
    return site_of_its_own


class Metered:
    """A site's environment in which a customer has every metered feature, in no period."""

    def __init__(self, site: Site, shop: Shop) -> None:
        self.site = site
        self.shop = shop
        shop.product()

    def sell(self, **period: Any) -> None:
        """Subscribe the customer to all features that there are."""
        features = [one.id for one in self.shop.v1.features.list_features()]
        self.shop.plan("all", *(hard(name, MANY, **period) for name in features))
        self.shop.buyer("all")

    def used(self) -> dict[str, float]:
        """What is counted of each feature, once everything is."""
        self.site.sync()
        return {name: one.current_usage for name, one in self.shop.listed().items()}


@pytest.fixture
def metered(site: Site, shop: Shop) -> Metered:
    """An environment to count events in."""
    return Metered(site, shop)


def carrying(value: Any) -> dict[str, Any]:
    """The dimensions that make an event's x this value."""
    return {"y": 1} if value is ABSENT else {"x": value}


# --- what is counted ----------------------------------------------------------------------------


def test_the_six_aggregations(metered: Metered) -> None:
    """F08, F13, F21: one event may feed many meters, and one that lacks the field feeds none."""
    shop = metered.shop
    for function in ("COUNT", "SUM", "MIN", "MAX", "AVG"):
        shop.metered(function, function, None if function == "COUNT" else "tokens")
    shop.metered("UNIQUE", "UNIQUE", "userId")
    shop.metered("customers", "UNIQUE", "customerId")
    metered.sell()
    nothing = dict.fromkeys(["COUNT", "SUM", "MIN", "MAX", "AVG", "UNIQUE", "customers"], 0)
    assert metered.used() == nothing
    shop.send(
        event(dimensions={"tokens": 30, "userId": "a"}),
        event(dimensions={"tokens": -4.5, "userId": "b"}),
        event(dimensions={"tokens": "10", "userId": "a"}),
        event(dimensions={"tokens": "ten", "userId": 1}),
        event(dimensions={"userId": "1"}),
        event(),
        event("other", dimensions={"tokens": 1000, "userId": "c"}),
    )
    assert metered.used() == {
        "COUNT": 6, "SUM": 35.5, "MIN": -4.5, "MAX": 30, "AVG": 11.833333333, "UNIQUE": 3,
        "customers": 1,
    }  # fmt: skip


def test_a_number_and_its_text_are_one_value(metered: Metered) -> None:
    """4.7: of UNIQUE and of tags; a number is written canonically, a text stays as it is."""
    metered.shop.metered("values", "UNIQUE", "x")
    metered.sell()
    for value in (1, 1.0, "1", "1.0", True, "true", 12345678901234567890):
        metered.shop.send(event(dimensions={"x": value}))
    assert metered.used() == {"values": 4}
    told = metered.shop.history("values", start_date=moment("2026-01-20"), group_by="x")
    tags = [tag.value for series in told.series for tag in series.tags]
    assert tags == ["1", "1.0", "12345678901234567890", "true"]


def test_every_operator_has_two_sides(metered: Metered) -> None:
    """F12, F14."""
    assert len({operation for operation, *_ in OPERATORS}) == 12
    for number, (operation, values, _, _) in enumerate(OPERATORS):
        only = [named(f"event-{number}"), condition("x", operation, *values)]
        metered.shop.metered(f"feature-{number}", filters=[only])
    metered.sell()
    for number, (_, _, yes, no) in enumerate(OPERATORS):
        metered.shop.send(*(
            event(f"event-{number}", dimensions=carrying(value)) for value in (yes, no, yes, no)
        ))  # fmt: skip
    expected = {f"feature-{number}": 2 for number in range(len(OPERATORS))}
    assert metered.used() == expected


def test_an_event_counts_once_however_many_filters_it_meets(metered: Metered) -> None:
    """F11: within a filter all conditions, of the filters any."""
    in_eu = [named("b"), condition("region", "EQUALS", "eu")]
    metered.shop.metered("either", filters=[[named("a")], in_eu])
    metered.shop.metered("twice", filters=[[named("a")], [named("a")]])
    mine = condition("customerId", "EQUALS", CUSTOMER)
    dimension = condition("dimensions.eventName", "EQUALS", "a")
    metered.shop.metered("reserved", filters=[[mine, dimension]])
    metered.sell()
    metered.shop.send(
        event("a"), event("a", dimensions={"region": "us"}),
        event("b", dimensions={"region": "eu"}), event("b", dimensions={"region": "us"}),
        event("b"), event("c", dimensions={"eventName": "a"}),
    )  # fmt: skip
    assert metered.used() == {"either": 3, "twice": 2, "reserved": 1}


def test_a_resource_s_events_are_its_own(metered: Metered) -> None:
    shop = metered.shop
    shop.metered()
    metered.sell()
    shop.subscribe("all", resource_id="res-1")
    shop.send(event(resource_id="res-1"), event(resource_id="res-1"), event(resource_id=None))
    assert metered.used() == {"calls": 1}
    assert shop.used("calls", resource_id="res-1") == 2


# --- what is accepted ---------------------------------------------------------------------------


def test_a_batch_has_a_thousand_events_at_most_and_is_stored_whole_or_not(
    metered: Metered, key: str
) -> None:
    """F02, F25."""
    shop = metered.shop
    shop.metered()
    metered.sell()
    shop.send(*(event() for _ in range(1000)))
    good = event()
    for bad in (
        [], [event() for _ in range(1001)], [good, event("")], [good, event(idempotency_key="")],
        [good, event(timestamp="yesterday")], [good, event(dimensions={"x": {}})],
    ):  # fmt: skip
        with pytest.raises(BadRequestError):
            shop.v1.events.report(events=bad)
    for _ in range(10):
        shop.send(*(event() for _ in range(100)))
    assert metered.used() == {"calls": 2000}
    assert_names_every_fault(metered.site, key)


@pytest.mark.parametrize("clients", ["sync"], indirect=True)
def test_bodies_that_the_sdk_would_not_send_are_refused(metered: Metered, key: str) -> None:
    """4.2: each is a 400 with a code, and nothing is stored."""
    metered.shop.metered("calls", filters=[[condition("customerId", "IS_NOT_NULL")]])
    metered.sell()
    fields = f'"customerId": "{CUSTOMER}", "eventName": "e"'
    large = "y" * 2**20
    wrong: list[str | bytes] = [
        "{", "[]", "{}", '{"events": {}}', b'{"events": "\xff"}',
        f'{{"events": [{{{fields}, "idempotencyKey": "k", "idempotencyKey": "l"}}]}}',
        f'{{"events": [{{{fields}, "idempotencyKey": "\\u0000"}}]}}',
        f'{{"events": [{{{fields}, "idempotencyKey": "\\ud800"}}]}}',
        f'{{"events": [{{{fields}, "idempotencyKey": "{"k" * 256}"}}]}}',
        f'{{"events": [{{{fields}, "idempotencyKey": "k", "surprise": 1}}]}}',
        f'{{"events": [{{{fields}, "idempotencyKey": "k", "dimensions": {{"x": [1]}}}}]}}',
        f'{{"events": [{{{fields}, "idempotencyKey": "k", "dimensions": {{"x": NaN}}}}]}}',
        f'{{"events": [{{{fields}, "idempotencyKey": "k", "dimensions": {{"x": "{large}"}}}}]}}',
        f'{{"events": [{{"customerId": "{CUSTOMER}", "eventName": "$e", "idempotencyKey": "k"}}]}}',
    ]  # fmt: skip
    for body in wrong:
        told = metered.site.raw("POST", "/api/v1/events", key, content=body)
        assert (told.status_code, set(told.json())) == (400, {"message", "code"}), body[:200]
    assert metered.used() == {"calls": 0}


def assert_names_every_fault(site: Site, key: str) -> None:
    """4.2: the answer names index, field and reason of each bad event."""
    whole = {"customerId": "c", "eventName": "e", "idempotencyKey": "k"}
    events = [whole, whole | {"eventName": 5}, whole, {"customerId": "c", "eventName": "e"}]
    told = site.raw("POST", "/api/v1/events", key, json={"events": events})
    assert (told.status_code, set(told.json())) == (400, {"message", "code"})
    for part in ("events[1]", "eventName", "events[3]", "idempotencyKey"):
        assert part in told.json()["message"]


def test_what_is_sent_again_counts_once(metered: Metered) -> None:
    """F15, F16, F17: a key is of one customer and event name, whatever the timestamp."""
    shop, site = metered.shop, metered.site
    shop.metered(filters=[[named("call")], [named("other")]])
    metered.sell()
    shop.buyer("all", "cust-2")
    stamped = event(idempotency_key="k", timestamp=to_datetime(site.now()))
    shop.send(stamped)
    shop.send(stamped)
    plain = event(idempotency_key="no-timestamp")
    shop.send(plain, plain)
    site.move((to_datetime(site.now()) + timedelta(hours=1)).isoformat())
    shop.send(plain, stamped | {"timestamp": moment("2026-01-01")})
    assert metered.used() == {"calls": 2}
    shop.send(event("other", idempotency_key="k"), event(customer="cust-2", idempotency_key="k"))
    assert metered.used() == {"calls": 3}
    assert shop.used("calls", "cust-2") == 1


def test_a_timestamp_places_an_event_however_late(metered: Metered) -> None:
    """F19, F20; 4.5: naive is UTC, digits beyond microseconds are cut, a day ahead is allowed."""
    shop, site = metered.shop, metered.site
    shop.metered()
    shop.plan("all", hard("calls", MANY, **resetting("MONTH", "StartOfTheMonth")))
    shop.buyer("all", start_date=moment("2025-06-01"))
    now = to_datetime(site.now())
    for text in (
        "2026-01-02T03:04:05",
        "2025-12-31T23:59:59.999999999Z",
        "2025-12-31T20:00:00-04:00",
        "2024-01-01T00:00:00Z",  # before there was any rule
    ):
        shop.send(event(timestamp=text))
    shop.send(event(timestamp=moment("2026-01-10").replace(tzinfo=None)))
    shop.send(event(timestamp=now + timedelta(hours=24)))
    with pytest.raises(BadRequestError, match="timestamp"):
        shop.send(event(timestamp=now + timedelta(hours=24, seconds=1)))
    assert metered.used() == {"calls": 4}
    late = shop.history("calls", start_date=moment("2025-12-30"), end_date=moment("2026-01-03"))
    values = {
        point.timestamp: point.value for point in late.series[0].points if not point.is_reset_point
    }
    assert values[moment("2025-12-31T23:00")] == 1
    assert values[moment("2026-01-01T00:00")] == 1
    assert values[moment("2026-01-02T03:00")] == 2


def test_events_of_unknown_customers_wait_for_them(metered: Metered) -> None:
    """F23."""
    shop = metered.shop
    shop.metered()
    shop.metered("monthly")
    shop.send(event(), event(timestamp=moment("2026-01-10")))
    assert shop.reason("calls") == "CustomerNotFound"
    shop.plan("all", hard("calls", MANY), hard("monthly", MANY, **resetting("MONTH")))
    shop.customer()
    shop.subscribe("all", start_date=moment("2026-01-15"))
    assert metered.used() == {"calls": 2, "monthly": 1}


def test_a_meter_counts_what_came_before_it(metered: Metered) -> None:
    """4.8: meters are retroactive."""
    shop = metered.shop
    shop.metered("calls")
    metered.sell()
    shop.send(event(dimensions={"n": 2}), event(dimensions={"n": 3}), event("unmetered"))
    assert metered.used() == {"calls": 2}
    shop.metered("sum", "SUM", "n")
    shop.metered("late", filters=[[named("unmetered")]])
    shop.replan("all", to="NEW_CUSTOMERS")
    shop.plan("more", hard("sum", MANY), hard("late", MANY))
    shop.subscribe("more")
    assert metered.used() == {"sum": 5, "late": 1}


# --- more than there is room for ----------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with an inbox of ten kilobytes."""
    folder = tmp_path_factory.mktemp("narrow") / "data"
    with Site(folder, "2026-01-20T12:00:00Z", TALLYSTICK_INBOX_MAX_BYTES="10000") as made:
        yield made


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_full_inbox_refuses_and_what_is_sent_again_counts_once(narrow: Site, kind: str) -> None:
    """F26; DESIGN 5.6."""
    with Clients(narrow.url, kind) as clients:
        key = narrow.key(kind)
        metered = Metered(narrow, Shop(clients.of(key)))
        metered.shop.metered()
        metered.sell()
        accepted, refused, error = sent_until_refused(metered.shop)
        told: Any = error.body
        assert told["code"] == "RateLimitExceeded"
        assert int(error.response.headers["retry-after"]) >= 1
        assert metered.used() == {"calls": 15 * accepted}  # nothing of the refused was stored
        patient = Shop(clients.of(key, max_retries=10))
        patient.send(*refused)
        patient.send(*refused)
        assert metered.used() == {"calls": 15 * (accepted + 1)}


def sent_until_refused(shop: Shop) -> tuple[int, list[dict[str, Any]], RateLimitError]:
    """How many batches of 15 events were accepted, and the first that was not."""
    for accepted in range(500):
        batch = [event(dimensions={"note": "n" * 400}) for _ in range(15)]
        try:
            shop.send(*batch)
        except RateLimitError as error:
            return accepted, batch, error
    pytest.fail("an inbox of ten kilobytes took all that was sent")
