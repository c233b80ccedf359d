"""Of a product that allows one subscription, no two hold at once, whatever is asked for."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any, Final

import pytest

from tallystick.errors import RequestError
from tests.catalog.building import Desk, monthly

SPANS: Final = "SELECT plan, start_at, coalesce(end_at, 9e18) FROM subscriptions"
PLANS: Final = ("small", "middle", "large")
STRATEGIES: Final = ("IMMEDIATE", "END_OF_BILLING_PERIOD", "END_OF_BILLING_MONTH")


class Customer:
    """Somebody who cannot decide."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.chance = random.Random(seed)
        self._desk = desk
        self._now = datetime(2026, 1, 10, 12, tzinfo=UTC)
        self._made: list[str] = []
        self._ways = (self.subscribe, self.subscribe, self.cancel, self.change, self.call_off)

    def act(self) -> str:
        """Ask for something, perhaps some days later; tell what."""
        if self.chance.random() < 0.2:
            self._now += timedelta(days=self.chance.randint(1, 40))
            self._desk.move(self._now.isoformat().removesuffix("+00:00"))
        way = self.chance.choice(self._ways if self._made else (self.subscribe,))
        with suppress(RequestError):
            way()
        return way.__name__

    def subscribe(self) -> None:
        body: dict[str, Any] = self.chance.choice(
            (
                {},
                {"startDate": self.day(-20, 60)},
                {"scheduleStrategy": self.chance.choice(STRATEGIES)},
                {"trialOverrideConfiguration": {
                    "isTrial": True, "trialEndBehavior": "CANCEL_SUBSCRIPTION",
                    "trialEndDate": self.day(1, 90)}},
                {"cancellationDate": self.day(1, 120)},
            )
        )  # fmt: skip
        self._made.append(self._desk.subscribe(self.chance.choice(PLANS), **body)["id"])

    def cancel(self) -> None:
        when = self.chance.choice(("IMMEDIATE", "END_OF_BILLING_PERIOD", "SPECIFIC_DATE"))
        body = {"cancellationTime": when, "endDate": self.day(0, 90)}
        self._desk.post(f"{self.some()}/cancel", body)

    def change(self) -> None:
        end = self.chance.choice((None, self.day(0, 90)))
        body = self.chance.choice(({"cancellationDate": end}, {"trialEndDate": self.day(0, 90)}))
        self._desk.patch(self.some(), body)

    def call_off(self) -> None:
        self._desk.delete(f"{self.some()}/future-update/schedule")

    def some(self) -> str:
        return f"subscriptions/{self.chance.choice(self._made)}"

    def day(self, least: int, most: int) -> str:
        return (self._now + timedelta(days=self.chance.randint(least, most))).isoformat()


@pytest.mark.parametrize("seed", range(12))
def test_no_two_hold_at_once(desk: Desk, seed: int) -> None:
    desk.add_product()
    desk.add_feature("calls")
    for number, plan in enumerate(PLANS):
        desk.add_plan(plan, monthly("calls", number))
    desk.add_customer()
    customer, asked = Customer(desk, seed), []
    for _ in range(20):
        asked.append(customer.act())
        spans = [span for span in desk.rows(SPANS) if span[1] < span[2]]
        both = [
            pair
            for pair in combinations(spans, 2)
            if pair[0][1] < pair[1][2] and pair[1][1] < pair[0][2]
        ]
        assert both == [], (seed, asked)
