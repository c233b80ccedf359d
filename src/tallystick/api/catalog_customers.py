"""Customers over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.api.http import QueryParam, Reply, Request, Route
from tallystick.api.pagination import (
    CREATED_AT_PARAMS,
    PAGE_PARAMS,
    read_created_at,
    read_window,
)
from tallystick.catalog import customers, effects
from tallystick.catalog.shapes.customers import ImportCustomers, ProvisionCustomer, UpdateCustomer
from tallystick.catalog.shapes.replies import CustomerReply, NewCustomersReply, ResourceReply
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services


def provision(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new customer."""
    body, now = request.read(ProvisionCustomer), services.clock.now()
    return Reply(customers.provision(transaction, request.environment, body, now))


def retrieve(services: Services, transaction: Transaction, request: Request) -> Reply:
    """One customer."""
    return Reply(customers.answer(transaction, request.environment, request.args["id"]))


def page(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Customers, a page at a time."""
    query = request.query
    window, created = read_window(query), read_created_at(query)
    email, name = query.get("email"), query.get("name")
    return Reply(customers.page(transaction, request.environment, window, created, email, name))


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed customer; a changed time zone moves calendar resets."""
    body, now = request.read(UpdateCustomer), services.clock.now()
    scope = (request.environment, request.args["id"])
    before = effects.placements(services, transaction, *scope)
    answer = customers.update(transaction, *scope, body, now)
    effects.settle(services, transaction, *scope, before, now)
    return Reply(answer)


def archive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """An archived customer."""
    scope, now = (request.environment, request.args["id"]), services.clock.now()
    return Reply(customers.set_archived(transaction, *scope, True, now))


def unarchive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A customer that is open again."""
    scope, now = (request.environment, request.args["id"]), services.clock.now()
    return Reply(customers.set_archived(transaction, *scope, False, now))


def bring_in(services: Services, transaction: Transaction, request: Request) -> Reply:
    """The ids of those that are new."""
    body, now = request.read(ImportCustomers), services.clock.now()
    new = customers.bring_in(transaction, request.environment, body.customers, now)
    return Reply({"newCustomers": new})


def resources(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A customer's resources, a page at a time."""
    scope, window = (request.environment, request.args["id"]), read_window(request.query)
    return Reply(customers.resources(transaction, *scope, window))


ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/customers", handler=provision, runs="write", status=201,
        summary="Create a customer", tag="Customers", body=ProvisionCustomer, reply=CustomerReply,
        description="Events that were sent for it before are counted once a rule covers them.",
    ),
    Route(
        method="GET", path="/api/v1/customers", handler=page, runs="query", page=True,
        summary="List customers", tag="Customers", reply=CustomerReply,
        description="In the order of creation.",
        query=(
            *PAGE_PARAMS,
            *CREATED_AT_PARAMS,
            QueryParam("email", "Only customers with exactly this email."),
            QueryParam("name", "Only customers with exactly this name."),
        ),
    ),
    Route(
        method="GET", path="/api/v1/customers/{id}", handler=retrieve,
        summary="Get a customer", tag="Customers", reply=CustomerReply,
        description="As it is now, archived or not.",
    ),
    Route(
        method="PATCH", path="/api/v1/customers/{id}", handler=update, runs="write",
        summary="Change a customer", tag="Customers", body=UpdateCustomer, reply=CustomerReply,
        description="What is omitted stays; metadata is replaced whole. A time zone holds for "
        "calendar resets from now on.",
    ),
    Route(
        method="POST", path="/api/v1/customers/{id}/archive", handler=archive, runs="write",
        summary="Archive a customer", tag="Customers", reply=CustomerReply,
        description="It is denied everything and gets no new subscriptions; nothing is lost.",
    ),
    Route(
        method="POST", path="/api/v1/customers/{id}/unarchive", handler=unarchive, runs="write",
        summary="Unarchive a customer", tag="Customers", reply=CustomerReply,
        description="It has what it had before.",
    ),
    Route(
        method="POST", path="/api/v1/customers/import", handler=bring_in, runs="write",
        summary="Create or change many customers", tag="Customers", body=ImportCustomers,
        reply=NewCustomersReply, description="All or none; tells which of them are new.",
    ),
    Route(
        method="GET", path="/api/v1/customers/{id}/resources", handler=resources, page=True,
        summary="List a customer's resources", tag="Customers", reply=ResourceReply,
        description="Those it has or had subscriptions for.", query=PAGE_PARAMS,
    ),
)  # fmt: skip
