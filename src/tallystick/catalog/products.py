"""Products: containers of plans and add-ons.

Owns: the rows of ``products``. A product says whether a customer may hold several subscriptions of
it, and whether a plan change resets usage. No cached rule is made of a product, so
nothing is recorded as a change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from msgspec import UNSET

from tallystick.catalog import in_use
from tallystick.catalog.pages import Cursor, Listed
from tallystick.catalog.rows import Body, decode, encode, given, shown
from tallystick.catalog.shapes.products import CreateProduct, DuplicateProduct, UpdateProduct
from tallystick.clock import Instant
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.store import Row, Transaction

SELECT_PRODUCT = """
SELECT id, created_at, updated_at, body FROM products WHERE environment = ? AND id = ?
"""

SELECT_PRODUCTS = "SELECT id, created_at, updated_at, body FROM products WHERE environment = ?"

INSERT_PRODUCT = """
INSERT INTO products (environment, id, body, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
"""

UPDATE_PRODUCT = "UPDATE products SET body = ?, updated_at = ? WHERE environment = ? AND id = ?"

OPEN_PLAN = """
SELECT 1 FROM plans WHERE environment = ? AND id = ? AND product = ? AND status <> 'ARCHIVED'
"""

Status = Literal["PUBLISHED", "ARCHIVED"]
RESET_ALWAYS = "ALWAYS_RESET"


def create(
    transaction: Transaction, environment: str, request: CreateProduct, now: Instant
) -> Body:
    """Store a new product; raises ``Conflict`` when the id is taken."""
    body = given(request, "id") | {"status": "PUBLISHED", "metadata": given_map(request.metadata)}
    return _insert(transaction, environment, request.id, body, now)


def duplicate(
    transaction: Transaction,
    environment: str,
    product: str,
    request: DuplicateProduct,
    settings: Body | None,
    now: Instant,
) -> Body:
    """Store a new product like another, with these settings; ``product_contents`` copies the rest.

    Raises ``Conflict`` when the id is taken.
    """
    body = stored(transaction, environment, product) | given(request, "targetId")
    body |= {"productSettings": settings, "status": "PUBLISHED"}
    return _insert(transaction, environment, request.target_id, body, now)


def update(
    transaction: Transaction, environment: str, product: str, request: UpdateProduct, now: Instant
) -> Body:
    """Change what the request states; a plan change made before keeps what it did.

    Raises ``BadInput`` for another answer to several subscriptions while there are some, and
    ``NotFound`` for a plan that the product does not have.
    """
    before = stored(transaction, environment, product)
    body = before | given(request)
    if body["multipleSubscriptions"] != before["multipleSubscriptions"]:
        _require_no_subscriptions(transaction, environment, product, now)
    _check_journey(transaction, environment, product, given(request).get("productSettings") or {})
    if request.metadata is not UNSET:
        body["metadata"] = given_map(request.metadata)
    return _write(transaction, environment, product, body, now)


def set_status(
    transaction: Transaction, environment: str, product: str, status: Status, now: Instant
) -> Body:
    """Archive or unarchive; an archived product takes no new plans and subscriptions."""
    body = stored(transaction, environment, product) | {"status": status}
    return _write(transaction, environment, product, body, now)


def stored(transaction: Transaction, environment: str, product: str) -> Body:
    """What was configured; raises ``NotFound``."""
    return decode(cast("str", _row(transaction, environment, product)[3]))


def require_open(transaction: Transaction, environment: str, product: str) -> Body:
    """``stored``; raises ``BadInput`` for an archived product."""
    body = stored(transaction, environment, product)
    if body["status"] == "ARCHIVED":
        raise BadInput(f"product {product!r} is archived", code="EntityIsArchivedError")
    return body


def answer(transaction: Transaction, environment: str, product: str) -> Body:
    """A product as callers see it; raises ``NotFound``."""
    return _answer(_row(transaction, environment, product))


def listed(
    transaction: Transaction, environment: str, product: str | None, statuses: set[str]
) -> Iterator[Listed]:
    """Products of an environment, with this id and one of these statuses (none: any)."""
    for row in transaction.all(SELECT_PRODUCTS, environment):
        data = _answer(row)
        if product in (None, data["id"]) and (not statuses or data["status"] in statuses):
            yield Listed(Cursor(cast("int", row[1]), data["id"]), data)


def cancellation_time(body: Body) -> str:
    """When a subscription that is cancelled ends, where whoever cancels it does not say."""
    settings: Body = body.get("productSettings") or {}
    when = settings.get("subscriptionCancellationTime")
    return "END_OF_BILLING_PERIOD" if when == "END_OF_BILLING_PERIOD" else "IMMEDIATE"


def reset_behavior(body: Body) -> str:
    """Whether a plan change resets usage: ALWAYS_RESET, NEVER_RESET or BILLING_PERIOD_CHANGE."""
    rule = body.get("usageResetCutoffRule") or {}
    return cast("str", rule.get("behavior", RESET_ALWAYS))


def given_map(metadata: object) -> object:
    """Metadata as stored: omitted and null are both empty."""
    return metadata if isinstance(metadata, dict) else {}


def _insert(
    transaction: Transaction, environment: str, product: str, body: Body, now: Instant
) -> Body:
    if transaction.one(SELECT_PRODUCT, environment, product) is not None:
        raise Conflict(f"id: a product {product!r} exists already")
    transaction.run(INSERT_PRODUCT, environment, product, encode(body), now, now)
    return answer(transaction, environment, product)


def _write(
    transaction: Transaction, environment: str, product: str, body: Body, now: Instant
) -> Body:
    transaction.run(UPDATE_PRODUCT, encode(body), now, environment, product)
    return answer(transaction, environment, product)


def _require_no_subscriptions(
    transaction: Transaction, environment: str, product: str, now: Instant
) -> None:
    if in_use.is_subscribed(transaction, environment, product, now):
        raise BadInput(
            f"multipleSubscriptions: product {product!r} has subscriptions; "
            f"create another product instead"
        )


def _check_journey(
    transaction: Transaction, environment: str, product: str, settings: Body
) -> None:
    for field in ("downgradePlanId", "subscriptionStartPlanId"):
        plan = settings.get(field)
        if plan is not None and not transaction.one(OPEN_PLAN, environment, plan, product):
            raise NotFound(
                f"{field}: product {product!r} has no plan {plan!r} that is not archived",
                code="PlanNotFound",
            )


def _row(transaction: Transaction, environment: str, product: str) -> Row:
    row = transaction.one(SELECT_PRODUCT, environment, product)
    if row is None:
        raise NotFound(f"no product {product!r}", code="ProductNotFoundError")
    return row


def _answer(row: Row) -> Body:
    product, created_at, updated_at, text = cast("tuple[str, int, int, str]", row)
    body = decode(text)
    return {
        "id": product,
        "displayName": body["displayName"],
        "description": body.get("description"),
        "metadata": body["metadata"],
        "multipleSubscriptions": body["multipleSubscriptions"],
        "status": body["status"],
        "productSettings": body.get("productSettings"),
        "usageResetCutoffRule": {"behavior": reset_behavior(body)},
        "createdAt": shown(created_at),
        "updatedAt": shown(updated_at),
    }
