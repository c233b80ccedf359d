"""Customers and products."""

from __future__ import annotations

import json

import pytest

from tallystick.errors import BadInput, Conflict, NotFound
from tests.catalog.building import Desk, at, limit


def test_provision(desk: Desk) -> None:
    made = desk.post("customers", {"id": "acme", "name": "A", "metadata": {"k": "v"}})
    assert (made["id"], made["name"], made["metadata"]) == ("acme", "A", {"k": "v"})
    assert (made["createdAt"], made["archivedAt"]) == ("2026-01-10T12:00:00.000Z", None)
    assert desk.get("customers/acme") == made


def test_everything_that_can_be_sent_is_echoed(desk: Desk) -> None:
    body = {
        "id": "acme",
        "billingCurrency": "usd",
        "email": "a@b.c",
        "integrations": [{"id": "i", "syncedEntityId": None, "vendorIdentifier": "STRIPE"}],
        "passthrough": {"stripe": {"customerName": "A", "taxIds": [{"type": "t", "value": "v"}]}},
        "defaultPaymentMethod": {
            "billingId": None, "cardExpiryMonth": 1, "cardExpiryYear": 2030,
            "cardLast4Digits": "1234", "type": "CARD",
        },
        "timezone": "Europe/Berlin",
    }  # fmt: skip
    made = desk.post("customers", body)
    assert {name: made[name] for name in body} == body


@pytest.mark.parametrize("customer", ["-bad", "", "a" * 256, "a b", "a/b", "é", "a\n"])
def test_ids_have_a_pattern(desk: Desk, customer: str) -> None:
    with pytest.raises(BadInput):
        desk.add_customer(customer)


def test_unknown_fields_and_zones_are_refused(desk: Desk) -> None:
    for field in ({"surprise": 1}, {"timezone": "Mars/Base"}, {"timezone": "../etc/passwd"}):
        with pytest.raises(BadInput):
            desk.add_customer(**field)
    assert desk.rows("SELECT id FROM customers") == []


def test_an_id_is_taken_once(desk: Desk) -> None:
    desk.add_customer("org|user@x.io")
    with pytest.raises(Conflict) as refused:
        desk.add_customer("org|user@x.io")
    assert refused.value.code == "DuplicatedEntityNotAllowed"
    assert desk.get("customers/org|user@x.io")["id"] == "org|user@x.io"


def test_unknown_customers_are_not_found(desk: Desk) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/archive"), ("GET", "/resources")):
        with pytest.raises(NotFound) as refused:
            desk.call(method, f"customers/none{path}")
        assert refused.value.code == "CustomerNotFound"


def test_update_changes_what_it_states(desk: Desk) -> None:
    desk.add_customer(name="A", email="a@b.c", metadata={"a": "b", "c": "d"})
    desk.move("2026-01-11")
    changed = desk.patch("customers/acme", {"email": None, "metadata": {"a": "x"}})
    assert (changed["name"], changed["email"], changed["metadata"]) == ("A", None, {"a": "x"})
    assert changed["updatedAt"] == "2026-01-11T00:00:00.000Z"


def test_archived_and_back(shop: Desk) -> None:
    shop.subscribe("basic")
    assert shop.post("customers/acme/archive")["archivedAt"] is not None
    with shop.reading() as transaction:
        rules = shop.rules(transaction).customer(transaction, "default", "acme")
    assert rules is not None
    assert rules.archived_at == at("2026-01-10T12:00:00")
    assert shop.post("customers/acme/unarchive")["archivedAt"] is None
    assert shop.limit_of("calls") == 100


def test_lists_filter(desk: Desk) -> None:
    for name, email in (("a", "x%y@z.com"), ("b", "xxy@z.com"), ("c", "X%Y@Z.COM")):
        desk.add_customer(name, name=name.upper(), email=email)
    assert [one["id"] for one in desk.get("customers", email="x%y@z.com")] == ["a"]
    assert [one["id"] for one in desk.get("customers", name="B")] == ["b"]
    assert desk.get("customers", name="B", email="x%y@z.com") == []
    assert len(desk.get("customers")) == 3


def test_pages_of_rows(desk: Desk) -> None:
    for number in range(230):
        desk.add_customer(f"c-{number:03}")
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = desk.page("customers", limit=100, **after)
        found += [one["id"] for one in page.items]
        if page.next is None:
            break
        after = {"after": page.next}
    assert found == [f"c-{number:03}" for number in range(230)]
    back = desk.page("customers", limit=100, before=page.prev)
    assert [one["id"] for one in back.items] == found[100:200]


def test_import_creates_and_updates(desk: Desk) -> None:
    desk.add_customer("old", name="Old")
    people = [{"id": name, "email": f"{name}@x.io", "name": name} for name in ("old", "new")]
    assert desk.post("customers/import", {"customers": people}) == {"newCustomers": ["new"]}
    assert desk.get("customers/old")["name"] == "old"


def test_import_keeps_what_concerns_other_systems(desk: Desk) -> None:
    others = {"paymentMethodId": "pm_1", "salesforceId": "001", "updatedAt": "2025-01-02T03:04:05Z"}
    person = {"id": "new", "email": None, "name": "New"}
    desk.post("customers/import", {"customers": [person | others]})
    desk.post("customers/import", {"customers": [person | {"billingId": "cus_1"}]})
    ((body,),) = desk.rows("SELECT body FROM customers WHERE id = 'new'")
    assert (others | {"billingId": "cus_1"}).items() <= json.loads(body).items()


def test_a_time_zone_moves_calendar_resets_from_now_on(desk: Desk) -> None:
    desk.add_product()
    desk.add_feature()
    start = {"accordingTo": "StartOfTheMonth"}
    item = limit("calls") | {"resetPeriod": "MONTH", "monthlyResetPeriodConfiguration": start}
    desk.add_plan("basic", item)
    desk.add_customer()
    desk.subscribe("basic")
    desk.move("2026-03-15")
    desk.patch("customers/acme", {"timezone": "America/New_York"})
    assert desk.counted_from("calls", "2026-02-10") == at("2026-02-01")
    assert desk.counted_from("calls", "2026-04-10") == at("2026-04-01T04:00:00")


def test_environments_are_isolated(shop: Desk) -> None:
    shop.environment = "other"
    assert shop.get("customers") == []
    with pytest.raises(NotFound):
        shop.get("plans/basic")
    shop.add_customer("acme")
    assert len(shop.get("customers")) == 1


def test_products(desk: Desk) -> None:
    desk.add_product(metadata={"a": "b"})
    with pytest.raises(Conflict):
        desk.add_product()
    rule = {"behavior": "NEVER_RESET"}
    changed = desk.patch("products/main", {"usageResetCutoffRule": rule, "description": "d"})
    assert (changed["usageResetCutoffRule"], changed["description"]) == (rule, "d")
    copy = desk.post("products/main/duplicate", {"targetId": "copy", "displayName": "Copy"})
    assert (copy["id"], copy["displayName"], copy["metadata"]) == ("copy", "Copy", {"a": "b"})
    assert copy["usageResetCutoffRule"] == rule
    assert desk.post("products/main/archive")["status"] == "ARCHIVED"
    assert [one["id"] for one in desk.get("products", status="ARCHIVED")] == ["main"]
    assert desk.post("products/main/unarchive")["status"] == "PUBLISHED"
    with pytest.raises(NotFound) as refused:
        desk.patch("products/none", {})
    assert refused.value.code == "ProductNotFoundError"
