"""What may not go because something else stands on it.

Owns: the questions whether a feature is granted, whether another plan inherits from a plan, whether
a product begins or ends with it, and whether an add-on is needed. Each ``require_…`` raises
``BadInput`` with the code of what stands in the way. Subscribers are in nobody's way: what they
have they keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from tallystick.catalog.rows import containing, decode, decode_list, text_of
from tallystick.clock import Instant
from tallystick.entitlements.packages import Kind
from tallystick.errors import BadInput
from tallystick.store import Row, Transaction

# Of a plan that is not archived: its draft and its newest published version.
_OPEN_PLAN = """
(plans.status = 'DRAFT' OR plans.status = 'PUBLISHED' AND NOT EXISTS (
  SELECT 1 FROM plans AS later
  WHERE later.environment = plans.environment AND later.id = plans.id
    AND later.version > plans.version AND later.published_at IS NOT NULL))
"""
_OPEN_ADDON = _OPEN_PLAN.replace("plans", "addons")

# Of a version: no later one was published for everyone.
_NO_LATER_PLAN_FOR_ALL = """
NOT EXISTS (
  SELECT 1 FROM plans AS later
  WHERE later.environment = plans.environment AND later.id = plans.id
    AND later.version > plans.version AND later.migration = 'ALL_CUSTOMERS'
    AND later.published_at IS NOT NULL)
"""
_NO_LATER_ADDON_FOR_ALL = _NO_LATER_PLAN_FOR_ALL.replace("plans", "addons")

# A plan that is not archived and names a feature, in its draft or in its newest published version.
PLAN_OFFERS = f"""
SELECT package FROM granted_features AS granted JOIN plans
  ON plans.environment = granted.environment AND plans.id = granted.package
 AND plans.version = granted.version
WHERE granted.environment = ? AND granted.feature = ? AND granted.kind = 'plan'
  AND {_OPEN_PLAN} LIMIT 1
"""

ADDON_OFFERS = PLAN_OFFERS.replace("plans", "addons").replace("'plan'", "'addon'")

# A plan whose subscribers, now or later, may have a version that names a feature: theirs or one
# after it, and no later one that was published for everyone.
PLAN_HELD = f"""
SELECT package FROM granted_features AS granted
JOIN plans
  ON plans.environment = granted.environment AND plans.id = granted.package
 AND plans.version = granted.version AND plans.published_at IS NOT NULL
JOIN subscriptions
  ON subscriptions.environment = granted.environment AND subscriptions.plan = granted.package
 AND subscriptions.version <= granted.version
WHERE granted.environment = ? AND granted.feature = ? AND granted.kind = 'plan'
  AND (subscriptions.end_at IS NULL OR subscriptions.end_at > ?)
  AND {_NO_LATER_PLAN_FOR_ALL}
LIMIT 1
"""

# The same of add-ons; which version a subscription has of them only its body tells.
ADDON_HELD = f"""
SELECT package FROM granted_features AS granted
JOIN addons
  ON addons.environment = granted.environment AND addons.id = granted.package
 AND addons.version = granted.version AND addons.published_at IS NOT NULL
JOIN subscription_addons AS taken
  ON taken.environment = granted.environment AND taken.addon = granted.package
JOIN subscriptions
  ON subscriptions.environment = taken.environment AND subscriptions.id = taken.subscription
WHERE granted.environment = ? AND granted.feature = ? AND granted.kind = 'addon'
  AND (subscriptions.end_at IS NULL OR subscriptions.end_at > ?)
  AND {_NO_LATER_ADDON_FOR_ALL}
LIMIT 1
"""

# What the open plans, and add-ons, that name a feature grant.
PLAN_ITEMS = f"""
SELECT plans.entitlements FROM granted_features AS granted JOIN plans
  ON plans.environment = granted.environment AND plans.id = granted.package
 AND plans.version = granted.version
WHERE granted.environment = ? AND granted.feature = ? AND granted.kind = 'plan' AND {_OPEN_PLAN}
"""
ADDON_ITEMS = PLAN_ITEMS.replace("plans", "addons").replace("'plan'", "'addon'")

# A promotional entitlement to a feature that has not ended.
PROMOTED = """
SELECT customer FROM promotional_entitlements
WHERE environment = ? AND feature = ? AND ended_at IS NULL AND (end_at IS NULL OR end_at > ?)
LIMIT 1
"""

# What promotional entitlements to a feature that have not ended grant.
PROMOTED_ITEMS = """
SELECT body FROM promotional_entitlements
WHERE environment = ? AND feature = ? AND ended_at IS NULL AND (end_at IS NULL OR end_at > ?)
"""

# Subscriptions, a few at a time, whose text may name a feature: only their body tells overrides.
MAY_OVERRIDE = """
SELECT id, body FROM subscriptions
WHERE environment = ? AND (end_at IS NULL OR end_at > ?) AND body LIKE ? ESCAPE '!' AND id > ?
ORDER BY id LIMIT 100
"""

# Whether someone has, or will have, a subscription of a product.
PRODUCT_SUBSCRIBED = """
SELECT subscriptions.id FROM plans JOIN subscriptions
  ON subscriptions.environment = plans.environment AND subscriptions.plan = plans.id
WHERE plans.environment = ? AND plans.product = ?
  AND (subscriptions.end_at IS NULL OR subscriptions.end_at > ?)
LIMIT 1
"""

# A plan that inherits from a plan.
CHILD = f"SELECT id FROM plans WHERE environment = ? AND parent = ? AND {_OPEN_PLAN} LIMIT 1"

PRODUCT_BODY = "SELECT body FROM products WHERE environment = ? AND id = ?"

# What the plans, and the add-ons, of a product say of themselves.
PLAN_BODIES = f"SELECT id, body FROM plans WHERE environment = ? AND product = ? AND {_OPEN_PLAN}"
ADDON_BODIES = f"""
SELECT id, body FROM addons WHERE environment = ? AND product = ? AND {_OPEN_ADDON}
"""

_OFFERS: Final = (("plan", PLAN_OFFERS), ("add-on", ADDON_OFFERS))
_HELD: Final = (
    ("subscribers of plan", PLAN_HELD),
    ("subscribers of add-on", ADDON_HELD),
    ("a promotional entitlement of customer", PROMOTED),
)


def require_feature_free(
    transaction: Transaction, environment: str, feature: str, now: Instant
) -> None:
    """Raises ``BadInput`` while something grants a feature, or would to a new subscriber."""
    by = _offered_by(transaction, environment, feature)
    by = by or granted_by(transaction, environment, feature, now)
    if by is not None:
        raise BadInput(
            f"feature {feature!r} is granted by {by}; remove it there first",
            code="CannotArchiveFeatureError",
        )


def granted_by(
    transaction: Transaction, environment: str, feature: str, now: Instant
) -> str | None:
    """Through what somebody has a feature, or will have it; None when nobody has."""
    for words, sql in _HELD:
        row = transaction.one(sql, environment, feature, now)
        if row is not None:
            return f"{words} {row[0]!r}"
    subscription = _overridden_by(transaction, environment, feature, now)
    return None if subscription is None else f"subscription {subscription!r}"


def values_granted(
    transaction: Transaction, environment: str, feature: str, now: Instant
) -> set[str]:
    """The values of an ENUM feature that open plans and add-ons, and promotions, grant."""
    scope = (environment, feature)
    rows = transaction.all(PLAN_ITEMS, *scope) + transaction.all(ADDON_ITEMS, *scope)
    offered = (item for (text,) in rows for item in decode_list(cast("str", text)))
    promoted = transaction.all(PROMOTED_ITEMS, *scope, now)
    items = [
        *(item for item in offered if item["id"] == feature),
        *(decode(cast("str", text)) for (text,) in promoted),
    ]
    return {value for item in items for value in item.get("enumValues") or ()}


def require_package_free(
    transaction: Transaction, environment: str, kind: Kind, package: str, product: str
) -> None:
    """Raises ``BadInput`` while something needs a plan or an add-on of a product."""
    if kind == "plan":
        _require_plan_free(transaction, environment, package, product)
    else:
        _require_addon_free(transaction, environment, package, product)


def _require_plan_free(transaction: Transaction, environment: str, plan: str, product: str) -> None:
    """Raises ``BadInput`` while another plan inherits from a plan, or its product leads to it."""
    child = transaction.one(CHILD, environment, plan)
    if child is not None:
        raise BadInput(
            f"plan {child[0]!r} inherits from plan {plan!r}; change that first",
            code="PlanWithChildCantBeDeleted",
        )
    row = transaction.one(PRODUCT_BODY, environment, product)
    settings = (row and decode(cast("str", row[0])).get("productSettings")) or {}
    if settings.get("downgradePlanId") == plan:
        raise BadInput(
            f"subscriptions of product {product!r} end with plan {plan!r}; "
            f"change its downgradePlanId first",
            code="PlanIsUsedAsDowngradePlan",
        )
    if settings.get("subscriptionStartPlanId") == plan:
        raise BadInput(
            f"subscriptions of product {product!r} begin with plan {plan!r}; "
            f"change its subscriptionStartPlanId first",
            code="PlanIsUsedAsDefaultStartPlan",
        )


def _require_addon_free(
    transaction: Transaction, environment: str, addon: str, product: str
) -> None:
    """Raises ``BadInput`` while another add-on depends on an add-on, or a plan goes with it."""
    scope = (environment, product)
    by = _naming(transaction.all(ADDON_BODIES, *scope), "dependencies", addon)
    if by is not None:
        raise BadInput(f"add-on {by!r} depends on add-on {addon!r}; change that first")
    by = _naming(transaction.all(PLAN_BODIES, *scope), "compatibleAddonIds", addon)
    if by is not None:
        raise BadInput(
            f"add-on {addon!r} is compatible with plan {by!r}; change that first",
            code="AddonIsCompatibleWithPlan",
        )


def is_subscribed(transaction: Transaction, environment: str, product: str, now: Instant) -> bool:
    """Whether someone has a subscription of a product, or will have one."""
    return transaction.one(PRODUCT_SUBSCRIBED, environment, product, now) is not None


def _offered_by(transaction: Transaction, environment: str, feature: str) -> str | None:
    for words, sql in _OFFERS:
        row = transaction.one(sql, environment, feature)
        if row is not None:
            return f"{words} {row[0]!r}"
    return None


def _overridden_by(
    transaction: Transaction, environment: str, feature: str, now: Instant
) -> str | None:
    """A subscription that was given a feature beside its plan's entitlements."""
    last, named = "", containing(text_of(feature))
    while rows := transaction.all(MAY_OVERRIDE, environment, now, named, last):
        for subscription, text in cast("list[tuple[str, str]]", rows):
            last = subscription
            overrides = decode(text).get("overrides") or [{"entitlements": ()}]
            # What is stated last holds, and whatever is yet to come with it.
            if any(item["id"] == feature for item in overrides[-1]["entitlements"]):
                return subscription
    return None


def _naming(rows: Iterable[Row], field: str, addon: str) -> str | None:
    """The package that names an add-on in a list of its own."""
    for package, text in cast("Iterable[tuple[str, str]]", rows):
        if addon in (decode(text).get(field) or ()):
            return package
    return None
