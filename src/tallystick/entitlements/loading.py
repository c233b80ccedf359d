"""From rows of the configuration to rules in the form that the pure core takes.

Owns: reading features, published plan versions, customers and subscriptions, and joining plan and
overrides into the phases of a subscription. Keeps nothing: ``rules`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import msgspec

from tallystick.clock import Instant
from tallystick.core.entitlements import Entitlement
from tallystick.core.meters import Meter
from tallystick.core.parts import Function
from tallystick.core.timeline import Phase, Span
from tallystick.store import Row, Transaction

SELECT_FEATURES = """
SELECT id, body, fed_by, generation, updated_at FROM features WHERE environment = ? ORDER BY id
"""

# Versions of plans that someone can be subscribed to, oldest first.
SELECT_VERSIONS = """
SELECT id, version, migration, published_at, entitlements, body FROM plans
WHERE environment = ? AND published_at IS NOT NULL ORDER BY id, version
"""

SELECT_CUSTOMER = """
SELECT body, archived_at, created_at FROM customers WHERE environment = ? AND id = ?
"""

SELECT_SUBSCRIPTIONS = """
SELECT id, resource, product, plan, version, start_at, end_at, chain_start, restarts, body
FROM subscriptions WHERE environment = ? AND customer = ? ORDER BY start_at, created_at, id
"""

SELECT_GENERATIONS = """
SELECT feature, generation FROM customer_generations WHERE environment = ? AND customer = ?
"""

SELECT_RECOUNTS = """
SELECT customer, feature, as_of FROM recounts WHERE finished_at IS NULL AND environment = ?
"""

NO_ENTITLEMENTS: Mapping[str, Entitlement] = MappingProxyType({})
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
    """A customer as checks and meters need it; ``zones`` is never empty, oldest first."""

    id: str
    archived_at: Instant | None
    zones: tuple[ZoneFrom, ...]
    spans: tuple[Span, ...]

    @property
    def zone(self) -> str:
        """The time zone that holds now."""
        return self.zones[-1].zone


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """A published version of a plan and what it grants, inherited grants included."""

    version: int
    published_at: Instant
    for_everyone: bool
    entitlements: Mapping[str, Entitlement]


PlanVersions = Mapping[str, Sequence[PlanVersion]]
"""The published versions of each plan, oldest first."""

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


def load_plans(transaction: Transaction, environment: str) -> dict[str, list[PlanVersion]]:
    """Every published version of every plan of an environment."""
    plans: dict[str, list[PlanVersion]] = {}
    for row in transaction.all(SELECT_VERSIONS, environment):
        plan, version, migration, published_at, own, body = cast(
            "tuple[str, int, str, int, str, str]", row
        )
        # What the parent granted when this version was published; frozen by publish().
        inherited = msgspec.json.decode(body).get("inherited", [])
        granted = entitlements_of(inherited) | entitlements_of(msgspec.json.decode(own))
        plans.setdefault(plan, []).append(
            PlanVersion(version, Instant(published_at), migration == "ALL_CUSTOMERS", granted)
        )
    return plans


def entitlements_of(items: Sequence[dict[str, Any]]) -> dict[str, Entitlement]:
    """The feature entitlements of a stored list, by feature; credits are not enforced."""
    return {item["id"]: entitlement_of(item) for item in items if item["type"] == "FEATURE"}


def entitlement_of(item: dict[str, Any], since: Instant | None = None) -> Entitlement:
    """What a stored item says of a feature; ``since`` where the item itself does not know."""
    return Entitlement(
        feature=item["id"],
        usage_limit=item.get("usageLimit"),
        unlimited=item.get("hasUnlimitedUsage") or False,
        soft_limit=item.get("hasSoftLimit") or False,
        reset_period=item.get("resetPeriod"),
        according_to=_according_to(item),
        enum_values=tuple(item.get("enumValues") or ()),
        behavior=item.get("behavior", "Increment"),
        is_granted=item.get("isGranted", True),
        updated_at=item.get("updatedAt", since),
    )


def overridden(base: Entitlement | None, item: dict[str, Any], since: Instant) -> Entitlement:
    """What a plan grants of a feature, with what a subscription states instead."""
    if base is None:
        return entitlement_of(item, since)
    changes: dict[str, Any] = {"is_granted": True, "updated_at": since}
    if "usageLimit" in item:
        changes |= {"usage_limit": item["usageLimit"], "unlimited": False}
    if "hasUnlimitedUsage" in item:
        changes["unlimited"] = item["hasUnlimitedUsage"]
    if "hasSoftLimit" in item:
        changes["soft_limit"] = item["hasSoftLimit"]
    if "resetPeriod" in item:
        changes |= {"reset_period": item["resetPeriod"], "according_to": _according_to(item)}
    return replace(base, **changes)


def _according_to(item: dict[str, Any]) -> str | None:
    configuration = item.get("resetPeriodConfiguration")
    return configuration and cast("str", configuration["accordingTo"])


def load_customer(
    transaction: Transaction, environment: str, customer: str, plans: PlanVersions
) -> CustomerRules | None:
    """A customer with everything it ever subscribed to, or None when it is unknown."""
    row = transaction.one(SELECT_CUSTOMER, environment, customer)
    if row is None:
        return None
    text, archived_at, created_at = cast("tuple[str, int | None, int]", row)
    rows = transaction.all(SELECT_SUBSCRIPTIONS, environment, customer)
    return CustomerRules(
        id=customer,
        archived_at=None if archived_at is None else Instant(archived_at),
        zones=_zones(msgspec.json.decode(text), Instant(created_at)),
        spans=tuple(_span(row, plans) for row in rows),
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


def _span(row: Row, plans: PlanVersions) -> Span:
    subscription, resource, product, plan, version, start, end, chain_start, restarts, text = cast(
        "tuple[str, str, str, str, int, int, int | None, int, int, str]", row
    )
    body = msgspec.json.decode(text)
    return Span(
        id=subscription,
        product=product,
        resource=resource,
        start=Instant(start),
        end=None if end is None else Instant(end),
        chain_start=Instant(chain_start),
        restarts=bool(restarts),
        phases=_phases(plans.get(plan, ()), version, start, end, body),
    )


def _phases(
    versions: Sequence[PlanVersion], pinned: int, start: int, end: int | None, body: dict[str, Any]
) -> tuple[Phase, ...]:
    """What a subscription grants, from instant to instant.

    It keeps the version it was subscribed to until a later one is published for everyone, or it is
    migrated. Overrides are kept with the instant they were made, so that the past keeps its rule.
    """
    moves = {item["version"]: item["at"] for item in body.get("migrations", ())}
    grants: dict[int, Mapping[str, Entitlement]] = {start: NO_ENTITLEMENTS}
    for version in versions:
        if version.version == pinned:
            grants[start] = version.entitlements
        elif version.version > pinned and (version.for_everyone or version.version in moves):
            at = version.published_at if version.for_everyone else moves[version.version]
            grants[max(start, at)] = version.entitlements
    overrides = {max(start, item["at"]): item["entitlements"] for item in body.get("overrides", ())}
    instants = sorted(at for at in grants.keys() | overrides.keys() if end is None or at < end)
    return tuple(Phase(Instant(at), _joined(grants, overrides, at)) for at in instants or [start])


def _joined(
    grants: Mapping[int, Mapping[str, Entitlement]],
    overrides: Mapping[int, Sequence[dict[str, Any]]],
    at: int,
) -> Mapping[str, Entitlement]:
    granted = grants[max(instant for instant in grants if instant <= at)]
    made = [instant for instant in overrides if instant <= at]
    if not made:
        return granted
    joined = dict(granted)
    since = Instant(max(made))
    for item in overrides[since]:
        if item["type"] == "FEATURE":
            joined[item["id"]] = overridden(joined.get(item["id"]), item, since)
    return joined
