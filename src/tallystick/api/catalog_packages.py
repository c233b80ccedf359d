"""What plans and add-ons have in common over HTTP: versions, entitlements and charges.

Leaves to ``catalog_plans`` and ``catalog_addons``: creating and changing one, and the words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallystick.api.catalog_query import one_of
from tallystick.api.http import Page, QueryParam, Reply, Request, Route
from tallystick.api.pagination import (
    CREATED_AT_PARAMS,
    PAGE_PARAMS,
    read_created_at,
    read_window,
)
from tallystick.catalog import charges, effects, packages
from tallystick.catalog.pages import Listed, of_items, page_of
from tallystick.catalog.shapes.plans import (
    CreateEntitlements,
    EntitlementUpdate,
    PublishPlan,
    UpdateCreditEntitlement,
    UpdateFeatureEntitlement,
)
from tallystick.catalog.shapes.replies import (
    ChargeReply,
    CreditEntitlementReply,
    FeatureEntitlementReply,
    IdReply,
    TaskReply,
)
from tallystick.entitlements.packages import Kind
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

STATUSES: Final = ("DRAFT", "PUBLISHED", "ARCHIVED")

_ENTITLEMENT: Final = FeatureEntitlementReply | CreditEntitlementReply
_ON_DRAFTS: Final = "Only a draft can be changed."
_AS_GIVEN: Final = "One for each price, as it was given. Nothing is billed."


@dataclass(frozen=True, slots=True)
class Packages:
    """The handlers and routes of one kind of package.

    ``many`` is its word in paths, ``argument`` the name of its id above entitlements, ``one`` and
    ``each`` how sentences name it, and ``reply`` what one is answered with.
    """

    kind: Kind
    many: str
    argument: str
    one: str
    each: str
    tag: str
    reply: Any

    def page(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """Some of them, a page at a time."""
        query = request.query
        created = read_created_at(query)
        statuses = one_of(query, "status", STATUSES)
        scope = (request.environment, self.kind, query.id("productId"))
        found = packages.listed(transaction, *scope, statuses)
        return _paged(request, (each for each in found if created.holds(each.place.created_at)))

    def retrieve(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """One of them."""
        scope = (request.environment, self.kind, request.args["id"])
        return Reply(packages.answer(transaction, *scope))

    def archive(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """It, archived."""
        scope = (request.environment, self.kind, request.args["id"])
        return Reply(packages.archive(transaction, *scope, services.clock.now()))

    def create_draft(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """A draft of the next version."""
        scope = (request.environment, self.kind, request.args["id"])
        return Reply(packages.create_draft(transaction, *scope, services.clock.now()))

    def remove_draft(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """The id of that whose draft is gone."""
        scope = (request.environment, self.kind, request.args["id"])
        return Reply(packages.remove_draft(transaction, *scope))

    def publish(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """Done when it returns, so there is no task to follow."""
        migration, now = request.read(PublishPlan).migration_type, services.clock.now()
        scope = (request.environment, self.kind, request.args["id"])
        effects.publish(services, transaction, *scope, migration, now)
        return Reply({"taskId": None})

    def entitlements(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """What it grants, all of it."""
        scope = (request.environment, self.kind, request.args[self.argument])
        return Reply(Page(packages.entitlements(transaction, *scope), None, None))

    def add_entitlements(
        self, services: Services, transaction: Transaction, request: Request
    ) -> Reply:
        """What the draft grants beside."""
        body, now = request.read(CreateEntitlements), services.clock.now()
        scope = (request.environment, self.kind, request.args[self.argument])
        return Reply(packages.add_entitlements(transaction, *scope, body, now))

    def update_entitlement(
        self, services: Services, transaction: Transaction, request: Request
    ) -> Reply:
        """What the draft grants instead."""
        body: EntitlementUpdate
        if isinstance(request.payload, UpdateCreditEntitlement):
            body = request.payload
        else:
            body = request.read(UpdateFeatureEntitlement)
        now = services.clock.now()
        return Reply(packages.update_entitlement(transaction, *self._granted(request), body, now))

    def remove_entitlement(
        self, services: Services, transaction: Transaction, request: Request
    ) -> Reply:
        """What the draft no longer grants."""
        now = services.clock.now()
        return Reply(packages.remove_entitlement(transaction, *self._granted(request), now))

    def _granted(self, request: Request) -> tuple[str, Kind, str, str]:
        return (request.environment, self.kind, request.args[self.argument], request.args["id"])

    def charges(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """What it costs, a page at a time."""
        scope = (request.environment, self.kind, request.args["id"])
        return _paged(request, charges.listed(transaction, *scope))

    def overage(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """What it costs beyond its limits, a page at a time."""
        scope = (request.environment, self.kind, request.args["id"])
        return _paged(request, charges.overage(transaction, *scope))

    def reading(self, *, listed: str) -> tuple[Route, ...]:
        """List and get; ``listed`` tells what a list has."""
        return (
            Route(
                method="GET", path=f"/api/v1/{self.many}", handler=self.page, access="client",
                runs="query", page=True, summary=f"List {self.each}", tag=self.tag,
                reply=self.reply,
                description=f"{listed} With `status`: the newest version of each of these "
                "statuses.",
                query=(
                    *PAGE_PARAMS,
                    *CREATED_AT_PARAMS,
                    QueryParam("productId", f"Only {self.each} of this product."),
                    QueryParam("status", f"Only these statuses: {', '.join(STATUSES)}."),
                ),
            ),
            Route(
                method="GET", path=f"/api/v1/{self.many}/{{id}}", handler=self.retrieve,
                access="client", summary=f"Get {self.one}", tag=self.tag, reply=self.reply,
                description="As published, or its draft if it never was.",
            ),
        )  # fmt: skip

    def versions(self, *, archived: str, published: str) -> tuple[Route, ...]:
        """Archive, draft and publish; the texts tell what the first and the last mean."""
        path = f"/api/v1/{self.many}/{{id}}"
        return (
            Route(
                method="POST", path=f"{path}/archive", handler=self.archive, runs="write",
                summary=f"Archive {self.one}", tag=self.tag, reply=self.reply,
                description=archived,
            ),
            Route(
                method="POST", path=f"{path}/draft", handler=self.create_draft, runs="write",
                summary="Begin a new version", tag=self.tag, reply=self.reply, status=201,
                description="A draft that is a copy of what is published.",
            ),
            Route(
                method="DELETE", path=f"{path}/draft", handler=self.remove_draft, runs="write",
                summary="Forget the draft", tag=self.tag, reply=IdReply,
                description=f"{self.one[0].upper()}{self.one[1:]} that was never published is "
                "forgotten with it.",
            ),
            Route(
                method="POST", path=f"{path}/publish", handler=self.publish, runs="write",
                summary="Publish the draft", tag=self.tag, body=PublishPlan, reply=TaskReply,
                description=published,
            ),
        )  # fmt: skip

    def costs(self) -> Route:
        """What one costs."""
        return Route(
            method="GET", path=f"/api/v1/{self.many}/{{id}}/charges", handler=self.charges,
            access="client", page=True, summary=f"List what {self.one} costs", tag=self.tag,
            reply=ChargeReply, description=_AS_GIVEN, query=PAGE_PARAMS,
        )  # fmt: skip

    def overage_costs(self) -> Route:
        """What one costs beyond its limits."""
        return Route(
            method="GET", path=f"/api/v1/{self.many}/{{id}}/overage-charges",
            handler=self.overage, access="client", page=True,
            summary=f"List what {self.one} costs beyond its limits", tag=self.tag,
            reply=ChargeReply, query=PAGE_PARAMS, description=_AS_GIVEN,
        )  # fmt: skip

    def grants(self) -> tuple[Route, ...]:
        """What one grants, and changing that."""
        path = f"/api/v1/{self.many}/{{{self.argument}}}/entitlements"
        return (
            Route(
                method="GET", path=path, handler=self.entitlements, access="client", page=True,
                summary=f"List what {self.one} grants", tag=self.tag, reply=_ENTITLEMENT,
                description="Of the draft, if there is one; all on one page.",
            ),
            Route(
                method="POST", path=path, handler=self.add_entitlements, runs="write", status=201,
                summary="Grant features", tag=self.tag, body=CreateEntitlements,
                reply=list[_ENTITLEMENT], description=_ON_DRAFTS,  # type: ignore[valid-type]
            ),
            Route(
                method="PATCH", path=f"{path}/{{id}}", handler=self.update_entitlement,
                runs="write", summary="Change what is granted of a feature", tag=self.tag,
                body=EntitlementUpdate, reply=_ENTITLEMENT, description=_ON_DRAFTS,
            ),
            Route(
                method="DELETE", path=f"{path}/{{id}}", handler=self.remove_entitlement,
                runs="write", summary="Grant a feature no longer", tag=self.tag,
                reply=_ENTITLEMENT, description=_ON_DRAFTS,
            ),
        )  # fmt: skip


def _paged(request: Request, found: Iterable[Listed]) -> Reply:
    return Reply(page_of(of_items(found), read_window(request.query)))
