"""Rules in memory: never stale, bounded, and cheap to ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.catalog.changes import queue_recount, record_change
from tallystick.clock import Instant
from tallystick.entitlements.rules import Rules
from tallystick.store import Transaction
from tests.catalog.building import ENVIRONMENT, NOW, Desk, limit, meter, monthly


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A customer with a plan."""
    made = Desk(tmp_path)
    made.add_product()
    made.add_feature("calls")
    made.add_feature("events", meter=meter())
    made.add_plan("basic", monthly("calls", 100), limit("events", 5))
    made.add_customer()
    made.subscribe("basic")
    yield made
    made.close()


@pytest.fixture
def rules(desk: Desk) -> Rules:
    """Rules that were asked about everything once."""
    made = Rules()
    ask(desk, made)
    return made


def ask(desk: Desk, rules: Rules, customer: str = "acme") -> int | None:
    """The limit of calls after a refresh."""
    with desk.reading() as transaction:
        rules.refresh(transaction)
        return limit_of_calls(transaction, rules, customer)


def limit_of_calls(transaction: Transaction, rules: Rules, customer: str = "acme") -> int | None:
    scope = (transaction, ENVIRONMENT, customer, "", "calls")
    rules.segments(*scope)
    winner = rules.winner(*scope, NOW)
    return None if winner is None else winner.usage_limit


class Counting:
    """A snapshot that counts what it is asked."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.asked = 0

    def one(self, sql: str, *values: str | int | bytes | None) -> object:
        self.asked += 1
        return self._transaction.one(sql, *values)

    def all(self, sql: str, *values: str | int | bytes | None) -> object:
        self.asked += 1
        return self._transaction.all(sql, *values)


def queries(desk: Desk, rules: Rules, customer: str = "acme") -> int:
    """How many statements it takes to answer."""
    with desk.reading() as transaction:
        rules.refresh(transaction)
        counting = Counting(transaction)
        limit_of_calls(counting, rules, customer)  # type: ignore[arg-type]
    return counting.asked


def test_what_was_asked_is_remembered(desk: Desk, rules: Rules) -> None:
    assert queries(desk, rules) == 0


def test_a_change_of_a_customer_drops_that_customer_alone(desk: Desk, rules: Rules) -> None:
    desk.add_customer("other")
    desk.subscribe("basic", "other")
    ask(desk, rules, "other")
    desk.patch("customers/other", {"name": "Other"})
    assert queries(desk, rules) == 0
    assert queries(desk, rules, "other") > 0


def test_a_change_of_the_catalog_drops_what_it_touches_alone(desk: Desk, rules: Rules) -> None:
    desk.environment = "elsewhere"
    desk.add_product()
    desk.add_feature("calls")
    desk.add_plan("basic", limit("calls"))
    assert queries(desk, rules) == 0
    desk.environment = ENVIRONMENT
    desk.patch("features/calls", {"displayName": "New"})
    assert queries(desk, rules) == 0  # neither limits nor periods depend on it
    desk.renew("basic", "NEW_CUSTOMERS")
    assert queries(desk, rules) > 0
    with desk.reading() as transaction:
        assert rules.features(transaction, ENVIRONMENT)["calls"].display_name == "New"


def test_a_number_used_again_after_a_rollback_drops_everything(desk: Desk, rules: Rules) -> None:
    class Undone(Exception):
        pass

    def change_and_fail() -> None:
        with desk.services.state.writing() as transaction:
            transaction.run("UPDATE subscriptions SET version = 99")
            record_change(transaction, ENVIRONMENT, "acme", NOW)
            rules.refresh(transaction)
            assert limit_of_calls(transaction, rules) is None  # cached, and then undone
            raise Undone

    with pytest.raises(Undone):
        change_and_fail()
    assert ask(desk, rules) == 100
    desk.patch("features/calls", {"displayName": "New"})  # takes the number that was undone
    assert ask(desk, rules) == 100


def test_many_changes_are_not_followed_one_by_one(
    desk: Desk, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RULES_CHANGES_FOLLOWED_MAX", 3)
    for number in range(5):
        desk.add_customer(f"customer-{number}")
    assert queries(desk, rules) > 0
    assert ask(desk, rules) == 100


def test_memory_is_bounded(desk: Desk, rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RULES_CUSTOMERS_MAX", 2)
    for customer in ("nobody-1", "acme", "nobody-2"):
        ask(desk, rules, customer)
    assert queries(desk, rules, "acme") == 0
    assert queries(desk, rules, "nobody-1") > 0


def test_the_memory_of_environments_is_bounded(
    desk: Desk, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RULES_ENVIRONMENTS_MAX", 1)
    assert asked_for_features(desk, rules, "elsewhere") == 1
    assert asked_for_features(desk, rules, "elsewhere") == 0
    assert asked_for_features(desk, rules, ENVIRONMENT) == 1
    assert asked_for_features(desk, rules, "elsewhere") == 1


def test_the_environment_that_was_not_asked_about_for_the_longest_is_forgotten(
    desk: Desk, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RULES_ENVIRONMENTS_MAX", 2)
    for environment in ("first", "second", "first", "third"):
        asked_for_features(desk, rules, environment)
    assert asked_for_features(desk, rules, "first") == 0
    assert asked_for_features(desk, rules, "second") == 1


def test_what_is_worked_out_for_resources_is_bounded(
    desk: Desk, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RULES_ANSWERS_MAX", 10)
    with desk.reading() as transaction:
        for number in range(50):
            scope = (transaction, ENVIRONMENT, "acme", "", f"feature-{number}")
            rules.segments(*scope)
            rules.winner(*scope, NOW)
            assert answers(rules) == rules._answers <= 10
    desk.add_customer("another")
    ask(desk, rules, "another")
    assert answers(rules) == rules._answers


def test_nothing_is_kept_of_resources_that_never_were(desk: Desk, rules: Rules) -> None:
    before = answers(rules)
    with desk.reading() as transaction:
        for number in range(50):
            scope = (transaction, ENVIRONMENT, "acme", f"resource-{number}", "calls")
            assert rules.segments(*scope) == ()
            assert rules.winner(*scope, NOW) is None
    assert answers(rules) == before


def answers(rules: Rules) -> int:
    """How many segments and winners are in memory."""
    entries = rules._customers.values()
    return sum(len(entry.segments) + len(entry.winners) for entry in entries)


def asked_for_features(desk: Desk, rules: Rules, environment: str) -> int:
    """How many statements it takes to tell the features of an environment."""
    with desk.reading() as transaction:
        counting = Counting(transaction)
        rules.features(counting, environment)  # type: ignore[arg-type]
    return counting.asked


def test_unknown_customers_are_known_once_they_exist(desk: Desk, rules: Rules) -> None:
    with desk.reading() as transaction:
        assert rules.customer(transaction, ENVIRONMENT, "later") is None
        assert rules.segments(transaction, ENVIRONMENT, "later", "", "calls") == ()
    assert queries(desk, rules, "later") == 0
    desk.add_customer("later")
    desk.subscribe("basic", "later")
    assert ask(desk, rules, "later") == 100


def test_metered_features_are_those_fed_by_events(desk: Desk, rules: Rules) -> None:
    with desk.reading() as transaction:
        assert [feature.id for feature in rules.metered(transaction, ENVIRONMENT)] == ["events"]


def test_the_younger_generation_is_the_valid_one(desk: Desk, rules: Rules) -> None:
    with desk.services.state.writing() as transaction:
        transaction.run("UPDATE features SET generation = 3 WHERE id = 'events'")
        transaction.run(
            "INSERT INTO customer_generations VALUES (?, 'acme', 'events', 5)", ENVIRONMENT
        )
        record_change(transaction, ENVIRONMENT, "", NOW)
    with desk.reading() as transaction:
        rules.refresh(transaction)
        for customer, generation in (("acme", 5), ("other", 3)):
            assert rules.generation(transaction, ENVIRONMENT, customer, "events") == generation
        assert rules.generation(transaction, ENVIRONMENT, "acme", "calls") == 0


def pending(desk: Desk, rules: Rules, customer: str, feature: str) -> Instant | None:
    with desk.reading() as transaction:
        rules.refresh(transaction)
        return rules.pending(transaction, ENVIRONMENT, customer, feature)


def open_recount(desk: Desk, feature: str, customer: str, as_of: int) -> None:
    desk.archive_events_of(customer or "someone")
    with desk.services.state.writing() as transaction:
        record_change(transaction, ENVIRONMENT, customer, NOW)
        queue_recount(transaction, ENVIRONMENT, feature, customer, "test", Instant(as_of), NOW)


def test_a_recount_of_a_feature_is_pending_for_everyone(desk: Desk, rules: Rules) -> None:
    assert pending(desk, rules, "acme", "events") is None
    open_recount(desk, "events", "", 7)
    assert pending(desk, rules, "acme", "events") == 7
    assert pending(desk, rules, "acme", "calls") is None


def test_a_recount_of_a_customer_is_pending_for_it_alone(desk: Desk, rules: Rules) -> None:
    open_recount(desk, "calls", "acme", 9)
    open_recount(desk, "events", "acme", 9)
    open_recount(desk, "events", "acme", 8)
    assert pending(desk, rules, "acme", "events") == 8
    assert pending(desk, rules, "acme", "calls") == 9
    assert pending(desk, rules, "other", "events") is None


def test_a_finished_recount_is_pending_no_more(desk: Desk, rules: Rules) -> None:
    open_recount(desk, "events", "", 7)
    assert pending(desk, rules, "acme", "events") == 7
    with desk.services.state.writing() as transaction:
        transaction.run("UPDATE recounts SET finished_at = 1")
        record_change(transaction, ENVIRONMENT, "", NOW)
    assert pending(desk, rules, "acme", "events") is None


def test_a_branch_sees_what_its_transaction_changed_and_leaves_the_rest_alone(
    desk: Desk, rules: Rules
) -> None:
    with desk.services.state.writing() as transaction:
        rules.refresh(transaction)
        transaction.run("UPDATE subscriptions SET end_at = start_at")
        record_change(transaction, ENVIRONMENT, "acme", NOW)
        branch = rules.branch()
        assert limit_of_calls(transaction, branch) is None
        assert limit_of_calls(transaction, rules) == 100
