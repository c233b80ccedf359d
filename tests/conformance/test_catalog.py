"""Products, plans and add-ons: what is sold, and how it changes."""

from __future__ import annotations

from typing import Any

import pytest
from stigg import BadRequestError, ConflictError, NotFoundError

from tests.conformance.building import (
    COINS,
    addon,
    check,
    choice,
    customer,
    draft,
    feature,
    flag,
    granting,
    later,
    plan,
    product,
    refused,
    renew,
    shop,
    subscription,
    up_to,
    use,
)
from tests.conformance.driving import Site

RESETS: Any = (
    ("YEAR", {"yearly_reset_period_configuration": {"according_to": "SubscriptionStart"}}),
    ("MONTH", {"monthly_reset_period_configuration": {"according_to": "SubscriptionStart"}}),
    ("MONTH", {"monthly_reset_period_configuration": {"according_to": "StartOfTheMonth"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "SubscriptionStart"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "EverySunday"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "EveryMonday"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "EveryTuesday"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "EveryWednesday"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "EveryThursday"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "EveryFriday"}}),
    ("WEEK", {"weekly_reset_period_configuration": {"according_to": "EverySaturday"}}),
    ("DAY", {}),
    ("HOUR", {}),
)


# --- products ----------------------------------------------------------------------------------


def test_a_product_keeps_what_it_is_told(stigg: Any) -> None:
    made = product(stigg, "main", description="D", metadata={"a": "b"}, multiple_subscriptions=True)
    assert (made.status, made.multiple_subscriptions, made.metadata) == (
        "PUBLISHED", True, {"a": "b"},
    )  # fmt: skip
    settings: Any = {
        "subscription_cancellation_time": "IMMEDIATE",
        "subscription_end_setup": "CANCEL_SUBSCRIPTION",
        "subscription_start_setup": "PLAN_SELECTION",
    }
    changed = stigg.v1.products.update_product("main", product_settings=settings).data
    assert changed.product_settings.to_dict(use_api_names=False) | settings == (
        changed.product_settings.to_dict(use_api_names=False)
    )
    assert (changed.description, changed.metadata) == ("D", {"a": "b"})
    cleared = stigg.v1.products.update_product("main", description=None, metadata=None).data
    assert (cleared.description, cleared.metadata) == (None, {})


@pytest.mark.parametrize(
    ("behavior", "expected"), [(None, 0), ("ALWAYS_RESET", 0), ("NEVER_RESET", 7)]
)
def test_a_plan_change_resets_usage_as_the_product_says(
    stigg: Any, site: Site, behavior: str | None, expected: int
) -> None:
    shop(stigg, up_to(100, reset_period="MONTH"))
    plan(stigg, "pro", up_to(1000, reset_period="MONTH"))
    if behavior is not None:
        stigg.v1.products.update_product("main", usage_reset_cutoff_rule={"behavior": behavior})
    subscription(stigg)
    use(stigg, 7)
    later(site, seconds=1)
    subscription(stigg, "pro")
    told = check(stigg)
    assert (told.current_usage, told.usage_limit) == (expected, 1000)


@pytest.mark.parametrize(("pricing", "expected"), [("FREE", 7), ("PAID", 0)])
def test_a_plan_change_may_reset_only_where_billing_changes(
    stigg: Any, site: Site, pricing: str, expected: int
) -> None:
    shop(stigg, up_to(100, reset_period="MONTH"))
    plan(stigg, "pro", up_to(1000, reset_period="MONTH"), pricing_type=pricing)
    rule: Any = {"behavior": "BILLING_PERIOD_CHANGE"}
    stigg.v1.products.update_product("main", usage_reset_cutoff_rule=rule)
    subscription(stigg)
    use(stigg, 7)
    later(site, seconds=1)
    subscription(stigg, "pro")
    assert check(stigg).current_usage == expected


def test_a_duplicated_product_has_the_plans_and_addons_of_the_first(stigg: Any) -> None:
    shop(stigg)
    addon(stigg, "extra", up_to(5))
    plan(stigg, "pro", up_to(7), parent_plan_id="basic")
    draft(stigg, "coming")
    plan(stigg, "old")
    stigg.v1.plans.archive("old")
    made = stigg.v1.products.duplicate_product("main", target_id="copy", display_name="Copy").data
    assert (made.id, made.display_name, made.status) == ("copy", "Copy", "PUBLISHED")
    plans = {one.id: one for one in stigg.v1.plans.list(product_id="copy")}
    assert {name: one.status for name, one in plans.items()} == {
        "copy-basic": "PUBLISHED", "copy-pro": "PUBLISHED", "copy-coming": "DRAFT",
    }  # fmt: skip
    assert plans["copy-pro"].parent_plan_id == "copy-basic"
    assert [one.id for one in stigg.v1.addons.list(product_id="copy")] == ["copy-extra"]
    subscription(stigg, "copy-basic", addons=[{"id": "copy-extra", "quantity": 2}])
    assert check(stigg).usage_limit == 110
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        stigg.v1.products.duplicate_product("main", target_id="copy")


def test_an_archived_product_sells_nothing_until_it_is_open_again(stigg: Any) -> None:
    shop(stigg)
    addon(stigg)
    subscription(stigg)
    customer(stigg, "late")
    v1 = stigg.v1
    assert v1.products.archive_product("main").data.status == "ARCHIVED"
    assert [one.id for one in v1.products.list_products(status=["ARCHIVED"])] == ["main"]
    assert v1.plans.retrieve("basic").data.status == "ARCHIVED"
    assert v1.addons.retrieve("extra").data.status == "ARCHIVED"
    with refused(BadRequestError, "EntityIsArchivedError"):
        subscription(stigg, "basic", "late")
    with refused(BadRequestError, "EntityIsArchivedError"):
        draft(stigg, "new")
    assert check(stigg).is_granted  # who has it keeps it
    assert v1.products.unarchive_product("main").data.status == "PUBLISHED"
    assert subscription(stigg, "basic", "late").status == "ACTIVE"


def test_a_product_is_not_opened_again_while_it_grants_what_is_archived(stigg: Any) -> None:
    shop(stigg)
    stigg.v1.products.archive_product("main")
    stigg.v1.features.archive_feature("calls")
    with refused(BadRequestError, "EntityIsArchivedError"):
        stigg.v1.products.unarchive_product("main")
    assert stigg.v1.plans.retrieve("basic").data.status == "ARCHIVED"
    assert [one.status for one in stigg.v1.products.list_products()] == ["ARCHIVED"]
    stigg.v1.features.unarchive_feature("calls")
    assert stigg.v1.products.unarchive_product("main").data.status == "PUBLISHED"


def test_a_product_with_subscriptions_keeps_how_many_there_may_be(stigg: Any) -> None:
    shop(stigg)
    subscription(stigg)
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.products.update_product("main", multiple_subscriptions=True)
    (found,) = stigg.v1.products.list_products()
    assert found.multiple_subscriptions is False


# --- plans and what they grant -----------------------------------------------------------------


def test_b08_a_new_plan_is_a_draft(stigg: Any) -> None:
    product(stigg)
    made = draft(stigg, "basic", metadata={"a": "b"}, pricing_type="FREE", billing_id=None)
    assert (made.status, made.version_number, made.is_latest) == ("DRAFT", 1, True)
    assert (made.pricing_type, made.metadata, made.entitlements) == ("FREE", {"a": "b"}, [])
    customer(stigg)
    with refused(BadRequestError, "BadUserInput"):  # nobody can have a draft
        subscription(stigg)


def test_b09_every_reset_is_answered_as_it_was_given(stigg: Any) -> None:
    product(stigg)
    draft(stigg)
    items = []
    for number, (period, configuration) in enumerate(RESETS):
        feature(stigg, f"f-{number}")
        items.append(up_to(100, f"f-{number}", reset_period=period, **configuration))
    rows = stigg.v1.plans.entitlements.create("basic", entitlements=items).data
    assert {(row.type, row.usage_limit) for row in rows} == {("FEATURE", 100)}
    told = [(row.reset_period, row.reset_period_configuration) for row in rows]
    assert [
        (period, None if configuration is None else {"according_to": configuration.according_to})
        for period, configuration in told
    ] == [(period, next(iter(stated.values()), None)) for period, stated in RESETS]
    listed = stigg.v1.plans.entitlements.list("basic").data
    assert [row.to_dict() for row in listed] == [row.to_dict() for row in rows]


def test_a_reset_without_its_configuration_is_from_the_start(stigg: Any) -> None:
    product(stigg)
    feature(stigg)
    draft(stigg, "basic", up_to(1, reset_period="MONTH"))
    (row,) = stigg.v1.plans.entitlements.list("basic").data
    assert row.reset_period_configuration.according_to == "SubscriptionStart"
    changed = stigg.v1.plans.entitlements.update(
        "calls", plan_id="basic", type="FEATURE", reset_period="DAY"
    ).data
    assert (changed.reset_period, changed.reset_period_configuration) == ("DAY", None)


MONDAYS: Any = {"weekly_reset_period_configuration": {"according_to": "EveryMonday"}}
FIRSTS: Any = {"monthly_reset_period_configuration": {"according_to": "StartOfTheMonth"}}
WEEKLY_FIRSTS: Any = {"weekly_reset_period_configuration": {"according_to": "StartOfTheMonth"}}
MONTHLY_MONDAYS: Any = {"monthly_reset_period_configuration": {"according_to": "EveryMonday"}}


def test_b11_an_entitlement_that_makes_no_sense_is_refused_with_all_beside_it(stigg: Any) -> None:
    product(stigg)
    feature(stigg)
    flag(stigg)
    draft(stigg)
    misfit = "InvalidEntitlementResetPeriod"
    cases: Any = (
        ({"reset_period": "WEEK"} | WEEKLY_FIRSTS, "BadUserInput"),
        ({"reset_period": "MONTH"} | MONTHLY_MONDAYS, "BadUserInput"),
        ({"reset_period": "CENTURY"}, "BadUserInput"),
        ({"usage_limit": -1}, "BadUserInput"),
        ({"usage_limit": 1.5}, "BadUserInput"),
        ({"behavior": "Multiply"}, "BadUserInput"),
        ({"hidden_from_widgets": ["NOWHERE"]}, "BadUserInput"),
        ({"reset_period": "MONTH"} | MONDAYS, misfit),
        ({"reset_period": "MONTH"} | FIRSTS | MONDAYS, misfit),
        ({"reset_period": "DAY"} | FIRSTS, misfit),
        (FIRSTS, misfit),
    )
    for stated, code in cases:
        with refused(BadRequestError, code):
            stigg.v1.plans.entitlements.create(
                "basic", entitlements=[granting("sso"), granting("calls", **stated)]
            )
        assert stigg.v1.plans.entitlements.list("basic").data == []


def test_entitlements_are_added_changed_removed_and_shown_in_order(stigg: Any) -> None:
    product(stigg)
    feature(stigg)
    flag(stigg)
    choice(stigg)
    draft(stigg)
    rows = stigg.v1.plans.entitlements
    shown: Any = {"description": "D", "display_name_override": "O", "is_custom": True}
    added = rows.create(
        "basic",
        entitlements=[
            up_to(5, order=3, has_soft_limit=True, hidden_from_widgets=["PAYWALL"], **shown),
            granting("sso", order=1),
            granting("region", enum_values=["us"], order=2),
            COINS,
        ],
    ).data
    assert [row.id for row in added] == ["calls", "sso", "region", "coins"]
    assert added[0].has_soft_limit
    assert (added[0].description, added[0].display_name_override, added[0].is_custom) == (
        "D", "O", True,
    )  # fmt: skip
    assert added[0].hidden_from_widgets == ["PAYWALL"]
    assert [row.id for row in rows.list("basic").data] == ["sso", "region", "calls", "coins"]
    changed = rows.update("calls", plan_id="basic", type="FEATURE", usage_limit=9, order=0).data
    assert (changed.usage_limit, changed.has_soft_limit, changed.description) == (9, True, "D")
    unlimited = rows.update(
        "calls", plan_id="basic", type="FEATURE", has_unlimited_usage=True, usage_limit=None
    ).data
    assert (unlimited.has_unlimited_usage, unlimited.usage_limit) == (True, None)
    assert rows.delete("sso", plan_id="basic").data.id == "sso"
    assert [row.id for row in rows.list("basic").data] == ["calls", "region", "coins"]
    assert [one.id for one in stigg.v1.plans.retrieve("basic").data.entitlements] == [
        "calls", "region", "coins",
    ]  # fmt: skip
    with refused(NotFoundError, "EntitlementNotFound"):
        rows.update("sso", plan_id="basic", type="FEATURE", is_granted=True)
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        rows.create("basic", entitlements=[granting("sso"), granting("region")])
    assert [row.id for row in rows.list("basic").data] == ["calls", "region", "coins"]


def test_hard_soft_unlimited_and_withheld(stigg: Any) -> None:
    product(stigg)
    for name in ("hard", "soft", "endless", "withheld", "bare"):
        feature(stigg, name)
    plan(
        stigg,
        "basic",
        up_to(1, "hard"),
        up_to(1, "soft", has_soft_limit=True),
        granting("endless", has_unlimited_usage=True),
        up_to(1, "withheld", is_granted=False),
        granting("bare"),
    )
    customer(stigg)
    subscription(stigg)
    told = {
        name: check(stigg, name, requested_usage=2)
        for name in ("hard", "soft", "endless", "withheld", "bare")
    }
    assert {name: one.is_granted for name, one in told.items()} == {
        "hard": False, "soft": True, "endless": True, "withheld": False, "bare": False,
    }  # fmt: skip
    assert told["hard"].access_denied_reason == "RequestedUsageExceedingLimit"
    assert (told["endless"].has_unlimited_usage, told["soft"].usage_limit) == (True, 1)


def test_b10_what_is_published_changes_in_a_draft_only(stigg: Any) -> None:
    shop(stigg)
    flag(stigg)
    rows = stigg.v1.plans.entitlements
    code = "EditAllowedOnDraftPackageOnlyError"
    with refused(BadRequestError, code):
        rows.create("basic", entitlements=[granting("sso")])
    with refused(BadRequestError, code):
        rows.update("calls", plan_id="basic", type="FEATURE", usage_limit=1)
    with refused(BadRequestError, code):
        rows.delete("calls", plan_id="basic")
    with refused(BadRequestError, code):
        stigg.v1.plans.update("basic", parent_plan_id=None)
    with refused(BadRequestError, code):
        stigg.v1.plans.publish("basic", migration_type="ALL_CUSTOMERS")
    assert [row.usage_limit for row in rows.list("basic").data] == [100]
    described = stigg.v1.plans.update("basic", display_name="B", description="D").data
    assert (described.display_name, described.description, described.version_number) == (
        "B", "D", 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("migration", "expected"), [("NEW_CUSTOMERS", 100), ("ALL_CUSTOMERS", 500)]
)
def test_b12_b13_publishing_reaches_whom_it_says(stigg: Any, migration: str, expected: int) -> None:
    shop(stigg)
    subscription(stigg)
    use(stigg, 3)
    renew(stigg, "basic", migration, up_to(500))
    customer(stigg, "late")
    subscription(stigg, "basic", "late")
    assert check(stigg).usage_limit == expected
    assert check(stigg, customer="late").usage_limit == 500
    assert check(stigg).current_usage == 3


def test_versions_go_from_draft_to_draft(stigg: Any) -> None:
    shop(stigg)
    plans = stigg.v1.plans
    assert plans.create_draft("basic").data.version_number == 2
    with refused(ConflictError, "DraftAlreadyExists"):
        plans.create_draft("basic")
    plans.entitlements.update("calls", plan_id="basic", type="FEATURE", usage_limit=7)
    shown = plans.retrieve("basic").data
    assert (shown.version_number, shown.status, shown.is_latest) == (1, "PUBLISHED", True)
    assert [one.version_number for one in plans.list(status=["DRAFT"])] == [2]
    assert [one.version_number for one in plans.list(status=["DRAFT", "PUBLISHED"])] == [1, 2]
    assert plans.remove_draft("basic").data.id == "basic"
    assert plans.entitlements.list("basic").data[0].usage_limit == 100
    plans.create_draft("basic")
    assert plans.publish("basic", migration_type="NEW_CUSTOMERS").data.task_id is None
    assert plans.retrieve("basic").data.version_number == 2


def test_a_draft_that_was_never_published_is_forgotten_whole(stigg: Any) -> None:
    product(stigg)
    feature(stigg)
    draft(stigg, "basic", up_to(1))
    assert stigg.v1.plans.remove_draft("basic").data.id == "basic"
    with refused(NotFoundError, "PlanNotFound"):
        stigg.v1.plans.retrieve("basic")
    assert stigg.v1.features.archive_feature("calls").data.feature_status == "SUSPENDED"


def test_h10_a_plan_has_what_its_parent_grants(stigg: Any) -> None:
    shop(stigg)
    flag(stigg)
    plan(stigg, "pro", granting("sso"), parent_plan_id="basic")
    subscription(stigg, "pro")
    assert check(stigg).usage_limit == 100
    assert check(stigg, "sso").is_granted
    assert [one.id for one in stigg.v1.plans.retrieve("pro").data.entitlements] == ["calls", "sso"]
    renew(stigg, "basic", "ALL_CUSTOMERS", up_to(200))
    assert check(stigg).usage_limit == 200
    assert stigg.v1.plans.retrieve("pro").data.version_number == 2


def test_what_a_plan_grants_itself_beats_its_parent(stigg: Any) -> None:
    shop(stigg)
    plan(stigg, "small", up_to(10), parent_plan_id="basic")
    subscription(stigg, "small")
    assert check(stigg).usage_limit == 10


def test_a_parent_stays_while_others_inherit_from_it(stigg: Any) -> None:
    shop(stigg)
    plan(stigg, "pro", parent_plan_id="basic")
    with refused(BadRequestError, "PlanWithChildCantBeDeleted"):
        stigg.v1.plans.archive("basic")
    stigg.v1.plans.create_draft("basic")
    stigg.v1.plans.update("basic", description="D")
    with refused(BadRequestError, "BadUserInput"):  # it would inherit from itself
        stigg.v1.plans.update("basic", parent_plan_id="pro")
    assert stigg.v1.plans.retrieve("basic").data.status == "PUBLISHED"
    stigg.v1.plans.create_draft("pro")
    stigg.v1.plans.update("pro", parent_plan_id=None)
    stigg.v1.plans.publish("pro", migration_type="NEW_CUSTOMERS")
    assert stigg.v1.plans.archive("basic").data.status == "ARCHIVED"


def test_an_archived_plan_goes_on_for_who_has_it(stigg: Any) -> None:
    shop(stigg)
    subscription(stigg)
    customer(stigg, "late")
    assert stigg.v1.plans.archive("basic").data.status == "ARCHIVED"
    assert [one.id for one in stigg.v1.plans.list(status=["ARCHIVED"])] == ["basic"]
    with refused(BadRequestError, "EntityIsArchivedError"):
        subscription(stigg, "basic", "late")
    with refused(BadRequestError, "EntityIsArchivedError"):
        stigg.v1.plans.create_draft("basic")
    assert check(stigg).usage_limit == 100


def test_a_plan_keeps_its_trial_and_its_charges(stigg: Any) -> None:
    shop(stigg)
    trial: Any = {
        "duration": 14, "units": "DAY", "trial_end_behavior": "CONVERT_TO_PAID",
        "budget": {"limit": 10, "has_soft_limit": False},
    }  # fmt: skip
    price: Any = {"billing_period": "MONTHLY", "price": {"amount": 9.99, "currency": "usd"}}
    charges: Any = {
        "pricing_type": "PAID",
        "pricing_models": [{"billing_model": "FLAT_FEE", "price_periods": [price]}],
        "overage_pricing_models": [{"feature_id": "calls", "price_periods": [price]}],
    }
    stigg.v1.plans.create_draft("basic")
    changed = stigg.v1.plans.update("basic", default_trial_config=trial, charges=charges).data
    assert changed.default_trial_config.to_dict(use_api_names=False) == trial
    assert changed.pricing_type == "PAID"
    stigg.v1.plans.publish("basic", migration_type="NEW_CUSTOMERS")
    (charge,) = stigg.v1.plans.list_charges("basic")
    assert (charge.billing_model, charge.price.amount) == ("FLAT_FEE", 9.99)
    (overage,) = stigg.v1.plans.list_overage_charges("basic")
    assert overage.feature_id == "calls"
    assert subscription(stigg).status == "IN_TRIAL"


# --- add-ons -----------------------------------------------------------------------------------


def test_an_addon_has_drafts_and_versions_as_a_plan_has(stigg: Any) -> None:
    shop(stigg)
    addons = stigg.v1.addons
    made = addons.create(
        id="extra", display_name="E", product_id="main", max_quantity=3, description="D"
    ).data
    assert (made.status, made.version_number, made.max_quantity) == ("DRAFT", 1, 3)
    (row,) = addons.entitlements.create("extra", entitlements=[up_to(5, behavior="Override")]).data
    assert (row.behavior, row.usage_limit) == ("Override", 5)
    changed = addons.entitlements.update(
        "calls", addon_id="extra", type="FEATURE", behavior="Increment"
    ).data
    assert changed.behavior == "Increment"
    addons.publish("extra", migration_type="NEW_CUSTOMERS")
    assert addons.retrieve("extra").data.status == "PUBLISHED"
    with refused(BadRequestError, "EditAllowedOnDraftPackageOnlyError"):
        addons.entitlements.delete("calls", addon_id="extra")
    assert addons.create_draft("extra").data.version_number == 2
    assert addons.entitlements.delete("calls", addon_id="extra").data.id == "calls"
    assert addons.entitlements.list("extra").data == []
    with refused(BadRequestError, "BadUserInput"):
        addons.publish("extra", migration_type="NEW_CUSTOMERS")
    assert addons.remove_draft("extra").data.id == "extra"
    assert [one.id for one in addons.entitlements.list("extra").data] == ["calls"]
    assert addons.archive("extra").data.status == "ARCHIVED"
    assert [one.id for one in addons.list(status=["ARCHIVED"])] == ["extra"]


@pytest.mark.parametrize(
    ("migration", "expected"), [("NEW_CUSTOMERS", 110), ("ALL_CUSTOMERS", 150)]
)
def test_publishing_an_addon_reaches_whom_it_says(
    stigg: Any, site: Site, migration: str, expected: int
) -> None:
    shop(stigg)
    addon(stigg, "extra", up_to(10))
    subscription(stigg, addons=[{"id": "extra", "quantity": 1}])
    later(site, seconds=1)
    stigg.v1.addons.create_draft("extra")
    stigg.v1.addons.entitlements.update("calls", addon_id="extra", type="FEATURE", usage_limit=50)
    stigg.v1.addons.publish("extra", migration_type=migration)
    assert check(stigg).usage_limit == expected


def test_an_addon_that_a_plan_or_another_addon_needs_stays(stigg: Any) -> None:
    shop(stigg)
    addon(stigg, "base")
    addon(stigg, "extra")
    stigg.v1.addons.create_draft("extra")
    changed = stigg.v1.addons.update("extra", dependencies=["base"]).data
    assert changed.dependencies == ["base"]
    stigg.v1.addons.publish("extra", migration_type="NEW_CUSTOMERS")
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.addons.archive("base")
    stigg.v1.plans.create_draft("basic")
    stigg.v1.plans.update("basic", compatible_addon_ids=["extra"])
    with refused(BadRequestError, "AddonIsCompatibleWithPlan"):
        stigg.v1.addons.archive("extra")
    assert {one.status for one in stigg.v1.addons.list()} == {"PUBLISHED"}
