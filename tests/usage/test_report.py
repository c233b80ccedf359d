"""What a usage report does (DESIGN 4.3, 4.6, 4.8, 4.9)."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.clock import DAY, Instant, format_instant
from tallystick.core.periods import LIFETIME
from tallystick.errors import BadInput, NotFound, TooManyRequests
from tallystick.usage.keys import forget_claims
from tests.usage.building import (
    NOW,
    START,
    WINDOW,
    Scene,
    at,
    limit,
    monthly,
    set_to,
    totals,
    usage,
)

METER = {"filters": [{"conditions": []}], "aggregation": {"function": "COUNT"}}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Acme has monthly ``calls`` and lifetime ``seats`` since 10 January, 10:00."""
    scene = Scene(tmp_path)
    scene.add_feature("calls")
    scene.add_feature("seats")
    scene.add_plan("basic", monthly("calls"), limit("seats"))
    scene.add_customer()
    scene.subscribe("basic")
    return scene


def currents(scene: Scene, *items: object) -> list[int | Decimal]:
    return [each.current_usage for each in scene.report(*items)]  # type: ignore[arg-type]


def test_a_delta_adds(scene: Scene) -> None:
    assert currents(scene, usage(5), usage(-2)) == [5, 3]


def test_a_set_sets_and_records_the_difference(scene: Scene) -> None:
    scene.report(usage(8))
    (measured,) = scene.report(set_to(5))
    assert (measured.value, measured.current_usage) == (-3, 5)


def test_ten_times_a_tenth_is_one(scene: Scene) -> None:
    assert currents(scene, *[usage("0.1")] * 10)[-1] == 1


def test_nothing_is_clamped(scene: Scene) -> None:
    assert currents(scene, usage(-4), set_to(-9)) == [-4, -9]


def test_results_come_in_the_order_of_the_items(scene: Scene) -> None:
    items = [usage(n, "calls" if n % 2 else "seats") for n in range(1, 101)]
    assert list(range(1, 101)) == [each.value for each in scene.report(*items)]


def test_every_report_has_an_id_of_its_own(scene: Scene) -> None:
    ids = [each.id for each in scene.report(*[usage(1)] * 100)]
    assert len(set(ids)) == 100
    assert {4} == {uuid.UUID(each).version for each in ids}
    assert ids == [str(uuid.UUID(each)) for each in ids]


def test_the_measurement_tells_the_period(scene: Scene) -> None:
    (measured,) = scene.report(usage(1))
    assert measured.usage_period_start == "2026-01-10T10:00:00.000Z"
    assert "2026-02-10T10:00:00.000Z" == measured.usage_period_end == measured.next_reset_date
    assert format_instant(NOW) == measured.created_at == measured.timestamp
    assert (
        measured.customer_id, measured.feature_id, measured.resource_id
    ) == ("acme", "calls", None)  # fmt: skip


def test_without_resets_the_period_is_null(scene: Scene) -> None:
    (measured,) = scene.report(usage(1, "seats"))
    assert measured.current_usage == 1
    assert measured.usage_period_start is measured.usage_period_end is measured.next_reset_date
    assert measured.next_reset_date is None


def test_a_back_dated_report_counts_in_its_own_period(scene: Scene) -> None:
    scene.report(usage(5, created_at=at("2026-01-19")))
    scene.now = at("2026-02-15")
    (measured,) = scene.report(usage(2, created_at=at("2026-01-20")))
    assert measured.current_usage == 0
    assert measured.usage_period_end == "2026-02-10T10:00:00.000Z"
    assert measured.next_reset_date == "2026-03-10T10:00:00.000Z"
    assert totals(scene) == {("", "calls", START): "7"}


def test_a_back_dated_set_sets_the_total_of_its_own_period(scene: Scene) -> None:
    scene.report(usage(5))
    scene.now = at("2026-02-15")
    scene.report(usage(1))
    (measured,) = scene.report(set_to(3, created_at=at("2026-01-20")))
    assert (measured.value, measured.current_usage) == (-2, 1)


def test_a_new_period_starts_at_nothing(scene: Scene) -> None:
    scene.report(usage(5))
    scene.now = at("2026-02-10T10:00:00")
    assert currents(scene, usage(1)) == [1]


def test_a_resource_counts_for_itself(scene: Scene) -> None:
    scene.subscribe("basic", resource="site-1")
    assert currents(scene, usage(4, resource="site-1"), usage(1)) == [4, 1]


def test_without_a_subscription_usage_is_recorded_and_periods_are_null(scene: Scene) -> None:
    scene.add_customer("new")
    first, second = scene.report(usage(4, customer="new"), set_to(7, customer="new"))
    assert (first.current_usage, second.current_usage) == (4, 7)
    assert first.usage_period_start is first.usage_period_end is first.next_reset_date is None
    assert scene.rows("SELECT value FROM reports_waiting ORDER BY seq") == [("4",), ("3",)]


def test_before_the_subscription_is_another_time(scene: Scene) -> None:
    scene.report(usage(2))
    (measured,) = scene.report(usage(9, created_at=at("2026-01-01")))
    assert (measured.current_usage, measured.usage_period_start) == (2, None)
    assert totals(scene) == {("", "calls", START): "2", ("", "calls", LIFETIME): "9"}


def test_a_lifetime_counts_what_came_before_the_subscription(scene: Scene) -> None:
    assert currents(scene, usage(2, "seats"), usage(9, "seats", created_at=at("2020-01-01"))) == [
        2,
        11,
    ]


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (usage(1, customer="nobody"), "CustomerNotFound"),
        (usage(1, "nothing"), "FeatureNotFound"),
    ],
)
def test_unknown_names_are_not_found(scene: Scene, item: object, code: str) -> None:
    with pytest.raises(NotFound) as caught:
        scene.report(usage(5), item)  # type: ignore[arg-type]
    assert code == caught.value.code
    assert totals(scene) == {}, "all or nothing"
    assert [] == scene.rows("SELECT * FROM reports_waiting") == scene.rows("SELECT * FROM totals")


def test_features_without_reported_usage_refuse_it(scene: Scene) -> None:
    scene.add_feature("sso", "BOOLEAN", "None")
    scene.add_feature("projects", "NUMBER", "None")
    scene.add_feature("region", "ENUM", "None")
    scene.add_feature("events", meter=METER)
    codes = []
    for feature in ("sso", "projects", "region", "events"):
        with pytest.raises(BadInput) as caught:
            scene.report(usage(1, feature))
        codes.append(caught.value.code)
    assert [
        *["MeteringNotAvailableForFeatureType"] * 3,
        "CannotReportUsageForEntitlementWithMeterError",
    ] == codes


def test_totals_out_of_range_are_refused(scene: Scene) -> None:
    scene.report(usage(limits.USAGE_INTEGER_MAX))
    with pytest.raises(BadInput) as total:
        scene.report(usage(1))
    with pytest.raises(BadInput) as difference:
        scene.report(set_to(-1))
    assert total.value.code == "EntitlementUsageOutOfRangeError"
    assert difference.value.code == "UsageMeasurementDiffOutOfRangeError"


def test_a_repeated_key_answers_the_first_with_todays_total(scene: Scene) -> None:
    (first,) = scene.report(usage(5, key="k"))
    scene.report(usage(1))
    (again,) = scene.report(usage(99, key="k"))
    assert (first.id, 5, 6) == (again.id, again.value, again.current_usage)
    assert first.timestamp == again.timestamp
    assert scene.rows("SELECT accepted_reports, duplicate_reports FROM totals") == [(3, 1)]


def test_a_key_twice_in_one_batch_counts_once(scene: Scene) -> None:
    first, again = scene.report(usage(5, key="k"), usage(5, key="k"))
    assert (first.id, 5) == (again.id, again.current_usage)
    assert scene.rows("SELECT value, key FROM reports_waiting") == [("5", "k")]


def test_a_key_belongs_to_customer_resource_and_feature(scene: Scene) -> None:
    scene.add_customer("other")
    scene.subscribe("basic", resource="site-1")
    assert currents(
        scene,
        usage(1, key="k"),
        usage(1, "seats", key="k"),
        usage(1, key="k", resource="site-1"),
        usage(1, key="k", customer="other"),
    ) == [1, 1, 1, 1]


@pytest.mark.parametrize(("age", "total"), [(WINDOW, 5), (WINDOW + 1, 10)])
def test_a_key_older_than_the_window_counts_anew(scene: Scene, age: int, total: int) -> None:
    scene.report(usage(5, "seats", key="k"))
    scene.now = Instant(NOW + age)
    assert [total] == currents(scene, usage(5, "seats", key="k"))


def test_a_renewed_key_is_remembered_from_then_on(scene: Scene) -> None:
    scene.report(usage(5, "seats", key="k"))
    scene.now = Instant(NOW + WINDOW + 1)
    scene.report(usage(5, "seats", key="k"))
    scene.now = Instant(NOW + WINDOW + 2)
    assert currents(scene, usage(5, "seats", key="k")) == [10]


def test_forgotten_keys_leave_in_portions(scene: Scene) -> None:
    scene.report(*(usage(1, key=f"old-{n}") for n in range(5)))
    scene.now = Instant(NOW + DAY)
    scene.report(usage(1, key="young"))
    with scene.store.writing() as transaction:
        forgotten = [forget_claims(transaction, NOW + 1, 3) for _ in range(3)]
    assert forgotten == [3, 2, 0]
    assert scene.rows("SELECT claimed_at FROM usage_keys") == [(NOW + DAY,)]


def test_a_renewed_key_leaves_after_those_it_was_renewed_behind(scene: Scene) -> None:
    scene.report(usage(1, key="renewed"), usage(1, key="other"))
    scene.now = Instant(NOW + WINDOW + 1)
    scene.report(usage(1, key="renewed"))
    with scene.store.writing() as transaction:
        assert forget_claims(transaction, NOW + 1, 1) == 1
    assert scene.rows("SELECT claimed_at FROM usage_keys") == [(scene.now,)]


def test_a_key_claimed_before_the_clock_was_set_back_is_kept(scene: Scene) -> None:
    scene.report(usage(1, key="later"))
    scene.now = Instant(NOW - DAY)
    scene.report(usage(1, key="earlier"))
    with scene.store.writing() as transaction:
        assert forget_claims(transaction, NOW, 10) == 1
    assert scene.rows("SELECT claimed_at FROM usage_keys") == [(NOW,)]


# --------------------------------------------------------------------------------- back-pressure


def archive(scene: Scene, count: int) -> None:
    """Take the oldest reports away, as the fold does."""
    with scene.store.writing() as transaction:
        transaction.run(
            "DELETE FROM reports_waiting WHERE seq IN "
            "(SELECT seq FROM reports_waiting ORDER BY seq LIMIT ?)",
            count,
        )


def test_no_more_reports_wait_than_may(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORTS_WAITING_MAX", 5)
    scene.report(*[usage(1)] * 4)
    before = totals(scene), scene.rows("SELECT * FROM totals")
    with pytest.raises(TooManyRequests, match="4 usage reports wait to be archived") as caught:
        scene.report(usage(1), usage(1, key="k"))
    assert caught.value.retry_after_seconds >= 1
    assert before == (totals(scene), scene.rows("SELECT * FROM totals")), "nothing is stored"
    assert scene.rows("SELECT count(*) FROM reports_waiting") == [(4,)]
    assert currents(scene, usage(1, key="k")) == [5], "what fits is taken"
    with pytest.raises(TooManyRequests):
        scene.report(usage(1))


def test_room_is_exact_whatever_was_archived_or_undone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPORTS_WAITING_MAX", 5)
    taken = 0
    for turn in range(20):
        with pytest.raises(NotFound):
            scene.report(usage(1), usage(1, customer="nobody"))
        with pytest.raises(TooManyRequests):
            scene.report(*[usage(1)] * 6)
        archive(scene, turn % 7)
        waiting = scene.rows("SELECT count(*) FROM reports_waiting")[0][0]
        with pytest.raises(TooManyRequests):
            scene.report(*[usage(1)] * (6 - waiting))
        scene.report(*[usage(1)] * (5 - waiting))
        taken += 5 - waiting
    assert [(taken,)] == scene.rows("SELECT accepted_reports FROM totals")


def test_a_repetition_needs_no_room(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORTS_WAITING_MAX", 1)
    (first,) = scene.report(usage(5, key="k"))
    (again,) = scene.report(usage(5, key="k"))
    assert first == again


# ----------------------------------------------------------------------------------------- units


def test_shown_units_are_divided_and_rounded(scene: Scene) -> None:
    scene.add_feature("storage", unitTransformation={"divide": 1000, "round": "UP"})
    (measured,) = scene.report(usage(1500, "storage"))
    assert (measured.value, measured.current_usage) == (1500, 2)
