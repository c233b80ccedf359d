"""Plans: what a subscription grants, in versions.

Owns: what of a package only plans have: parents. New subscriptions get the newest published
version; existing ones keep theirs, unless a version is published for all customers. What a plan
inherits from its parent is frozen into the version when it is published; publishing a parent
publishes its children anew. The rest is ``packages``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, cast

from msgspec import UNSET

from tallystick.catalog import addons, packages, products
from tallystick.catalog.packages import Package, Version
from tallystick.catalog.rows import Body, given
from tallystick.catalog.shapes.plans import CreatePlan, UpdatePlan
from tallystick.clock import Instant
from tallystick.entitlements.packages import Kind
from tallystick.errors import BadInput
from tallystick.store import Transaction

PLAN: Final[Kind] = "plan"

# Plans of which a version, of any age, names this parent.
NAMED_CHILDREN = """
SELECT DISTINCT id FROM plans WHERE environment = ? AND parent = ? ORDER BY id
"""


def create(transaction: Transaction, environment: str, request: CreatePlan, now: Instant) -> Body:
    """Store a new plan as a draft. Raises ``Conflict`` and ``NotFound`` (product, parent)."""
    packages.require_free(transaction, environment, PLAN, request.id)
    if request.status == "ARCHIVED":
        raise BadInput("status: a new plan is a draft or published")
    products.require_open(transaction, environment, request.product_id)
    body = given(request, "id", "productId", "status")
    body["metadata"] = {} if request.metadata is UNSET else request.metadata
    _check_parent(transaction, environment, request.id, request.product_id, body)
    scope = (environment, PLAN, request.id)
    packages.create(transaction, *scope, request.product_id, body, now)
    return packages.answer(transaction, *scope)


def update(
    transaction: Transaction, environment: str, plan: str, request: UpdatePlan, now: Instant
) -> Body:
    """Change the draft; without one, only what describes the plan can change."""
    change = given(request)
    target = packages.to_change(transaction, environment, PLAN, plan, change.keys())
    body = target.body | change
    if request.charges is not UNSET:
        body["pricingType"] = request.charges.pricing_type
    if request.compatible_addon_ids is not UNSET:
        names = request.compatible_addon_ids or ()
        addons.check_of_product(
            transaction, environment, "compatibleAddonIds", names, target.product
        )
    if request.parent_plan_id is not UNSET:
        body.pop("inherited", None)
        _check_parent(transaction, environment, plan, target.product, body)
    changed = replace(target, body=body, updated_at=now)
    packages.write(transaction, environment, PLAN, changed)
    return packages.version_answer(transaction, environment, PLAN, changed)


def publish(
    transaction: Transaction, environment: str, plan: str, migration: str, now: Instant
) -> list[str]:
    """Publish the draft, and its children anew; returns the plans that have a new version."""
    draft = packages.draft_of(transaction, environment, PLAN, plan)
    body = draft.body | {"inherited": _inherited(transaction, environment, draft)}
    packages.publish(transaction, environment, PLAN, replace(draft, body=body), migration, now)
    renewed = [plan]
    for child in children(transaction, environment, plan):
        packages.renew_draft(transaction, environment, PLAN, child, now)
        renewed += publish(transaction, environment, child.id, migration, now)
        _restore_draft(transaction, environment, child)
    return renewed


def renewed_with(transaction: Transaction, environment: str, plan: str) -> list[str]:
    """The plans that ``publish`` gives a new version: this one, and those that inherit from it."""
    found = children(transaction, environment, plan)
    heirs = (renewed_with(transaction, environment, child.id) for child in found)
    return [plan, *(name for names in heirs for name in names)]


def children(transaction: Transaction, environment: str, plan: str) -> list[Package]:
    """The plans whose published version inherits from a plan."""
    return [
        child
        for child in named_children(transaction, environment, plan)
        if child.published is not None and child.published.body.get("parentPlanId") == plan
    ]


def named_children(transaction: Transaction, environment: str, plan: str) -> Iterator[Package]:
    """The plans that are not archived and name a plan as their parent, or once did."""
    for (name,) in transaction.all(NAMED_CHILDREN, environment, plan):
        found = packages.find(transaction, environment, PLAN, cast("str", name))
        if not found.archived:
            yield found


def _inherited(transaction: Transaction, environment: str, draft: Version) -> list[Body]:
    """What the parent grants; raises ``BadInput`` for one that nobody can have yet."""
    parent = draft.body.get("parentPlanId")
    if parent is None:
        return []
    published = packages.find(transaction, environment, PLAN, parent).published
    if published is None:
        raise BadInput(
            f"parentPlanId: plan {parent!r} was never published; publish it first",
            code="PlanCannotBePublishWhenBasePlanIsDraft",
        )
    return published.granted


def _restore_draft(transaction: Transaction, environment: str, plan: Package) -> None:
    """The draft that a renewed one displaced, behind the version published meanwhile."""
    if plan.draft is not None:
        restored = replace(plan.draft, number=plan.draft.number + 1)
        packages.write(transaction, environment, PLAN, restored)


def _check_parent(
    transaction: Transaction, environment: str, plan: str, product: str, body: Body
) -> None:
    """Raises ``NotFound`` or ``BadInput`` unless the parent can be one."""
    above = body.get("parentPlanId")
    while above is not None:
        if above == plan:
            raise BadInput(f"parentPlanId: plan {plan!r} would inherit from itself")
        parent = packages.find_open(transaction, environment, PLAN, above)
        if parent.shown.product != product:
            raise BadInput(f"parentPlanId: plan {above!r} belongs to another product")
        above = parent.versions[-1].body.get("parentPlanId")
