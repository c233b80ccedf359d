"""Add-ons: what a subscription may grant on top of its plan, a number of times.

Owns: what of a package only add-ons have: the add-ons that it needs beside it, and how often it
may be taken. The rest is ``packages``; what it adds to a plan is ``core/packages``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from msgspec import UNSET

from tallystick.catalog import packages, products
from tallystick.catalog.rows import Body, given
from tallystick.catalog.shapes.addons import CreateAddon, UpdateAddon
from tallystick.clock import Instant
from tallystick.entitlements.packages import Kind
from tallystick.errors import BadInput
from tallystick.store import Transaction

ADDON: Final[Kind] = "addon"


def create(transaction: Transaction, environment: str, request: CreateAddon, now: Instant) -> Body:
    """Store a new add-on as a draft. Raises ``Conflict`` and ``NotFound`` (product)."""
    packages.require_free(transaction, environment, ADDON, request.id)
    if request.status == "ARCHIVED":
        raise BadInput("status: a new add-on is a draft or published")
    products.require_open(transaction, environment, request.product_id)
    body = given(request, "id", "productId", "status")
    body["metadata"] = {} if request.metadata is UNSET else request.metadata
    scope = (environment, ADDON, request.id)
    packages.create(transaction, *scope, request.product_id, body, now)
    return packages.answer(transaction, *scope)


def update(
    transaction: Transaction, environment: str, addon: str, request: UpdateAddon, now: Instant
) -> Body:
    """Change the draft; without one, only what describes the add-on can change."""
    change = given(request, "status")
    fields = [*change, *(["status"] if request.status == "DRAFT" else [])]
    target = packages.to_change(transaction, environment, ADDON, addon, fields)
    body = target.body | change
    if request.charges is not UNSET:
        body["pricingType"] = request.charges.pricing_type
    if request.dependencies is not UNSET:
        _check_dependencies(transaction, environment, target, request.dependencies or ())
    changed = replace(target, body=body, updated_at=now)
    packages.write(transaction, environment, ADDON, changed)
    return packages.version_answer(transaction, environment, ADDON, changed)


def publish(
    transaction: Transaction, environment: str, addon: str, migration: str, now: Instant
) -> None:
    """Publish the draft; raises ``BadInput`` without one, or when it grants nothing."""
    draft = packages.draft_of(transaction, environment, ADDON, addon)
    packages.publish(transaction, environment, ADDON, draft, migration, now)


def check_of_product(
    transaction: Transaction, environment: str, field: str, addons: Iterable[str], product: str
) -> None:
    """Raises ``NotFound`` or ``BadInput`` unless these are open add-ons of a product."""
    names = list(addons)
    if len(names) != len(set(names)):
        raise BadInput(f"{field}: an add-on occurs twice")
    for name in names:
        if packages.find_open(transaction, environment, ADDON, name).shown.product != product:
            raise BadInput(f"{field}: add-on {name!r} belongs to another product")


def _check_dependencies(
    transaction: Transaction, environment: str, addon: packages.Version, needed: Iterable[str]
) -> None:
    """Raises ``NotFound`` or ``BadInput`` unless an add-on can need these."""
    names = list(needed)
    check_of_product(transaction, environment, "dependencies", names, addon.product)
    reached, ahead = set(names), names
    while ahead:
        if addon.id in reached:
            raise BadInput(f"dependencies: add-on {addon.id!r} would depend on itself")
        found = packages.find(transaction, environment, ADDON, ahead.pop())
        fresh = set(found.edited.body.get("dependencies") or ()) - reached
        reached |= fresh
        ahead += fresh
