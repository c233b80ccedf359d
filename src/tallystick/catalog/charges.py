"""The charges of plans and add-ons, as lists: a row for each price of each pricing model.

Owns: flattening what is stored under ``charges``. Nothing is billed; a charge's id says where it
stands (`model-period`), so that it stays while the charges do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tallystick.catalog import packages
from tallystick.catalog.pages import Cursor, Listed
from tallystick.catalog.rows import Body, shown
from tallystick.entitlements.packages import Kind
from tallystick.store import Transaction

_OF_MODEL: Final = (
    "featureId", "maxUnitQuantity", "minUnitQuantity", "tiersMode", "topUpCustomCurrencyId",
)  # fmt: skip
_OF_PERIOD: Final = (
    "billingPeriod", "billingCountryCode", "blockSize", "creditGrantCadence", "creditRate",
)  # fmt: skip
# A price without a currency is in this one; the SDK's type requires one.
_CURRENCY: Final = "usd"


def listed(
    transaction: Transaction, environment: str, kind: Kind, package: str
) -> Iterator[Listed]:
    """What a package costs: of what is published, or else of the draft."""
    version = packages.find(transaction, environment, kind, package).shown
    models = (version.body.get("charges") or {}).get("pricingModels") or ()
    yield from _rows(version, "charge", [_usual(model) for model in models])


def overage(
    transaction: Transaction, environment: str, kind: Kind, package: str
) -> Iterator[Listed]:
    """What a package costs beyond its limits."""
    version = packages.find(transaction, environment, kind, package).shown
    models = (version.body.get("charges") or {}).get("overagePricingModels") or ()
    yield from _rows(version, "overage", [_beyond(model) for model in models])


def _usual(model: Body) -> Body:
    return {"billingCadence": "RECURRING"} | model


def _beyond(model: Body) -> Body:
    """An overage price has no model of its own: usage beyond the limit is charged."""
    feature = model.get("featureId") or (model.get("entitlement") or {}).get("featureId")
    kind = "CREDIT_BASED" if model.get("currencyId") else "USAGE_BASED"
    return {"billingCadence": "RECURRING", "billingModel": kind} | model | {"featureId": feature}


def _rows(version: packages.Version, word: str, models: list[Body]) -> Iterator[Listed]:
    billing_id = (version.body.get("charges") or {}).get("billingId")
    for number, model in enumerate(models, 1):
        for period_number, period in enumerate(model["pricePeriods"], 1):
            # Padded, because a list is in the order of its ids.
            charge = f"{version.id}-v{version.number}-{word}-{number:04}-{period_number:04}"
            data = {
                "id": charge,
                "billingCadence": model["billingCadence"],
                "billingModel": model["billingModel"],
                "billingId": billing_id,
                "createdAt": shown(version.created_at),
                "price": _money(period.get("price")),
                "tiers": _tiers(period.get("tiers")),
                **{name: model.get(name) for name in _OF_MODEL},
                **{name: period.get(name) for name in _OF_PERIOD},
            }
            yield Listed(Cursor(version.created_at, charge), data)


def _tiers(tiers: list[Body] | None) -> list[Body] | None:
    if tiers is None:
        return None
    return [
        {
            "flatPrice": _money(tier.get("flatPrice")),
            "unitPrice": _money(tier.get("unitPrice")),
            "upTo": tier.get("upTo"),
        }
        for tier in tiers
    ]


def _money(money: Body | None) -> Body | None:
    return None if money is None else {"currency": _CURRENCY} | money
