"""The total of a period: which counter holds it, and how it is shown.

Owns: where usage that was *reported* is counted. A report counts in the period that contains it;
reports at instants that no rule covers (before the first subscription, after the last) count
together, in the counter that a rule without resets would use. So a lifetime rule that comes later
finds them counted, and one with resets makes ``recalculate`` place them anew. Events at such
instants are not counted at all until a rule covers them.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple, TypeGuard

from tallystick.clock import Instant
from tallystick.core.parts import CONTEXT, ZERO
from tallystick.core.periods import LIFETIME, Period, Rule, Segment, period_at
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.store import Transaction
from tallystick.usage.counters import CounterKey, read_counter

_UNIT = Decimal(1)


class Account(NamedTuple):
    """Whose usage of what: all totals of one feature of one customer or resource."""

    environment: str
    customer: str
    resource: str
    feature: FeatureRules
    generation: int
    segments: tuple[Segment, ...]

    def period_at(self, instant: Instant) -> Period | None:
        """The period that contains an instant; None where no rule holds."""
        return period_at(self.segments, instant)

    def rule_at(self, instant: Instant) -> Rule | None:
        """The rule that holds at an instant."""
        for segment in self.segments:
            if segment.start <= instant < segment.stop:
                return segment.rule
        return None

    def counter(self, period: Period | None) -> CounterKey:
        """The counter of a period, or of all the time that no rule covers."""
        return CounterKey(
            self.environment, self.customer, self.resource, self.feature.id, self.generation,
            LIFETIME if period is None else period.counted_from,
        )  # fmt: skip


def open_account(
    transaction: Transaction,
    rules: Rules,
    environment: str,
    customer: str,
    resource: str,
    feature: FeatureRules,
) -> Account:
    """The account as the rules are now; ``resource`` is '' for the customer itself."""
    return Account(
        environment,
        customer,
        resource,
        feature,
        rules.generation(transaction, environment, customer, feature.id),
        rules.segments(transaction, environment, customer, resource, feature.id),
    )


def total_of(transaction: Transaction, account: Account, period: Period | None) -> Decimal:
    """What was used in a period (None: at instants that no rule covers), in reported units."""
    part = read_counter(transaction, account.counter(period))
    if part is None:
        return ZERO
    meter, standing = account.feature.meter, account.feature.standing
    if meter is None:
        return part.sum
    if standing is not None and account.generation < standing.below:
        return part.value(standing.function)  # until the recount, the old value stands
    return part.value(meter.aggregation.function)


def in_units(feature: FeatureRules, total: Decimal) -> Decimal:
    """A total in the units that a feature is shown and limited in (STIGG.md 4.8)."""
    transformation = feature.unit_transformation
    if transformation is None:
        return total
    coarse = CONTEXT.divide(total, Decimal(transformation.divide))
    rounding = ROUND_FLOOR if transformation.round == "DOWN" else ROUND_CEILING
    return coarse.quantize(_UNIT, rounding=rounding, context=CONTEXT)


def resets(period: Period | None) -> TypeGuard[Period]:
    """Whether this is a period that ends, rather than a whole life or none at all."""
    return period is not None and period.start != LIFETIME
