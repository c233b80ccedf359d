"""A catalog and its customers with ordinary defaults, made through a client of the SDK.

A test states what it is about; a builder knows the rest. Each answers what the SDK answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from stigg import APIStatusError

from tests.conformance.driving import Site

COINS: Any = {"id": "coins", "type": "CREDIT", "amount": 1, "cadence": "MONTH"}
"""Credits, which are kept and decide nothing."""


def product(stigg: Any, id: str = "main", **more: Any) -> Any:
    """A product with one subscription a customer."""
    return stigg.v1.products.create_product(id=id, display_name=id.title(), **more).data


def feature(stigg: Any, id: str = "calls", **more: Any) -> Any:
    """A feature that counts what is reported."""
    defaults = {"display_name": id.title(), "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}
    return stigg.v1.features.create_feature(id=id, **(defaults | more)).data


def flag(stigg: Any, id: str = "sso", **more: Any) -> Any:
    """A feature that is on or off."""
    return stigg.v1.features.create_feature(
        id=id, display_name=id.title(), feature_type="BOOLEAN", **more
    ).data


def choice(stigg: Any, id: str = "region", values: tuple[str, ...] = ("us", "eu")) -> Any:
    """A feature that has values."""
    listed = [{"value": value, "display_name": value.upper()} for value in values]
    return stigg.v1.features.create_feature(
        id=id, display_name=id.title(), feature_type="ENUM", enum_configuration=listed
    ).data


def meter(function: str = "COUNT", field: str | None = None) -> Any:
    """A meter over events named ``api_call``."""
    condition = {"field": "eventName", "operation": "EQUALS", "value": "api_call"}
    aggregation = {"function": function} | ({} if field is None else {"field": field})
    return {"filters": [{"conditions": [condition]}], "aggregation": aggregation}


def granting(id: str = "calls", **more: Any) -> Any:
    """What an entitlement says of a feature: nothing but ``more``."""
    return {"id": id, "type": "FEATURE"} | more


def up_to(usage_limit: int, id: str = "calls", **more: Any) -> Any:
    """An entitlement with a limit."""
    return granting(id, usage_limit=usage_limit, **more)


def draft(stigg: Any, id: str = "basic", *items: Any, **more: Any) -> Any:
    """A plan that is a draft and grants ``items``."""
    about = {"display_name": id.title(), "product_id": "main"} | more
    made = stigg.v1.plans.create(id=id, **about).data
    if items:
        stigg.v1.plans.entitlements.create(id, entitlements=items)
    return made


def plan(stigg: Any, id: str = "basic", *items: Any, **more: Any) -> None:
    """A published plan that grants ``items``, or else credits."""
    draft(stigg, id, *(items or (COINS,)), **more)
    stigg.v1.plans.publish(id, migration_type="NEW_CUSTOMERS")


def renew(stigg: Any, id: str, migration: str, *changes: Any) -> None:
    """Publish a new version of a plan with changed entitlements."""
    stigg.v1.plans.create_draft(id)
    for change in changes:
        stated = {name: value for name, value in change.items() if name != "id"}
        stigg.v1.plans.entitlements.update(change["id"], plan_id=id, **stated)
    stigg.v1.plans.publish(id, migration_type=migration)


def addon(stigg: Any, id: str = "extra", *items: Any, **more: Any) -> None:
    """A published add-on that grants ``items``, or else credits."""
    about = {"display_name": id.title(), "product_id": "main"} | more
    stigg.v1.addons.create(id=id, **about)
    stigg.v1.addons.entitlements.create(id, entitlements=items or (COINS,))
    stigg.v1.addons.publish(id, migration_type="NEW_CUSTOMERS")


def customer(stigg: Any, id: str = "acme", **more: Any) -> Any:
    """A customer in UTC."""
    return stigg.v1.customers.provision(id=id, **more).data


def subscription(stigg: Any, plan: str = "basic", customer: str = "acme", **more: Any) -> Any:
    """A subscription from now on."""
    made = stigg.v1.subscriptions.provision(customer_id=customer, plan_id=plan, **more).data
    assert made.status == "SUCCESS"
    return made.subscription


def shop(stigg: Any, *items: Any) -> None:
    """A product, a feature ``calls``, a plan ``basic`` (100 calls, or ``items``) and a customer."""
    product(stigg)
    feature(stigg)
    plan(stigg, "basic", *(items or (up_to(100),)))
    customer(stigg)


def check(stigg: Any, feature: str = "calls", customer: str = "acme", **more: Any) -> Any:
    """What an entitlement check answers."""
    return stigg.v1.customers.check_entitlement(customer, feature_id=feature, **more).data


def use(
    stigg: Any, value: float, feature: str = "calls", customer: str = "acme", **more: Any
) -> Any:
    """Report usage; what is counted right after it."""
    item = {"customer_id": customer, "feature_id": feature, "value": value} | more
    return stigg.v2.usage.report(usages=[item]).data.usages[0].current_usage


def retrieved(stigg: Any, found: Any) -> Any:
    """A subscription as it is now."""
    return stigg.v1.subscriptions.retrieve(found.id).data


def statuses(stigg: Any, customer: str = "acme") -> dict[str, str]:
    """The status of each of a customer's subscriptions, by plan."""
    return {one.plan_id: one.status for one in stigg.v1.subscriptions.list(customer_id=customer)}


def extra(quantity: int, id: str = "extra") -> Any:
    """An add-on as a subscription lists it."""
    return {"id": id, "quantity": quantity}


def later(site: Site, **span: float) -> datetime:
    """Let a span pass (``days=1``), and tell what time it is then."""
    then = time_of(site) + timedelta(**span)
    site.move(then.isoformat())
    return then


def at_the_end_of(site: Site, found: Any) -> datetime:
    """Let the billing period of a subscription end, and tell when that is."""
    end: datetime = found.current_billing_period_end
    site.move(end.isoformat())
    return end


def time_of(site: Site) -> datetime:
    """What time it is."""
    return datetime.fromisoformat(site.now_text())


@contextmanager
def refused(kind: type[APIStatusError], code: str) -> Iterator[None]:
    """Exactly this exception of the SDK, with a flat body that has the code and a message."""
    with pytest.raises(APIStatusError) as raised:
        yield
    body: Any = raised.value.body
    assert (type(raised.value), body["code"]) == (kind, code), raised.value
    assert set(body) == {"message", "code"}
    assert len(body["message"].split()) > 1
