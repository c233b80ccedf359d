"""Every refusal that a request can provoke, as the SDK raises it; and that it changed nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from stigg import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
)

from tests.conformance.building import (
    addon,
    choice,
    customer,
    draft,
    feature,
    flag,
    granting,
    meter,
    plan,
    product,
    refused,
    subscription,
    up_to,
    use,
)
from tests.conformance.driving import Clients, Site
from tests.docs.test_errors import documented
from tests.tidy.source import ROOT

MOST: Final = 9_007_199_254_740_991
SETTINGS: Final[dict[str, Any]] = {
    "subscription_cancellation_time": "IMMEDIATE",
    "subscription_end_setup": "DOWNGRADE_TO_FREE",
    "subscription_start_setup": "FREE_PLAN",
}


@dataclass(frozen=True)
class Scene:
    """An environment in which there is one of everything, and who may ask about it."""

    stigg: Any
    clients: Clients
    site: Site
    environment: str

    @property
    def v1(self) -> Any:
        """Most of the SDK."""
        return self.stigg.v1

    @property
    def publishable(self) -> Any:
        """A client with a key for browsers."""
        return self.clients.of(self.site.key(self.environment, "client"))


@pytest.fixture
def scene(stigg: Any, clients: Clients, site: Site, environment: str) -> Scene:
    """A scene of the test's own."""
    furnish(stigg)
    return Scene(stigg, clients, site, environment)


@pytest.fixture(scope="module", params=["sync", "async"])
def shared(site: Site, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene for all that changes nothing."""
    environment = f"shared-{request.param}"
    with Clients(site.url, request.param) as clients:
        stigg = clients.of(site.key(environment))
        furnish(stigg)
        yield Scene(stigg, clients, site, environment)


def furnish(stigg: Any) -> None:
    """Subscriber ``acme`` has plan ``basic``, from which ``pro`` inherits; ``late`` has none."""
    product(stigg)
    product(stigg, "second")
    feature(stigg)
    feature(stigg, "events", meter=meter())
    flag(stigg)
    choice(stigg)
    addon(stigg, "extra", up_to(5), max_quantity=2)
    addon(stigg, "needy", up_to(5))
    addon(stigg, "foreign", up_to(5), product_id="second")
    stigg.v1.addons.create_draft("needy")
    stigg.v1.addons.update("needy", dependencies=["extra"])
    stigg.v1.addons.publish("needy", migration_type="NEW_CUSTOMERS")
    draft(stigg, "basic", up_to(100), up_to(10, "events"), granting("sso"))
    stigg.v1.plans.update("basic", compatible_addon_ids=["extra", "needy"])
    stigg.v1.plans.publish("basic", migration_type="NEW_CUSTOMERS")
    plan(stigg, "pro", up_to(200), parent_plan_id="basic")
    draft(stigg, "coming", up_to(1))
    for name in ("acme", "late"):
        customer(stigg, name)
    subscription(stigg, id="sub", metadata={"a": "b"}, entitlements=[up_to(50)])


def everything(stigg: Any) -> Any:
    """All that a request could have changed, as it is read back."""
    v1, always = stigg.v1, {"status": ["DRAFT", "PUBLISHED", "ARCHIVED"]}
    found = [
        *v1.products.list_products(),
        *v1.features.list_features(),
        *v1.plans.list(**always),
        *(row for plan in ("basic", "coming") for row in v1.plans.entitlements.list(plan).data),
        *v1.addons.list(**always),
        *v1.customers.list(),
        *v1.customers.promotional_entitlements.list("acme"),
        *v1.subscriptions.list(),
        v1.subscriptions.retrieve("sub").data,
        *(v1.customers.retrieve_entitlements(who).data for who in ("acme", "late")),
    ]
    return [one.to_dict() for one in found]


Call = Callable[[], object]


def an_archived_customer_subscribes(s: Scene) -> Call:
    s.v1.customers.archive("late")
    return lambda: subscription(s.stigg, customer="late")


def a_child_is_published_before_its_parent(s: Scene) -> Call:
    draft(s.stigg, "heir", granting("sso"), parent_plan_id="coming")
    return lambda: s.v1.plans.publish("heir", migration_type="NEW_CUSTOMERS")


def a_plan_is_archived_that(s: Scene, role: str) -> Call:
    s.v1.products.update_product("main", product_settings=SETTINGS | {role: "pro"})
    return lambda: s.v1.plans.archive("pro")


def a_total_leaves_the_range(s: Scene) -> Call:
    use(s.stigg, MOST)
    return lambda: use(s.stigg, 1)


def a_difference_leaves_the_range(s: Scene) -> Call:
    use(s.stigg, MOST)
    return lambda: use(s.stigg, -MOST, update_behavior="SET")


def an_ended_subscription_changes(s: Scene) -> Call:
    s.v1.subscriptions.cancel("sub", cancellation_time="IMMEDIATE")
    return lambda: s.v1.subscriptions.update("sub", metadata={"c": "d"})


def a_draft_is_begun_twice(s: Scene) -> Call:
    s.v1.plans.create_draft("basic")
    return lambda: s.v1.plans.create_draft("basic")


def too_much_is_sent(s: Scene) -> Call:
    event = {
        "customer_id": "acme", "event_name": "api_call", "idempotency_key": "k",
        "dimensions": {"text": "x" * 1_000_000},
    }  # fmt: skip
    return lambda: s.v1.events.report(events=[event] * 17)


def taking(s: Scene, *addons: tuple[str, int]) -> Call:
    listed = [{"id": name, "quantity": quantity} for name, quantity in addons]
    return lambda: s.v1.subscriptions.update("sub", metadata={}, addons=listed)


def stating(s: Scene, item: Any) -> Call:
    return lambda: s.v1.subscriptions.update("sub", metadata={}, entitlements=[up_to(1), item])


def created(s: Scene, **about: Any) -> Call:
    stated = {"id": "new", "display_name": "N", "feature_type": "BOOLEAN"} | about
    return lambda: s.v1.features.create_feature(**stated)


def on_trial(s: Scene, duration: float, units: str) -> Call:
    trial = {"duration": duration, "units": units}
    return lambda: draft(s.stigg, "new", default_trial_config=trial)


MISFIT: Final = {"reset_period": "DAY", "monthly_reset_period_configuration": {
    "according_to": "StartOfTheMonth"}}  # fmt: skip

Provoking = Callable[[Scene], Call]
"""Prepares what a refusal needs, and answers the call that is refused."""

AT_ONCE: Final[dict[str, tuple[type[APIStatusError], Provoking]]] = {
    "BadUserInput": (BadRequestError, lambda s: lambda: customer(s.stigg, "-bad")),
    "EditAllowedOnDraftPackageOnlyError": (
        BadRequestError,
        lambda s: lambda: s.v1.plans.entitlements.delete("sso", plan_id="basic"),
    ),
    "PlanWithChildCantBeDeleted": (BadRequestError, lambda s: lambda: s.v1.plans.archive("basic")),
    "AddonIsCompatibleWithPlan": (BadRequestError, lambda s: lambda: s.v1.addons.archive("needy")),
    "CannotArchiveFeatureError": (
        BadRequestError,
        lambda s: lambda: s.v1.features.archive_feature("sso"),
    ),
    "CannotUpdateUnitTransformationError": (
        BadRequestError,
        lambda s: (
            lambda: s.v1.features.update_feature(
                "calls", description="D", unit_transformation={"divide": 10}
            )
        ),
    ),
    "UnsupportedFeatureType": (BadRequestError, lambda s: stating(s, up_to(1, "sso"))),
    "InvalidEntitlementResetPeriod": (
        BadRequestError,
        lambda s: stating(s, granting("events", **MISFIT)),
    ),
    "MeterMustBeAssociatedToMeteredFeature": (
        BadRequestError,
        lambda s: created(s, meter=meter()),
    ),
    "MeteringNotAvailableForFeatureType": (
        BadRequestError,
        lambda s: created(s, meter_type="INCREMENTAL"),
    ),
    "CannotReportUsageForEntitlementWithMeterError": (
        BadRequestError,
        lambda s: lambda: use(s.stigg, 1, "events"),
    ),
    "TrialMinDateError": (
        BadRequestError,
        lambda s: (
            lambda: s.v1.subscriptions.update(
                "sub", metadata={}, trial_end_date="2020-01-01T00:00:00Z"
            )
        ),
    ),
    "DuplicateAddonProvisionedError": (
        BadRequestError,
        lambda s: taking(s, ("extra", 1), ("extra", 1)),
    ),
    "AddonQuantityExceedsLimitError": (BadRequestError, lambda s: taking(s, ("extra", 3))),
    "IncompatibleSubscriptionAddon": (BadRequestError, lambda s: taking(s, ("foreign", 1))),
    "AddonDependencyMissingError": (BadRequestError, lambda s: taking(s, ("needy", 1))),
    "Unauthenticated": (
        AuthenticationError,
        lambda s: lambda: customer(s.clients.of("server-nobody-has-this"), "new"),
    ),
    "AccessDeniedError": (
        PermissionDeniedError,
        lambda s: lambda: customer(s.publishable, "new"),
    ),
    "NotFound": (
        NotFoundError,
        lambda s: lambda: s.stigg.post("/api/v1/nothing", cast_to=object, body={}),
    ),
    "CustomerNotFound": (
        NotFoundError,
        lambda s: lambda: subscription(s.stigg, customer="nobody"),
    ),
    "FeatureNotFound": (NotFoundError, lambda s: stating(s, up_to(1, "none"))),
    "ProductNotFoundError": (
        NotFoundError,
        lambda s: lambda: draft(s.stigg, "new", product_id="none"),
    ),
    "PlanNotFound": (NotFoundError, lambda s: lambda: subscription(s.stigg, "none", "late")),
    "AddonNotFound": (NotFoundError, lambda s: taking(s, ("none", 1))),
    "EntitlementNotFound": (
        NotFoundError,
        lambda s: lambda: s.v1.plans.entitlements.delete("sso", plan_id="coming"),
    ),
    "PromotionalEntitlementNotFoundError": (
        NotFoundError,
        lambda s: lambda: s.v1.customers.promotional_entitlements.revoke("calls", id="acme"),
    ),
    "SubscriptionNotFound": (
        NotFoundError,
        lambda s: lambda: s.v1.subscriptions.update("none", metadata={}),
    ),
    "FutureUpdateNotFound": (
        NotFoundError,
        lambda s: lambda: s.v1.subscriptions.future_update.cancel_schedule("sub"),
    ),
    "MethodNotAllowed": (
        APIStatusError,
        lambda s: lambda: s.stigg.put("/api/v1/customers", cast_to=object, body={}),
    ),
    "DuplicatedEntityNotAllowed": (ConflictError, lambda s: lambda: customer(s.stigg, "acme")),
    "PayloadTooLarge": (APIStatusError, too_much_is_sent),
    "NotImplemented": (
        InternalServerError,
        lambda s: (
            lambda: s.v1.credits.consumption.consume(
                customer_id="acme", currency_id="coins", amount=1, idempotency_key="k"
            )
        ),
    ),
}

PREPARED: Final[dict[str, tuple[type[APIStatusError], Provoking]]] = {
    "EntityIsArchivedError": (BadRequestError, an_archived_customer_subscribes),
    "PlanCannotBePublishWhenBasePlanIsDraft": (
        BadRequestError,
        a_child_is_published_before_its_parent,
    ),
    "PlanIsUsedAsDowngradePlan": (
        BadRequestError,
        lambda s: a_plan_is_archived_that(s, "downgrade_plan_id"),
    ),
    "PlanIsUsedAsDefaultStartPlan": (
        BadRequestError,
        lambda s: a_plan_is_archived_that(s, "subscription_start_plan_id"),
    ),
    "EntitlementUsageOutOfRangeError": (BadRequestError, a_total_leaves_the_range),
    "UsageMeasurementDiffOutOfRangeError": (BadRequestError, a_difference_leaves_the_range),
    "SubscriptionAlreadyCanceledOrExpired": (BadRequestError, an_ended_subscription_changes),
    "DraftAlreadyExists": (ConflictError, a_draft_is_begun_twice),
}

# What no call of the SDK provokes at will, and the tests that show it.
ELSEWHERE: Final = {
    "RateLimitExceeded": "tests/conformance/test_conventions.py",
    "Unavailable": "tests/crash/test_store_failures.py",
    "OutcomeUnknown": "tests/store/test_postgres.py",
    "Timeout": "tests/api/test_operations.py",
    "UnexpectedError": "tests/api/test_transport.py",
    "DamagedData": "tests/api/test_transport.py",
    "OperatorError": "tests/process/test_owner.py",
    "LostOwnership": "tests/fold/test_owner.py",
    "SourceNotFound": "tests/api/test_sources.py",
    "RunNotFound": "tests/api/test_sources.py",
    "ObjectNotFound": "tests/api/test_sources.py",
    "SourceIsPaused": "tests/objects/test_served.py",
    "BucketRefused": "tests/objects/test_errors.py",
    "BucketAccessDenied": "tests/objects/test_errors.py",
    "BucketNotFound": "tests/objects/test_errors.py",
    "ExtraNotInstalled": "tests/objects/test_errors.py",
    "BucketUnavailable": "tests/objects/test_errors.py",
    "ObjectUnreadable": "tests/objects/test_errors.py",
    "ObjectChanged": "tests/objects/test_errors.py",
    "ObjectGone": "tests/objects/test_errors.py",
    "ObjectRefused": "tests/objects/test_errors.py",
    "DamagedObject": "tests/objects/test_errors.py",
}


@pytest.mark.parametrize("code", AT_ONCE)
def test_a_refusal_has_its_code_and_class_and_changes_nothing(shared: Scene, code: str) -> None:
    is_refused(shared, code, *AT_ONCE[code])


@pytest.mark.parametrize("code", PREPARED)
def test_so_has_one_that_something_before_leads_to(scene: Scene, code: str) -> None:
    is_refused(scene, code, *PREPARED[code])


def is_refused(scene: Scene, code: str, kind: type[APIStatusError], provoking: Provoking) -> None:
    call = provoking(scene)
    before = everything(scene.stigg)
    with refused(kind, code):
        call()
    assert everything(scene.stigg) == before


def test_every_documented_code_is_provoked_here_or_shown_elsewhere() -> None:
    shown = [*AT_ONCE, *PREPARED, *ELSEWHERE]
    assert sorted(shown) == sorted(code.name for code in documented())


@pytest.mark.parametrize("code", ELSEWHERE)
def test_what_is_shown_elsewhere_is_there(code: str) -> None:
    assert code in (ROOT / ELSEWHERE[code]).read_text()


# --- what is refused without a code of its own ---------------------------------------------------


def in_the_catalog(s: Scene) -> dict[str, Call]:
    """Requests about what is sold, refused as ``BadUserInput``, by what they ask for."""
    v1, stigg = s.v1, s.stigg
    value = {"value": "a", "display_name": "A"}
    number = {"feature_type": "NUMBER", "meter_type": "INCREMENTAL"}
    return {
        "publish an empty draft at once": lambda: draft(stigg, "new", status="PUBLISHED"),
        "publish an empty draft": lambda: v1.addons.publish(
            "empty", migration_type="ALL_CUSTOMERS"
        ),
        "a trial of no time": on_trial(s, 0, "DAY"),
        "a trial of half a month": on_trial(s, 0.5, "MONTH"),
        "a trial for ages": on_trial(s, 10**9, "MONTH"),
        "a plan that begins archived": lambda: draft(stigg, "new", status="ARCHIVED"),
        "an add-on that is in the way": lambda: v1.addons.archive("extra"),
        "a plan of another product as parent": lambda: draft(
            stigg, "new", product_id="second", parent_plan_id="basic"
        ),
        "an enum without values": created(s, feature_type="ENUM"),
        "a value twice": created(s, feature_type="ENUM", enum_configuration=[value] * 2),
        "values of a number": created(s, feature_type="NUMBER", enum_configuration=[value]),
        "units of a flag": created(s, unit_transformation={"divide": 10}),
        "units of nothing": created(s, unit_transformation={"divide": 0}, **number),
        "an id that is too long": created(s, id="f" * 256),
        "an id with a space": lambda: product(stigg, "a b"),
        "a value that a feature has not": lambda: v1.plans.entitlements.create(
            "coming", entitlements=[granting("sso"), granting("region", enum_values=["mars"])]
        ),
        "a feature of usage that turns to events": lambda: v1.features.update_feature(
            "calls", meter=meter()
        ),
    }


def of_customers(s: Scene) -> dict[str, Call]:
    """Requests about customers and what they use, refused as ``BadUserInput``."""
    v1, stigg = s.v1, s.stigg
    event = {"customer_id": "acme", "event_name": "api_call", "idempotency_key": "k"}
    report = {"customer_id": "acme", "feature_id": "calls", "value": 1}
    promoted = {"feature_id": "calls", "period": "lifetime"}
    past = "2020-01-01T00:00:00Z"
    promote = v1.customers.promotional_entitlements.create
    return {
        "none of an add-on": taking(s, ("extra", 0)),
        "subscribe to a draft": lambda: subscription(stigg, "coming", "late"),
        "a trial without an end": lambda: subscription(
            stigg, "pro", "late", trial_override_configuration={"is_trial": True}
        ),
        "an end before the start": lambda: subscription(
            stigg, "pro", "late", cancellation_date=past
        ),
        "a transfer to nowhere": lambda: v1.subscriptions.transfer(
            "sub", destination_resource_id=""
        ),
        "one bad event among good ones": lambda: v1.events.report(
            events=[event, event | {"idempotency_key": ""}]
        ),
        "no events": lambda: v1.events.report(events=[]),
        "one bad report among good ones": lambda: stigg.v2.usage.report(
            usages=[report, report | {"update_behavior": "ADD"}]
        ),
        "no reports": lambda: stigg.v2.usage.report(usages=[]),
        "a check of nothing": lambda: v1.customers.check_entitlement("acme"),
        "a promotion twice": lambda: promote("acme", promotional_entitlements=[promoted] * 2),
        "an end that does not fit its period": lambda: promote(
            "acme", promotional_entitlements=[promoted | {"custom_end_date": past}]
        ),
        "a period of its own without an end": lambda: promote(
            "acme", promotional_entitlements=[promoted | {"period": "custom"}]
        ),
    }


def test_whatever_else_makes_no_sense_changes_nothing_either(scene: Scene) -> None:
    calls = in_the_catalog(scene) | of_customers(scene)
    use(scene.stigg, 0, "calls")
    scene.v1.addons.create(id="empty", display_name="E", product_id="main")
    before = everything(scene.stigg)
    for asked, call in calls.items():
        try:
            with refused(BadRequestError, "BadUserInput"):
                call()
        except BaseException as error:
            error.add_note(asked)
            raise
    assert everything(scene.stigg) == before
