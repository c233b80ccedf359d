"""Plans and what they grant over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.api.catalog_query import one_of
from tallystick.api.http import Page, QueryParam, Reply, Request, Route
from tallystick.api.pagination import (
    CREATED_AT_PARAMS,
    PAGE_PARAMS,
    read_created_at,
    read_window,
)
from tallystick.catalog import charges, effects, plans
from tallystick.catalog.pages import of_items, page_of
from tallystick.catalog.shapes.plans import (
    CreateEntitlements,
    CreatePlan,
    EntitlementUpdate,
    PublishPlan,
    UpdateCreditEntitlement,
    UpdateFeatureEntitlement,
    UpdatePlan,
)
from tallystick.catalog.shapes.replies import (
    ChargeReply,
    CreditEntitlementReply,
    FeatureEntitlementReply,
    IdReply,
    PlanReply,
    TaskReply,
)
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_STATUSES: Final = ("DRAFT", "PUBLISHED", "ARCHIVED")
_ENTITLEMENT: Final = FeatureEntitlementReply | CreditEntitlementReply


def create(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new plan."""
    body, now = request.read(CreatePlan), services.clock.now()
    made = plans.create(transaction, request.environment, body, now)
    if body.status == "PUBLISHED":
        plans.publish(transaction, request.environment, body.id, "NEW_CUSTOMERS", now)
        made = plans.answer(transaction, request.environment, body.id)
    return Reply(made)


def page(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Plans, a page at a time."""
    query = request.query
    created = read_created_at(query)
    statuses = one_of(query, "status", _STATUSES)
    found = plans.listed(transaction, request.environment, query.id("productId"), statuses)
    source = of_items(item for item in found if created.holds(item.place.created_at))
    return Reply(page_of(source, read_window(query)))


def retrieve(services: Services, transaction: Transaction, request: Request) -> Reply:
    """One plan."""
    return Reply(plans.answer(transaction, request.environment, request.args["id"]))


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed plan."""
    body, now = request.read(UpdatePlan), services.clock.now()
    return Reply(plans.update(transaction, request.environment, request.args["id"], body, now))


def archive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """An archived plan."""
    now = services.clock.now()
    return Reply(plans.archive(transaction, request.environment, request.args["id"], now))


def create_draft(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A draft of the next version."""
    now = services.clock.now()
    return Reply(plans.create_draft(transaction, request.environment, request.args["id"], now))


def remove_draft(services: Services, transaction: Transaction, request: Request) -> Reply:
    """The id of the plan whose draft is gone."""
    return Reply(plans.remove_draft(transaction, request.environment, request.args["id"]))


def publish(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Done when it returns, so there is no task to follow."""
    migration, now = request.read(PublishPlan).migration_type, services.clock.now()
    plan = request.args["id"]
    effects.publish(services, transaction, request.environment, "plan", plan, migration, now)
    return Reply({"taskId": None})


def entitlements(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What a plan grants, all of it."""
    found = plans.entitlements(transaction, request.environment, request.args["planId"])
    return Reply(Page(found, None, None))


def add_entitlements(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What the draft grants beside."""
    body, now = request.read(CreateEntitlements), services.clock.now()
    scope = (request.environment, request.args["planId"])
    return Reply(plans.add_entitlements(transaction, *scope, body, now))


def update_entitlement(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What the draft grants instead."""
    body: EntitlementUpdate
    if isinstance(request.payload, UpdateCreditEntitlement):
        body = request.payload
    else:
        body = request.read(UpdateFeatureEntitlement)
    scope = (request.environment, request.args["planId"], request.args["id"])
    return Reply(plans.update_entitlement(transaction, *scope, body, services.clock.now()))


def remove_entitlement(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What the draft no longer grants."""
    scope = (request.environment, request.args["planId"], request.args["id"])
    return Reply(plans.remove_entitlement(transaction, *scope, services.clock.now()))


def list_charges(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What a plan costs, a page at a time."""
    found = charges.listed(transaction, request.environment, "plan", request.args["id"])
    return Reply(page_of(of_items(found), read_window(request.query)))


def list_overage_charges(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What a plan costs beyond its limits, a page at a time."""
    found = charges.overage(transaction, request.environment, "plan", request.args["id"])
    return Reply(page_of(of_items(found), read_window(request.query)))


_ON_DRAFTS: Final = "Only a draft can be changed."

ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/plans", handler=create, runs="write", status=201,
        summary="Create a plan", tag="Plans", body=CreatePlan, reply=PlanReply,
        description="It begins as a draft, and can be subscribed to once it is published.",
    ),
    Route(
        method="GET", path="/api/v1/plans", handler=page, access="client", runs="query",
        page=True, summary="List plans", tag="Plans", reply=PlanReply,
        description="Each plan as published, or its draft if it never was. With `status`: the "
        "newest version of each of these statuses.",
        query=(
            *PAGE_PARAMS,
            *CREATED_AT_PARAMS,
            QueryParam("productId", "Only plans of this product."),
            QueryParam("status", f"Only these statuses: {', '.join(_STATUSES)}."),
        ),
    ),
    Route(
        method="GET", path="/api/v1/plans/{id}", handler=retrieve, access="client",
        summary="Get a plan", tag="Plans", reply=PlanReply,
        description="As published, or its draft if it never was.",
    ),
    Route(
        method="PATCH", path="/api/v1/plans/{id}", handler=update, runs="write",
        summary="Change a plan", tag="Plans", body=UpdatePlan, reply=PlanReply,
        description="Changes the draft. Without one, only the name, description, billing id and "
        "metadata can change.",
    ),
    Route(
        method="POST", path="/api/v1/plans/{id}/archive", handler=archive, runs="write",
        summary="Archive a plan", tag="Plans", reply=PlanReply,
        description="It takes no new subscriptions; existing ones go on. Refused while "
        "another plan inherits from it, or its product begins or ends subscriptions with it.",
    ),
    Route(
        method="POST", path="/api/v1/plans/{id}/draft", handler=create_draft, runs="write",
        summary="Begin a new version", tag="Plans", reply=PlanReply, status=201,
        description="A draft that is a copy of what is published.",
    ),
    Route(
        method="DELETE", path="/api/v1/plans/{id}/draft", handler=remove_draft, runs="write",
        summary="Forget the draft", tag="Plans", reply=IdReply,
        description="A plan that was never published is forgotten with it.",
    ),
    Route(
        method="POST", path="/api/v1/plans/{id}/publish", handler=publish, runs="write",
        summary="Publish the draft", tag="Plans", body=PublishPlan, reply=TaskReply,
        description="`NEW_CUSTOMERS`: existing subscribers keep their version. `ALL_CUSTOMERS`: "
        "they get the new one, from now on. Plans that inherit are published anew with it. A "
        "draft that grants nothing is refused.",
    ),
    Route(
        method="GET", path="/api/v1/plans/{id}/charges", handler=list_charges, access="client",
        page=True, summary="List what a plan costs", tag="Plans", reply=ChargeReply,
        description="One for each price, as it was given. Nothing is billed.", query=PAGE_PARAMS,
    ),
    Route(
        method="GET", path="/api/v1/plans/{id}/overage-charges", handler=list_overage_charges,
        access="client", page=True, summary="List what a plan costs beyond its limits",
        tag="Plans", reply=ChargeReply, query=PAGE_PARAMS,
        description="One for each price, as it was given. Nothing is billed.",
    ),
    Route(
        method="GET", path="/api/v1/plans/{planId}/entitlements", handler=entitlements,
        access="client", page=True, summary="List what a plan grants", tag="Plans",
        reply=_ENTITLEMENT, description="Of the draft, if there is one; all on one page.",
    ),
    Route(
        method="POST", path="/api/v1/plans/{planId}/entitlements", handler=add_entitlements,
        runs="write", status=201, summary="Grant features", tag="Plans", body=CreateEntitlements,
        reply=list[_ENTITLEMENT], description=_ON_DRAFTS,  # type: ignore[valid-type]
    ),
    Route(
        method="PATCH", path="/api/v1/plans/{planId}/entitlements/{id}",
        handler=update_entitlement, runs="write", summary="Change what is granted of a feature",
        tag="Plans", body=EntitlementUpdate, reply=_ENTITLEMENT, description=_ON_DRAFTS,
    ),
    Route(
        method="DELETE", path="/api/v1/plans/{planId}/entitlements/{id}",
        handler=remove_entitlement, runs="write", summary="Grant a feature no longer",
        tag="Plans", reply=_ENTITLEMENT, description=_ON_DRAFTS,
    ),
)  # fmt: skip
