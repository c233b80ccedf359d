"""Customers: made, changed, found, archived, brought in; and their resources."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from stigg import BadRequestError, ConflictError, InternalServerError, NotFoundError

from tests.conformance.building import (
    check,
    customer,
    feature,
    later,
    plan,
    product,
    refused,
    shop,
    subscription,
    time_of,
    up_to,
    use,
)
from tests.conformance.driving import Clients, Site


def test_c01_a_new_customer_is_answered_whole(stigg: Any, site: Site) -> None:
    made = customer(stigg, "cust-2", name="A", metadata={"k": "v"})
    assert (made.id, made.name, made.metadata, made.archived_at) == (
        "cust-2",
        "A",
        {"k": "v"},
        None,
    )
    assert made.created_at == made.updated_at == time_of(site)
    assert stigg.v1.customers.retrieve("cust-2").data == made


def test_a_customer_may_be_nothing_but_an_id(stigg: Any) -> None:
    made = customer(stigg, "bare")
    assert (made.name, made.email, made.timezone, made.billing_currency) == (None,) * 4


def test_what_other_systems_know_is_kept_as_it_was_given(stigg: Any) -> None:
    address: Any = {"city": "Ulm", "postal_code": "89073", "line1": "Münsterplatz 1"}
    told: Any = {
        "email": "a@b.c", "billing_currency": "usd", "billing_id": "b-1", "coupon_id": "c-1",
        "language": "de", "timezone": "Europe/Berlin",
    }  # fmt: skip
    integration: Any = {"id": "i", "synced_entity_id": None, "vendor_identifier": "STRIPE"}
    card: Any = {
        "billing_id": None, "card_expiry_month": 12, "card_expiry_year": 2030,
        "card_last4_digits": "4242", "type": "CARD",
    }  # fmt: skip
    made = customer(
        stigg,
        integrations=[integration],
        default_payment_method=card,
        passthrough={"stripe": {"billing_address": address, "metadata": {"a": "b"}}},
        **told,
    )
    assert {name: getattr(made, name) for name in told} == told
    assert made.integrations[0].vendor_identifier == "STRIPE"
    assert made.default_payment_method.card_last4_digits == "4242"
    assert made.passthrough.stripe.billing_address.line1 == "Münsterplatz 1"
    changed = stigg.v1.customers.update("acme", integrations=[], email="x@y.z").data
    assert (changed.integrations, changed.email, changed.billing_id) == ([], "x@y.z", "b-1")


def test_c03_an_id_that_breaks_the_pattern_is_refused(stigg: Any) -> None:
    for wrong in ("-bad", "a" * 256, "", "a b", "ä", "a/b", "a\n", ".", "|a", "a\0"):
        with refused(BadRequestError, "BadUserInput"):
            customer(stigg, wrong)
    assert stigg.v1.customers.list().data == []
    for right in ("a" * 255, "0", "A.b-c_d@e|f"):
        assert customer(stigg, right).id == right


def test_c04_an_id_is_escaped_in_paths(stigg: Any, clients: Clients, key: str) -> None:
    seen: list[httpx.Response] = []
    watched = clients.watched(key, seen.append)
    customer(watched, "org|user@x.io")
    assert watched.v1.customers.retrieve("org|user@x.io").data.id == "org|user@x.io"
    assert b"/org%7Cuser@x.io" in seen[-1].request.url.raw_path


def test_an_update_changes_what_it_states(stigg: Any, site: Site) -> None:
    made = customer(stigg, name="A", email="a@b.c", metadata={"k": "v", "l": "w"})
    now = later(site, seconds=5)
    changed = stigg.v1.customers.update("acme", name="B", metadata={"m": "x"}).data
    assert (changed.name, changed.email, changed.metadata) == ("B", "a@b.c", {"m": "x"})
    assert (changed.created_at, changed.updated_at) == (made.created_at, now)
    assert stigg.v1.customers.retrieve("acme").data == changed


@pytest.mark.parametrize(
    "wrong",
    [
        {"timezone": "Mars/Olympus"},
        {"billing_currency": "dollars"},
        {"metadata": {"a": 1}},
        {"name": 5},
        {"integrations": [{"id": "i", "vendor_identifier": "NOBODY", "synced_entity_id": None}]},
    ],
)
def test_a_value_that_makes_no_sense_changes_nothing(stigg: Any, wrong: dict[str, Any]) -> None:
    before = customer(stigg, name="A")
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.customers.update("acme", **({"email": "a@b.c"} | wrong))
    assert stigg.v1.customers.retrieve("acme").data == before
    with refused(BadRequestError, "BadUserInput"):
        customer(stigg, "other", **wrong)
    assert [one.id for one in stigg.v1.customers.list()] == ["acme"]


def test_customers_are_found_by_email_name_and_time(stigg: Any, site: Site) -> None:
    customer(stigg, "a", email="one@x.io", name="One")
    then = later(site, seconds=1)
    customer(stigg, "b", email="two@x.io", name="One")
    customer(stigg, "c", email="ONE@x.io", name='50% "off"_\\')

    def ids(**wanted: Any) -> list[str]:
        return [one.id for one in stigg.v1.customers.list(**wanted)]

    assert ids() == ["a", "b", "c"]
    assert ids(email="one@x.io") == ["a"]
    assert ids(name="One") == ["a", "b"]
    assert ids(name="One", email="two@x.io") == ["b"]
    assert ids(name='50% "off"_\\') == ["c"]
    assert ids(name="One%") == []
    assert ids(created_at={"gte": then}) == ["b", "c"]
    assert ids(created_at={"lt": then}, name="One") == ["a"]
    assert [one.id for one in stigg.v1.customers.list(name="One", limit=1)] == ["a", "b"]


def test_an_archived_customer_is_denied_until_it_is_open_again(stigg: Any, site: Site) -> None:
    shop(stigg)
    plan(stigg, "pro")
    subscription(stigg)
    use(stigg, 3)
    now = time_of(site)
    assert stigg.v1.customers.archive("acme").data.archived_at == now
    denied = check(stigg)
    assert (denied.is_granted, denied.access_denied_reason) == (False, "CustomerIsArchived")
    told = stigg.v1.customers.retrieve_entitlements("acme").data
    assert (told.access_denied_reason, told.entitlements) == ("CustomerIsArchived", [])
    with refused(BadRequestError, "EntityIsArchivedError"):
        subscription(stigg, "pro")
    later(site, seconds=1)
    assert stigg.v1.customers.archive("acme").data.archived_at == now  # again: it changes nothing
    assert [one.id for one in stigg.v1.customers.list()] == ["acme"]
    assert stigg.v1.customers.unarchive("acme").data.archived_at is None
    assert (check(stigg).is_granted, check(stigg).current_usage) == (True, 3)
    assert [one.plan_id for one in stigg.v1.subscriptions.list(customer_id="acme")] == ["basic"]


def test_an_import_makes_the_new_and_changes_the_others(stigg: Any, site: Site) -> None:
    customer(stigg, "known", name="Old", email="a@b.c", timezone="Europe/Berlin")
    now = later(site, seconds=1)
    people: Any = [
        {"id": "known", "name": "New", "email": None},
        {"id": "first", "name": None, "email": "f@x.io", "metadata": {"a": "b"}},
        {"id": "second", "name": "S", "email": None, "billing_id": "b", "salesforce_id": "s",
         "payment_method_id": "p", "updated_at": "2026-01-01T00:00:00Z"},
    ]  # fmt: skip
    made = stigg.v1.customers.import_(customers=people, integration_id="i").data
    assert made.new_customers == ["first", "second"]
    known = stigg.v1.customers.retrieve("known").data
    assert (known.name, known.email, known.timezone) == ("New", None, "Europe/Berlin")
    assert known.updated_at == now
    assert stigg.v1.customers.retrieve("first").data.metadata == {"a": "b"}
    assert stigg.v1.customers.import_(customers=people).data.new_customers == []


def test_an_import_is_all_or_none(stigg: Any) -> None:
    people: Any = [{"id": "good", "name": None, "email": None}]
    for wrong in ({"id": "-bad"}, {"id": "x", "surprise": 1}, {"id": "x", "metadata": {"a": 1}}):
        with refused(BadRequestError, "BadUserInput"):
            stigg.v1.customers.import_(customers=[*people, {"name": None, "email": None} | wrong])
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.customers.import_(customers=[])
    assert stigg.v1.customers.list().data == []


def test_the_resources_of_a_customer_are_those_it_subscribed_for(stigg: Any, site: Site) -> None:
    product(stigg, multiple_subscriptions=True)
    feature(stigg)
    plan(stigg, "basic", up_to(10))
    customer(stigg)
    customer(stigg, "other")
    assert stigg.v1.customers.list_resources("acme").data == []
    for name in ("site-b", "site-a"):
        subscription(stigg, resource_id=name)
        later(site, seconds=1)
    subscription(stigg)  # the customer's own
    subscription(stigg, customer="other", resource_id="site-c")
    pages = stigg.v1.customers.list_resources("acme", limit=1)
    assert [one.id for one in pages] == ["site-b", "site-a"]
    with refused(NotFoundError, "CustomerNotFound"):
        stigg.v1.customers.list_resources("nobody")


def test_a_customer_that_is_not_there_is_not_found(stigg: Any) -> None:
    customers = stigg.v1.customers
    for call in (customers.retrieve, customers.archive, customers.unarchive):
        with refused(NotFoundError, "CustomerNotFound"):
            call("nobody")
    with refused(NotFoundError, "CustomerNotFound"):
        customers.update("nobody", name="N")
    with refused(NotFoundError, "CustomerNotFound"):
        customers.promotional_entitlements.list("nobody")
    assert customers.list().data == []


def test_an_id_that_is_taken_is_a_conflict_and_changes_nothing(stigg: Any) -> None:
    before = customer(stigg, name="A")
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        customer(stigg, name="B")
    assert stigg.v1.customers.retrieve("acme").data == before
    stigg.v1.customers.archive("acme")
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        customer(stigg, name="B")


def test_money_of_customers_is_not_there(stigg: Any) -> None:
    customer(stigg)
    with refused(InternalServerError, "NotImplemented"):
        stigg.v1.customers.list_invoices("acme")
    with refused(InternalServerError, "NotImplemented"):
        stigg.v1.customers.payment_method.detach("acme")
    with refused(InternalServerError, "NotImplemented"):
        stigg.v1.customers.integrations.list("acme")
