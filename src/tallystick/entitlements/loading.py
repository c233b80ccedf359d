"""From rows of the configuration to rules in the form that the pure core takes.

Owns: reading features, customers, what they were subscribed to and what they were granted. Keeps
nothing: ``rules`` does. Leaves to others: plans and add-ons (``packages``), and what a subscription
grants when (``core/subscription``).

The body of a subscription tells its history, in microseconds where it says ``at``::

    migrations       [{version, at}]                          of the plan
    overrides        [{at, entitlements: [stored item]}]      complete from then on
    addonHistory     [{at, addons: [{id, quantity, version}]}]  complete from then on
    addonMigrations  [{addon, version, at}]
    resets           [at]                                     usage was reset
    foreseen         [at]      what holds from then on was told before
    floor            at        where its chain came to this holder, if that was after its beginning
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import msgspec

from tallystick.clock import Instant
from tallystick.core.meters import Meter
from tallystick.core.parts import Function
from tallystick.core.subscription import AddonHeld, Terms, phases_of
from tallystick.core.timeline import Grant, Span
from tallystick.entitlements.packages import (
    FindPackage,
    PackageName,
    entitlement_of,
    override_of,
)
from tallystick.store import Row, Transaction

SELECT_FEATURES = """
SELECT id, body, fed_by, generation, updated_at FROM features WHERE environment = ? ORDER BY id
"""

SELECT_CUSTOMER = """
SELECT body, archived_at, created_at FROM customers WHERE environment = ? AND id = ?
"""

# What a customer, or a resource of it, holds now (held_from is where it came from somebody else),
# and what it held before that was handed over.
SELECT_SUBSCRIPTIONS = """
SELECT id, resource, product, plan, version, start_at, end_at, chain_start, restarts, body,
       created_at, held_from, NULL
FROM subscriptions WHERE environment = ? AND customer = ?
UNION ALL
SELECT id, tenure.resource, product, plan, version, start_at, end_at, chain_start, restarts, body,
       created_at, from_at, until_at
FROM subscription_tenures AS tenure JOIN subscriptions
  ON subscriptions.environment = tenure.environment AND subscriptions.id = tenure.subscription
WHERE tenure.environment = ? AND tenure.customer = ?
"""

# What a customer was granted beside its subscriptions, what has ended included.
SELECT_GRANTS = """
SELECT id, feature, body, start_at, end_at, ended_at
FROM promotional_entitlements WHERE environment = ? AND customer = ? ORDER BY start_at, id
"""

SELECT_GENERATIONS = """
SELECT feature, generation FROM customer_generations WHERE environment = ? AND customer = ?
"""

SELECT_RECOUNTS = """
SELECT customer, feature, as_of FROM recounts WHERE finished_at IS NULL AND environment = ?
"""

UTC = "UTC"


@dataclass(frozen=True, slots=True)
class UnitTransformation:
    """Reported units are shown divided by ``divide``, rounded ``UP`` or ``DOWN``."""

    divide: int
    round: str


class Standing(NamedTuple):
    """Counters of generations ``below`` were counted for ``function``, before the meter changed."""

    below: int
    function: Function


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """A feature as checks and meters need it. ``fed_by``: nothing, reports or events."""

    id: str
    display_name: str
    feature_type: str
    meter_type: str
    status: str
    fed_by: str
    meter: Meter | None
    generation: int
    enum_values: tuple[str, ...]
    unit_transformation: UnitTransformation | None
    updated_at: Instant
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class ZoneFrom:
    """The customer's time zone from an instant on."""

    at: Instant
    zone: str


@dataclass(frozen=True, slots=True)
class CustomerRules:
    """A customer as checks and meters need it; ``zones`` is never empty, oldest first.

    ``packages`` are the plans and add-ons that its spans are made of.
    """

    id: str
    archived_at: Instant | None
    zones: tuple[ZoneFrom, ...]
    spans: tuple[Span, ...]
    grants: tuple[Grant, ...] = ()
    packages: frozenset[PackageName] = frozenset()

    @property
    def zone(self) -> str:
        """The time zone that holds now."""
        return self.zones[-1].zone


OpenRecounts = Mapping[str, Sequence[tuple[str, Instant]]]
"""By customer ('' is everyone): the feature ('' is all) and how fresh its standing value is."""


def load_features(transaction: Transaction, environment: str) -> dict[str, FeatureRules]:
    """Every feature of an environment."""
    rows = transaction.all(SELECT_FEATURES, environment)
    return {cast("str", row[0]): _feature(row) for row in rows}


def _feature(row: Row) -> FeatureRules:
    feature, text, fed_by, generation, updated_at = cast("tuple[str, str, str, int, int]", row)
    body = msgspec.json.decode(text)
    meter = body.get("meter")
    transformation = body.get("unitTransformation")
    return FeatureRules(
        id=feature,
        display_name=body["displayName"],
        feature_type=body["featureType"],
        meter_type=body["meterType"],
        status=body["featureStatus"],
        fed_by=fed_by,
        meter=None if meter is None else msgspec.convert(meter, Meter),
        generation=generation,
        enum_values=tuple(item["value"] for item in body.get("enumConfiguration") or ()),
        unit_transformation=transformation
        and UnitTransformation(transformation["divide"], transformation["round"]),
        updated_at=Instant(updated_at),
        standing=None if body.get("standing") is None else Standing(**body["standing"]),
    )


def load_customer(
    transaction: Transaction, environment: str, customer: str, find: FindPackage
) -> CustomerRules | None:
    """A customer with all it ever subscribed to or was granted, or None when it is unknown.

    ``find`` gives the published versions of a plan or an add-on.
    """
    row = transaction.one(SELECT_CUSTOMER, environment, customer)
    if row is None:
        return None
    text, archived_at, created_at = cast("tuple[str, int | None, int]", row)
    whose = (environment, customer)
    rows = transaction.all(SELECT_SUBSCRIPTIONS, *whose, *whose)
    loaded = [_span(row, find) for row in rows]
    return CustomerRules(
        id=customer,
        archived_at=_optional(archived_at),
        zones=_zones(msgspec.json.decode(text), Instant(created_at)),
        spans=tuple(span for span, _ in loaded),
        grants=load_grants(transaction, environment, customer),
        packages=frozenset(name for _, names in loaded for name in names),
    )


def load_grants(transaction: Transaction, environment: str, customer: str) -> tuple[Grant, ...]:
    """Every promotional entitlement that a customer ever had, in the order they began.

    One that was revoked or replaced ended then. The ``anchor`` of a body, if it has one, is that of
    the grant it replaced.
    """
    rows = transaction.all(SELECT_GRANTS, environment, customer)
    return tuple(_grant(row) for row in rows)


def _grant(row: Row) -> Grant:
    grant, feature, text, start, end, ended = cast(
        "tuple[str, str, str, int, int | None, int | None]", row
    )
    body = msgspec.json.decode(text)
    return Grant(
        id=grant,
        feature=feature,
        start=Instant(start),
        end=_optional(min((at for at in (end, ended) if at is not None), default=None)),
        anchor=Instant(body.get("anchor", start)),
        entitlement=entitlement_of(body | {"id": feature}, Instant(start)),
    )


def load_generations(transaction: Transaction, environment: str, customer: str) -> dict[str, int]:
    """The generations of a customer's own recounts, by feature."""
    rows = transaction.all(SELECT_GENERATIONS, environment, customer)
    return dict(cast("list[tuple[str, int]]", rows))


def load_recounts(transaction: Transaction, environment: str) -> OpenRecounts:
    """The unfinished recounts of an environment."""
    recounts: dict[str, list[tuple[str, Instant]]] = {}
    rows = transaction.all(SELECT_RECOUNTS, environment)
    for customer, feature, as_of in cast("list[tuple[str, str, int]]", rows):
        recounts.setdefault(customer, []).append((feature, Instant(as_of)))
    return recounts


def _zones(body: dict[str, Any], created_at: Instant) -> tuple[ZoneFrom, ...]:
    history = body.get("zones")
    if not history:
        return (ZoneFrom(created_at, UTC),)
    return tuple(ZoneFrom(Instant(item["at"]), item["zone"]) for item in history)


def _span(row: Row, find: FindPackage) -> tuple[Span, set[PackageName]]:
    """What a subscription granted while somebody held it, and the packages that it is made of."""
    subscription, resource, product, plan, version, start, end, chain, restarts, text, *told = cast(
        "tuple[str, str, str, str, int, int, int | None, int, int, str, int | None]", row
    )
    created_at, since, until = cast("tuple[int, int | None, int | None]", told)
    body = msgspec.json.decode(text)
    terms = _terms(body, version, start, end, restarts=bool(restarts))
    if start > created_at:
        terms = replace(terms, foreseen={*terms.foreseen, terms.start})
    addons = {one.addon for _, listed in terms.addons for one in listed}
    phases = phases_of(terms, find("plan", plan), {name: find("addon", name) for name in addons})
    anchor = Instant(start if restarts else chain)
    span = Span(
        id=subscription,
        product=product,
        resource=resource,
        start=terms.start,
        end=terms.end,
        anchor=anchor,
        floor=Instant(max(anchor, body.get("floor", anchor))),
        phases=phases,
    )
    names: set[PackageName] = {("plan", plan), *(("addon", name) for name in addons)}
    return span.held(resource, _optional(since), _optional(until)), names


def _terms(
    body: dict[str, Any], version: int, start: int, end: int | None, *, restarts: bool
) -> Terms:
    """What a subscription was told, from its body."""
    addon_moves: dict[str, dict[int, Instant]] = {}
    for item in body.get("addonMigrations", ()):
        addon_moves.setdefault(item["addon"], {})[item["version"]] = Instant(item["at"])
    return Terms(
        start=Instant(start),
        end=_optional(end),
        plan_version=version,
        plan_moves={item["version"]: Instant(item["at"]) for item in body.get("migrations", ())},
        addons=[
            (Instant(entry["at"]), [_addon(item) for item in entry["addons"]])
            for entry in body.get("addonHistory", ())
        ],
        addon_moves=addon_moves,
        overrides=[
            (Instant(made["at"]), [
                override_of(item) for item in made["entitlements"] if item["type"] == "FEATURE"
            ])
            for made in body.get("overrides", ())
        ],
        resets=[*([Instant(start)] if restarts else []), *map(Instant, body.get("resets", ()))],
        foreseen=set(map(Instant, body.get("foreseen", ()))),
    )  # fmt: skip


def _addon(item: dict[str, Any]) -> AddonHeld:
    return AddonHeld(item["id"], item["quantity"], item["version"])


def _optional(at: int | None) -> Instant | None:
    return None if at is None else Instant(at)
