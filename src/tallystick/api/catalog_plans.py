"""Plans and what they grant over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.api.catalog_packages import Packages
from tallystick.api.http import Reply, Request, Route
from tallystick.catalog import packages, plans
from tallystick.catalog.plans import PLAN
from tallystick.catalog.shapes.plans import CreatePlan, UpdatePlan
from tallystick.catalog.shapes.replies import PlanReply
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_PLANS: Final = Packages(PLAN, "plans", "planId", "a plan", "plans", "Plans", PlanReply)


def create(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new plan."""
    body, now = request.read(CreatePlan), services.clock.now()
    made = plans.create(transaction, request.environment, body, now)
    if body.status == "PUBLISHED":
        plans.publish(transaction, request.environment, body.id, "NEW_CUSTOMERS", now)
        made = packages.answer(transaction, request.environment, PLAN, body.id)
    return Reply(made)


def update(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A changed plan."""
    body, now = request.read(UpdatePlan), services.clock.now()
    return Reply(plans.update(transaction, request.environment, request.args["id"], body, now))


ROUTES: Final = (
    Route(
        method="POST", path="/api/v1/plans", handler=create, runs="write", status=201,
        summary="Create a plan", tag="Plans", body=CreatePlan, reply=PlanReply,
        description="It begins as a draft, and can be subscribed to once it is published.",
    ),
    *_PLANS.reading(listed="Each plan as published, or its draft if it never was."),
    Route(
        method="PATCH", path="/api/v1/plans/{id}", handler=update, runs="write",
        summary="Change a plan", tag="Plans", body=UpdatePlan, reply=PlanReply,
        description="Changes the draft. Without one, only the name, description, billing id and "
        "metadata can change.",
    ),
    *_PLANS.versions(
        archived="It takes no new subscriptions; existing ones go on. Refused while another plan "
        "inherits from it, or its product begins or ends subscriptions with it.",
        published="`NEW_CUSTOMERS`: existing subscribers keep their version. `ALL_CUSTOMERS`: "
        "they get the new one, from now on. Plans that inherit are published anew with it. A "
        "draft that grants nothing is refused.",
    ),
    _PLANS.costs(),
    _PLANS.overage_costs(),
    *_PLANS.grants(),
)  # fmt: skip
