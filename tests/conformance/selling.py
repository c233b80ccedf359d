"""What is sold in an environment, to whom, and what they use: one builder per noun.

Every builder has ordinary defaults and returns the id of what it made. Names of entitlements are
features; ``hard(…)`` and its like say what a plan, an add-on, a subscription or a grant states of
one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

CUSTOMER: Final = "cust-1"
_keys = itertools.count(1)


def moment(text: str) -> datetime:
    """``2026-01-31`` or ``2026-01-31T10:00``, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- what a meter counts ------------------------------------------------------------------------


def condition(field: str, operation: str, *values: str) -> dict[str, Any]:
    """A condition of a meter; several values are for IN."""
    named = {"field": field, "operation": operation}
    if operation == "IN":
        return named | {"values": list(values)}
    return named | ({"value": values[0]} if values else {})


def named(event: str) -> dict[str, Any]:
    """The condition that an event has this name."""
    return condition("eventName", "EQUALS", event)


def event(name: str = "call", customer: str = CUSTOMER, **more: Any) -> dict[str, Any]:
    """An event with a key of its own; ``more`` as the SDK names it."""
    fresh = {"idempotency_key": f"key-{next(_keys)}"}
    return {"customer_id": customer, "event_name": name} | fresh | more


# --- what is stated of a feature ----------------------------------------------------------------


def granting(feature: str, **more: Any) -> dict[str, Any]:
    """An entitlement without a limit, as features have that are not counted."""
    return {"id": feature, "type": "FEATURE"} | more


def hard(feature: str, limit: int = 10, **more: Any) -> dict[str, Any]:
    """A hard limit that never resets."""
    return granting(feature, usage_limit=limit, **more)


def unlimited(feature: str, **more: Any) -> dict[str, Any]:
    """No limit at all."""
    return granting(feature, has_unlimited_usage=True, **more)


def resetting(unit: str | None, according_to: str | None = None) -> dict[str, Any]:
    """The fields that say when usage resets."""
    if unit is None:
        return {}
    if according_to is None:
        return {"reset_period": unit}
    adverb = {"YEAR": "yearly", "MONTH": "monthly", "WEEK": "weekly"}[unit]
    configured = {f"{adverb}_reset_period_configuration": {"according_to": according_to}}
    return {"reset_period": unit} | configured


def promised(feature: str, **more: Any) -> dict[str, Any]:
    """A promotional entitlement for life; the SDK wants everything stated, most of it null."""
    names = (
        "custom_end_date", "enum_values", "has_soft_limit", "has_unlimited_usage", "is_visible",
        "monthly_reset_period_configuration", "reset_period", "usage_limit",
        "weekly_reset_period_configuration", "yearly_reset_period_configuration",
    )  # fmt: skip
    return dict.fromkeys(names) | {"feature_id": feature, "period": "lifetime"} | more


class Shop:
    """An environment through a client of the SDK, of either kind."""

    def __init__(self, stigg: Any) -> None:
        self.stigg = stigg
        self.v1 = stigg.v1

    # --- the catalog ---

    def product(self, name: str = "main", resets: str | None = None, **more: Any) -> str:
        """A product; ``resets``: what a plan change does to usage."""
        self.v1.products.create_product(id=name, display_name=name, **more)
        if resets is not None:
            self.v1.products.update_product(name, usage_reset_cutoff_rule={"behavior": resets})
        return name

    def feature(self, name: str, kind: str = "NUMBER", **more: Any) -> str:
        """A feature as it is stated."""
        self.v1.features.create_feature(id=name, display_name=name, feature_type=kind, **more)
        return name

    def boolean(self, name: str = "sso") -> str:
        """A feature that is on or off."""
        return self.feature(name, "BOOLEAN")

    def enum(self, name: str = "region", *values: str) -> str:
        """A feature with allowed values."""
        listed = [{"value": one, "display_name": one} for one in values or ("us", "eu")]
        return self.feature(name, "ENUM", enum_configuration=listed)

    def reported(self, name: str = "seats", **more: Any) -> str:
        """A feature whose usage is reported."""
        return self.feature(name, meter_type="FLUCTUATING", **more)

    def metered(
        self,
        name: str = "calls",
        function: str = "COUNT",
        field: str | None = None,
        filters: Iterable[Iterable[dict[str, Any]]] | None = None,
        **more: Any,
    ) -> str:
        """A feature that is fed by events, those named ``call`` unless filters say otherwise."""
        aggregation = {"function": function} | ({} if field is None else {"field": field})
        alternatives = [[named("call")]] if filters is None else filters
        meter = {
            "aggregation": aggregation,
            "filters": [{"conditions": list(conditions)} for conditions in alternatives],
        }
        return self.feature(name, meter_type="INCREMENTAL", meter=meter, **more)

    def plan(self, name: str, *entitlements: dict[str, Any], **more: Any) -> str:
        """A published plan, of the product ``main`` unless it says otherwise."""
        self.v1.plans.create(id=name, display_name=name, **({"product_id": "main"} | more))
        if entitlements:  # the SDK wants one at least
            self.v1.plans.entitlements.create(name, entitlements=list(entitlements))
        self.v1.plans.publish(name, migration_type="NEW_CUSTOMERS")
        return name

    def replan(self, name: str, *entitlements: dict[str, Any], to: str = "ALL_CUSTOMERS") -> None:
        """A new version of a plan, which says these things otherwise."""
        self.v1.plans.create_draft(name)
        for one in entitlements:
            fields = {key: value for key, value in one.items() if key != "id"}
            self.v1.plans.entitlements.update(one["id"], plan_id=name, **fields)
        self.v1.plans.publish(name, migration_type=to)

    def addon(self, name: str, *entitlements: dict[str, Any], **more: Any) -> str:
        """A published add-on."""
        self.v1.addons.create(id=name, display_name=name, **({"product_id": "main"} | more))
        self.v1.addons.entitlements.create(name, entitlements=list(entitlements))
        self.v1.addons.publish(name, migration_type="NEW_CUSTOMERS")
        return name

    # --- who has what ---

    def customer(self, name: str = CUSTOMER, **more: Any) -> str:
        """A customer."""
        self.v1.customers.provision(id=name, **more)
        return name

    def subscribe(self, plan: str, customer: str = CUSTOMER, **more: Any) -> str:
        """A subscription."""
        made = self.v1.subscriptions.provision(customer_id=customer, plan_id=plan, **more).data
        assert made.status == "SUCCESS"
        return str(made.id)

    def buyer(self, plan: str, name: str = CUSTOMER, **subscription: Any) -> str:
        """A customer with a subscription; returns the subscription's id."""
        self.customer(name)
        return self.subscribe(plan, name, **subscription)

    def grant(self, *promises: dict[str, Any], customer: str = CUSTOMER) -> list[Any]:
        """Promotional entitlements, as they are told."""
        promotions = self.v1.customers.promotional_entitlements
        told = promotions.create(customer, promotional_entitlements=list(promises))
        return list(told.data)

    # --- what is used, and what is answered ---

    def report(self, *values: float, feature: str = "seats", **more: Any) -> list[Any]:
        """Usage of the customer in one call, an item a value; the measurements."""
        item = {"customer_id": CUSTOMER, "feature_id": feature} | more
        told = self.stigg.v2.usage.report(usages=[item | {"value": value} for value in values])
        return list(told.data.usages)

    def send(self, *events: dict[str, Any]) -> None:
        """Events in one call."""
        assert self.v1.events.report(events=list(events)).data is not None

    def check(self, feature: str, customer: str = CUSTOMER, **more: Any) -> Any:
        """What a check answers."""
        told = self.v1.customers.check_entitlement(customer, feature_id=feature, **more).data
        assert told.type == "FEATURE"
        assert told.is_granted == (told.access_denied_reason is None)
        return told

    def reason(self, feature: str, customer: str = CUSTOMER, **more: Any) -> str | None:
        """Why a check denies; None when it grants."""
        found: str | None = self.check(feature, customer, **more).access_denied_reason
        return found

    def used(self, feature: str = "seats", customer: str = CUSTOMER, **more: Any) -> float | None:
        """The usage that a check shows."""
        found: float | None = self.check(feature, customer, **more).current_usage
        return found

    def limit(self, feature: str = "seats", customer: str = CUSTOMER, **more: Any) -> int | None:
        """The limit that a check shows."""
        found: int | None = self.check(feature, customer, **more).usage_limit
        return found

    def listed(self, customer: str = CUSTOMER, **more: Any) -> dict[str, Any]:
        """Every entitlement of a customer or a resource, by feature."""
        told = self.v1.customers.retrieve_entitlements(customer, **more).data
        assert told.access_denied_reason is None
        found = {one.feature.id: one for one in told.entitlements}
        assert len(found) == len(told.entitlements)
        return found

    def history(self, feature: str = "seats", customer: str = CUSTOMER, **asked: Any) -> Any:
        """A usage history; ``asked`` as the SDK names it."""
        return self.v1.usage.history(feature, customer_id=customer, **asked).data
