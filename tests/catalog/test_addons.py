"""Add-ons: drafts, versions, entitlements, dependencies; publishing reaches subscribers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tallystick.catalog.changes import record_change
from tallystick.errors import BadInput, Conflict, NotFound, RequestError
from tests.catalog.building import Desk, credits, limit, monthly

NEW = {"id": "extra", "displayName": "Extra", "productId": "main"}


@pytest.fixture
def store(shop: Desk) -> Desk:
    """A plan with ten seats, and an add-on of twenty more."""
    shop.add_feature("seats")
    shop.add_plan("team", limit("seats", 10))
    shop.add_addon("more", limit("seats", 20))
    return shop


def take(desk: Desk, subscription: str, *addons: tuple[str, int]) -> None:
    """Let a subscription have add-ons from its beginning, in their first versions."""
    history = [{"id": addon, "quantity": quantity, "version": 1} for addon, quantity in addons]
    with desk.services.state.writing() as transaction:
        place = (desk.environment, subscription)
        select = (
            "SELECT body, start_at, customer FROM subscriptions WHERE environment = ? AND id = ?"
        )
        text, start, customer = transaction.all(select, *place)[0]
        body = msgspec.json.decode(str(text)) | {"addonHistory": [{"at": start, "addons": history}]}
        change = "UPDATE subscriptions SET body = ? WHERE environment = ? AND id = ?"
        transaction.run(change, msgspec.json.encode(body).decode(), *place)
        record_change(transaction, desk.environment, str(customer), desk.services.clock.now())


def renew(desk: Desk, addon: str, migration: str, **change: Any) -> None:
    """Publish a new version with another entitlement to seats."""
    desk.post(f"addons/{addon}/draft")
    desk.patch(f"addons/{addon}/entitlements/seats", {"type": "FEATURE"} | change)
    desk.post(f"addons/{addon}/publish", {"migrationType": migration})


def test_a_new_addon_is_a_draft(shop: Desk) -> None:
    made = shop.post("addons", NEW | {"maxQuantity": 3, "metadata": {"a": "b"}})
    assert (made["status"], made["versionNumber"], made["maxQuantity"]) == ("DRAFT", 1, 3)
    assert (made["metadata"], made["dependencies"], made["isLatest"]) == ({"a": "b"}, None, True)
    with pytest.raises(BadInput):
        shop.post("addons/extra/publish", {"migrationType": "NEW_CUSTOMERS"})
    with pytest.raises(Conflict):
        shop.post("addons", NEW)
    assert shop.delete("addons/extra/draft") == {"id": "extra"}
    with pytest.raises(NotFound) as refused:
        shop.get("addons/extra")
    assert refused.value.code == "AddonNotFound"


def test_versions_of_an_addon(store: Desk) -> None:
    store.post("addons/more/draft")
    with pytest.raises(Conflict) as refused:
        store.post("addons/more/draft")
    assert refused.value.code == "DraftAlreadyExists"
    store.patch("addons/more", {"maxQuantity": 5, "charges": {"pricingType": "PAID"}})
    assert store.get("addons/more")["versionNumber"] == 1
    (draft,) = store.get("addons", status="DRAFT")
    assert (draft["versionNumber"], draft["maxQuantity"], draft["pricingType"]) == (2, 5, "PAID")
    assert store.rows("SELECT count(*) FROM addons") == [(2,)]
    store.delete("addons/more/draft")
    assert store.rows("SELECT count(*) FROM addons") == [(1,)]


def test_only_drafts_of_addons_can_be_changed(store: Desk) -> None:
    assert store.patch("addons/more", {"displayName": "M"})["displayName"] == "M"
    changes: list[tuple[str, str, Any]] = [
        ("PATCH", "addons/more", {"maxQuantity": 1}),
        ("PATCH", "addons/more", {"status": "DRAFT"}),
        ("PATCH", "addons/more/entitlements/seats", {"type": "FEATURE", "usageLimit": 1}),
        ("DELETE", "addons/more/entitlements/seats", None),
        ("POST", "addons/more/entitlements", {"entitlements": [credits()]}),
    ]
    for change in changes:
        with pytest.raises(BadInput) as refused:
            store.call(*change)
        assert refused.value.code == "EditAllowedOnDraftPackageOnlyError"


def test_the_status_may_be_changed_as_a_field(store: Desk) -> None:
    store.post("addons/more/draft")
    assert store.patch("addons/more", {"status": "DRAFT"})["status"] == "DRAFT"
    published = store.patch("addons/more", {"status": "PUBLISHED"})
    assert (published["status"], published["versionNumber"]) == ("PUBLISHED", 2)
    assert store.patch("addons/more", {"status": "ARCHIVED"})["status"] == "ARCHIVED"


def test_entitlements_of_an_addon(store: Desk) -> None:
    store.post("addons/more/draft")
    store.post("addons/more/entitlements", {"entitlements": [monthly("calls", 5, order=1)]})
    assert [one["id"] for one in store.get("addons/more/entitlements")] == ["calls", "seats"]
    path = "addons/more/entitlements/seats"
    assert store.patch(path, {"type": "FEATURE", "behavior": "Override"})["behavior"] == "Override"
    assert store.delete("addons/more/entitlements/calls")["id"] == "calls"
    with pytest.raises(NotFound) as refused:
        store.delete("addons/more/entitlements/calls")
    assert refused.value.code == "EntitlementNotFound"


@pytest.mark.parametrize(
    ("dependencies", "code"),
    [(["none"], "AddonNotFound"), (["more"], "BadUserInput"), (["far"], "BadUserInput"),
     (["base", "base"], "BadUserInput"), (["base", "upper"], "BadUserInput")],
)  # fmt: skip
def test_dependencies_that_make_no_sense(store: Desk, dependencies: list[str], code: str) -> None:
    store.add_product("other")
    store.add_addon("far", product="other")
    store.add_addon("base")
    store.post("addons", NEW | {"id": "upper"})
    store.patch("addons/upper", {"dependencies": ["more"]})
    store.post("addons/more/draft")
    with pytest.raises(RequestError) as refused:
        store.patch("addons/more", {"dependencies": dependencies})
    assert refused.value.code == code
    assert store.patch("addons/more", {"dependencies": ["base"]})["dependencies"] == ["base"]


def test_lists_of_addons(store: Desk) -> None:
    store.add_product("other")
    store.add_addon("far", product="other")
    store.post("addons/more/draft")
    assert {one["id"]: one["status"] for one in store.get("addons")} == {
        "more": "PUBLISHED", "far": "PUBLISHED",
    }  # fmt: skip
    assert [one["id"] for one in store.get("addons", productId="other")] == ["far"]
    assert [one["versionNumber"] for one in store.get("addons", status="DRAFT")] == [2]


def test_charges_are_a_row_for_each_price(store: Desk) -> None:
    yearly = {"billingPeriod": "ANNUALLY", "price": {"amount": 100.5, "currency": "eur"}}
    tiers = [{"upTo": 10, "unitPrice": {"amount": 1}}, {"flatPrice": {"amount": 5}}]
    graded = {"billingPeriod": "MONTHLY", "tiers": tiers}
    models = [
        {"billingModel": "FLAT_FEE", "pricePeriods": [yearly, {"billingPeriod": "MONTHLY"}]},
        {"billingModel": "PER_UNIT", "featureId": "seats", "tiersMode": "VOLUME",
         "pricePeriods": [graded]},
    ]  # fmt: skip
    over = [{"featureId": "seats", "pricePeriods": [yearly]}]
    charges = {"pricingType": "PAID", "pricingModels": models, "overagePricingModels": over}
    for package in ("plans/team", "addons/more"):
        store.post(f"{package}/draft")
        store.patch(package, {"charges": charges})
        store.post(f"{package}/publish", {"migrationType": "NEW_CUSTOMERS"})
        first, second, third = store.get(f"{package}/charges")
        assert (first["billingPeriod"], second["billingPeriod"]) == ("ANNUALLY", "MONTHLY")
        assert first["price"] == {"amount": 100.5, "currency": "eur"}
        assert (third["featureId"], third["tiers"][0]["upTo"]) == ("seats", 10)
        assert third["tiers"][0]["unitPrice"] == {"amount": 1, "currency": "usd"}
        assert len(store.page(f"{package}/charges", limit=2).items) == 2
    (beyond,) = store.get("plans/team/overage-charges")
    assert (beyond["featureId"], beyond["billingModel"]) == ("seats", "USAGE_BASED")


def test_increments_add_and_the_greatest_override_replaces(store: Desk) -> None:
    store.add_addon("fixed", limit("seats", 25, behavior="Override"))
    subscription = store.subscribe("team")["id"]
    take(store, subscription, ("more", 2))
    assert store.limit_of("seats") == 50
    take(store, subscription, ("fixed", 1))
    assert store.limit_of("seats") == 25
    take(store, subscription, ("more", 2), ("fixed", 1))
    assert store.limit_of("seats") == 25


def test_publishing_an_addon_reaches_whom_it_should(store: Desk) -> None:
    take(store, store.subscribe("team")["id"], ("more", 1))
    store.move("2026-01-11")
    renew(store, "more", "NEW_CUSTOMERS", usageLimit=100)
    assert store.limit_of("seats") == 30
    renew(store, "more", "ALL_CUSTOMERS", usageLimit=200)
    assert store.limit_of("seats") == 210
    assert store.limit_of("seats", moment="2026-01-10T13:00:00") == 30


def test_the_features_that_a_version_names_are_noted(store: Desk) -> None:
    noted = "SELECT kind, package, version FROM granted_features WHERE feature = ? ORDER BY 1, 2, 3"
    assert store.rows(noted, "seats") == [("addon", "more", 1), ("plan", "team", 1)]
    store.post("addons/more/draft")
    assert ("addon", "more", 2) in store.rows(noted, "seats")
    store.delete("addons/more/entitlements/seats")
    assert ("addon", "more", 2) not in store.rows(noted, "seats")
    store.post("addons/more/entitlements", {"entitlements": [limit("seats")]})
    store.delete("addons/more/draft")
    assert store.rows(noted, "seats") == [("addon", "more", 1), ("plan", "team", 1)]
    store.add_plan("heir", parentPlanId="team")
    assert ("plan", "heir", 1) in store.rows(noted, "seats")
