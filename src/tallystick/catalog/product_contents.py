"""What happens to the plans and add-ons of a product when it is archived, unarchived or copied.

Owns: that they go and come with it. What was archived with its product is unarchived with it; what
was archived before stays so. A copy's packages are named after it: plan `pro` of the copy `new` is
`new-pro`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tallystick.catalog import features, packages, products
from tallystick.catalog.changes import EVERYONE, record_change
from tallystick.catalog.packages import Package, Version
from tallystick.catalog.rows import Body
from tallystick.catalog.shapes.products import DuplicateProduct
from tallystick.clock import Instant
from tallystick.entitlements.packages import Kind
from tallystick.errors import BadInput
from tallystick.limits import ID_CHARS_MAX
from tallystick.store import Transaction

_KINDS: Final[tuple[Kind, ...]] = ("plan", "addon")
_MARK: Final = "archivedWithProduct"


def archive(transaction: Transaction, environment: str, product: str, now: Instant) -> Body:
    """Archive a product with all that is open in it."""
    answered = products.set_status(transaction, environment, product, "ARCHIVED", now)
    for kind in _KINDS:
        for package in packages.of_product(transaction, environment, kind, product):
            for version in () if package.archived else package.versions:
                body = version.body | {_MARK: True}
                gone = replace(version, body=body, status="ARCHIVED", updated_at=now)
                packages.write(transaction, environment, kind, gone)
    return answered


def unarchive(transaction: Transaction, environment: str, product: str, now: Instant) -> Body:
    """Unarchive a product with all that was archived with it.

    Raises ``BadInput`` where that grants a feature which was archived meanwhile.
    """
    answered = products.set_status(transaction, environment, product, "PUBLISHED", now)
    for kind in _KINDS:
        for package in packages.of_product(transaction, environment, kind, product):
            for version in package.versions:
                if version.body.get(_MARK):
                    _require_open_features(transaction, environment, kind, version)
                    body = {name: told for name, told in version.body.items() if name != _MARK}
                    status = "DRAFT" if version.published_at is None else "PUBLISHED"
                    back = replace(version, body=body, status=status, updated_at=now)
                    packages.write(transaction, environment, kind, back)
    return answered


def _require_open_features(
    transaction: Transaction, environment: str, kind: Kind, version: Version
) -> None:
    for feature in sorted(version.features):
        if features.stored(transaction, environment, feature)["featureStatus"] == "SUSPENDED":
            raise BadInput(
                f"{kind} {version.id!r} grants feature {feature!r}, which is archived; "
                f"unarchive that first",
                code="EntityIsArchivedError",
            )


def duplicate(
    transaction: Transaction,
    environment: str,
    product: str,
    request: DuplicateProduct,
    now: Instant,
) -> Body:
    """Store a copy of a product: its settings, and its plans and add-ons that are open.

    Raises ``Conflict`` when the id of the copy, or of a copied plan or add-on, is taken.
    """
    found = {
        kind: [
            package
            for package in packages.of_product(transaction, environment, kind, product)
            if not package.archived
        ]
        for kind in _KINDS
    }
    target = request.target_id
    named = {kind: {one.id: f"{target}-{one.id}" for one in found[kind]} for kind in _KINDS}
    settings = products.stored(transaction, environment, product).get("productSettings")
    copied_settings = settings and _renamed(settings, named)
    products.duplicate(transaction, environment, product, request, copied_settings, now)
    for kind in _KINDS:
        for package in found[kind]:
            _copy(transaction, environment, kind, package, target, named, now)
    return products.answer(transaction, environment, target)


def _copy(
    transaction: Transaction,
    environment: str,
    kind: Kind,
    package: Package,
    product: str,
    named: dict[Kind, dict[str, str]],
    now: Instant,
) -> None:
    """What is published as the first version, and the draft as the next."""
    name = named[kind][package.id]
    if len(name) > ID_CHARS_MAX:
        raise BadInput(f"targetId: the copy of {package.id!r} would have too long an id")
    packages.require_free(transaction, environment, kind, name)
    versions: list[Version] = [one for one in (package.published, package.draft) if one]
    for number, version in enumerate(versions, 1):
        is_published = version.published_at is not None
        copy = replace(
            version, id=name, number=number, product=product, body=_renamed(version.body, named),
            migration="NEW_CUSTOMERS" if is_published else None,
            published_at=now if is_published else None, created_at=now, updated_at=now,
        )  # fmt: skip
        packages.write(transaction, environment, kind, copy)
    record_change(transaction, environment, EVERYONE, now, f"{kind}:{name}")


# Where a body names plans, and where it lists add-ons.
_PLANS: Final = ("parentPlanId", "downgradePlanId", "subscriptionStartPlanId")
_ADDONS: Final = ("compatibleAddonIds", "dependencies")


def _renamed(body: Body, named: dict[Kind, dict[str, str]]) -> Body:
    """A body that names the copies instead; what was not copied is not named."""
    plans, addons = named["plan"], named["addon"]
    changed: Body = {name: plans.get(body[name]) for name in _PLANS if body.get(name) is not None}
    for name in _ADDONS:
        if body.get(name) is not None:
            changed[name] = [addons[addon] for addon in body[name] if addon in addons]
    return body | changed
