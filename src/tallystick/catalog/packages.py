"""Packages: plans and add-ons, what is granted to whoever has one, in versions.

Owns: the rows of ``plans`` and ``addons``, which are alike, and of ``granted_features``: which
features a version names. A version is edited as a draft and never again once it is published.
Publishing records a change; drafts and descriptions record none: no rule is made of them.

Leaves to others: what only plans have (``plans``: inheritance), what only add-ons have
(``addons``: dependencies), and what stands in the way of removing or archiving (``in_use``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

from tallystick.catalog import grants, in_use
from tallystick.catalog.changes import EVERYONE, record_change
from tallystick.catalog.pages import Cursor, Listed
from tallystick.catalog.rows import Body, decode, decode_list, encode, shown
from tallystick.catalog.shapes.plans import CreateEntitlements, EntitlementUpdate
from tallystick.clock import Instant
from tallystick.entitlements.packages import Kind
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.store import Row, Transaction

_COLUMNS = """
    id, version, status, product, body, entitlements, migration, published_at, created_at,
    updated_at
"""
_UPSERT = """
ON CONFLICT (environment, id, version)
DO UPDATE SET status = excluded.status, body = excluded.body,
              entitlements = excluded.entitlements, migration = excluded.migration,
              published_at = excluded.published_at, updated_at = excluded.updated_at
"""


class _Statements(NamedTuple):
    """Of one kind of package: the versions of one, of all, of those of a product; and writing."""

    select: str
    select_all: str
    select_of_product: str
    write: str
    delete: str


_STATEMENTS: Final[dict[Kind, _Statements]] = {
    "plan": _Statements(
        f"SELECT {_COLUMNS} FROM plans WHERE environment = ? AND id = ? ORDER BY version",
        f"SELECT {_COLUMNS} FROM plans WHERE environment = ? ORDER BY id, version",
        f"SELECT {_COLUMNS} FROM plans WHERE environment = ? AND product = ? ORDER BY id, version",
        f"""
        INSERT INTO plans (environment, {_COLUMNS}, parent)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {_UPSERT}, parent = excluded.parent
        """,
        "DELETE FROM plans WHERE environment = ? AND id = ? AND version = ?",
    ),
    "addon": _Statements(
        f"SELECT {_COLUMNS} FROM addons WHERE environment = ? AND id = ? ORDER BY version",
        f"SELECT {_COLUMNS} FROM addons WHERE environment = ? ORDER BY id, version",
        f"SELECT {_COLUMNS} FROM addons WHERE environment = ? AND product = ? ORDER BY id, version",
        f"""
        INSERT INTO addons (environment, {_COLUMNS})
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {_UPSERT}
        """,
        "DELETE FROM addons WHERE environment = ? AND id = ? AND version = ?",
    ),
}

ADD_GRANTED = """
INSERT INTO granted_features (environment, feature, kind, package, version) VALUES (?, ?, ?, ?, ?)
"""

REMOVE_GRANTED = """
DELETE FROM granted_features
WHERE environment = ? AND feature = ? AND kind = ? AND package = ? AND version = ?
"""

# What may change without a new version: it describes the package and grants nothing.
_DESCRIPTIVE = frozenset({"billingId", "description", "displayName", "metadata"})
_DRAFT_ONLY = "EditAllowedOnDraftPackageOnlyError"
_NOUN: Final[dict[Kind, str]] = {"plan": "plan", "addon": "add-on"}


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a package, as stored."""

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
    def features(self) -> set[str]:
        """The features that it names."""
        return {item["id"] for item in self.granted if item["type"] == "FEATURE"}

    @property
    def pricing_type(self) -> str:
        """FREE, PAID or CUSTOM."""
        return self.body.get("pricingType") or "FREE"


@dataclass(frozen=True, slots=True)
class Package:
    """All versions of a package, oldest first; never empty."""

    versions: list[Version]

    @property
    def id(self) -> str:
        """Its id."""
        return self.versions[-1].id

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
        """What callers mean by the package: what is published, or else the draft."""
        return self.published or self.versions[-1]

    @property
    def edited(self) -> Version:
        """What edits change: the draft, or else what is shown."""
        return self.draft or self.shown

    @property
    def archived(self) -> bool:
        """Whether it takes no new subscriptions."""
        return self.versions[-1].status == "ARCHIVED"


def find(transaction: Transaction, environment: str, kind: Kind, package: str) -> Package:
    """All versions of a package; raises ``NotFound``."""
    found = _load(transaction, environment, kind, package)
    if found is not None:
        return found
    if kind == "addon":
        raise NotFound(f"no add-on {package!r}", code="AddonNotFound")
    raise NotFound(f"no plan {package!r}", code="PlanNotFound")


def find_open(transaction: Transaction, environment: str, kind: Kind, package: str) -> Package:
    """``find`` a package that is not archived; raises ``BadInput`` for one that is."""
    found = find(transaction, environment, kind, package)
    if found.archived:
        raise BadInput(f"{_NOUN[kind]} {package!r} is archived", code="EntityIsArchivedError")
    return found


def subscribable(transaction: Transaction, environment: str, kind: Kind, package: str) -> Version:
    """The version that a new subscription gets. Raises ``NotFound`` and ``BadInput``."""
    published = find_open(transaction, environment, kind, package).published
    if published is None:
        raise BadInput(f"{_NOUN[kind]} {package!r} is a draft; publish it first")
    return published


def draft_of(transaction: Transaction, environment: str, kind: Kind, package: str) -> Version:
    """The draft of a package; raises ``NotFound``, and ``BadInput`` when it has none."""
    draft = find_open(transaction, environment, kind, package).draft
    if draft is None:
        raise BadInput(
            f"{_NOUN[kind]} {package!r} has no draft; create one first", code=_DRAFT_ONLY
        )
    return draft


def of_product(
    transaction: Transaction, environment: str, kind: Kind, product: str
) -> Iterator[Package]:
    """The packages of a product, those that are archived included."""
    sql = _STATEMENTS[kind].select_of_product
    return _grouped(transaction.all(sql, environment, product))


def require_free(transaction: Transaction, environment: str, kind: Kind, package: str) -> None:
    """Raises ``Conflict`` when an id is taken."""
    if _load(transaction, environment, kind, package) is not None:
        raise Conflict(f"id: {_NOUN[kind]} {package!r} exists already")


def create(
    transaction: Transaction,
    environment: str,
    kind: Kind,
    package: str,
    product: str,
    body: Body,
    now: Instant,
) -> None:
    """Store a new package as a draft that grants nothing."""
    version = Version(package, 1, "DRAFT", product, body, [], None, None, now, now)
    write(transaction, environment, kind, version)


def to_change(
    transaction: Transaction, environment: str, kind: Kind, package: str, fields: Collection[str]
) -> Version:
    """The version in which these fields change; raises ``BadInput`` when they need a draft."""
    target = find_open(transaction, environment, kind, package).edited
    held = sorted(set(fields) - _DESCRIPTIVE)
    if target.status != "DRAFT" and held:
        raise BadInput(
            f"{', '.join(held)}: {_NOUN[kind]} {package!r} has no draft; create one to change this",
            code=_DRAFT_ONLY,
        )
    return target


def create_draft(
    transaction: Transaction, environment: str, kind: Kind, package: str, now: Instant
) -> Body:
    """Begin a new version as a copy of the published one; raises ``Conflict``."""
    found = find_open(transaction, environment, kind, package)
    if found.draft is not None:
        raise Conflict(f"{_NOUN[kind]} {package!r} has a draft already", code="DraftAlreadyExists")
    draft = renew_draft(transaction, environment, kind, found, now)
    return version_answer(transaction, environment, kind, draft)


def renew_draft(
    transaction: Transaction, environment: str, kind: Kind, found: Package, now: Instant
) -> Version:
    """A draft that is what is published, in the place of the one under work."""
    published = found.shown
    draft = replace(
        published, number=published.number + 1, status="DRAFT", migration=None, published_at=None,
        updated_at=now,
    )  # fmt: skip
    write(transaction, environment, kind, draft)
    return draft


def remove_draft(transaction: Transaction, environment: str, kind: Kind, package: str) -> Body:
    """Forget the draft; a package that was never published is forgotten with it, unless in use."""
    draft = draft_of(transaction, environment, kind, package)
    if find(transaction, environment, kind, package).published is None:
        in_use.require_package_free(transaction, environment, kind, package, draft.product)
    place = (kind, draft.id, draft.number)
    _note_granted(transaction, environment, place, draft.features, set())
    transaction.run(_STATEMENTS[kind].delete, environment, draft.id, draft.number)
    return {"id": package}


def archive(
    transaction: Transaction, environment: str, kind: Kind, package: str, now: Instant
) -> Body:
    """Take no new subscriptions; existing ones go on. Raises ``BadInput`` while it is in use."""
    found = find(transaction, environment, kind, package)
    in_use.require_package_free(transaction, environment, kind, package, found.shown.product)
    for version in found.versions:
        archived = replace(version, status="ARCHIVED", updated_at=now)
        write(transaction, environment, kind, archived)
    return answer(transaction, environment, kind, package)


def publish(
    transaction: Transaction,
    environment: str,
    kind: Kind,
    draft: Version,
    migration: str,
    now: Instant,
) -> None:
    """Publish a draft; raises ``BadInput`` for one that grants nothing."""
    if not draft.granted:
        raise BadInput(
            f"the draft of {_NOUN[kind]} {draft.id!r} grants nothing; add an entitlement first"
        )
    published = replace(
        draft, status="PUBLISHED", migration=migration, published_at=now, updated_at=now
    )
    write(transaction, environment, kind, published)
    record_change(transaction, environment, EVERYONE, now, f"{kind}:{draft.id}")


def add_entitlements(
    transaction: Transaction,
    environment: str,
    kind: Kind,
    package: str,
    request: CreateEntitlements,
    now: Instant,
) -> list[Body]:
    """Grant more in the draft. Raises ``BadInput``, ``NotFound`` and ``Conflict``."""
    draft = draft_of(transaction, environment, kind, package)
    added = grants.new_items(transaction, environment, request.entitlements, now)
    items = draft.entitlements + added
    grants.check_once(items)
    write(transaction, environment, kind, replace(draft, entitlements=items, updated_at=now))
    return [grants.answer(item) for item in added]


def update_entitlement(
    transaction: Transaction,
    environment: str,
    kind: Kind,
    package: str,
    entitlement: str,
    request: EntitlementUpdate,
    now: Instant,
) -> Body:
    """Change what the draft grants of a feature."""
    draft = draft_of(transaction, environment, kind, package)
    place = _place(kind, draft, entitlement)
    items = list(draft.entitlements)
    items[place] = grants.changed_item(transaction, environment, items[place], request, now)
    write(transaction, environment, kind, replace(draft, entitlements=items, updated_at=now))
    return grants.answer(items[place])


def remove_entitlement(
    transaction: Transaction,
    environment: str,
    kind: Kind,
    package: str,
    entitlement: str,
    now: Instant,
) -> Body:
    """Grant nothing of a feature in the draft."""
    draft = draft_of(transaction, environment, kind, package)
    items = list(draft.entitlements)
    removed = items.pop(_place(kind, draft, entitlement))
    write(transaction, environment, kind, replace(draft, entitlements=items, updated_at=now))
    return grants.answer(removed)


def entitlements(
    transaction: Transaction, environment: str, kind: Kind, package: str
) -> list[Body]:
    """What a package grants, in order: its draft, if it has one, as that is what edits change."""
    edited = find(transaction, environment, kind, package).edited
    return [grants.answer(item) for item in grants.in_order(edited.granted)]


def answer(transaction: Transaction, environment: str, kind: Kind, package: str) -> Body:
    """A package as callers see it; raises ``NotFound``."""
    found = find(transaction, environment, kind, package)
    return answer_of(kind, found, found.shown)


def version_answer(
    transaction: Transaction, environment: str, kind: Kind, version: Version
) -> Body:
    """A version of a package as callers see it."""
    return answer_of(kind, find(transaction, environment, kind, version.id), version)


def listed(
    transaction: Transaction,
    environment: str,
    kind: Kind,
    product: str | None,
    statuses: set[str],
) -> Iterator[Listed]:
    """The packages of a product (None: of all); with statuses, their newest versions of each."""
    if product is None:
        found = _grouped(transaction.all(_STATEMENTS[kind].select_all, environment))
    else:
        found = of_product(transaction, environment, kind, product)
    for package in found:
        newest = {version.status: version for version in package.versions}
        named = [newest[status] for status in sorted(statuses) if status in newest]
        for version in named if statuses else [package.shown]:
            place = Cursor(version.created_at, f"{version.id}/{version.number}")
            yield Listed(place, answer_of(kind, package, version))


def write(transaction: Transaction, environment: str, kind: Kind, version: Version) -> None:
    """Store a version, and which features it names."""
    sql = _STATEMENTS[kind]
    stored = _load(transaction, environment, kind, version.id)
    before = {one.number: one.features for one in stored.versions} if stored is not None else {}
    place = (kind, version.id, version.number)
    _note_granted(
        transaction, environment, place, before.get(version.number, set()), version.features
    )
    parent = [version.body.get("parentPlanId") or ""] if kind == "plan" else []
    transaction.run(
        sql.write, environment, version.id, version.number, version.status, version.product,
        encode(version.body), encode(version.entitlements), version.migration,
        version.published_at, version.created_at, version.updated_at, *parent,
    )  # fmt: skip


def _note_granted(
    transaction: Transaction,
    environment: str,
    place: tuple[Kind, str, int],
    before: set[str],
    after: set[str],
) -> None:
    for sql, features in ((REMOVE_GRANTED, before - after), (ADD_GRANTED, after - before)):
        transaction.run_many(sql, [(environment, name, *place) for name in sorted(features)])


def _place(kind: Kind, draft: Version, entitlement: str) -> int:
    for place, item in enumerate(draft.entitlements):
        if item["id"] == entitlement:
            return place
    raise NotFound(
        f"the draft of {_NOUN[kind]} {draft.id!r} grants nothing of {entitlement!r}",
        code="EntitlementNotFound",
    )


def _load(transaction: Transaction, environment: str, kind: Kind, package: str) -> Package | None:
    rows = transaction.all(_STATEMENTS[kind].select, environment, package)
    return Package([_version(row) for row in rows]) if rows else None


def _grouped(rows: Iterable[Row]) -> Iterator[Package]:
    found: dict[str, list[Version]] = {}
    for row in rows:
        found.setdefault(cast("str", row[0]), []).append(_version(row))
    return (Package(versions) for versions in found.values())


def _version(row: Row) -> Version:
    package, number, status, product, body, items, *rest = row
    return Version(
        cast("str", package), cast("int", number), cast("str", status), cast("str", product),
        decode(cast("str", body)), decode_list(cast("str", items)), *rest,  # type: ignore[arg-type]
    )  # fmt: skip


_ONLY: Final[dict[Kind, Sequence[str]]] = {
    "plan": ("compatibleAddonIds", "defaultTrialConfig", "parentPlanId", "charges"),
    "addon": ("dependencies", "maxQuantity", "charges"),
}


def answer_of(kind: Kind, package: Package, version: Version) -> Body:
    """A version as callers see it."""
    body = version.body
    newest = package.published or package.versions[-1]
    only: dict[str, Any] = {name: body.get(name) for name in _ONLY[kind]}
    return {
        "id": version.id,
        "productId": version.product,
        "versionNumber": version.number,
        "status": version.status,
        "isLatest": version.number == newest.number,
        "displayName": body["displayName"],
        "description": body.get("description"),
        "billingId": body.get("billingId"),
        "metadata": body["metadata"],
        "pricingType": body.get("pricingType"),
        "entitlements": grants.summary(grants.in_order(version.granted)),
        "createdAt": shown(version.created_at),
        "updatedAt": shown(version.updated_at),
    } | only
