"""Add-ons and what they grant over HTTP."""

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
from tallystick.catalog import addons, charges, effects, packages
from tallystick.catalog.addons import ADDON
from tallystick.catalog.pages import of_items, page_of
from tallystick.catalog.shapes.addons import CreateAddon, UpdateAddon
from tallystick.catalog.shapes.plans import (
    CreateEntitlements,
    EntitlementUpdate,
    PublishPlan,
    UpdateCreditEntitlement,
    UpdateFeatureEntitlement,
)
from tallystick.catalog.shapes.replies import (
    AddonReply,
    ChargeReply,
    CreditEntitlementReply,
    FeatureEntitlementReply,
    IdReply,
    TaskReply,
)
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_STATUSES: Final = ("DRAFT", "PUBLISHED", "ARCHIVED")
_ENTITLEMENT: Final = FeatureEntitlementReply | CreditEntitlementReply


def create(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new add-on."""
    body, now = request.read(CreateAddon), services.clock.now()
    made = addons.create(transaction, request.environment, body, now)
    if body.status == "PUBLISHED":
        addons.publish(transaction, request.environment, body.id, "NEW_CUSTOMERS", now)
        made = packages.answer(transaction, request.environment, ADDON, body.id)
    return Reply(made)


def page(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Add-ons, a page at a time."""
    query = request.query
    created = read_created_at(query)
    statuses = one_of(query, "status", _STATUSES)
    scope = (request.environment, ADDON, query.id("productId"))
    found = packages.listed(transaction, *scope, statuses)
    source = of_items(item for item in found if created.holds(item.place.created_at))
    return Reply(page_of(source, read_window(query)))


def retrieve(services: Services, transaction: Transaction, request: Request) -> Reply:
    """One add-on."""
    return Reply(packages.answer(transaction, request.environment, ADDON, request.args["id"]))


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed add-on, published or archived if that is its new status."""
    body, now = request.read(UpdateAddon), services.clock.now()
    scope = (request.environment, request.args["id"])
    made = addons.update(transaction, *scope, body, now)
    if body.status == "PUBLISHED" and made["status"] == "DRAFT":
        named = (request.environment, ADDON, request.args["id"])
        effects.publish(services, transaction, *named, "NEW_CUSTOMERS", now)
        made = packages.answer(transaction, *named)
    if body.status == "ARCHIVED":
        made = addons.archive(transaction, *scope, now)
    return Reply(made)


def archive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """An archived add-on."""
    now = services.clock.now()
    return Reply(addons.archive(transaction, request.environment, request.args["id"], now))


def create_draft(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A draft of the next version."""
    now = services.clock.now()
    return Reply(addons.create_draft(transaction, request.environment, request.args["id"], now))


def remove_draft(services: Services, transaction: Transaction, request: Request) -> Reply:
    """The id of the add-on whose draft is gone."""
    return Reply(addons.remove_draft(transaction, request.environment, request.args["id"]))


def publish(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Done when it returns, so there is no task to follow."""
    migration, now = request.read(PublishPlan).migration_type, services.clock.now()
    addon = request.args["id"]
    effects.publish(services, transaction, request.environment, "addon", addon, migration, now)
    return Reply({"taskId": None})


def entitlements(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What an add-on grants, all of it."""
    found = packages.entitlements(transaction, request.environment, ADDON, request.args["addonId"])
    return Reply(Page(found, None, None))


def add_entitlements(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What the draft grants beside."""
    body, now = request.read(CreateEntitlements), services.clock.now()
    scope = (request.environment, ADDON, request.args["addonId"])
    return Reply(packages.add_entitlements(transaction, *scope, body, now))


def update_entitlement(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What the draft grants instead."""
    body: EntitlementUpdate
    if isinstance(request.payload, UpdateCreditEntitlement):
        body = request.payload
    else:
        body = request.read(UpdateFeatureEntitlement)
    scope = (request.environment, ADDON, request.args["addonId"], request.args["id"])
    return Reply(packages.update_entitlement(transaction, *scope, body, services.clock.now()))


def remove_entitlement(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What the draft no longer grants."""
    scope = (request.environment, ADDON, request.args["addonId"], request.args["id"])
    return Reply(packages.remove_entitlement(transaction, *scope, services.clock.now()))


def list_charges(services: Services, transaction: Transaction, request: Request) -> Reply:
    """What an add-on costs, a page at a time."""
    found = charges.listed(transaction, request.environment, ADDON, request.args["id"])
    return Reply(page_of(of_items(found), read_window(request.query)))


_ON_DRAFTS: Final = "Only a draft can be changed."

ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/addons", handler=create, runs="write", status=201,
        summary="Create an add-on", tag="Add-ons", body=CreateAddon, reply=AddonReply,
        description="It begins as a draft, and can be part of a subscription once it is published.",
    ),
    Route(
        method="GET", path="/api/v1/addons", handler=page, access="client", runs="query",
        page=True, summary="List add-ons", tag="Add-ons", reply=AddonReply,
        description="Each as published, or its draft if it never was. With `status`: the "
        "newest version of each of these statuses.",
        query=(
            *PAGE_PARAMS,
            *CREATED_AT_PARAMS,
            QueryParam("productId", "Only add-ons of this product."),
            QueryParam("status", f"Only these statuses: {', '.join(_STATUSES)}."),
        ),
    ),
    Route(
        method="GET", path="/api/v1/addons/{id}", handler=retrieve, access="client",
        summary="Get an add-on", tag="Add-ons", reply=AddonReply,
        description="As published, or its draft if it never was.",
    ),
    Route(
        method="PATCH", path="/api/v1/addons/{id}", handler=update, runs="write",
        summary="Change an add-on", tag="Add-ons", body=UpdateAddon, reply=AddonReply,
        description="Changes the draft. Without one, only the name, description, billing id and "
        "metadata can change. A `status` of PUBLISHED publishes the draft for new subscriptions.",
    ),
    Route(
        method="POST", path="/api/v1/addons/{id}/archive", handler=archive, runs="write",
        summary="Archive an add-on", tag="Add-ons", reply=AddonReply,
        description="It can be added to no subscription; those that have it keep it. Refused while "
        "another add-on depends on it, or a plan lists it as compatible.",
    ),
    Route(
        method="POST", path="/api/v1/addons/{id}/draft", handler=create_draft, runs="write",
        summary="Begin a new version", tag="Add-ons", reply=AddonReply, status=201,
        description="A draft that is a copy of what is published.",
    ),
    Route(
        method="DELETE", path="/api/v1/addons/{id}/draft", handler=remove_draft, runs="write",
        summary="Forget the draft", tag="Add-ons", reply=IdReply,
        description="An add-on that was never published is forgotten with it.",
    ),
    Route(
        method="POST", path="/api/v1/addons/{id}/publish", handler=publish, runs="write",
        summary="Publish the draft", tag="Add-ons", body=PublishPlan, reply=TaskReply,
        description="`NEW_CUSTOMERS`: subscriptions that have it keep their version. "
        "`ALL_CUSTOMERS`: they get the new one, from now on. A draft that grants nothing is "
        "refused.",
    ),
    Route(
        method="GET", path="/api/v1/addons/{id}/charges", handler=list_charges, access="client",
        page=True, summary="List what an add-on costs", tag="Add-ons", reply=ChargeReply,
        description="One for each price, as it was given. Nothing is billed.", query=PAGE_PARAMS,
    ),
    Route(
        method="GET", path="/api/v1/addons/{addonId}/entitlements", handler=entitlements,
        access="client", page=True, summary="List what an add-on grants", tag="Add-ons",
        reply=_ENTITLEMENT, description="Of the draft, if there is one; all on one page.",
    ),
    Route(
        method="POST", path="/api/v1/addons/{addonId}/entitlements", handler=add_entitlements,
        runs="write", status=201, summary="Grant features", tag="Add-ons", body=CreateEntitlements,
        reply=list[_ENTITLEMENT], description=_ON_DRAFTS,  # type: ignore[valid-type]
    ),
    Route(
        method="PATCH", path="/api/v1/addons/{addonId}/entitlements/{id}",
        handler=update_entitlement, runs="write", summary="Change what is granted of a feature",
        tag="Add-ons", body=EntitlementUpdate, reply=_ENTITLEMENT, description=_ON_DRAFTS,
    ),
    Route(
        method="DELETE", path="/api/v1/addons/{addonId}/entitlements/{id}",
        handler=remove_entitlement, runs="write", summary="Grant a feature no longer",
        tag="Add-ons", reply=_ENTITLEMENT, description=_ON_DRAFTS,
    ),
)  # fmt: skip
