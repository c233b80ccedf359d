"""What a change of rules does to what was counted.

Owns: noticing that a change moves usage to other periods, and then: reported usage is recalculated
in the transaction of the change, events queue a recount of just what moved.

Use it inside one write transaction, around a change of one customer::

    before = placements(services, transaction, environment, customer)
    ...
    settle(services, transaction, environment, customer, before, now)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from tallystick.catalog import plans
from tallystick.catalog.changes import EVERYONE, has_archived_events, queue_recount
from tallystick.catalog.grants import generosity, reset_rule
from tallystick.catalog.rows import Body
from tallystick.clock import Instant
from tallystick.core.periods import Segment
from tallystick.entitlements.rules import Rules
from tallystick.store import Transaction
from tallystick.usage.recalculate import Placed, placed_reports, recalculate_reports

if TYPE_CHECKING:
    from tallystick.app import Services

Segments: TypeAlias = Mapping[tuple[str, str], tuple[Segment, ...]]
"""By (resource, feature) of a customer."""

# Customers who have a version of a plan now or later on.
SUBSCRIBERS = """
SELECT DISTINCT customer FROM subscriptions
WHERE environment = ? AND plan = ? AND (end_at IS NULL OR end_at > ?)
"""

# Customers who have arranged to have a plan later on: they will have the newest version of then.
SCHEDULED = """
SELECT DISTINCT customer FROM subscriptions
WHERE environment = ? AND plan = ? AND start_at > ? AND (end_at IS NULL OR end_at > start_at)
"""

# The versions of a plan that were subscribed to and are still held.
VERSIONS_HELD = """
SELECT DISTINCT version FROM subscriptions
WHERE environment = ? AND plan = ? AND (end_at IS NULL OR end_at > ?)
"""

# Whether someone has another subscription beside one to this plan: then limits decide which wins.
HELD_BESIDE = """
SELECT 1 FROM subscriptions AS one JOIN subscriptions AS other
  ON other.environment = one.environment AND other.customer = one.customer
 AND other.resource = one.resource AND other.id <> one.id
WHERE one.environment = ? AND one.plan = ?
  AND (one.end_at IS NULL OR one.end_at > ?) AND (other.end_at IS NULL OR other.end_at > ?)
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Placements:
    """Which periods a customer's usage is counted in."""

    reports: Placed
    events: Segments


def placements(
    services: Services, transaction: Transaction, environment: str, customer: str
) -> Placements:
    """As the rules are before a change of one customer."""
    rules = services.rules()
    rules.refresh(transaction)
    return _placed(transaction, rules, environment, customer)


def _placed(transaction: Transaction, rules: Rules, environment: str, customer: str) -> Placements:
    return Placements(
        placed_reports(transaction, rules, environment, customer),
        _placed_events(transaction, rules, environment, customer),
    )


def settle(
    services: Services,
    transaction: Transaction,
    environment: str,
    customer: str,
    before: Placements,
    now: Instant,
    rules: Rules | None = None,
) -> None:
    """After the change: count anew what it moved. ``rules`` know the change, where it is one of
    more than customers, and are thrown away."""
    recalculate_reports(services, transaction, environment, customer, before.reports)
    rules = rules or services.rules().branch()
    after = _placed_events(transaction, rules, environment, customer)
    moved = {
        feature
        for resource, feature in before.events.keys() | after.keys()
        if before.events.get((resource, feature), ()) != after.get((resource, feature), ())
    }
    if moved:
        # One that moved is recounted alone, several are read from the archive together.
        feature = moved.pop() if len(moved) == 1 else EVERYONE
        as_of = services.freshness.read().as_of
        reason = "changed periods of a customer"
        queue_recount(transaction, environment, feature, customer, reason, as_of, now)


def publish(
    services: Services,
    transaction: Transaction,
    environment: str,
    plan: str,
    migration: str,
    now: Instant,
) -> None:
    """Publish a plan's draft, and count anew what that moves for existing subscribers."""
    # Asked and not refreshed again, these rules go on saying what held before.
    rules = services.rules()
    rules.refresh(transaction)
    for name in plans.renewed_with(transaction, environment, plan):
        rules.package(transaction, environment, "plan", name)
    metered = {feature.id for feature in rules.metered(transaction, environment)}
    for renewed in plans.publish(transaction, environment, plan, migration, now):
        if migration != "ALL_CUSTOMERS":
            for customer in _customers(transaction, SCHEDULED, environment, renewed, now):
                placed = _placed(transaction, rules, environment, customer)
                fresh = Rules(services.state)
                settle(services, transaction, environment, customer, placed, now, fresh)
            continue
        moved = _moved_by(transaction, environment, renewed, now)
        for feature in sorted(moved & metered):
            as_of = services.freshness.read().as_of
            reason = f"plan {renewed} published for all customers"
            queue_recount(transaction, environment, feature, EVERYONE, reason, as_of, now)
        if moved - metered:
            for customer in _customers(transaction, SUBSCRIBERS, environment, renewed, now):
                before = placed_reports(transaction, rules, environment, customer)
                recalculate_reports(services, transaction, environment, customer, before)


def _moved_by(transaction: Transaction, environment: str, plan: str, now: Instant) -> set[str]:
    """The features whose periods the newest version, published for everyone, may have changed."""
    versions = plans.find(transaction, environment, plan).versions
    *earlier, newest = [version for version in versions if version.published_at is not None]
    rows = transaction.all(VERSIONS_HELD, environment, plan, now)
    if not rows:
        return set()
    # Whoever subscribed before a version for everyone has that one.
    common = max((one.number for one in earlier if one.migration == "ALL_CUSTOMERS"), default=0)
    held = {max(cast("int", number), common) for (number,) in rows}
    after = _by_feature(newest)
    beside = transaction.one(HELD_BESIDE, environment, plan, now, now) is not None
    moved = set()
    for version in earlier:
        # Versions after the common one may be held by migration too.
        if version.number in held or version.number > common:
            moved |= _differing(_by_feature(version), after, beside)
    return moved


def _by_feature(version: plans.Version) -> Mapping[str, Body]:
    return {item["id"]: item for item in version.granted if item["type"] == "FEATURE"}


def _differing(
    before: Mapping[str, Body], after: Mapping[str, Body], limits_decide: bool
) -> set[str]:
    return {
        feature
        for feature in before.keys() | after.keys()
        if reset_rule(before.get(feature)) != reset_rule(after.get(feature))
        or (limits_decide and generosity(before.get(feature)) != generosity(after.get(feature)))
    }


def _customers(
    transaction: Transaction, sql: str, environment: str, plan: str, now: Instant
) -> Iterable[str]:
    rows = transaction.all(sql, environment, plan, now)
    return [cast("str", customer) for (customer,) in rows]


def _placed_events(
    transaction: Transaction, rules: Rules, environment: str, customer: str
) -> dict[tuple[str, str], tuple[Segment, ...]]:
    """Where a customer's events are counted; nothing when it has none."""
    known = rules.customer(transaction, environment, customer)
    if known is None or not has_archived_events(transaction, environment, customer):
        return {}
    return {
        (resource, feature.id): rules.segments(
            transaction, environment, customer, resource, feature.id
        )
        for resource in {span.resource for span in known.spans}
        for feature in rules.metered(transaction, environment)
    }
