"""Promotional entitlements: what a customer was granted beside its subscriptions.

Owns: the rows of ``promotional_entitlements``. At most one of a feature is listed: granting again
replaces it, whether it still holds or not, and revoking takes it away. What was replaced or revoked
ended then and stays as history, because usage periods of the past are computed from it. Leaves to
others: how long one lasts (``core/promotions``), and what it grants together with subscriptions
(``core/timeline``, ``core/entitlements``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple, cast

from tallystick import ids
from tallystick.catalog import customers, grants
from tallystick.catalog.changes import record_change
from tallystick.catalog.pages import Between, Cursor, Listed, Page, Window, of_rows, page_of
from tallystick.catalog.rows import Body, decode, encode, optional_instant, shown
from tallystick.catalog.shapes.promotions import PromotionalEntitlement
from tallystick.clock import Instant
from tallystick.core.promotions import CUSTOM, end_of
from tallystick.errors import BadInput, NotFound
from tallystick.store import Row, Transaction

_COLUMNS = "id, created_at, updated_at, feature, body, start_at, end_at"

# What a customer has of a feature, still holding or expired; at most one row.
SELECT_LISTED: Final = f"""
SELECT {_COLUMNS} FROM promotional_entitlements
WHERE environment = ? AND customer = ? AND feature = ? AND ended_at IS NULL
"""

SELECT_ALL_LISTED: Final = f"""
SELECT {_COLUMNS} FROM promotional_entitlements
WHERE environment = ? AND customer = ? AND ended_at IS NULL
"""

INSERT_GRANT: Final = f"""
INSERT INTO promotional_entitlements (environment, customer, {_COLUMNS})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

END_GRANT: Final = """
UPDATE promotional_entitlements SET ended_at = ?, updated_at = ?
WHERE environment = ? AND customer = ? AND id = ?
"""

_ENTITLEMENT_FIELDS: Final = (
    "enumValues", "hasSoftLimit", "hasUnlimitedUsage", "resetPeriod", "resetPeriodConfiguration",
    "usageLimit",
)  # fmt: skip


class _Granted(NamedTuple):
    """A row: what was granted of a feature in [start, end); ``end`` None is for life."""

    id: str
    created_at: int
    updated_at: int
    feature: str
    body: Body
    start: int
    end: int | None

    def holds(self, at: int) -> bool:
        """Whether it grants at an instant, unless it was replaced or revoked before."""
        return self.end is None or at < self.end


def grant(
    transaction: Transaction,
    environment: str,
    customer: str,
    requests: Collection[PromotionalEntitlement],
    now: Instant,
) -> list[Body]:
    """Grant from now on; what was granted of these features is replaced.

    Raises ``NotFound`` (customer, feature) and ``BadInput``.
    """
    customers.require_open(transaction, environment, customer)
    if len({request.feature_id for request in requests}) < len(requests):
        raise BadInput("promotionalEntitlements: a feature occurs twice")
    made = []
    # In order, because a list is in the order of creation and then of ids.
    names = sorted(ids.new_id() for _ in requests)
    for name, request in zip(names, requests, strict=True):
        body, end = _checked(transaction, environment, request, now)
        before = _find(transaction, environment, customer, request.feature_id)
        if before is not None:
            if before.holds(now):
                body["anchor"] = before.body.get("anchor", before.start)
            transaction.run(END_GRANT, now, now, environment, customer, before.id)
        granted = _Granted(name, now, now, request.feature_id, body, now, end)
        _insert(transaction, environment, customer, granted)
        made.append(_answer(environment, granted, now))
    record_change(transaction, environment, customer, now)
    return made


def revoke(
    transaction: Transaction, environment: str, customer: str, feature: str, now: Instant
) -> Body:
    """Grant it no longer, and list it no longer; what it granted until now stays granted.

    Raises ``NotFound`` (customer, and where there is nothing to revoke).
    """
    customers.answer(transaction, environment, customer)
    found = _find(transaction, environment, customer, feature)
    if found is None:
        raise NotFound(
            f"customer {customer!r} has no promotional entitlement of {feature!r}",
            code="PromotionalEntitlementNotFoundError",
        )
    transaction.run(END_GRANT, now, now, environment, customer, found.id)
    record_change(transaction, environment, customer, now)
    end = now if found.holds(now) else found.end
    return _answer(environment, found._replace(end=end, updated_at=now), now)


def page(
    transaction: Transaction,
    environment: str,
    customer: str,
    window: Window,
    created: Between,
    statuses: Collection[str],
    now: Instant,
) -> Page:
    """What a customer has, expired ones included; with statuses, only those that have one."""
    customers.answer(transaction, environment, customer)

    def listed(row: Row) -> Listed | None:
        granted = _granted(row)
        data = _answer(environment, granted, now)
        if not created.holds(granted.created_at) or (statuses and data["status"] not in statuses):
            return None
        return Listed(Cursor(granted.created_at, granted.id), data)

    values = (environment, customer)
    return page_of(of_rows(transaction, SELECT_ALL_LISTED, values, listed), window)


def _checked(
    transaction: Transaction, environment: str, request: PromotionalEntitlement, now: Instant
) -> tuple[Body, Instant | None]:
    """What a request grants, as stored, and until when."""
    custom_end = optional_instant("customEndDate", request.custom_end_date)
    if custom_end is not None and request.period != CUSTOM:
        raise BadInput(f"customEndDate: does not fit period {request.period}")
    body = grants.promotional_item(transaction, environment, request.feature_id, request)
    for name in ("featureId", "customEndDate"):
        body.pop(name, None)
    return body, end_of(request.period, now, custom_end)


def _find(
    transaction: Transaction, environment: str, customer: str, feature: str
) -> _Granted | None:
    row = transaction.one(SELECT_LISTED, environment, customer, feature)
    return None if row is None else _granted(row)


def _granted(row: Row) -> _Granted:
    id_, created_at, updated_at, feature, text, start, end = cast(
        "tuple[str, int, int, str, str, int, int | None]", row
    )
    return _Granted(id_, created_at, updated_at, feature, decode(text), start, end)


def _insert(transaction: Transaction, environment: str, customer: str, granted: _Granted) -> None:
    transaction.run(
        INSERT_GRANT, environment, customer, granted.id, granted.created_at, granted.updated_at,
        granted.feature, encode(granted.body), granted.start, granted.end,
    )  # fmt: skip


def _answer(environment: str, granted: _Granted, now: Instant) -> Body:
    """As callers see it."""
    visible = granted.body.get("isVisible")
    return {
        "id": granted.id,
        "environmentId": environment,
        "featureId": granted.feature,
        **{name: granted.body.get(name) for name in _ENTITLEMENT_FIELDS},
        "description": None,
        "featureGroupIds": None,
        "isVisible": True if visible is None else visible,
        "period": granted.body["period"],
        "status": "Active" if granted.holds(now) else "Expired",
        "startDate": shown(granted.start),
        "endDate": shown(granted.end),
        "createdAt": shown(granted.created_at),
        "updatedAt": shown(granted.updated_at),
    }
