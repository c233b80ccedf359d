"""The dates of a subscription that billing would follow: its billing period and its trial.

No money is computed here or anywhere; scheduled cancellations and plan changes need the dates.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from msgspec import UNSET

from tallystick.catalog.rows import Body, instant
from tallystick.catalog.shapes.subscriptions import ProvisionSubscription
from tallystick.clock import DAY, Instant
from tallystick.core.periods import Rule, Unit, window
from tallystick.errors import BadInput


class BillingPeriod(NamedTuple):
    """[start, end)."""

    start: Instant
    end: Instant


def billing_period(terms: Body, start: int, at: int) -> BillingPeriod:
    """The billing period that contains ``at`` (the first one, before the subscription begins)."""
    unit: Unit = "YEAR" if terms.get("billingPeriod") == "ANNUALLY" else "MONTH"
    anchor = Instant(terms.get("billingAnchor", start))
    return BillingPeriod(*window(Rule(unit, anchor=anchor), max(at, start)))


def trial_end(
    request: ProvisionSubscription, plan: Body, start: Instant
) -> tuple[Instant | None, str | None]:
    """When the trial of a new subscription ends, and what happens then; None without a trial.

    The request decides; the plan's default holds for what it leaves out.
    """
    default: Body = plan.get("defaultTrialConfig") or {}
    behavior: str | None = default.get("trialEndBehavior")
    override = request.trial_override_configuration
    if override is UNSET:
        return (_default_end(default, start), behavior) if default else (None, None)
    if not override.is_trial:
        return None, None
    if override.trial_end_behavior is not UNSET:
        behavior = override.trial_end_behavior
    if override.trial_end_date is not UNSET:
        return instant("trialOverrideConfiguration.trialEndDate", override.trial_end_date), behavior
    if not default:
        raise BadInput("trialOverrideConfiguration.trialEndDate: the plan has no default trial")
    return _default_end(default, start), behavior


def _default_end(config: Body, start: Instant) -> Instant:
    duration = Decimal(config["duration"])
    if config["units"] == "DAY":
        return Instant(start + int(duration * DAY))
    end = start
    for _ in range(int(duration)):
        end = window(Rule("MONTH", anchor=start), end)[1]
    return end
