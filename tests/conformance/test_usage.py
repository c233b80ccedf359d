"""Usage that callers count and report: replies, keys, rounding, ranges, threads (E, G16)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from stigg import BadRequestError, NotFoundError, Stigg

from tallystick.clock import to_datetime
from tests.conformance.driving import Clients, Site
from tests.conformance.selling import (
    CUSTOMER,
    Shop,
    event,
    granting,
    hard,
    moment,
    promised,
    resetting,
)
from tests.serving import NO_TLS

MAX = 9007199254740991


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """Seats that never reset, and hits that reset by the month of the calendar."""
    shop.product(multiple_subscriptions=True)
    shop.boolean("sso")
    shop.feature("projects", meter_type="None")
    for name in ("seats", "hits", "unsold"):
        shop.reported(name)
    shop.metered("calls")
    shop.plan(
        "basic",
        granting("sso"),
        hard("seats", 10),
        hard("hits", 100, **resetting("MONTH", "StartOfTheMonth")),
    )
    shop.buyer("basic")
    return shop


def totals(measurements: list[Any]) -> list[float]:
    """The current usage that each of them tells."""
    return [one.current_usage for one in measurements]


def item(value: Any = 1, **more: Any) -> dict[str, Any]:
    """A report of seats."""
    return {"customer_id": CUSTOMER, "feature_id": "seats", "value": value} | more


# --- replies ------------------------------------------------------------------------------------


def test_a_report_is_answered_with_its_measurement(site: Site, shop: Shop) -> None:
    """E01, E29."""
    now = to_datetime(site.now())
    (told,) = shop.report(5, feature="hits")
    assert (told.value, told.current_usage, told.customer_id) == (5, 5, CUSTOMER)
    assert (told.feature_id, told.resource_id, told.credit) == ("hits", None, None)
    assert told.id
    assert told.timestamp == told.created_at == now
    assert told.usage_period_start <= now < told.usage_period_end == told.next_reset_date
    assert shop.used("hits") == 5
    (never,) = shop.report(1)
    assert never.usage_period_start is never.usage_period_end is never.next_reset_date is None


def test_both_versions_of_the_call_report_the_same_usage(site: Site, key: str, shop: Shop) -> None:
    """E29."""
    with pytest.deprecated_call():
        listed = shop.v1.usage.report(usages=[item(4), item(-1)]).data
    assert [(one.value, one.current_usage) for one in listed] == [(4, 4), (-1, 3)]
    told = shop.stigg.v2.usage.report(usages=[item(2)]).data
    assert [(one.value, one.current_usage) for one in told.usages] == [(2, 5)]
    assert told.credits is told.entities is None
    for version in ("v1", "v2"):
        body = {"usages": [{"customerId": CUSTOMER, "featureId": "seats", "value": 1}]}
        assert site.raw("POST", f"/api/{version}/usage", key, json=body).status_code == 201


def test_a_hundred_reports_of_many_are_answered_in_order(shop: Shop) -> None:
    """E10."""
    shop.buyer("basic", "cust-2")
    scopes = [(one, other) for one in (CUSTOMER, "cust-2") for other in ("seats", "hits")]
    usages = [
        item(number, customer_id=customer, feature_id=feature)
        for number, (customer, feature) in enumerate(scopes * 25)
    ]
    told = shop.stigg.v2.usage.report(usages=usages).data.usages
    running: dict[Any, int] = {}
    for sent, got in zip(usages, told, strict=True):
        scope = (sent["customer_id"], sent["feature_id"])
        running[scope] = running.get(scope, 0) + sent["value"]
        assert (got.customer_id, got.feature_id) == scope
        assert (got.value, got.current_usage) == (sent["value"], running[scope])


# --- what a report does -------------------------------------------------------------------------


def test_a_delta_adds_and_a_set_records_the_difference(shop: Shop) -> None:
    """E05; nothing is clamped."""
    assert totals(shop.report(3, 5)) == [3, 8]
    (told,) = shop.report(5, update_behavior="SET")
    assert (told.value, told.current_usage) == (-3, 5)
    both = shop.report(-9, 2, update_behavior="DELTA")
    assert totals(both) == [-4, -2]
    (below,) = shop.report(-7, update_behavior="SET")
    assert (below.value, below.current_usage) == (-5, -7)
    assert shop.check("seats", requested_usage=17).is_granted


def test_fractions_round_half_away_from_zero_to_five_decimals(shop: Shop) -> None:
    """E13; and ten times a tenth is one."""
    for value, recorded in {
        -1.234565: -1.23457, 1.234565: 1.23457, 1.234564: 1.23456, 0.000005: 0.00001,
        -0.000004: 0,
    }.items():  # fmt: skip
        (told,) = shop.report(value, feature="unsold")
        assert told.value == recorded
    assert shop.report(*[0.1] * 10)[-1].current_usage == 1


def test_values_have_a_range_and_totals_have_the_same(shop: Shop) -> None:
    """E14, E15."""
    (most,) = shop.report(MAX)
    assert most.value == most.current_usage == MAX
    (least,) = shop.report(-MAX, feature="hits")
    assert least.value == -MAX
    for value in (MAX + 1, -MAX - 1, 34359738368.5, -34359738368.5):
        with pytest.raises(BadRequestError):
            shop.report(value, feature="unsold")
    (fraction,) = shop.report(34359738367.5, feature="unsold")
    assert fraction.value == 34359738367.5
    with pytest.raises(BadRequestError, match="EntitlementUsageOutOfRangeError"):
        shop.report(1)
    with pytest.raises(BadRequestError, match="UsageMeasurementDiffOutOfRangeError"):
        shop.report(-1, update_behavior="SET")
    assert shop.used() == MAX


def test_what_is_wrong_is_refused_and_nothing_of_the_call_is_counted(
    site: Site, key: str, shop: Shop
) -> None:
    """E09, E11, E16, E23, E24."""
    for bad in (
        [], [item()] * 101, [item(), item(update_behavior="ADD")], [item(), item("5")],
        [item(), item(idempotency_key="")], [item(), item(created_at="yesterday")],
    ):  # fmt: skip
        with pytest.raises(BadRequestError):
            shop.stigg.v2.usage.report(usages=bad)
    refused = {
        "sso": (BadRequestError, "MeteringNotAvailableForFeatureType"),
        "projects": (BadRequestError, "MeteringNotAvailableForFeatureType"),
        "calls": (BadRequestError, "CannotReportUsageForEntitlementWithMeterError"),
        "none": (NotFoundError, "FeatureNotFound"),
    }
    for feature, (error, code) in refused.items():
        with pytest.raises(error, match=code):
            shop.stigg.v2.usage.report(usages=[item(), item(feature_id=feature)])
    with pytest.raises(NotFoundError, match="CustomerNotFound"):
        shop.stigg.v2.usage.report(usages=[item(), item(customer_id="nobody")])
    bodies: list[Any] = [{}, {"usages": [{"featureId": "seats", "value": 1}]}, []]
    for body in bodies:
        assert site.raw("POST", "/api/v2/usage", key, json=body).status_code == 400
    assert shop.used() == 0


def test_usage_over_a_hard_limit_is_recorded_and_then_denied(shop: Shop) -> None:
    """E25."""
    assert totals(shop.report(11)) == [11]
    told = shop.check("seats")
    assert (told.is_granted, told.current_usage, told.usage_limit) == (False, 11, 10)


def test_usage_nobody_is_entitled_to_is_recorded(shop: Shop) -> None:
    """4.3: it counts, in no period; and once the feature is for life, it is there."""
    shop.customer("early")
    (told,) = shop.report(4, customer_id="early")
    assert (told.current_usage, told.usage_period_start) == (4, None)
    shop.subscribe("basic", "early")
    assert shop.used("seats", "early") == 4


def test_resources_are_counted_apart(shop: Shop) -> None:
    """E26."""
    shop.report(7)
    for resource, value in (("res-1", 4), ("res-2", 1)):
        shop.subscribe("basic", resource_id=resource)
        (told,) = shop.report(value, resource_id=resource)
        assert (told.resource_id, told.current_usage) == (resource, value)
    used = [
        shop.used("seats", **one) for one in ({"resource_id": "res-1"}, {"resource_id": "res-2"})
    ]
    assert used == [4, 1]
    assert shop.used() == 7


def test_a_report_of_the_past_counts_in_its_period(site: Site, shop: Shop) -> None:
    """4.6: createdAt decides, of a SET too."""
    shop.buyer("basic", "old", start_date=moment("2025-11-10"))
    now = to_datetime(site.now())
    then: Any = {"customer_id": "old", "feature": "hits", "created_at": moment("2025-12-24")}
    (told,) = shop.report(6, **then)
    assert (told.created_at, told.timestamp) == (moment("2025-12-24"), now)
    assert (told.usage_period_start, told.usage_period_end) == (
        moment("2025-12-01"), moment("2026-01-01"),
    )  # fmt: skip
    assert (told.current_usage, told.next_reset_date > now) == (0, True)
    (again,) = shop.report(10, update_behavior="SET", **then)
    assert (again.value, again.current_usage) == (4, 0)
    assert totals(shop.report(2, feature="hits", customer_id="old")) == [2]
    series = shop.history(
        "hits", "old", start_date=moment("2025-12-20"), end_date=moment("2025-12-31")
    ).series[0]
    assert [point.value for point in series.points] == [0] * 4 + [10] * 7
    with pytest.raises(BadRequestError):
        shop.report(1, created_at=now + timedelta(days=2))


def test_units_are_coarse_in_checks_and_history_and_fine_where_it_is_counted(
    site: Site, shop: Shop
) -> None:
    """G16; a limit is in coarse units, and so is what is asked for."""
    for name, rounding in (("up", "UP"), ("down", "DOWN"), ("standard", None)):
        rule = {"divide": 1000} | ({} if rounding is None else {"round": rounding})
        shop.reported(name, unit_transformation=rule)
    shop.plan("bytes", hard("up", 2), hard("down", 2), hard("standard", 2))
    shop.customer("coarse")
    shop.subscribe("bytes", "coarse")
    for name, shown in (("up", 2), ("down", 1), ("standard", 2)):
        (told,) = shop.report(1500, feature=name, customer_id="coarse")
        assert (told.value, told.current_usage) == (1500, shown)
        assert shop.used(name, "coarse") == shown
        series = shop.history(name, "coarse", start_date=moment("2026-01-20")).series[0]
        assert series.points[-1].value == shown
        assert shop.check(name, "coarse", requested_usage=1).is_granted == (shown < 2)
    shop.metered("tokens", "SUM", "n", unit_transformation={"divide": 1000, "round": "UP"})
    shop.grant(promised("tokens", usage_limit=2), customer="coarse")
    shop.send(*(event(customer="coarse", dimensions={"n": 500.5}) for _ in range(3)))
    site.sync()
    assert shop.used("tokens", "coarse") == 2
    (series,) = shop.history("tokens", "coarse", start_date=moment("2026-01-20")).series
    assert series.points[-1].value == 2


# --- keys ---------------------------------------------------------------------------------------


def test_a_key_counts_once_and_no_key_each_time(shop: Shop) -> None:
    """E17, E18, E20, E21."""
    (first,), (again,) = shop.report(5, idempotency_key="k"), shop.report(9, idempotency_key="k")
    assert (again.id, again.value, again.current_usage) == (first.id, 5, 5)
    assert totals(shop.report(1) + shop.report(1)) == [6, 7]
    assert totals(shop.report(2, 2, idempotency_key="other")) == [9, 9]
    (later,) = shop.report(5, idempotency_key="k", update_behavior="SET")
    assert (later.value, later.current_usage) == (5, 9)


def test_a_key_is_of_one_customer_resource_and_feature(shop: Shop) -> None:
    shop.buyer("basic", "cust-2")
    scopes: list[Any] = [
        {},
        {"customer_id": "cust-2"},
        {"resource_id": "res-1"},
        {"feature": "hits"},
    ]
    for scope in scopes:
        assert totals(shop.report(1, 1, idempotency_key="k", **scope)) == [1, 1]
    with pytest.raises(NotFoundError):
        shop.stigg.v2.usage.report(usages=[item(idempotency_key="new"), item(feature_id="none")])
    assert totals(shop.report(1, idempotency_key="new")) == [2]  # nothing was claimed


@pytest.mark.parametrize("clients", ["sync"], indirect=True)
def test_fifty_threads_lose_nothing(site: Site, key: str, shop: Shop) -> None:
    """E17, E27. Threads that shared a client would close each other's connections."""

    def report(thread: int) -> None:
        with (
            httpx.Client(verify=NO_TLS) as http,
            Stigg(api_key=key, base_url=site.url, max_retries=0, http_client=http) as stigg,
        ):
            for number in range(20):
                Shop(stigg).report(1, idempotency_key=f"{thread}-{number}")
            Shop(stigg).report(5, idempotency_key="one key of all")

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(report, range(50)))
    assert shop.used() == 1005


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that remembers keys for a week, as Stigg does."""
    folder = tmp_path_factory.mktemp("week") / "data"
    with Site(folder, "2026-01-20T12:00:00Z", TALLYSTICK_DEDUPE_WINDOW_DAYS="7") as made:
        yield made


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_key_counts_again_after_the_window(week: Site, kind: str) -> None:
    """E19: remembered for seven days at least, and an eighth longer at most."""
    with Clients(week.url, kind) as clients:
        shop = Shop(clients.of(week.key(kind)))
        shop.reported()
        shop.customer()
        begun = to_datetime(week.now())
        assert totals(shop.report(5, idempotency_key="k")) == [5]
        for days, total in ((6.99, 5), (7.9, 10)):
            week.move((begun + timedelta(days=days)).isoformat())
            assert totals(shop.report(5, idempotency_key="k")) == [total]
