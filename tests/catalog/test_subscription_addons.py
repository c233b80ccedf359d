"""Add-ons of a subscription: what they grant, from when, and which go together."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import BadInput, NotFound
from tests.catalog.building import Desk, limit, monthly


def take(addon: str, quantity: int = 1) -> dict[str, Any]:
    """An add-on as a subscription lists it."""
    return {"id": addon, "quantity": quantity}


@pytest.fixture
def shop(shop: Desk) -> Desk:
    """With three add-ons: one that adds, and two that replace."""
    shop.add_addon("more", limit("calls", 20))
    shop.add_addon("huge", limit("calls", 250, behavior="Override"))
    shop.add_addon("vast", limit("calls", 400, behavior="Override"))
    return shop


@pytest.mark.parametrize(
    ("addons", "expected"),
    [
        ([take("more", 2)], 140),
        ([take("huge")], 250),
        ([take("more", 3), take("huge")], 250),
        ([take("vast"), take("more"), take("huge")], 400),
        ([], 100),
    ],
)
def test_increments_add_and_the_largest_override_replaces(
    shop: Desk, addons: list[dict[str, Any]], expected: int
) -> None:
    made = shop.subscribe("basic", addons=addons)
    assert made["addons"] == addons
    assert shop.limit_of("calls") == expected


def test_an_addon_may_grant_what_the_plan_does_not(shop: Desk) -> None:
    shop.add_feature("seats")
    shop.add_addon("team", limit("seats", 5))
    shop.subscribe("basic", addons=[take("team", 2)])
    assert shop.limit_of("seats") == 10


def test_a_changed_list_holds_from_then_on(shop: Desk) -> None:
    made = shop.subscribe("basic", addons=[take("more")])
    shop.move("2026-01-12")
    changed = shop.patch(f"subscriptions/{made['id']}", {"addons": [take("more", 5)]})
    assert changed["addons"] == [take("more", 5)]
    assert shop.limit_of("calls", moment="2026-01-11") == 120
    assert shop.limit_of("calls") == 200
    shop.move("2026-01-13")
    shop.patch(f"subscriptions/{made['id']}", {"addons": []})
    assert shop.limit_of("calls") == 100
    assert shop.limit_of("calls", moment="2026-01-12T12:00:00") == 200


def test_what_the_request_does_not_state_stays(shop: Desk) -> None:
    made = shop.subscribe("basic", addons=[take("more")])
    shop.patch(f"subscriptions/{made['id']}", {"metadata": {"k": "v"}})
    assert shop.limit_of("calls") == 120


def test_overrides_of_the_subscription_are_what_addons_add_to(shop: Desk) -> None:
    shop.subscribe("basic", addons=[take("more")], entitlements=[limit("calls", 7)])
    assert shop.limit_of("calls") == 27


def test_an_addon_is_held_in_the_version_it_was_taken_in(shop: Desk) -> None:
    made = shop.subscribe("basic", addons=[take("more")])
    shop.move("2026-01-11")
    shop.post("addons/more/draft")
    shop.patch("addons/more/entitlements/calls", {"type": "FEATURE", "usageLimit": 50})
    shop.post("addons/more/publish", {"migrationType": "NEW_CUSTOMERS"})
    shop.patch(f"subscriptions/{made['id']}", {"addons": [take("more", 2)]})
    assert shop.limit_of("calls") == 140
    shop.add_customer("late")
    shop.subscribe("basic", "late", addons=[take("more", 2)])
    assert shop.limit_of("calls", "late") == 200
    shop.move("2026-01-12")
    shop.post(f"subscriptions/{made['id']}/migrate")
    assert shop.limit_of("calls") == 200
    assert shop.limit_of("calls", moment="2026-01-11T12:00:00") == 140


def test_an_archived_addon_stays_with_who_has_it(shop: Desk) -> None:
    made = shop.subscribe("basic", addons=[take("more")])
    shop.post("addons/more/archive")
    shop.patch(f"subscriptions/{made['id']}", {"addons": [take("more", 3)]})
    assert shop.limit_of("calls") == 160
    shop.add_customer("late")
    with pytest.raises(BadInput, match="archived"):
        shop.subscribe("basic", "late", addons=[take("more")])


def test_a_plan_change_begins_with_the_addons_it_states(shop: Desk) -> None:
    shop.subscribe("basic", addons=[take("more")])
    shop.add_plan("pro", monthly("calls", 500))
    shop.move("2026-01-12")
    shop.subscribe("pro")
    assert shop.limit_of("calls") == 500


def test_who_took_an_addon_is_found_when_it_is_published_for_all(shop: Desk) -> None:
    shop.subscribe("basic", addons=[take("more")])
    shop.move("2026-01-11")
    shop.post("addons/more/draft")
    shop.patch("addons/more/entitlements/calls", {"type": "FEATURE", "usageLimit": 50})
    shop.post("addons/more/publish", {"migrationType": "ALL_CUSTOMERS"})
    assert shop.limit_of("calls") == 150


def test_an_addon_taken_again_is_one_row(shop: Desk) -> None:
    made = shop.subscribe("basic", addons=[take("more")])
    for quantity in (2, 3, 4):
        shop.patch(f"subscriptions/{made['id']}", {"addons": [take("more", quantity)]})
    assert shop.rows("SELECT addon, subscription FROM subscription_addons") == [
        ("more", made["id"])
    ]


def test_addons_that_do_not_go_together(shop: Desk) -> None:
    shop.add_product("other")
    shop.add_addon("foreign", product="other")
    shop.add_addon("few", maxQuantity=2)
    shop.post("addons", {"id": "draft", "displayName": "Draft", "productId": "main"})
    for addons, code in (
        ([take("more"), take("more")], "DuplicateAddonProvisionedError"),
        ([take("few", 3)], "AddonQuantityExceedsLimitError"),
        ([take("foreign")], "IncompatibleSubscriptionAddon"),
        ([take("draft")], "BadUserInput"),
    ):
        with pytest.raises(BadInput) as refused:
            shop.subscribe("basic", addons=addons)
        assert refused.value.code == code, addons
    with pytest.raises(NotFound) as missing:
        shop.subscribe("basic", addons=[take("none")])
    assert missing.value.code == "AddonNotFound"
    with pytest.raises(BadInput):
        shop.subscribe("basic", addons=[take("more", -1)])
    assert shop.get("subscriptions") == []


def test_an_addon_that_needs_another(shop: Desk) -> None:
    shop.post("addons", {"id": "needy", "displayName": "Needy", "productId": "main"})
    shop.patch("addons/needy", {"dependencies": ["more"]})
    shop.post("addons/needy/entitlements", {"entitlements": [limit("calls", 1)]})
    shop.post("addons/needy/publish", {"migrationType": "NEW_CUSTOMERS"})
    with pytest.raises(BadInput) as refused:
        shop.subscribe("basic", addons=[take("needy")])
    assert refused.value.code == "AddonDependencyMissingError"
    shop.subscribe("basic", addons=[take("needy"), take("more")])
    assert shop.limit_of("calls") == 121


def test_a_plan_that_names_its_addons_has_no_others(shop: Desk) -> None:
    shop.post(
        "plans", {"id": "pro", "displayName": "Pro", "productId": "main"},
    )  # fmt: skip
    shop.patch("plans/pro", {"compatibleAddonIds": ["more"]})
    shop.grant("pro", monthly("calls", 500))
    shop.publish("pro")
    with pytest.raises(BadInput) as refused:
        shop.subscribe("pro", addons=[take("huge")])
    assert refused.value.code == "IncompatibleSubscriptionAddon"
    shop.subscribe("pro", addons=[take("more")])
    assert shop.limit_of("calls") == 520
