"""Add-ons and what they grant over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.api.catalog_packages import Packages
from tallystick.api.http import Reply, Request, Route
from tallystick.catalog import addons, effects, packages
from tallystick.catalog.addons import ADDON
from tallystick.catalog.shapes.addons import CreateAddon, UpdateAddon
from tallystick.catalog.shapes.replies import AddonReply
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_ADDONS: Final = Packages(
    ADDON, "addons", "addonId", "an add-on", "add-ons", "Add-ons", AddonReply
)  # fmt: skip


def create(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new add-on."""
    body, now = request.read(CreateAddon), services.clock.now()
    made = addons.create(transaction, request.environment, body, now)
    if body.status == "PUBLISHED":
        addons.publish(transaction, request.environment, body.id, "NEW_CUSTOMERS", now)
        made = packages.answer(transaction, request.environment, ADDON, body.id)
    return Reply(made)


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed add-on, published or archived if that is its new status."""
    body, now = request.read(UpdateAddon), services.clock.now()
    scope = (request.environment, ADDON, request.args["id"])
    made = addons.update(transaction, request.environment, request.args["id"], body, now)
    if body.status == "PUBLISHED" and made["status"] == "DRAFT":
        effects.publish(services, transaction, *scope, "NEW_CUSTOMERS", now)
        made = packages.answer(transaction, *scope)
    if body.status == "ARCHIVED":
        made = packages.archive(transaction, *scope, now)
    return Reply(made)


ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/addons", handler=create, runs="write", status=201,
        summary="Create an add-on", tag="Add-ons", body=CreateAddon, reply=AddonReply,
        description="It begins as a draft, and can be part of a subscription once it is published.",
    ),
    *_ADDONS.reading(listed="Each as published, or its draft if it never was."),
    Route(
        method="PATCH", path="/api/v1/addons/{id}", handler=update, runs="write",
        summary="Change an add-on", tag="Add-ons", body=UpdateAddon, reply=AddonReply,
        description="Changes the draft. Without one, only the name, description, billing id and "
        "metadata can change. A `status` of PUBLISHED publishes the draft for new subscriptions.",
    ),
    *_ADDONS.versions(
        archived="It can be added to no subscription; those that have it keep it. Refused while "
        "another add-on depends on it, or a plan lists it as compatible.",
        published="`NEW_CUSTOMERS`: subscriptions that have it keep their version. "
        "`ALL_CUSTOMERS`: they get the new one, from now on. A draft that grants nothing is "
        "refused.",
    ),
    _ADDONS.costs(),
    *_ADDONS.grants(),
)  # fmt: skip
