"""Reports and events that say the same are counted the same, whatever else happens.

A customer uses two features in one breath, one by reports and one by events, while at random its
plans, overrides, promotions and time zone change and the clock moves on. After each step the two
must not differ, and history must end with what a check shows. A plan of little since long ago
covers all the time that is written about.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any, Final

import pytest
from stigg import BadRequestError, ConflictError, NotFoundError

from tallystick.clock import to_datetime
from tests.conformance.driving import Site
from tests.conformance.selling import CUSTOMER, Shop, event, hard, promised, resetting

STEPS: Final = 16
TWINS: Final = ("reported", "metered")
RULES: Final = [
    (None, None), ("DAY", None), ("WEEK", "SubscriptionStart"), ("WEEK", "EverySunday"),
    ("MONTH", "SubscriptionStart"), ("MONTH", "StartOfTheMonth"), ("HOUR", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def site(site_of_its_own: Site) -> Site:
    """Time passes here."""
    return site_of_its_own


class Twins:
    """Whatever may happen to a customer, one method a kind; each tells what it did."""

    def __init__(self, site: Site, shop: Shop, chance: Random) -> None:
        self._site = site
        self._shop = shop
        self._chance = chance
        self._held: list[str] = []
        self._plans: list[str] = []
        shop.reported("reported")
        shop.metered("metered", "SUM", "n")
        for product in ("base", "main", "side"):
            behaviors = ("ALWAYS_RESET", "NEVER_RESET", "BILLING_PERIOD_CHANGE")
            shop.product(product, chance.choice(behaviors))
        shop.plan("base", *self._grants(("DAY", None), 1), product_id="base")
        for number, rule in enumerate(RULES):
            about: Any = {"product_id": ("main", "side")[number % 2], "pricing_type": "FREE"}
            self._plans.append(shop.plan(f"plan-{number}", *self._grants(rule), **about))
        shop.buyer("base", start_date=to_datetime(site.now()) - timedelta(days=60))

    def _grants(self, rule: Any = None, limit: int | None = None) -> list[dict[str, Any]]:
        """The same of both."""
        limit = self._chance.randint(2, 60) if limit is None else limit
        period = resetting(*(self._chance.choice(RULES) if rule is None else rule))
        return [hard(name, limit, **period) for name in TWINS]

    def time_passes(self) -> object:
        hours = self._chance.choice([0.5, 7, 26, 24 * self._chance.randint(2, 12)])
        now = to_datetime(self._site.now()) + timedelta(hours=hours)
        self._site.move(now.isoformat())
        return now

    def something_is_used(self) -> object:
        ago = timedelta(hours=self._chance.choice([0, 0, 5, 50, 300]))
        at = to_datetime(self._site.now()) - ago
        value, tags = self._chance.randint(1, 9), {"x": self._chance.choice("ab")}
        self._shop.report(value, feature="reported", created_at=at, dimensions=tags)
        self._shop.send(event(timestamp=at, dimensions={"n": value, **tags}))
        return at, value

    def a_plan_is_taken(self) -> object:
        plan, days = self._chance.choice(self._plans), self._chance.choice([0, 0, 4])
        start = to_datetime(self._site.now()) - timedelta(days=days)
        self._held.append(self._shop.subscribe(plan, start_date=start))
        return plan, start

    def a_plan_is_cancelled(self) -> object:
        name = self._held.pop()
        self._shop.v1.subscriptions.cancel(name, cancellation_time="IMMEDIATE")
        return name

    def a_plan_is_overridden(self) -> object:
        stated = self._grants()
        self._shop.v1.subscriptions.update(self._held[-1], entitlements=stated)
        return stated

    def a_plan_is_published(self) -> object:
        plan, stated = self._chance.choice(self._plans), self._grants()
        self._shop.replan(plan, *stated)
        return plan, stated

    def something_is_promised(self) -> object:
        period = resetting(*self._chance.choice(RULES))
        about = {"usage_limit": self._chance.randint(2, 60), "period": "1 week", **period}
        self._shop.grant(*(promised(name, **about) for name in TWINS))
        return about

    def a_promise_is_revoked(self) -> object:
        for name in TWINS:
            self._shop.v1.customers.promotional_entitlements.revoke(name, id=CUSTOMER)
        return None

    def the_customer_moves(self) -> object:
        zone = self._chance.choice(["UTC", "America/New_York", "Asia/Tokyo"])
        self._shop.v1.customers.update(CUSTOMER, timezone=zone)
        return zone

    def step(self) -> tuple[str, object]:
        """One of them; time passes and something is used more often than the rest."""
        kinds = [self.time_passes] * 2 + [self.something_is_used] * 4
        kinds += [
            self.a_plan_is_taken, self.a_plan_is_published, self.something_is_promised,
            self.a_promise_is_revoked, self.the_customer_moves,
        ]  # fmt: skip
        kinds += [self.a_plan_is_cancelled, self.a_plan_is_overridden] if self._held else []
        kind = self._chance.choice(kinds)
        try:
            return kind.__name__, kind()
        except (BadRequestError, ConflictError, NotFoundError) as refused:
            return kind.__name__, refused  # as of a plan that is held already

    def compare(self, so_far: object) -> None:
        """Both are told the same, and each by its history as by its check."""
        self._site.sync()
        one, other = (self._told(name) for name in TWINS)
        assert one == other, so_far

    def _told(self, name: str) -> Any:
        found = self._shop.check(name).to_dict()
        for own in ("feature", "entitlementUpdatedAt"):
            found.pop(own)
        start = to_datetime(self._site.now()) - timedelta(days=20)
        history = self._shop.history(name, start_date=start)
        points = [point.value for point in history.series[0].points]
        assert points[-1] == found["currentUsage"]
        grouped = self._shop.history(name, start_date=start, group_by="x").series
        for number, total in enumerate(points if grouped else []):
            assert sum(series.points[number].value for series in grouped) == total
        return found, history.to_dict()


def test_reports_and_events_are_counted_alike(site: Site, shop: Shop) -> None:
    twins = Twins(site, shop, Random(type(shop.stigg).__name__))
    so_far: list[tuple[str, object]] = []
    for _ in range(STEPS):
        so_far.append(twins.step())
        twins.compare(so_far)
