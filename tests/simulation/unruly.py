"""A world whose rules change under way, in the middle of recounts.

One customer, ``STEADY``, only ever moves between plans that count alike, so that the auditor can
say what its totals must be. Of the others every rule may change at any time, back-dated too; what
their totals must be, verification says, which adds the record up by the rules as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tallystick.fold.quarantine import ask_retry
from tests.simulation.auditor import Book, Sent
from tests.simulation.world import REPORTED, World, _value_of

STEADY: Final = "steady"
ROVING: Final = ("roving-0", "roving-1")
CUSTOMERS: Final = (STEADY, *ROVING)
ZONES: Final = ("UTC", "Asia/Tokyo", "America/Los_Angeles")
MULTIPLE: Final = "multiple"
"""The product of which a customer may have several subscriptions."""

# Whose rules change: aggregation and field.
CHANGING: Final = {
    "calls": ("COUNT", None), "users": ("UNIQUE", "user"), "tokens": ("SUM", "tokens"),
    "mean": ("AVG", "tokens"),
}  # fmt: skip
# What every plan of the main product grants alike: how it resets.
ALIKE: Final = {"monthly": "MONTH", "total": None, "late-0": None, "late-1": "MONTH"}
FUNCTIONS: Final = (
    ("COUNT", None), ("UNIQUE", "user"), ("SUM", "tokens"), ("MIN", "tokens"), ("MAX", "tokens"),
)  # fmt: skip
EVENT_NAMES: Final = ("call", "page")


class Unruly(World):
    """The world, and what may happen to its rules."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self._subscriptions: list[str] = []
        self._unmetered = [name for name in ALIKE if name.startswith("late")]
        self._prepare()

    def rounds(self, count: int) -> None:
        """So many things happen, each followed by some work, any of which may end the process."""
        happenings: tuple[tuple[float, Callable[[], None]], ...] = (
            (0.35, self.send_some), (0.1, self.report_some), (0.2, self.subscribe),
            (0.05, self.cancel), (0.06, self.override), (0.04, self.change_zone),
            (0.05, self.renew_plan), (0.08, self.change_meter), (0.07, self.move_clock),
        )  # fmt: skip
        weights, actions = zip(*happenings, strict=True)
        for _ in range(count):
            (action,) = self.random.choices(actions, weights)
            action()
            for _ in range(self.random.randint(0, 3)):
                self.work_a_little()

    def work_a_little(self) -> None:
        """One step of some kind of work, or a new worker."""
        chance = self.random.random()
        if chance < 0.45:
            self.work(lambda worker: worker.step())
        elif chance < 0.75:
            self.work(lambda worker: worker.recounts.step())
        elif chance < 0.82:
            self.work(lambda worker: worker.reports.step(at_once=True))
        elif chance < 0.95:
            self.work(lambda worker: worker.upkeep_step())
        else:
            self.restart()

    # ------------------------------------------------------------------------------ at the start

    def _prepare(self) -> None:
        for feature, (function, field) in CHANGING.items():
            self._feature(feature, _meter(function, field, "call"))
        for feature in ALIKE:
            self._feature(feature)
        self.set_meter("monthly", "COUNT", None, "call")
        self.set_meter("total", "SUM", "tokens", "call")
        for feature in REPORTED:
            self._feature(feature)
        self.post("/api/v1/products", {"id": "main", "displayName": "Main"})
        # The auditor knows months from the first subscription on.
        never = {"usageResetCutoffRule": {"behavior": "NEVER_RESET"}}
        assert self._patch("/api/v1/products/main", never) == 200
        multiple = {"id": MULTIPLE, "displayName": "Multiple", "multipleSubscriptions": True}
        self.post("/api/v1/products", multiple)
        for number in range(4):
            self._plan(f"plan-{number}", MULTIPLE if number == 3 else "main")
        for customer in CUSTOMERS:
            zone = self.random.choice(ZONES)
            self.post("/api/v1/customers", {"id": customer, "timezone": zone})
        start = self.now() - timedelta(days=self.random.randint(0, 70))
        body = {"customerId": STEADY, "planId": "plan-0", "startDate": start.isoformat()}
        self.post("/api/v1/subscriptions", body)
        for feature, reset in ALIKE.items():
            if reset:
                self.auditor.month_from[STEADY, feature] = start
            else:
                self.auditor.lifetime.add((STEADY, feature))

    def _feature(self, feature: str, meter: object = None) -> None:
        body: dict[str, Any] = {"id": feature, "displayName": feature, "featureType": "NUMBER"}
        body["meterType"] = "FLUCTUATING" if feature in REPORTED else "INCREMENTAL"
        self.post("/api/v1/features", body | ({"meter": meter} if meter else {}))

    def _plan(self, plan: str, product: str) -> None:
        changing = [name for name in (*CHANGING, *REPORTED) if self.random.random() < 0.8]
        items = [self._grant(feature) for feature in changing]
        if product == "main":
            items += [
                {"id": feature, "type": "FEATURE", "hasUnlimitedUsage": True}
                | ({"resetPeriod": reset} if reset else {})
                for feature, reset in ALIKE.items()
            ]
        self.post("/api/v1/plans", {"id": plan, "displayName": plan, "productId": product})
        items = items or [self._grant("calls")]
        self.post(f"/api/v1/plans/{plan}/entitlements", {"entitlements": items})
        self.post(f"/api/v1/plans/{plan}/publish", {"migrationType": "NEW_CUSTOMERS"})

    def _grant(self, feature: str) -> dict[str, Any]:
        limit = self.random.choice((None, 5, 50))
        reset = self.random.choice(("MONTH", "WEEK", "DAY", "HOUR", "YEAR", None))
        item: dict[str, Any] = {"id": feature, "type": "FEATURE"}
        item |= {"hasUnlimitedUsage": True} if limit is None else {"usageLimit": limit}
        if reset:
            item["resetPeriod"] = reset
        calendar = {
            "MONTH": ("monthlyResetPeriodConfiguration", "StartOfTheMonth"),
            "WEEK": ("weeklyResetPeriodConfiguration", "EveryMonday"),
        }.get(str(reset))
        if calendar and self.random.random() < 0.5:
            item[calendar[0]] = {"accordingTo": calendar[1]}
        return item

    # ----------------------------------------------------------------------------- what happens

    def send_some(self) -> None:
        """A few events, new and repeated, of any time of the last weeks."""
        batch = [self._some_event() for _ in range(self.random.randint(1, 8))]
        self.post("/api/v1/events", {"events": batch})
        for event in batch:
            self.auditor.event(event, self.now())

    def _some_event(self) -> Sent:
        if self._sent and self.random.random() < 0.15:
            return self.random.choice(self._sent)
        event: Sent = {
            "customerId": self.random.choice(CUSTOMERS),
            "eventName": self.random.choice(EVENT_NAMES),
            "idempotencyKey": self._key(),
            "timestamp": self._earlier(),
            "dimensions": {
                "tokens": self.random.choice((0.1, 1, 7, -3, "12", "many")),
                "user": f"user-{self.random.randint(0, 5)}",
            },
        }
        if event["customerId"] != STEADY and self.random.random() < 0.2:
            event["resourceId"] = "resource"
        self._sent.append(event)
        return event

    def report_some(self) -> None:
        """A few reports, of differences and totals."""
        usages = []
        for _ in range(self.random.randint(1, 4)):
            usage = {
                "customerId": self.random.choice(ROVING),
                "featureId": self.random.choice(REPORTED),
                "value": self.random.choice((1, 2, -1, 0.5)),
                "updateBehavior": self.random.choice(("DELTA", "DELTA", "SET")),
            }
            if self.random.random() < 0.5:
                usage["createdAt"] = self._earlier()
            usages.append(usage)
        self.post("/api/v2/usage", {"usages": usages})
        self.auditor.accepted += len(usages)

    def subscribe(self) -> None:
        """Another plan: for those who rove back-dated, for a resource or with an end, too."""
        customer = self.random.choice(CUSTOMERS)
        body: dict[str, Any] = {"customerId": customer, "planId": f"plan-{self._number(2)}"}
        if customer != STEADY:
            body["planId"] = f"plan-{self._number(3)}"
            if self._maybe(0.4):
                body["startDate"] = self._earlier()
            if self._maybe(0.2):
                body["resourceId"] = "resource"
            if self._maybe(0.2):
                body["cancellationDate"] = self._later()
            if self._maybe(0.2):
                body["entitlements"] = [self._grant(self.random.choice((*CHANGING, *REPORTED)))]
        answered = self.door.post("/api/v1/subscriptions", body)
        if answered.status < 300 and customer != STEADY:
            self._subscriptions.append(answered.data["id"])

    def cancel(self) -> None:
        """A subscription ends, now or with its period."""
        when = self.random.choice(("IMMEDIATE", "END_OF_BILLING_PERIOD"))
        for subscription in self._some_subscription():
            path = f"/api/v1/subscriptions/{subscription}/cancel"
            self.door.post(path, {"cancellationTime": when})

    def override(self) -> None:
        """A subscription grants something else than its plan."""
        for subscription in self._some_subscription():
            features = self.random.sample((*CHANGING, *REPORTED), 2)
            granted = [self._grant(feature) for feature in features]
            self._patch(f"/api/v1/subscriptions/{subscription}", {"entitlements": granted})

    def change_zone(self) -> None:
        """A customer moves."""
        customer, zone = self.random.choice(CUSTOMERS), self.random.choice(ZONES)
        self._patch(f"/api/v1/customers/{customer}", {"timezone": zone})

    def renew_plan(self) -> None:
        """A plan grants something else, for new customers or for all; some may migrate."""
        plan = f"/api/v1/plans/plan-{self._number(3)}"
        granted = {item["id"] for item in self.door.get(f"{plan}/entitlements").data}
        feature = self.random.choice(sorted(granted - ALIKE.keys()) or ["calls"])
        item = self._grant(feature)
        del item["id"]
        self.door.post(f"{plan}/draft", None)
        self._patch(f"{plan}/entitlements/{feature}", item)
        for_whom = self.random.choice(("ALL_CUSTOMERS", "NEW_CUSTOMERS"))
        self.door.post(f"{plan}/publish", {"migrationType": for_whom})
        for subscription in self._some_subscription():
            self.door.post(f"/api/v1/subscriptions/{subscription}/migrate", {})

    def change_meter(self) -> None:
        """A feature gets its first meter, or another."""
        if self._unmetered and self._maybe(0.5):
            feature = self._unmetered.pop()
        else:
            metered = ALIKE.keys() - set(self._unmetered)
            feature = self.random.choice(sorted(CHANGING.keys() | metered))
        function, field = self.random.choice(FUNCTIONS)
        self.set_meter(feature, function, field, self.random.choice(EVENT_NAMES))

    def set_meter(self, feature: str, function: str, field: str | None, event: str) -> None:
        """From now on a feature counts this, and always did; the auditor is told."""
        answered = self._patch(
            f"/api/v1/features/{feature}", {"meter": _meter(function, field, event)}
        )
        assert answered == 200
        self.auditor.books[feature] = Book(
            matches=lambda sent: sent["eventName"] == event,
            value=_value_of(field),
            function=function,
        )

    # -------------------------------------------------------------------------------- the truth

    def settled(self) -> None:
        """Do all there is to do; what was set aside, because the process ended at it too often, is
        tried again by a worker that finds nothing else to do."""
        self.worker.drain()
        self.restart()
        services = self.door.services
        ask_retry(services.state, services.inbox, services.inbox_store, None)
        self.worker.drain()

    def unlike_the_auditor(self) -> list[str]:
        """Totals of the steady customer that are not what the auditor says."""
        found = []
        for feature in ALIKE.keys() - set(self._unmetered):
            shown = self.usage(STEADY, feature)
            true = self.auditor.usage(STEADY, feature, self.now())
            if shown != true:
                found.append(f"{feature}: shown {shown}, true {true}")
        return found

    def _patch(self, path: str, body: object) -> int:
        return self.door.run(self.door.call("PATCH", path, body)).status

    def _some_subscription(self) -> list[str]:
        return [self.random.choice(self._subscriptions)] if self._subscriptions else []

    def _maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def _number(self, most: int) -> int:
        return self.random.randint(0, most)

    def _earlier(self) -> str:
        return (self.now() - timedelta(minutes=self._number(45 * 24 * 60))).isoformat()

    def _later(self) -> str:
        return (self.now() + timedelta(hours=self.random.randint(1, 60))).isoformat()


def _meter(function: str, field: str | None, event: str) -> dict[str, Any]:
    aggregation = {"function": function} | ({"field": field} if field else {})
    condition = {"field": "eventName", "operation": "EQUALS", "value": event}
    return {"aggregation": aggregation, "filters": [{"conditions": [condition]}]}
