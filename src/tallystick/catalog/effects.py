"""What a change of rules does to what was counted.

Owns: noticing that a change moves usage to other periods, and then: reported usage is recalculated
in the transaction of the change, events queue a recount of just what moved.

Use it inside one write transaction, around a change of one customer::

    before = placements(tools, transaction, environment, customer)
    ...
    settle(tools, transaction, environment, customer, before, now)

or, where nothing else needs the two apart, ``settled``. ``publish`` is for a change of all who have
a plan or an add-on. It reads the record once, whoever they are; only those who reported usage of a
feature whose periods moved cost more than a look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar, cast

from tallystick.archive.query import QueryEngine
from tallystick.catalog import addons, plans
from tallystick.catalog.changes import EVERYONE, has_archived_events, queue_recount
from tallystick.clock import Clock, Instant
from tallystick.core.entitlements import Entitlement, generosity
from tallystick.core.periods import Segment
from tallystick.core.subscription import Version
from tallystick.entitlements.packages import Kind
from tallystick.entitlements.rules import Rules
from tallystick.folder import DataFolder
from tallystick.freshness import Freshness
from tallystick.store import Transaction
from tallystick.usage.recalculate import (
    Placed,
    counted_scopes,
    placed_reports,
    recalculate,
    recalculate_moved,
)

T = TypeVar("T")

Segments: TypeAlias = Mapping[tuple[str, str], tuple[Segment, ...]]
"""By (resource, feature) of a customer."""

ELSEWHERE: Final = "\x00"
"""No resource can be named so: it stands for all that never had a subscription. What a customer was
granted beside its subscriptions holds for those too."""

# Customers who have a version of a package now or later on.
SUBSCRIBERS: Final[Mapping[Kind, str]] = {
    "plan": """
SELECT DISTINCT customer FROM subscriptions
WHERE environment = ? AND plan = ? AND (end_at IS NULL OR end_at > ?)
""",
    "addon": """
SELECT DISTINCT subscriptions.customer FROM subscription_addons AS held JOIN subscriptions
  ON subscriptions.environment = held.environment AND subscriptions.id = held.subscription
WHERE held.environment = ? AND held.addon = ? AND (end_at IS NULL OR end_at > ?)
""",
}

# Customers who have arranged to have a plan later on: they will have the newest version of then.
# Whoever has an add-on took a version of it.
SCHEDULED: Final = """
SELECT DISTINCT customer FROM subscriptions
WHERE environment = ? AND plan = ? AND start_at > ? AND (end_at IS NULL OR end_at > start_at)
"""

# The versions of a plan that were subscribed to and are still held.
VERSIONS_HELD: Final = """
SELECT DISTINCT version FROM subscriptions
WHERE environment = ? AND plan = ? AND (end_at IS NULL OR end_at > ?)
"""

# Whether a subscriber of a plan is granted something beside it: by another subscription, by an
# add-on, or a promotional entitlement. Then limits decide which of them wins.
HELD_BESIDE: Final = """
WITH mine AS (
    SELECT environment, customer, resource, id FROM subscriptions
    WHERE environment = ? AND plan = ? AND (end_at IS NULL OR end_at > ?)
)
SELECT 1 FROM mine WHERE EXISTS (
    SELECT 1 FROM subscriptions AS other
    WHERE other.environment = mine.environment AND other.customer = mine.customer
      AND other.resource = mine.resource AND other.id <> mine.id
      AND (other.end_at IS NULL OR other.end_at > ?)
) OR EXISTS (
    SELECT 1 FROM subscription_addons AS held
    WHERE held.environment = mine.environment AND held.subscription = mine.id
) OR EXISTS (
    SELECT 1 FROM promotional_entitlements AS granted
    WHERE granted.environment = mine.environment AND granted.customer = mine.customer
      AND granted.ended_at IS NULL AND (granted.end_at IS NULL OR granted.end_at > ?)
) LIMIT 1
"""


class Tools(Protocol):
    """What counting anew takes of a process."""

    @property
    def clock(self) -> Clock:
        """What time it is."""
        ...

    @property
    def rules(self) -> Callable[[], Rules]:
        """The calling thread's own rules."""
        ...

    @property
    def queries(self) -> QueryEngine:
        """What reads the archive."""
        ...

    @property
    def folder(self) -> DataFolder:
        """Where the archive is."""
        ...

    @property
    def freshness(self) -> Freshness:
        """How fresh the values are that a recount will replace."""
        ...


@dataclass(frozen=True, slots=True)
class Placements:
    """Which periods a customer's usage is counted in."""

    reports: Placed
    events: Segments


def settled(
    tools: Tools,
    transaction: Transaction,
    environment: str,
    customers: Sequence[str],
    change: Callable[[Instant], T],
) -> tuple[T, Instant]:
    """Make a change of some customers now, and count anew what it moves."""
    now = tools.clock.now()
    before = [placements(tools, transaction, environment, customer) for customer in customers]
    changed = change(now)
    for customer, placed in zip(customers, before, strict=True):
        settle(tools, transaction, environment, customer, placed, now)
    return changed, now


def placements(
    tools: Tools, transaction: Transaction, environment: str, customer: str
) -> Placements:
    """As the rules are before a change of one customer."""
    rules = tools.rules()
    rules.refresh(transaction)
    return Placements(
        placed_reports(transaction, rules, environment, [customer]),
        _placed_events(transaction, rules, environment, customer),
    )


def settle(
    tools: Tools,
    transaction: Transaction,
    environment: str,
    customer: str,
    before: Placements,
    now: Instant,
) -> None:
    """After the change: count anew what it moved."""
    rules = tools.rules().branch()
    record = (tools.queries, tools.folder.path)
    recalculate_moved(*record, transaction, environment, before.reports, rules)
    _queue_moved(tools, transaction, rules, environment, customer, before.events, now)


def publish(
    tools: Tools,
    transaction: Transaction,
    environment: str,
    kind: Kind,
    package: str,
    migration: str,
    now: Instant,
) -> None:
    """Publish the draft of a plan or an add-on, and count anew what that moves for those who have
    it, or will."""
    # Asked and not refreshed again, these rules go on saying what held before.
    before = tools.rules()
    before.refresh(transaction)
    if kind == "plan":
        for name in plans.renewed_with(transaction, environment, package):
            before.package(transaction, environment, kind, name)
        renewed = plans.publish(transaction, environment, package, migration, now)
    else:
        addons.publish(transaction, environment, package, migration, now)
        renewed = [package]
    after = Rules()
    for name in renewed:
        if migration == "ALL_CUSTOMERS":
            _settle_all(tools, transaction, after, environment, kind, name, now)
        elif kind == "plan":
            customers = _customers(transaction, SCHEDULED, environment, name, now)
            _settle_each(tools, transaction, before, after, environment, customers, now)


def _settle_all(
    tools: Tools,
    transaction: Transaction,
    rules: Rules,
    environment: str,
    kind: Kind,
    package: str,
    now: Instant,
) -> None:
    """Count anew what the newest version of a package moves for all who have it. ``rules`` know
    that version."""
    subscribers = _customers(transaction, SUBSCRIBERS[kind], environment, package, now)
    if not subscribers:
        return
    moved = _moved_by(transaction, rules, environment, kind, package, now)
    for feature in rules.metered(transaction, environment):
        if feature.id in moved:
            as_of = tools.freshness.read().as_of
            reason = f"{kind} {package} published for all customers"
            queue_recount(transaction, environment, feature.id, EVERYONE, reason, as_of, now)
    counted = counted_scopes(transaction, rules, environment, subscribers) if moved else ()
    scopes = [scope for scope in counted if scope.feature in moved]
    record = (tools.queries, tools.folder.path)
    recalculate(*record, transaction, environment, scopes, rules)


def _settle_each(
    tools: Tools,
    transaction: Transaction,
    before: Rules,
    after: Rules,
    environment: str,
    customers: Sequence[str],
    now: Instant,
) -> None:
    """Count anew what moved for some customers, as two states of the rules tell."""
    reports = placed_reports(transaction, before, environment, customers)
    record = (tools.queries, tools.folder.path)
    recalculate_moved(*record, transaction, environment, reports, after)
    for customer in customers:
        events = _placed_events(transaction, before, environment, customer)
        _queue_moved(tools, transaction, after, environment, customer, events, now)


def _queue_moved(
    tools: Tools,
    transaction: Transaction,
    rules: Rules,
    environment: str,
    customer: str,
    before: Segments,
    now: Instant,
) -> None:
    """Queue a recount of each feature whose events other segments count now than before."""
    after = _placed_events(transaction, rules, environment, customer)
    moved = {
        feature
        for resource, feature in before.keys() | after.keys()
        if before.get((resource, feature), ()) != after.get((resource, feature), ())
    }
    for feature in sorted(moved):
        as_of = tools.freshness.read().as_of
        reason = "changed periods of a customer"
        queue_recount(transaction, environment, feature, customer, reason, as_of, now)


def _moved_by(
    transaction: Transaction,
    rules: Rules,
    environment: str,
    kind: Kind,
    package: str,
    now: Instant,
) -> set[str]:
    """The features whose periods the newest version, published for everyone, may have changed for
    someone who has the package."""
    *earlier, newest = rules.package(transaction, environment, kind, package)
    before = earlier
    if kind == "plan":
        # Whoever subscribed before a version for everyone has that one; versions after it may be
        # held by migration too.
        common = max((one.number for one in earlier if one.for_everyone), default=0)
        rows = transaction.all(VERSIONS_HELD, environment, package, now)
        held = {max(cast("int", number), common) for (number,) in rows}
        before = [one for one in earlier if one.number in held or one.number > common]
    # What an add-on grants joins what a plan does, so there is always something beside it.
    beside = kind == "addon" or _held_beside(transaction, environment, package, now)
    return {name for one in before for name in _differing(one, newest, limits_decide=beside)}


def _held_beside(transaction: Transaction, environment: str, plan: str, now: Instant) -> bool:
    values = (environment, plan, now, now, now)
    return transaction.one(HELD_BESIDE, *values) is not None


def _differing(before: Version, after: Version, *, limits_decide: bool) -> Iterable[str]:
    """The features whose periods may be others in another version."""
    for feature in before.entitlements.keys() | after.entitlements.keys():
        old, new = before.entitlements.get(feature), after.entitlements.get(feature)
        if _period_rule(old) != _period_rule(new) or (limits_decide and _rank(old) != _rank(new)):
            yield feature


def _period_rule(entitlement: Entitlement | None) -> tuple[str | None, ...]:
    """What of an entitlement decides its usage periods; () when it grants nothing."""
    if entitlement is None or not entitlement.is_granted:
        return ()
    return (entitlement.reset_period, entitlement.according_to, entitlement.behavior)


def _rank(entitlement: Entitlement | None) -> tuple[object, ...]:
    """What of an entitlement decides which of several wins."""
    return () if entitlement is None else generosity(entitlement)


def _customers(
    transaction: Transaction, sql: str, environment: str, package: str, now: Instant
) -> list[str]:
    rows = transaction.all(sql, environment, package, now)
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
        for resource in {"", ELSEWHERE, *(span.resource for span in known.spans)}
        for feature in rules.metered(transaction, environment)
    }
