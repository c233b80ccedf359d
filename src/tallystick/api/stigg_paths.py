"""Every operation of Stigg's REST API, as its official SDK (0.1.0b53) calls them.

What of these is not among our routes is answered 501 ``NotImplemented``, so that a caller learns
that the path is right and the part is missing.
"""

from __future__ import annotations

from typing import Final

_OPERATIONS: Final = """
    GET PUT /api/v1-beta/customers/{id}/assignments
    GET PUT /api/v1-beta/customers/{id}/entities
    POST /api/v1-beta/customers/{id}/entities/archive
    POST /api/v1-beta/customers/{id}/entities/unarchive
    GET /api/v1-beta/customers/{id}/entities/{entityId}
    GET /api/v1-beta/customers/{id}/entitlements/check
    GET /api/v1-beta/customers/{id}/governance
    GET PUT /api/v1-beta/entity-types
    GET POST /api/v1/addons
    GET POST /api/v1/addons/{addonId}/entitlements
    DELETE PATCH /api/v1/addons/{addonId}/entitlements/{id}
    GET PATCH /api/v1/addons/{id}
    POST /api/v1/addons/{id}/archive
    GET /api/v1/addons/{id}/charges
    DELETE POST /api/v1/addons/{id}/draft
    POST /api/v1/addons/{id}/publish
    GET POST /api/v1/contracts
    GET PATCH /api/v1/contracts/{id}
    POST /api/v1/contracts/{id}/archive
    GET POST /api/v1/coupons
    GET PATCH /api/v1/coupons/{id}
    POST /api/v1/coupons/{id}/archive
    GET /api/v1/credits/auto-recharge
    POST /api/v1/credits/consumption
    POST /api/v1/credits/consumption/async
    GET POST /api/v1/credits/custom-currencies
    PATCH /api/v1/credits/custom-currencies/{currencyId}
    POST /api/v1/credits/custom-currencies/{currencyId}/archive
    GET /api/v1/credits/custom-currencies/{currencyId}/associated-entities
    POST /api/v1/credits/custom-currencies/{currencyId}/unarchive
    GET POST /api/v1/credits/grants
    POST /api/v1/credits/grants/{id}/void
    GET /api/v1/credits/ledger
    POST /api/v1/credits/reservations/{reservationId}/release
    GET /api/v1/credits/usage
    GET POST /api/v1/customers
    POST /api/v1/customers/import
    GET PATCH /api/v1/customers/{id}
    POST /api/v1/customers/{id}/archive
    GET /api/v1/customers/{id}/contracts
    GET /api/v1/customers/{id}/entitlements
    GET /api/v1/customers/{id}/entitlements/check
    GET /api/v1/customers/{id}/integrations
    DELETE GET PATCH /api/v1/customers/{id}/integrations/{integrationId}
    GET /api/v1/customers/{id}/invoices
    DELETE POST /api/v1/customers/{id}/payment-method
    GET POST /api/v1/customers/{id}/promotional-entitlements
    DELETE /api/v1/customers/{id}/promotional-entitlements/{featureId}
    GET /api/v1/customers/{id}/resources
    POST /api/v1/customers/{id}/unarchive
    POST /api/v1/customers/{pathId}/integrations
    POST /api/v1/data-export/destinations
    DELETE PATCH /api/v1/data-export/destinations/{destinationId}
    GET /api/v1/data-export/models
    POST /api/v1/data-export/sync
    POST /api/v1/events
    POST /api/v1/events/estimate
    GET POST /api/v1/features
    GET PATCH /api/v1/features/{id}
    POST /api/v1/features/{id}/archive
    POST /api/v1/features/{id}/unarchive
    GET POST /api/v1/plans
    GET PATCH /api/v1/plans/{id}
    POST /api/v1/plans/{id}/archive
    GET /api/v1/plans/{id}/charges
    DELETE POST /api/v1/plans/{id}/draft
    GET /api/v1/plans/{id}/overage-charges
    POST /api/v1/plans/{id}/publish
    GET POST /api/v1/plans/{planId}/entitlements
    DELETE PATCH /api/v1/plans/{planId}/entitlements/{id}
    GET POST /api/v1/products
    PATCH /api/v1/products/{id}
    POST /api/v1/products/{id}/archive
    POST /api/v1/products/{id}/duplicate
    POST /api/v1/products/{id}/unarchive
    GET POST /api/v1/subscriptions
    POST /api/v1/subscriptions/import
    POST /api/v1/subscriptions/preview
    GET PATCH /api/v1/subscriptions/{id}
    POST /api/v1/subscriptions/{id}/cancel
    POST /api/v1/subscriptions/{id}/delegate
    DELETE /api/v1/subscriptions/{id}/future-update/pending-payment
    DELETE /api/v1/subscriptions/{id}/future-update/schedule
    POST /api/v1/subscriptions/{id}/invoice/paid
    POST /api/v1/subscriptions/{id}/migrate
    POST /api/v1/subscriptions/{id}/transfer
    POST /api/v1/subscriptions/{id}/usage/charge
    POST /api/v1/subscriptions/{id}/usage/sync
    POST /api/v1/usage
    POST /api/v1/usage/estimate
    GET /api/v1/usage/{customerId}/history/{featureId}
    POST /api/v2/usage
"""


def _parsed(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    for line in text.split("\n"):
        *methods, path = line.split() or [""]
        found += [(method, path) for method in methods]
    return tuple(found)


STIGG_OPERATIONS: Final = _parsed(_OPERATIONS)
"""(method, path) pairs; names in braces stand for one segment."""
