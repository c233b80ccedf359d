"""What the fold remembers of counters follows what is stored, at a price that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tallystick.core.parts import Part
from tallystick.errors import DamagedData
from tallystick.fold.quarantine import list_quarantined
from tallystick.fold.standing import Seen, Standing
from tallystick.fold.sweep import Sweeper
from tallystick.store import Store, Transaction
from tests.fold.test_laws import sold
from tests.simulation.world import World

COUNTERS = "SELECT id, feature, count FROM counters JOIN counter_parts USING (id) ORDER BY id"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = sold(tmp_path / "data")
    yield made
    made.close()


def event(name: str, key: str, **values: Any) -> dict[str, Any]:
    return {"customerId": "acme", "eventName": name, "idempotencyKey": key} | values


def deliver(world: World, *events: dict[str, Any]) -> None:
    world.post("/api/v1/events", {"events": events})
    world.worker.fold.step()


class Statements:
    """A connection that counts what it is asked."""

    def __init__(self) -> None:
        self.inner = duckdb.connect()
        self.count = 0

    def execute(self, *args: Any) -> Any:
        self.count += 1
        return self.inner.execute(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def seen(number: int, environment: str = "default") -> Seen:
    name = f"customer-{number}"
    return Seen(environment, "calls", name, "", 0, 10, number, Part(count=1))


def standing_customers(connection: Statements) -> list[tuple[str, str]]:
    sql = "SELECT environment, customer FROM standing ORDER BY ALL"
    return connection.inner.execute(sql).fetchall()


def test_many_changed_customers_are_forgotten_together() -> None:
    connection = Statements()
    stood = Standing(connection)  # type: ignore[arg-type]
    stood.settle_none()
    stood.keep([seen(1), seen(2), seen(3, "other"), seen(4)])
    before = connection.count
    stood.forget([("default", f"customer-{number}") for number in (1, 4, *range(10, 9_000))])
    assert connection.count == before + 1
    assert standing_customers(connection) == [("default", "customer-2"), ("other", "customer-3")]
    stood.forget([("other", ""), ("other", "")])
    assert connection.count == before + 2
    assert standing_customers(connection) == [("default", "customer-2")]


class Between:
    """A store where something happens while a writer waits for its turn."""

    def __init__(self, store: Store, happens: Any) -> None:
        self.reading = store.reading
        self._store = store
        self._happens = happens

    def writing(self) -> AbstractContextManager[Transaction]:
        self._happens()
        return self._store.writing()


def delete_counters(transaction: Transaction, which: str) -> None:
    transaction.run(
        f"DELETE FROM counter_parts WHERE id IN (SELECT id FROM counters WHERE {which})"
    )
    transaction.run(f"DELETE FROM counters WHERE {which}")


def test_a_counter_that_took_the_number_of_a_swept_one_is_left_alone(world: World) -> None:
    deliver(world, event("call", "1", dimensions={"tokens": 5}))
    state = world.door.services.state
    with state.writing() as transaction:
        delete_counters(transaction, "feature <> 'calls'")
        transaction.run("UPDATE counters SET id = 1")
        transaction.run("UPDATE counter_parts SET id = 1")
        transaction.run("UPDATE features SET generation = 1 WHERE id = 'calls'")

    def the_number_is_used_again() -> None:
        with state.writing() as transaction:
            delete_counters(transaction, "true")
        deliver(world, event("page", "2", dimensions={"user": "one"}))

    between = Between(state, the_number_is_used_again)
    assert Sweeper(between, world.worker.owner).step()  # type: ignore[arg-type]
    with state.reading() as transaction:
        assert transaction.all(COUNTERS) == [(1, "users", 1)]


def test_a_counter_that_another_recount_replaced_is_swept(world: World) -> None:
    deliver(world, event("call", "1", dimensions={"tokens": 5}))
    state = world.door.services.state
    with state.writing() as transaction:
        transaction.run("UPDATE features SET generation = 1 WHERE id = 'calls'")
        transaction.run(
            "INSERT INTO customer_generations (environment, customer, feature, generation) "
            "VALUES ('default', 'acme', 'tokens', 2)"
        )
    assert Sweeper(state, world.worker.owner).step()
    with state.reading() as transaction:
        left = {row[1] for row in transaction.all(COUNTERS)}
        assert transaction.one("SELECT count(*) FROM counter_parts") == (3,)
    assert left == {"least", "most", "mean"}


def test_a_counter_that_is_gone_is_told_and_counted_again_after_a_restart(world: World) -> None:
    deliver(world, event("call", "1"))
    with world.door.services.state.writing() as transaction:
        delete_counters(transaction, "feature = 'calls'")
    with pytest.raises(DamagedData, match="counters to be written are gone"):
        deliver(world, event("call", "2"))
    world.restart()
    world.worker.drain()
    with world.door.services.state.reading() as transaction:
        assert list_quarantined(transaction) == []
        assert ("calls", 1) in [row[1:] for row in transaction.all(COUNTERS)]
