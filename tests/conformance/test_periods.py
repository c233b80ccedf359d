"""Resets of every kind while time passes, and the history that shows them (G, 4.6, 4.7, 4.13).

Everything is used twice, as reports and as events. There is one server for each kind of client; its
clock only moves forward, so that the tests stand in the order of the time they take place in.
"""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import count, pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from tests.conformance.driving import Clients, Site
from tests.conformance.selling import CUSTOMER, Shop, event, hard, moment, resetting

LENGTHS: Final = {
    "HOUR": timedelta(hours=1), "DAY": timedelta(days=1), "WEEK": timedelta(days=7),
}  # fmt: skip
MANY: Final = 10**6
WEEKDAYS: Final = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
Rule = tuple[str | None, str | None]
RULES: Final[dict[str, Rule]] = {
    "year": ("YEAR", "SubscriptionStart"),
    "month": ("MONTH", "SubscriptionStart"),
    "calendar": ("MONTH", "StartOfTheMonth"),
    "week": ("WEEK", "SubscriptionStart"),
    **{day: ("WEEK", f"Every{day}") for day in WEEKDAYS},
    "day": ("DAY", None),
    "hour": ("HOUR", None),
    "never": (None, None),
}


@pytest.fixture(scope="module", params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of client."""
    return str(request.param)


@pytest.fixture(scope="module")
def site(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of this kind's own."""
    with Site(tmp_path_factory.mktemp(kind) / "data", "2024-01-31T10:00:00Z") as made:
        yield made


@pytest.fixture
def clients(site: Site, kind: str) -> Iterator[Clients]:
    """Clients of that kind."""
    with Clients(site.url, kind) as made:
        yield made


# --- periods as they are expected, by arithmetic of their own -----------------------------------


def months_on(start: datetime, months: int) -> datetime:
    """The start moved by months, on the last day of a month that is too short."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)


def boundaries(rule: Rule, start: datetime, zone: str) -> Iterator[datetime]:
    """Where the periods of a rule by months or days of the week begin, the first not after the
    start."""
    unit, according_to = rule
    midnight = start.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in count():
        if according_to == "StartOfTheMonth":
            yield months_on(midnight.replace(day=1), number)
        elif unit == "WEEK":
            weekday = WEEKDAYS.index(str(according_to).removeprefix("Every"))
            yield midnight + timedelta(days=7 * number - (midnight.weekday() - weekday) % 7)
        else:
            yield months_on(start, number * (1 if unit == "MONTH" else 12))


@lru_cache
def period(rule: Rule, start: datetime, now: datetime, zone: str) -> tuple[Any, Any]:
    """[start, end) of the period that contains now; None for each where nothing resets."""
    unit, according_to = rule
    if unit is None:
        return None, None
    if unit in LENGTHS and according_to in (None, "SubscriptionStart"):
        begun = now - (now - start) % LENGTHS[unit]
        return begun, begun + LENGTHS[unit]
    return next(pair for pair in pairwise(boundaries(rule, start, zone)) if pair[1] > now)


class Walk:
    """Customers who use everything once at each stop of the clock, and what is expected then."""

    def __init__(self, site: Site, shop: Shop, rules: dict[str, Rule]) -> None:
        self._site = site
        self._shop = shop
        self._rules = rules
        self._zones: dict[str, str] = {}
        self._uses: dict[str, list[datetime]] = {}
        shop.product()
        for name in rules:
            shop.reported(f"reported-{name}")
            shop.metered(f"metered-{name}")
        shop.plan("all", *(
            hard(f"{fed}-{name}", MANY, **resetting(*rule))
            for name, rule in rules.items() for fed in ("reported", "metered")
        ))  # fmt: skip

    def begin(self, customer: str, zone: str = "UTC") -> None:
        """Somebody subscribes now."""
        self._shop.customer(customer, **({} if zone == "UTC" else {"timezone": zone}))
        self._shop.subscribe("all", customer)
        self._zones[customer] = zone
        self._uses[customer] = []

    def stop(self, text: str) -> None:
        """It is later: everybody uses everything once more, and is told so."""
        now = moment(text)
        self._site.move(now.isoformat())
        for customer, uses in self._uses.items():
            uses.append(now)
            self._shop.send(event(customer=customer))
            usages = [
                {"customer_id": customer, "feature_id": f"reported-{name}", "value": 1}
                for name in self._rules
            ]
            told = self._shop.stigg.v2.usage.report(usages=usages).data.usages
            for name, one in zip(self._rules, told, strict=True):
                expected = self._expected(customer, name, now)
                found = (one.usage_period_start, one.usage_period_end, one.current_usage)
                assert found == expected, (customer, name, text)
                assert one.next_reset_date == one.usage_period_end
        self._site.sync()
        for customer in self._uses:
            self._compare(customer, now)

    def _compare(self, customer: str, now: datetime) -> None:
        listed = self._shop.listed(customer)
        for name, rule in self._rules.items():
            expected = self._expected(customer, name, now)
            for fed in ("reported", "metered"):
                one = listed[f"{fed}-{name}"]
                found = (one.usage_period_start, one.usage_period_end, one.current_usage)
                assert found == expected, (customer, fed, name, now)
                from_start = rule[1] in (None, "SubscriptionStart")
                anchor = self._uses[customer][0] if from_start else expected[0]
                assert one.usage_period_anchor == (anchor if rule[0] else None)
                assert one.reset_period == rule[0]

    def _expected(self, customer: str, name: str, now: datetime) -> tuple[Any, Any, int]:
        uses = self._uses[customer]
        start, end = period(self._rules[name], uses[0], now, self._zones[customer])
        return start, end, sum(start is None or start <= used <= now for used in uses)


# --- 2024 to 2028: every rule -------------------------------------------------------------------


def test_usage_resets_at_every_boundary_of_every_rule_and_none_drifts(
    site: Site, shop: Shop
) -> None:
    """G01, G04, G05, G08: from a 31st and from a leap day, before and at boundaries."""
    walk = Walk(site, shop, RULES)
    walk.begin("from-the-31st")
    months = []
    for text in (
        "2024-01-31T10:00", "2024-01-31T10:59:59", "2024-01-31T11:00", "2024-02-01T00:00",
        "2024-02-01T10:00", "2024-02-04T23:59:59.999999", "2024-02-05T00:00", "2024-02-07T10:00",
        "2024-02-29T09:59:59.999999", "2024-02-29T10:00",
    ):  # fmt: skip
        walk.stop(text)
        months.append(shop.check("metered-month", "from-the-31st").usage_period_start)
    site.move("2024-02-29T18:30:00Z")
    walk.begin("from-a-leap-day")
    for text in (
        "2024-02-29T18:30", "2024-03-29T18:29:59", "2024-03-29T18:30", "2024-03-31T10:00",
        "2024-04-30T10:00", "2024-05-31T09:59", "2024-05-31T10:00", "2025-01-31T10:00",
        "2025-02-28T10:00", "2025-02-28T18:29", "2025-02-28T18:30", "2025-03-29T18:30",
        "2025-03-31T10:00", "2026-02-28T18:30", "2028-02-28T18:30", "2028-02-29T18:29",
        "2028-02-29T18:30",
    ):  # fmt: skip
        walk.stop(text)
        months.append(shop.check("metered-month", "from-the-31st").usage_period_start)
    assert sorted(set(months)) == [moment(f"{day}T10:00") for day in (
        "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31", "2025-01-31",
        "2025-02-28", "2025-03-31", "2026-02-28", "2028-01-31", "2028-02-29",
    )]  # fmt: skip
    assert shop.check("reported-year", "from-a-leap-day").usage_period_start == moment(
        "2028-02-29T18:30"
    )


# --- 2029: zones --------------------------------------------------------------------------------


def test_calendar_resets_happen_at_midnight_where_the_customer_is(site: Site, shop: Shop) -> None:
    """G04; 4.8: over both changes of New York's clocks in 2029, March 11 and November 4."""
    site.move("2029-03-05T12:00:00Z")
    walk = Walk(site, shop, {name: RULES[name] for name in ("calendar", "Sunday", "Monday", "day")})
    walk.begin("new-york", "America/New_York")
    walk.begin("kolkata", "Asia/Kolkata")
    walk.begin("utc")
    for text in (
        "2029-03-05T12:00", "2029-03-10T18:29", "2029-03-10T18:30", "2029-03-11T04:59",
        "2029-03-11T05:00", "2029-03-12T03:59", "2029-03-12T04:00", "2029-03-31T18:30",
        "2029-04-01T03:59", "2029-04-01T04:00", "2029-11-04T03:59", "2029-11-04T04:00",
        "2029-11-05T04:59", "2029-11-05T05:00", "2029-12-01T04:59", "2029-12-01T05:00",
    ):  # fmt: skip
        walk.stop(text)
    assert shop.check("metered-Monday", "new-york").usage_period_start == moment("2029-11-26T05:00")


def test_a_customer_who_moves_is_reset_at_the_midnight_of_the_new_place(
    site: Site, shop: Shop
) -> None:
    """4.8: a new rule holds from the start of its own period that contains the change."""
    site.move("2029-12-31T00:00:00Z")
    shop.product()
    shop.metered("calls")
    shop.plan("all", hard("calls", MANY, **resetting("MONTH", "StartOfTheMonth")))
    shop.buyer("all")
    for text in ("2029-12-31T12:00:00Z", "2029-12-31T23:00:00Z", "2030-01-01T01:00:00Z"):
        site.move(text)
        shop.send(event())
    site.sync()
    assert shop.used("calls") == 1
    shop.v1.customers.update(CUSTOMER, timezone="Europe/Berlin")
    site.sync()
    told = shop.check("calls")
    assert told.usage_period_start == moment("2029-12-31T23:00")
    assert (told.usage_period_end, told.current_usage) == (moment("2030-01-31T23:00"), 2)


# --- 2030: plan changes -------------------------------------------------------------------------

BEHAVIORS: Final = ("ALWAYS_RESET", "NEVER_RESET", "BILLING_PERIOD_CHANGE")


def use(shop: Shop, site: Site, customer: str, times: int) -> None:
    """Report and send; nothing is awaited."""
    shop.report(times, feature="seats", customer_id=customer)
    shop.report(times, feature="disk", customer_id=customer)
    shop.send(*(event(customer=customer) for _ in range(times)))
    site.sync()


def test_a_plan_change_resets_as_the_product_says(site: Site, shop: Shop) -> None:
    """G11, 4.7: free to free, then free to paid; what never resets is never reset."""
    site.move("2030-01-10T10:00:00Z")
    shop.metered("calls")
    shop.reported("seats")
    shop.reported("disk")
    for behavior in BEHAVIORS:
        shop.product(behavior, behavior)
        for name, pricing in (("first", "FREE"), ("second", "FREE"), ("paid", "PAID")):
            monthly = [hard(one, MANY, **resetting("MONTH")) for one in ("calls", "seats")]
            about = {"product_id": behavior, "pricing_type": pricing}
            shop.plan(f"{name}-{behavior}", *monthly, hard("disk", MANY), **about)
        shop.buyer(f"first-{behavior}", behavior)
        use(shop, site, behavior, 5)

    def change(now: str, plan: str, *expected: int) -> None:
        site.move(now)
        for behavior, used in zip(BEHAVIORS, expected, strict=True):
            shop.subscribe(f"{plan}-{behavior}", behavior)
            site.sync()
            assert shop.used("calls", behavior) == shop.used("seats", behavior) == used
            use(shop, site, behavior, 1)
            assert shop.used("calls", behavior) == shop.used("seats", behavior) == used + 1

    change("2030-01-20T15:30:00Z", "second", 0, 5, 5)
    change("2030-01-22T08:00:00Z", "paid", 0, 6, 0)
    starts = {
        "ALWAYS_RESET": "2030-01-22T08:00",
        "NEVER_RESET": "2030-01-10T10:00",
        "BILLING_PERIOD_CHANGE": "2030-01-22T08:00",
    }
    for behavior, start in starts.items():
        assert shop.used("disk", behavior) == 7
        told = shop.check("calls", behavior)
        assert told.usage_period_start == told.usage_period_anchor == moment(start)
        assert told.usage_period_end == months_on(moment(start), 1)
    markers = {
        "ALWAYS_RESET": ["2030-01-20T15:30", "2030-01-22T08:00"],
        "NEVER_RESET": [],
        "BILLING_PERIOD_CHANGE": ["2030-01-22T08:00"],
    }
    for behavior, resets in markers.items():
        for feature in ("calls", "seats"):
            told = shop.history(feature, behavior, start_date=moment("2030-01-10"))
            assert [one.timestamp for one in told.markers] == [moment(one) for one in resets]
            assert {one.type for one in told.markers} <= {"SUBSCRIPTION_CHANGE_RESET"}
            assert_resets_are_points_of_zero(told)
            assert told.series[0].points[-1].value == shop.used(feature, behavior)
        assert shop.history("disk", behavior, start_date=moment("2030-01-10")).markers == []


def test_a_change_of_the_billing_period_resets_unless_the_product_never_does(
    site: Site, shop: Shop
) -> None:
    """4.7: monthly to annual."""
    site.move("2030-02-01T00:00:00Z")
    shop.reported("seats")
    subscriptions = {}
    for behavior in BEHAVIORS:
        shop.product(behavior, behavior)
        monthly = hard("seats", MANY, **resetting("MONTH"))
        shop.plan(f"plan-{behavior}", monthly, product_id=behavior, pricing_type="PAID")
        made = shop.buyer(f"plan-{behavior}", behavior, billing_period="MONTHLY")
        subscriptions[behavior] = made
        shop.report(5, customer_id=behavior)
    site.move("2030-02-03T04:05:06Z")
    for behavior, made in subscriptions.items():
        shop.v1.subscriptions.update(made, metadata={"a": "b"}, billing_period="MONTHLY")
        assert shop.used("seats", behavior) == 5
        shop.v1.subscriptions.update(made, billing_period="ANNUALLY")
        assert shop.used("seats", behavior) == (5 if behavior == "NEVER_RESET" else 0)


# --- 2031: history ------------------------------------------------------------------------------


def assert_resets_are_points_of_zero(told: Any) -> None:
    """G10: each marker is a point of every series, and no other point is a reset."""
    for series in told.series:
        resets = [point for point in series.points if point.is_reset_point]
        assert [point.timestamp for point in resets] == [one.timestamp for one in told.markers]
        assert {point.value for point in resets} <= {0}
        times = [point.timestamp for point in series.points]
        assert times == sorted(times)


def last_values(series: Any) -> dict[datetime, float]:
    """What a series shows at each of its buckets."""
    return {one.timestamp: one.value for one in series.points if not one.is_reset_point}


class Diary:
    """Two features that count the same, of a subscription since New Year."""

    def __init__(self, site: Site, shop: Shop) -> None:
        self.shop = shop
        self._site = site
        shop.product()
        shop.reported("reported")
        shop.metered("metered", "SUM", "n")
        weekly = resetting("WEEK", "EveryWednesday")
        shop.plan("all", hard("reported", MANY, **weekly), hard("metered", MANY, **weekly))
        self.subscription = shop.buyer("all", start_date=moment("2031-01-01T06:00"))

    def write(self, text: str, value: float, **dimensions: Any) -> None:
        """Something was used at an instant of the past."""
        at = moment(text)
        self.shop.report(value, feature="reported", created_at=at, dimensions=dimensions)
        self.shop.send(event(timestamp=at, dimensions={"n": value, **dimensions}))

    def read(self, start: str, end: str | None = None, **asked: Any) -> list[Any]:
        """The histories of both features."""
        self._site.sync()
        until = {} if end is None else {"end_date": moment(end)}
        asked |= {"start_date": moment(start), **until}
        return [self.shop.history(feature, **asked) for feature in ("reported", "metered")]


@pytest.fixture
def diary(site: Site, shop: Shop) -> Diary:
    """It is the 20th, a Monday; weeks begin on Wednesdays, the 8th and the 15th."""
    site.move("2031-01-20T12:30:00Z")
    made = Diary(site, shop)
    made.write("2031-01-01T07:00", 1, region="eu", tier=1)
    made.write("2031-01-07T23:59:59", 2, region="us", tier=1)
    made.write("2031-01-08T00:00", 4, region="eu", tier=2)
    made.write("2031-01-08T05:30", 8)
    made.write("2031-01-14T12:00", 16.5, region="eu", tier=1)
    made.write("2031-01-20T12:15", 32, region="us")
    return made


def test_a_week_is_shown_by_the_hour_and_more_by_the_day(diary: Diary) -> None:
    """4.13: every bucket has a point, the total at its end; the first begins with the range."""
    for told in diary.read("2031-01-07T20:30", "2031-01-14T20:30"):
        (series,) = told.series
        assert series.tags == []
        values = last_values(series)
        expected = [moment("2031-01-07T20:30")]
        expected += [moment("2031-01-07T21:00") + number * LENGTHS["HOUR"] for number in range(168)]
        assert list(values) == expected
        assert values[moment("2031-01-07T20:30")] == 1
        assert values[moment("2031-01-07T23:00")] == 3
        assert values[moment("2031-01-08T00:00")] == 4
        assert values[moment("2031-01-08T05:00")] == 12
        assert values[moment("2031-01-14T11:00")] == 12
        assert values[moment("2031-01-14T12:00")] == 28.5
    for told in diary.read("2031-01-07T20:30", "2031-01-14T20:30:01"):
        values = last_values(told.series[0])
        assert list(values.values()) == [3, 12, 12, 12, 12, 12, 12, 28.5]
        assert list(values)[:2] == [moment("2031-01-07T20:30"), moment("2031-01-08")]


def test_a_reset_is_a_marker_and_a_point_of_zero(diary: Diary) -> None:
    """G10; without an end, the last point is what is used now."""
    for told in diary.read("2031-01-01"):
        assert [(one.timestamp, one.type) for one in told.markers] == [
            (moment("2031-01-08"), "PERIODIC_RESET"), (moment("2031-01-15"), "PERIODIC_RESET"),
        ]  # fmt: skip
        assert_resets_are_points_of_zero(told)
        values = list(last_values(told.series[0]).values())
        assert values == [1] * 6 + [3] + [12] * 6 + [28.5] + [0] * 5 + [32]
    assert diary.shop.used("reported") == diary.shop.used("metered") == 32


def test_series_of_tags_add_up_to_the_whole(diary: Diary) -> None:
    """G13: one dimension, and several; what lacks a dimension has no such tag."""
    expected = {
        "region": [(), (("region", "eu"),), (("region", "us"),)],
        "region,tier": [
            (), (("region", "eu"), ("tier", "1")), (("region", "eu"), ("tier", "2")),
            (("region", "us"),), (("region", "us"), ("tier", "1")),
        ],
    }  # fmt: skip
    whole = diary.read("2031-01-01")
    for group_by, combinations in expected.items():
        for told, all_of_it in zip(diary.read("2031-01-01", group_by=group_by), whole, strict=True):
            found = [tuple((tag.key, tag.value) for tag in one.tags) for one in told.series]
            assert sorted(found) == sorted(combinations)
            assert told.markers == all_of_it.markers
            assert_resets_are_points_of_zero(told)
            added: Counter[datetime] = Counter()
            for series in told.series:
                added.update(last_values(series))
            assert added == last_values(all_of_it.series[0])


def test_what_a_cancelled_subscription_used_is_still_told(site: Site, diary: Diary) -> None:
    """G14."""
    before = diary.read("2031-01-01", "2031-01-20")
    diary.shop.v1.subscriptions.cancel(diary.subscription, cancellation_time="IMMEDIATE")
    assert diary.shop.reason("metered") == "NoActiveSubscription"
    after = diary.read("2031-01-01", "2031-01-20")
    assert [one.to_dict() for one in after] == [one.to_dict() for one in before]
    for told in diary.read("2031-01-20"):
        assert max(last_values(told.series[0]).values()) == 32


# --- 2032: history of what the clock reset ------------------------------------------------------


def test_history_shows_the_resets_that_the_clock_made_and_those_of_a_change(
    site: Site, shop: Shop
) -> None:
    """G10, G11: daily resets from the start, then another plan."""
    site.move("2032-05-01T09:15:00Z")
    shop.product()
    shop.reported("reported")
    shop.metered("metered")
    daily = [hard(name, MANY, **resetting("DAY")) for name in ("reported", "metered")]
    shop.plan("first", *daily)
    shop.plan("second", *daily)
    shop.buyer("first")
    for text in ("2032-05-01T10:00", "2032-05-02T09:14", "2032-05-02T09:15", "2032-05-03T00:00"):
        site.move(f"{text}:00Z")
        shop.report(1, feature="reported")
        shop.send(event())
    site.move("2032-05-03T12:00:00Z")
    shop.subscribe("second")
    site.sync()
    for feature in ("reported", "metered"):
        told = shop.history(feature, start_date=moment("2032-05-01"))
        assert [(one.timestamp, one.type) for one in told.markers] == [
            (moment("2032-05-02T09:15"), "PERIODIC_RESET"),
            (moment("2032-05-03T09:15"), "PERIODIC_RESET"),
            (moment("2032-05-03T12:00"), "SUBSCRIPTION_CHANGE_RESET"),
        ]
        assert_resets_are_points_of_zero(told)
        values = last_values(told.series[0])
        shown = {hour: values[moment(f"2032-05-{hour}:00")] for hour in (
            "01T09", "01T10", "02T08", "02T09", "02T23", "03T00", "03T08", "03T09", "03T12",
        )}  # fmt: skip
        assert list(shown.values()) == [0, 1, 1, 1, 1, 2, 2, 0, 0]
