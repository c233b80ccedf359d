"""The routes of what is configured, noun by noun."""

from __future__ import annotations

from typing import Final

from tallystick.api import (
    catalog_addons,
    catalog_customers,
    catalog_features,
    catalog_plans,
    catalog_products,
    catalog_promotions,
    catalog_subscription_moves,
    catalog_subscriptions,
)
from tallystick.api.http import Route

ROUTES: Final[tuple[Route, ...]] = (
    *catalog_products.ROUTES,
    *catalog_features.ROUTES,
    *catalog_plans.ROUTES,
    *catalog_addons.ROUTES,
    *catalog_customers.ROUTES,
    *catalog_promotions.ROUTES,
    *catalog_subscription_moves.ROUTES,
    *catalog_subscriptions.ROUTES,
)
