"""Plans and add-ons in memory: read one by one, dropped one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.catalog.changes import EVERYONE, record_change
from tallystick.store import Transaction
from tests.entitlements.scene import RichScene
from tests.usage.building import DEFAULT, NOW, START, limit


class Counting:
    """A snapshot that counts what it is asked."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.asked: list[str] = []

    def one(self, sql: str, *values: str | int | bytes | None) -> object:
        self.asked.append(sql)
        return self._transaction.one(sql, *values)

    def all(self, sql: str, *values: str | int | bytes | None) -> object:
        self.asked.append(sql)
        return self._transaction.all(sql, *values)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[RichScene]:
    """Two plans with a customer each, and an add-on that one of them has."""
    scene = RichScene(tmp_path)
    scene.add_feature("seats", meter_type="FLUCTUATING")
    scene.add_addon("more", limit("seats", 20))
    for plan in ("basic", "pro"):
        scene.add_plan(plan, limit("seats", 10))
        scene.add_customer(plan)
        scene.subscribe(plan, plan)
    addons = [{"id": "more", "quantity": 1, "version": 1}]
    scene.tell("pro", "pro", addonHistory=[{"at": START, "addons": addons}])
    ask(scene)
    yield scene
    scene.store.close()


def ask(scene: RichScene) -> list[str]:
    """Which tables it takes to answer for both customers and about the feature."""
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        counting = Counting(transaction)
        scene.rules.features(counting, DEFAULT)  # type: ignore[arg-type]
        for customer in ("basic", "pro"):
            scene.rules.winner(counting, DEFAULT, customer, "", "seats", NOW)  # type: ignore[arg-type]
    found = [sql.partition("FROM ")[2].split()[0] for sql in counting.asked]
    return sorted({name for name in found if name in ("features", "plans", "addons", "customers")})


def change(scene: RichScene, what: str, customer: str = EVERYONE) -> None:
    with scene.store.writing() as transaction:
        record_change(transaction, DEFAULT, customer, NOW, what)


@pytest.mark.parametrize(
    ("what", "read"),
    [
        ("feature:seats", ["features"]),
        ("plan:basic", ["customers", "plans"]),
        ("plan:pro", ["customers", "plans"]),
        ("addon:more", ["addons", "customers"]),
        ("plan:nobody-has-it", []),
        ("addon:nobody-has-it", []),
        ("", ["addons", "customers", "features", "plans"]),
    ],
)
def test_a_change_drops_what_it_names(scene: RichScene, what: str, read: list[str]) -> None:
    assert ask(scene) == []
    change(scene, what)
    assert ask(scene) == read
    assert ask(scene) == []


def test_a_change_of_a_customer_drops_that_customer_whatever_it_names(scene: RichScene) -> None:
    change(scene, "plan:basic", "pro")
    assert ask(scene) == ["customers"]


def test_a_change_of_a_plan_drops_nobody_else_s_customers(scene: RichScene) -> None:
    change(scene, "plan:basic")
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        counting = Counting(transaction)
        scene.rules.winner(counting, DEFAULT, "pro", "", "seats", NOW)  # type: ignore[arg-type]
    assert counting.asked == []


def test_what_was_published_is_seen(scene: RichScene) -> None:
    with scene.store.writing() as transaction:
        transaction.run("UPDATE addons SET entitlements = '[]'")
        record_change(transaction, DEFAULT, EVERYONE, NOW, "addon:more")
    assert scene.limit_of("seats", NOW, "pro") == 10


def test_a_customer_made_of_what_is_published_later_sees_it(scene: RichScene) -> None:
    """Also where the package was unknown when the customer was loaded."""
    addons = [{"id": "late", "quantity": 1, "version": 1}]
    scene.tell("basic", "basic", addonHistory=[{"at": START, "addons": addons}])
    assert scene.limit_of("seats", NOW, "basic") == 10
    scene.add_addon("late", limit("seats", 5))
    assert scene.limit_of("seats", NOW, "basic") == 15


def test_the_memory_of_packages_is_bounded(
    scene: RichScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RULES_PACKAGES_MAX", 1)
    change(scene, "")
    ask(scene)
    assert len(scene.rules._packages) == 1
    change(scene, "plan:basic")  # no longer in memory, but a customer there is made of it
    assert "customers" in ask(scene)


def test_who_is_forgotten_is_forgotten_by_the_packages_too(
    scene: RichScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RULES_CUSTOMERS_MAX", 1)
    change(scene, "")
    ask(scene)
    held = {name for (_, (_, name)) in scene.rules._holders}
    assert held == {"pro", "more"}


def test_packages_of_another_environment_are_others(scene: RichScene) -> None:
    with scene.store.reading() as transaction:
        scene.rules.refresh(transaction)
        assert scene.rules.package(transaction, "elsewhere", "plan", "basic") == ()
        assert len(scene.rules.package(transaction, DEFAULT, "plan", "basic")) == 1
