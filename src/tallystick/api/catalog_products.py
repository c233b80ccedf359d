"""Products over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.api.catalog_query import one_of
from tallystick.api.http import QueryParam, Reply, Request, Route
from tallystick.api.pagination import (
    CREATED_AT_PARAMS,
    PAGE_PARAMS,
    read_created_at,
    read_window,
)
from tallystick.catalog import product_contents, products
from tallystick.catalog.pages import of_items, page_of
from tallystick.catalog.shapes.products import CreateProduct, DuplicateProduct, UpdateProduct
from tallystick.catalog.shapes.replies import ProductReply
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_STATUSES: Final = ("PUBLISHED", "ARCHIVED")


def create(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new product."""
    body = request.read(CreateProduct)
    return Reply(products.create(transaction, request.environment, body, services.clock.now()))


def page(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Products, a page at a time."""
    created = read_created_at(request.query)
    statuses = one_of(request.query, "status", _STATUSES)
    found = products.listed(transaction, request.environment, request.query.id("id"), statuses)
    source = of_items(item for item in found if created.holds(item.place.created_at))
    return Reply(page_of(source, read_window(request.query)))


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed product."""
    body, now = request.read(UpdateProduct), services.clock.now()
    return Reply(products.update(transaction, request.environment, request.args["id"], body, now))


def archive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """An archived product."""
    scope, now = (request.environment, request.args["id"]), services.clock.now()
    return Reply(product_contents.archive(transaction, *scope, now))


def unarchive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A product that is open again."""
    scope, now = (request.environment, request.args["id"]), services.clock.now()
    return Reply(product_contents.unarchive(transaction, *scope, now))


def duplicate(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A copy of a product, with its plans and add-ons."""
    body, now = request.read(DuplicateProduct), services.clock.now()
    scope = (request.environment, request.args["id"])
    return Reply(product_contents.duplicate(transaction, *scope, body, now))


ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/products", handler=create, runs="write", status=201,
        summary="Create a product", tag="Products", body=CreateProduct, reply=ProductReply,
        description="A product holds plans. Unless it allows multiple subscriptions, another plan "
        "of it replaces the active one.",
    ),
    Route(
        method="GET", path="/api/v1/products", handler=page, access="client", runs="query",
        page=True, summary="List products", tag="Products", reply=ProductReply,
        description="In the order of creation.",
        query=(
            *PAGE_PARAMS,
            *CREATED_AT_PARAMS,
            QueryParam("id", "Only the product with this id."),
            QueryParam("status", f"Only these statuses: {', '.join(_STATUSES)}."),
        ),
    ),
    Route(
        method="PATCH", path="/api/v1/products/{id}", handler=update, runs="write",
        summary="Change a product", tag="Products", body=UpdateProduct, reply=ProductReply,
        description="What is omitted stays. `usageResetCutoffRule` decides whether later plan "
        "changes reset usage.",
    ),
    Route(
        method="POST", path="/api/v1/products/{id}/archive", handler=archive, runs="write",
        summary="Archive a product", tag="Products", reply=ProductReply,
        description="Its plans and add-ons are archived with it; existing subscriptions go on.",
    ),
    Route(
        method="POST", path="/api/v1/products/{id}/unarchive", handler=unarchive, runs="write",
        summary="Unarchive a product", tag="Products", reply=ProductReply,
        description="Its plans and add-ons that were archived with it are open again too.",
    ),
    Route(
        method="POST", path="/api/v1/products/{id}/duplicate", handler=duplicate, runs="write",
        summary="Copy a product", tag="Products", body=DuplicateProduct, reply=ProductReply,
        status=201, description="Its settings, plans and add-ons are copied: plan `pro` of the "
        "copy `new` is `new-pro`. What is published is published again, drafts are drafts, "
        "what is archived is left out.",
    ),
)  # fmt: skip
