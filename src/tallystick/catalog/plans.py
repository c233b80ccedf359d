"""Plans: what a subscription grants, in versions.

Owns: the rows of ``plans``. A version is edited as a draft and never again once it is published.
New subscriptions get the newest published version; existing ones keep theirs, unless a version is
published for all customers. What a plan inherits from its parent is frozen into the version when
it is published; publishing a parent publishes its children anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from msgspec import UNSET

from tallystick.catalog import grants, products
from tallystick.catalog.changes import EVERYONE, record_change
from tallystick.catalog.pages import Cursor, Listed
from tallystick.catalog.rows import Body, decode, decode_list, encode, given, shown
from tallystick.catalog.shapes.plans import (
    CreateEntitlements,
    CreatePlan,
    EntitlementUpdate,
    UpdatePlan,
)
from tallystick.clock import Instant
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.store import Row, Transaction

_COLUMNS = """
    id, version, status, product, body, entitlements, migration, published_at, created_at,
    updated_at
"""
SELECT_VERSIONS = f"SELECT {_COLUMNS} FROM plans WHERE environment = ? AND id = ? ORDER BY version"

SELECT_ALL_VERSIONS = f"SELECT {_COLUMNS} FROM plans WHERE environment = ? ORDER BY id, version"

WRITE_VERSION = f"""
INSERT INTO plans (environment, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (environment, id, version)
DO UPDATE SET status = excluded.status, body = excluded.body,
              entitlements = excluded.entitlements, migration = excluded.migration,
              published_at = excluded.published_at, updated_at = excluded.updated_at
"""

DELETE_VERSION = "DELETE FROM plans WHERE environment = ? AND id = ? AND version = ?"

# What may change without a new version: it describes the plan and grants nothing.
_DESCRIPTIVE = frozenset({"billingId", "description", "displayName", "metadata"})
_DRAFT_ONLY = "EditAllowedOnDraftPackageOnlyError"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a plan, as stored."""

    id: str
    number: int
    status: str
    product: str
    body: Body
    entitlements: list[Body]
    migration: str | None
    published_at: int | None
    created_at: int
    updated_at: int

    @property
    def granted(self) -> list[Body]:
        """Its own entitlements and, where it has none of its own, those of its parent."""
        own = {item["id"] for item in self.entitlements}
        inherited = [item for item in self.body.get("inherited", ()) if item["id"] not in own]
        return inherited + self.entitlements

    @property
    def pricing_type(self) -> str:
        """FREE, PAID or CUSTOM."""
        return self.body.get("pricingType") or "FREE"


@dataclass(frozen=True, slots=True)
class Plan:
    """All versions of a plan, oldest first; never empty."""

    versions: list[Version]

    @property
    def draft(self) -> Version | None:
        """The version under work."""
        last = self.versions[-1]
        return last if last.status == "DRAFT" else None

    @property
    def published(self) -> Version | None:
        """The version that new subscriptions get."""
        found = [version for version in self.versions if version.published_at is not None]
        return found[-1] if found else None

    @property
    def shown(self) -> Version:
        """What callers mean by the plan: what is published, or else the draft."""
        return self.published or self.versions[-1]

    @property
    def archived(self) -> bool:
        """Whether it takes no new subscriptions."""
        return self.versions[-1].status == "ARCHIVED"


def create(transaction: Transaction, environment: str, request: CreatePlan, now: Instant) -> Body:
    """Store a new plan as a draft. Raises ``Conflict`` and ``NotFound`` (product, parent)."""
    if transaction.one(SELECT_VERSIONS, environment, request.id) is not None:
        raise Conflict(f"id: a plan {request.id!r} exists already")
    if request.status == "ARCHIVED":
        raise BadInput("status: a new plan is a draft or published")
    products.require_open(transaction, environment, request.product_id)
    body = given(request, "id", "productId", "status")
    body["metadata"] = {} if request.metadata is UNSET else request.metadata
    _check_parent(transaction, environment, request.id, request.product_id, body)
    version = Version(request.id, 1, "DRAFT", request.product_id, body, [], None, None, now, now)
    _write(transaction, environment, version, now)
    return _answer(find(transaction, environment, request.id), version)


def update(
    transaction: Transaction, environment: str, plan: str, request: UpdatePlan, now: Instant
) -> Body:
    """Change the draft; without one, only what describes the plan can change."""
    found = find_open(transaction, environment, plan)
    change = given(request)
    target = found.draft or found.shown
    if target.status != "DRAFT" and not change.keys() <= _DESCRIPTIVE:
        held = ", ".join(sorted(change.keys() - _DESCRIPTIVE))
        raise BadInput(
            f"{held}: plan {plan!r} has no draft; create one to change this", code=_DRAFT_ONLY
        )
    body = target.body | change
    if request.charges is not UNSET:
        body["pricingType"] = request.charges.pricing_type
    if request.parent_plan_id is not UNSET:
        body.pop("inherited", None)
        _check_parent(transaction, environment, plan, target.product, body)
    changed = replace(target, body=body, updated_at=now)
    _write(transaction, environment, changed, now)
    return _answer(find(transaction, environment, plan), changed)


def create_draft(transaction: Transaction, environment: str, plan: str, now: Instant) -> Body:
    """Begin a new version as a copy of the published one; raises ``Conflict``."""
    found = find_open(transaction, environment, plan)
    if found.draft is not None:
        raise Conflict(f"plan {plan!r} has a draft already", code="DraftAlreadyExists")
    last = found.versions[-1]
    draft = replace(
        last, number=last.number + 1, status="DRAFT", migration=None, published_at=None,
        updated_at=now,
    )  # fmt: skip
    _write(transaction, environment, draft, now)
    return _answer(find(transaction, environment, plan), draft)


def remove_draft(transaction: Transaction, environment: str, plan: str, now: Instant) -> Body:
    """Forget the draft; a plan that was never published is forgotten with it."""
    draft = _draft(transaction, environment, plan)
    transaction.run(DELETE_VERSION, environment, plan, draft.number)
    record_change(transaction, environment, EVERYONE, now)
    return {"id": plan}


def archive(transaction: Transaction, environment: str, plan: str, now: Instant) -> Body:
    """Take no new subscriptions; existing ones go on."""
    for version in find(transaction, environment, plan).versions:
        changed = replace(version, status="ARCHIVED", updated_at=now)
        _write(transaction, environment, changed, now)
    found = find(transaction, environment, plan)
    return _answer(found, found.shown)


def publish(
    transaction: Transaction, environment: str, plan: str, migration: str, now: Instant
) -> list[str]:
    """Publish the draft, and its children anew; returns the plans that have a new version."""
    draft = _draft(transaction, environment, plan)
    parent = draft.body.get("parentPlanId")
    inherited = [] if parent is None else _inherited(transaction, environment, parent)
    published = replace(
        draft, body=draft.body | {"inherited": inherited}, status="PUBLISHED",
        migration=migration, published_at=now, updated_at=now,
    )  # fmt: skip
    _write(transaction, environment, published, now)
    renewed = [plan]
    for child in _children(transaction, environment, plan):
        _renew_draft(transaction, environment, child, now)
        renewed += publish(transaction, environment, child.versions[-1].id, migration, now)
        _restore_draft(transaction, environment, child, now)
    return renewed


def renewed_with(transaction: Transaction, environment: str, plan: str) -> list[str]:
    """The plans that ``publish`` gives a new version: this one, and those that inherit from it."""
    children = _children(transaction, environment, plan)
    heirs = (renewed_with(transaction, environment, child.versions[-1].id) for child in children)
    return [plan, *(name for names in heirs for name in names)]


def add_entitlements(
    transaction: Transaction,
    environment: str,
    plan: str,
    request: CreateEntitlements,
    now: Instant,
) -> list[Body]:
    """Grant more in the draft. Raises ``BadInput``, ``NotFound`` and ``Conflict``."""
    draft = _draft(transaction, environment, plan)
    added = grants.new_items(transaction, environment, request.entitlements, now)
    items = draft.entitlements + added
    grants.check_once(items)
    _write(transaction, environment, replace(draft, entitlements=items, updated_at=now), now)
    return [grants.answer(item) for item in added]


def update_entitlement(
    transaction: Transaction,
    environment: str,
    plan: str,
    entitlement: str,
    request: EntitlementUpdate,
    now: Instant,
) -> Body:
    """Change what the draft grants of a feature."""
    draft = _draft(transaction, environment, plan)
    place = _place(draft, entitlement)
    items = list(draft.entitlements)
    items[place] = grants.changed_item(transaction, environment, items[place], request, now)
    _write(transaction, environment, replace(draft, entitlements=items, updated_at=now), now)
    return grants.answer(items[place])


def remove_entitlement(
    transaction: Transaction, environment: str, plan: str, entitlement: str, now: Instant
) -> Body:
    """Grant nothing of a feature in the draft."""
    draft = _draft(transaction, environment, plan)
    items = list(draft.entitlements)
    removed = items.pop(_place(draft, entitlement))
    _write(transaction, environment, replace(draft, entitlements=items, updated_at=now), now)
    return grants.answer(removed)


def entitlements(transaction: Transaction, environment: str, plan: str) -> list[Body]:
    """What a plan grants: its draft, if it has one, as that is what edits change."""
    found = find(transaction, environment, plan)
    return [grants.answer(item) for item in (found.draft or found.shown).granted]


def answer(transaction: Transaction, environment: str, plan: str) -> Body:
    """A plan as callers see it; raises ``NotFound``."""
    found = find(transaction, environment, plan)
    return _answer(found, found.shown)


def listed(
    transaction: Transaction, environment: str, product: str | None, statuses: set[str]
) -> Iterator[Listed]:
    """The plans of a product (None: of all); with statuses, their newest versions of each."""
    for plan in _all(transaction, environment):
        newest = {version.status: version for version in plan.versions}
        named = [newest[status] for status in sorted(statuses) if status in newest]
        for version in named if statuses else [plan.shown]:
            if product in (None, version.product):
                data = _answer(plan, version)
                yield Listed(Cursor(version.created_at, f"{version.id}/{version.number}"), data)


def find(transaction: Transaction, environment: str, plan: str) -> Plan:
    """All versions of a plan; raises ``NotFound``."""
    rows = transaction.all(SELECT_VERSIONS, environment, plan)
    if not rows:
        raise NotFound(f"no plan {plan!r}", code="PlanNotFound")
    return Plan([_version(row) for row in rows])


def find_open(transaction: Transaction, environment: str, plan: str) -> Plan:
    """``find`` a plan that is not archived; raises ``BadInput`` for one that is."""
    found = find(transaction, environment, plan)
    if found.archived:
        raise BadInput(f"plan {plan!r} is archived", code="EntityIsArchivedError")
    return found


def _draft(transaction: Transaction, environment: str, plan: str) -> Version:
    draft = find_open(transaction, environment, plan).draft
    if draft is None:
        raise BadInput(f"plan {plan!r} has no draft; create one first", code=_DRAFT_ONLY)
    return draft


def _place(draft: Version, entitlement: str) -> int:
    for place, item in enumerate(draft.entitlements):
        if item["id"] == entitlement:
            return place
    raise NotFound(
        f"the draft of plan {draft.id!r} grants nothing of {entitlement!r}",
        code="EntitlementNotFound",
    )


def _inherited(transaction: Transaction, environment: str, parent: str) -> list[Body]:
    published = find(transaction, environment, parent).published
    return [] if published is None else published.granted


def _children(transaction: Transaction, environment: str, plan: str) -> list[Plan]:
    """The plans whose published version inherits from a plan."""
    return [
        found
        for found in _all(transaction, environment)
        if not found.archived
        and found.published is not None
        and found.published.body.get("parentPlanId") == plan
    ]


def _renew_draft(transaction: Transaction, environment: str, plan: Plan, now: Instant) -> None:
    """A draft that is what is published, in the place of the one under work."""
    published = plan.published
    assert published is not None
    fresh = replace(
        published, number=published.number + 1, status="DRAFT", migration=None, published_at=None
    )
    _write(transaction, environment, fresh, now)


def _restore_draft(transaction: Transaction, environment: str, plan: Plan, now: Instant) -> None:
    """The draft that ``_renew_draft`` displaced, behind the version published meanwhile."""
    if plan.draft is not None:
        restored = replace(plan.draft, number=plan.draft.number + 1)
        _write(transaction, environment, restored, now)


def _check_parent(
    transaction: Transaction, environment: str, plan: str, product: str, body: Body
) -> None:
    """Raises ``NotFound`` or ``BadInput`` unless the parent can be one."""
    above = body.get("parentPlanId")
    while above is not None:
        if above == plan:
            raise BadInput(f"parentPlanId: plan {plan!r} would inherit from itself")
        parent = find(transaction, environment, above)
        if parent.shown.product != product:
            raise BadInput(f"parentPlanId: plan {above!r} belongs to another product")
        above = parent.versions[-1].body.get("parentPlanId")


def _all(transaction: Transaction, environment: str) -> Iterator[Plan]:
    plans: dict[str, list[Version]] = {}
    for row in transaction.all(SELECT_ALL_VERSIONS, environment):
        plans.setdefault(cast("str", row[0]), []).append(_version(row))
    return (Plan(versions) for versions in plans.values())


def _version(row: Row) -> Version:
    plan, number, status, product, body, items, *rest = row
    return Version(
        cast("str", plan), cast("int", number), cast("str", status), cast("str", product),
        decode(cast("str", body)), decode_list(cast("str", items)), *rest,  # type: ignore[arg-type]
    )  # fmt: skip


def _write(transaction: Transaction, environment: str, version: Version, now: Instant) -> None:
    transaction.run(
        WRITE_VERSION, environment, version.id, version.number, version.status, version.product,
        encode(version.body), encode(version.entitlements), version.migration,
        version.published_at, version.created_at, version.updated_at,
    )  # fmt: skip
    record_change(transaction, environment, EVERYONE, now)


def _answer(plan: Plan, version: Version) -> Body:
    body = version.body
    newest = plan.published or plan.versions[-1]
    return {
        "id": version.id,
        "productId": version.product,
        "versionNumber": version.number,
        "status": version.status,
        "isLatest": version.number == newest.number,
        "displayName": body["displayName"],
        "description": body.get("description"),
        "billingId": body.get("billingId"),
        "compatibleAddonIds": body.get("compatibleAddonIds"),
        "defaultTrialConfig": body.get("defaultTrialConfig"),
        "metadata": body["metadata"],
        "parentPlanId": body.get("parentPlanId"),
        "pricingType": body.get("pricingType"),
        "charges": body.get("charges"),
        "entitlements": grants.summary(version.granted),
        "createdAt": shown(version.created_at),
        "updatedAt": shown(version.updated_at),
    }
