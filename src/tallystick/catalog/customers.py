"""Customers: who uses and subscribes.

Owns: the rows of ``customers``. The time zone is kept with its history, because calendar resets of
the past keep the zone they had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from zoneinfo import ZoneInfo

from tallystick.catalog.changes import record_change
from tallystick.catalog.pages import (
    Between,
    Cursor,
    Listed,
    Page,
    Window,
    of_items,
    of_rows,
    page_of,
)
from tallystick.catalog.rows import Body, containing, decode, encode, given, shown
from tallystick.catalog.shapes.customers import ImportedCustomer, ProvisionCustomer, UpdateCustomer
from tallystick.clock import Instant
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.store import Row, Transaction

SELECT_CUSTOMER = """
SELECT id, created_at, updated_at, archived_at, body FROM customers
WHERE environment = ? AND id = ?
"""

SELECT_CUSTOMERS = """
SELECT id, created_at, updated_at, archived_at, body FROM customers
WHERE environment = ? AND body LIKE ? ESCAPE '!'
"""

INSERT_CUSTOMER = """
INSERT INTO customers (environment, id, body, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
"""

UPDATE_CUSTOMER = "UPDATE customers SET body = ?, updated_at = ? WHERE environment = ? AND id = ?"

ARCHIVE_CUSTOMER = """
UPDATE customers SET archived_at = ?, updated_at = ? WHERE environment = ? AND id = ?
"""

# The resources a customer ever had a subscription for.
SELECT_RESOURCES = """
SELECT resource, min(created_at), max(updated_at) FROM subscriptions
WHERE environment = ? AND customer = ? AND resource <> '' GROUP BY resource
"""

UTC = "UTC"
_FIELDS = (
    "name", "email", "billingCurrency", "billingId", "couponId", "defaultPaymentMethod",
    "integrations", "language", "metadata", "passthrough", "timezone",
)  # fmt: skip


def provision(
    transaction: Transaction, environment: str, request: ProvisionCustomer, now: Instant
) -> Body:
    """Store a new customer; raises ``Conflict`` when the id is taken."""
    if transaction.one(SELECT_CUSTOMER, environment, request.id) is not None:
        raise Conflict(f"id: a customer {request.id!r} exists already")
    body = given(request, "id")
    _follow_zone(body, None, now)
    _insert(transaction, environment, request.id, body, now)
    return answer(transaction, environment, request.id)


def update(
    transaction: Transaction, environment: str, customer: str, request: UpdateCustomer, now: Instant
) -> Body:
    """Change what the request states; metadata is replaced whole."""
    before = decode(cast("str", _row(transaction, environment, customer)[4]))
    body = before | given(request)
    _follow_zone(body, before, now)
    transaction.run(UPDATE_CUSTOMER, encode(body), now, environment, customer)
    record_change(transaction, environment, customer, now)
    return answer(transaction, environment, customer)


def bring_in(
    transaction: Transaction,
    environment: str,
    customers: Sequence[ImportedCustomer],
    now: Instant,
) -> list[str]:
    """Store the customers that are new and update the others; returns the ids of the new ones."""
    new = []
    for request in customers:
        # What concerns other systems is kept as it was sent.
        change = given(request, "id")
        row = transaction.one(SELECT_CUSTOMER, environment, request.id)
        if row is None:
            new.append(request.id)
            _insert(transaction, environment, request.id, change, now)
        else:
            body = decode(cast("str", row[4])) | change
            transaction.run(UPDATE_CUSTOMER, encode(body), now, environment, request.id)
            record_change(transaction, environment, request.id, now)
    return new


def set_archived(
    transaction: Transaction, environment: str, customer: str, archived: bool, now: Instant
) -> Body:
    """Archive or unarchive. An archived customer keeps its subscriptions, gets no new ones, and
    is denied by every check."""
    since = _row(transaction, environment, customer)[3]
    wanted = (since or now) if archived else None
    transaction.run(ARCHIVE_CUSTOMER, wanted, now, environment, customer)
    record_change(transaction, environment, customer, now)
    return answer(transaction, environment, customer)


def require_open(transaction: Transaction, environment: str, customer: str) -> None:
    """Raises ``NotFound`` for an unknown customer and ``BadInput`` for an archived one."""
    if _row(transaction, environment, customer)[3] is not None:
        raise BadInput(f"customer {customer!r} is archived", code="EntityIsArchivedError")


def answer(transaction: Transaction, environment: str, customer: str) -> Body:
    """A customer as callers see it; raises ``NotFound``."""
    return _answer(_row(transaction, environment, customer))


def page(
    transaction: Transaction,
    environment: str,
    window: Window,
    created: Between,
    email: str | None,
    name: str | None,
) -> Page:
    """Customers with exactly this email and name (None: any)."""

    def listed(row: Row) -> Listed | None:
        if not created.holds(cast("int", row[1])):
            return None
        data = _answer(row)
        if email not in (None, data["email"]) or name not in (None, data["name"]):
            return None
        return Listed(Cursor(cast("int", row[1]), data["id"]), data)

    # LIKE leaves out most rows before their JSON is read; ``listed`` compares exactly.
    likely = _containing("email", email) if email is not None else _containing("name", name)
    return page_of(of_rows(transaction, SELECT_CUSTOMERS, (environment, likely), listed), window)


def resources(transaction: Transaction, environment: str, customer: str, window: Window) -> Page:
    """The resources a customer has or had subscriptions for; raises ``NotFound``."""
    _row(transaction, environment, customer)
    rows = transaction.all(SELECT_RESOURCES, environment, customer)
    return page_of(
        of_items(
            Listed(
                Cursor(created_at, resource),
                {"id": resource, "createdAt": shown(created_at), "updatedAt": shown(updated_at)},
            )
            for resource, created_at, updated_at in cast("list[tuple[str, int, int]]", rows)
        ),
        window,
    )


def _containing(field: str, value: str | None) -> str:
    """A LIKE pattern that every body with this value matches."""
    if value is None:
        return "%"
    return containing(encode({field: value})[1:-1])


def _follow_zone(body: Body, before: Body | None, now: Instant) -> None:
    """Check the time zone and keep its history."""
    zone = body.get("timezone") or UTC
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise BadInput(f"timezone: {zone!r} is not a time zone like Europe/Berlin") from None
    if before is None:
        body["zones"] = [{"at": now, "zone": zone}]
    elif zone != (before.get("timezone") or UTC):
        body["zones"] = [
            *before.get("zones", [{"at": now, "zone": UTC}]),
            {"at": now, "zone": zone},
        ]


def _insert(
    transaction: Transaction, environment: str, customer: str, body: Body, now: Instant
) -> None:
    transaction.run(INSERT_CUSTOMER, environment, customer, encode(body), now, now)
    record_change(transaction, environment, customer, now)


def _row(transaction: Transaction, environment: str, customer: str) -> Row:
    row = transaction.one(SELECT_CUSTOMER, environment, customer)
    if row is None:
        raise NotFound(f"no customer {customer!r}", code="CustomerNotFound")
    return row


def _answer(row: Row) -> Body:
    customer, created_at, updated_at, archived_at, text = cast(
        "tuple[str, int, int, int | None, str]", row
    )
    body = decode(text)
    return {
        "id": customer,
        **{name: body.get(name) for name in _FIELDS},
        "createdAt": shown(created_at),
        "updatedAt": shown(updated_at),
        "archivedAt": shown(archived_at),
    }
