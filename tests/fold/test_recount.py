"""Recounts beside each other, beside merges, beside the fold, and recounts that fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick import limits
from tallystick.archive.manifest import live_files
from tallystick.errors import Unavailable
from tallystick.fold.metering import Measured
from tallystick.fold.recount import Recounter
from tallystick.verify.report import Difference
from tests.simulation.world import Crash, World

ACME = "acme"
OPEN = "SELECT id FROM recounts WHERE finished_at IS NULL ORDER BY id"
RUNS = "SELECT count(*) FROM recount_runs"


class Shop:
    """A world with plans of the features that a test names."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, 1)
        self.worker.drain()
        self.world.post("/api/v1/products", {"id": "main", "displayName": "Main"})
        self.world.post("/api/v1/customers", {"id": ACME})
        self._events = 0

    @property
    def worker(self) -> Any:
        return self.world.worker

    def feature(self, name: str, event: str = "call", function: str = "COUNT") -> None:
        self.world.post(
            "/api/v1/features",
            {"id": name, "displayName": name, "featureType": "NUMBER",
             "meterType": "INCREMENTAL", "meter": meter(event, function)},
        )  # fmt: skip

    def change_meter(self, name: str, event: str) -> None:
        self.patch(f"features/{name}", {"meter": meter(event, "COUNT")})

    def patch(self, path: str, body: object) -> None:
        door = self.world.door
        changed = door.run(door.call("PATCH", f"/api/v1/{path}", body))
        assert changed.status == 200

    def plan(self, name: str, reset: str, *features: str) -> None:
        post = self.world.post
        items = [
            {"id": each, "type": "FEATURE", "hasUnlimitedUsage": True, "resetPeriod": reset}
            for each in features
        ]
        post("/api/v1/plans", {"id": name, "displayName": name, "productId": "main"})
        post(f"/api/v1/plans/{name}/entitlements", {"entitlements": items})
        post(f"/api/v1/plans/{name}/publish", {"migrationType": "NEW_CUSTOMERS"})

    def subscribe(self, plan: str, customer: str = ACME, start: str = "2026-01-01") -> None:
        body = {"customerId": customer, "planId": plan, "startDate": f"{start}T00:00:00Z"}
        self.world.post("/api/v1/subscriptions", body)

    def send(self, count: int, customer: str = ACME, event: str = "call") -> None:
        sent = []
        for _ in range(count):
            self._events += 1
            key = f"key-{self._events}"
            sent.append({"customerId": customer, "eventName": event, "idempotencyKey": key})
        self.world.post("/api/v1/events", {"events": sent})

    def check(self, feature: str, customer: str = ACME) -> tuple[int, bool]:
        """What is shown, and whether it awaits a recount."""
        path = f"/api/v1/customers/{customer}/entitlements/check?featureId={feature}"
        answered = self.world.door.get(path)
        return answered.data["currentUsage"], "tally-recount" in answered.headers

    def open(self) -> list[int]:
        return [row[0] for row in self.rows(OPEN)]

    def rows(self, sql: str) -> list[Any]:
        with self.world.door.services.state.reading() as transaction:
            return transaction.all(sql)

    def differences(self) -> list[Difference]:
        return [each for report in self.world.verify().environments for each in report.differences]


def meter(event: str, function: str) -> dict[str, Any]:
    condition = {"field": "eventName", "operation": "EQUALS", "value": event}
    return {"aggregation": {"function": function}, "filters": [{"conditions": [condition]}]}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path / "data")
    yield made
    made.world.close()


# ------------------------------------------------------------------------ beside each other


def test_an_older_recount_that_ends_last_takes_nothing_over(shop: Shop) -> None:
    """Two plan changes of one customer while a trickle of events flows."""
    for name in "ab":
        shop.feature(name)
    for number, reset in enumerate(("MONTH", "DAY", "YEAR")):
        shop.plan(f"p{number}", reset, "a", "b")
    shop.send(5)
    shop.worker.drain()
    shop.subscribe("p0")
    shop.worker.step()
    shop.subscribe("p1", start="2026-01-02")
    for _ in range(2):
        shop.worker.step()
    shop.send(1)
    while shop.open():
        shop.worker.step()
    shop.worker.drain()
    assert [shop.check("a"), shop.check("b")] == [(6, False), (6, False)]
    assert shop.differences() == []


def test_a_customers_recount_beside_one_of_everyone_counts_every_feature(shop: Shop) -> None:
    """New meters, and a subscription that moves all of them, queued before any began."""
    shop.feature("a", event="nothing")
    shop.plan("p", "MONTH", "a")
    shop.send(5)
    shop.worker.drain()
    shop.change_meter("a", "call")
    for name in "bc":
        shop.feature(name)
    shop.plan("q", "MONTH", "a", "b", "c")
    shop.subscribe("q")
    shop.worker.drain()
    assert [shop.check(name) for name in "abc"] == [(5, False)] * 3
    assert shop.differences() == []


def test_a_customer_that_changes_during_a_recount_of_everyone_is_counted_once_more(
    shop: Shop,
) -> None:
    shop.feature("z", event="nothing")
    shop.plan("p", "MONTH", "z")
    shop.send(5)
    shop.worker.drain()
    shop.change_meter("z", "call")
    assert shop.worker.recounts.step()
    shop.subscribe("p")
    shop.send(1)
    shop.worker.step()
    shop.send(1)
    while shop.open():
        shop.worker.step()
    shop.worker.drain()
    assert shop.check("z") == (7, False)
    assert shop.differences() == []


def test_what_is_folded_between_the_ends_of_two_recounts_is_counted(shop: Shop) -> None:
    """One of a customer and one of everyone, of the same feature."""
    shop.feature("z", event="nothing")
    shop.send(5)
    shop.worker.drain()
    shop.feature("b")
    shop.plan("p", "MONTH", "b")
    shop.subscribe("p")
    for _ in range(3):
        shop.worker.step()
    while shop.open():
        shop.send(1)
        shop.worker.step()
        shop.worker.recounts.step()
    shop.send(1)
    shop.worker.drain()
    assert shop.check("b") == (shop._events, False)
    assert shop.differences() == []


def test_customers_that_change_during_a_recount_are_read_together(shop: Shop) -> None:
    customers = [f"customer-{number}" for number in range(40)]
    shop.feature("a")
    shop.plan("p", "MONTH", "a")
    for customer in customers:
        shop.world.post("/api/v1/customers", {"id": customer})
        shop.send(3, customer)
    shop.worker.drain()
    shop.change_meter("a", "nothing")
    shop.change_meter("a", "call")
    assert shop.worker.recounts.step()
    for customer in customers:
        shop.subscribe("p", customer)
    assert len(shop.open()) == 1 + len(customers)
    shop.worker.drain()
    assert shop.rows(RUNS) == [(2,)]
    assert {shop.check("a", customer) for customer in customers} == {(3, False)}
    assert shop.differences() == []


def test_sync_waits_for_what_changed_during_a_recount(shop: Shop) -> None:
    """What the end of a recount used to queue was newer than the call."""
    shop.feature("a", event="nothing")
    shop.plan("p", "MONTH", "a")
    shop.send(3)
    shop.worker.drain()
    shop.change_meter("a", "call")
    assert shop.worker.recounts.step()
    shop.subscribe("p")
    newest = max(shop.open())
    while shop.open():
        assert shop.world.door.get("/tally/v1/sync?timeout_s=0").status == 504
        shop.worker.recounts.step()
        assert max(shop.open(), default=0) <= newest
    assert shop.world.door.get("/tally/v1/sync?timeout_s=0").status == 200
    assert shop.check("a") == (3, False)


def test_a_change_of_rules_during_a_step_stops_no_recount(shop: Shop) -> None:
    """A change that moves no event throws nothing away that was read."""
    shop.feature("a")
    shop.plan("p", "MONTH", "a")
    shop.send(3)
    shop.worker.drain()
    shop.subscribe("p")
    for _ in range(10):
        with_change(shop, lambda: shop.patch("features/a", {"displayName": "Another"}))
    assert shop.open() == []
    assert shop.check("a") == (3, False)


def with_change(shop: Shop, change: Callable[[], object]) -> None:
    """A step of a recount that meets a change between what it reads and what it commits."""
    recounts: Recounter = shop.worker.recounts
    measure = recounts._measure

    def and_change(*args: Any) -> Measured:
        measured = measure(*args)
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        return measured

    recounts._measure = and_change  # type: ignore[method-assign, assignment]
    shop.worker.recounts.step()
    recounts._measure = measure  # type: ignore[method-assign]


# ---------------------------------------------------------------------------- beside merges


def test_a_merge_during_a_step_doubles_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step read a piece of a file that is another one when it commits."""
    monkeypatch.setattr(limits, "RECOUNT_STEP_ROWS_FIRST", 10)
    monkeypatch.setattr(limits, "RECOUNT_STEP_ROWS_MAX", 10)
    shop.feature("a", event="nothing")
    shop.plan("p", "MONTH", "a")
    shop.subscribe("p")
    for number in range(limits.ARCHIVE_MERGE_FANOUT):
        shop.send(25 if number == 0 else 1)
        shop.worker.fold.step()
    shop.change_meter("a", "call")
    with_change(shop, shop.worker.upkeep.merge_archive)
    with shop.world.door.services.state.reading() as transaction:
        assert [file.level for file in live_files(transaction, "archive", "event")] == [1]
    shop.worker.drain()
    assert shop.check("a") == (24 + limits.ARCHIVE_MERGE_FANOUT, False)
    assert shop.differences() == []


# ------------------------------------------------------------------------------- bounded steps


def test_a_step_touches_no_more_counters_than_it_may(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECOUNT_STEP_COUNTERS_MAX", 20)
    monkeypatch.setattr(limits, "RECOUNT_STEP_ROWS_MIN", 5)
    shop.feature("a", event="nothing")
    shop.plan("p", "MONTH", "a")
    customers = [f"customer-{number}" for number in range(150)]
    for customer in customers:
        shop.world.post("/api/v1/customers", {"id": customer})
        shop.subscribe("p", customer)
        shop.send(2, customer)
    shop.worker.drain()
    touched: list[int] = []
    recounts: Recounter = shop.worker.recounts
    commit = recounts._commit

    def noted(run: Any, chunk: Any, measured: Measured) -> None:
        touched.append(len(measured.parts))
        commit(run, chunk, measured)

    recounts._commit = noted  # type: ignore[method-assign]
    shop.change_meter("a", "call")
    shop.worker.drain()
    assert max(touched) <= 20
    assert sum(touched) >= len(customers)
    assert shop.differences() == []


# ------------------------------------------------------------------------------ what fails


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(limits, "RESTART_SECONDS_MAX", 0.0)


def damaged(shop: Shop) -> Callable[[], None]:
    """Cut the oldest archived file short; what is returned mends it."""
    with shop.world.door.services.state.reading() as transaction:
        name = live_files(transaction, "archive", "event")[0].name
    path = shop.world.door.settings.data_dir / name
    whole = path.read_bytes()
    path.write_bytes(whole[:10])

    def mend() -> None:
        path.write_bytes(whole)

    return mend


@pytest.mark.usefixtures("impatient")
def test_a_recount_that_fails_stops_nobody_and_is_set_aside(shop: Shop) -> None:
    shop.feature("a")
    shop.plan("p", "MONTH", "a")
    shop.subscribe("p")
    shop.send(3)
    shop.worker.drain()
    mend = damaged(shop)
    shop.change_meter("a", "page")
    shop.feature("other", event="page")
    for number in range(4 * limits.RECOUNT_ATTEMPTS_MAX):
        shop.send(1, event="page")
        assert shop.worker.step()
        assert shop.worker.fold.position == number + 2
    ready = shop.world.door.get("/ready")
    assert (ready.json["recountsOpen"], ready.json["recountsSetAside"]) == (2, 2)
    assert "tallystick_recounts_set_aside 2" in shop.world.door.get("/metrics").body.decode()
    assert shop.check("a") == (3, True)
    assert not shop.worker.step()

    shop.world.restart()
    assert shop.world.door.get("/ready").json["recountsSetAside"] == 0
    mend()
    shop.worker.drain()
    assert shop.check("a") == (4 * limits.RECOUNT_ATTEMPTS_MAX, False)
    assert shop.differences() == []


@pytest.mark.usefixtures("impatient")
def test_a_lost_file_is_damage_and_not_a_store_that_is_busy(shop: Shop) -> None:
    shop.feature("a")
    shop.send(1)
    shop.worker.drain()
    with shop.world.door.services.state.reading() as transaction:
        name = live_files(transaction, "archive", "event")[0].name
    (shop.world.door.settings.data_dir / name).unlink()
    shop.change_meter("a", "page")
    for _ in range(2 * limits.RECOUNT_ATTEMPTS_MAX):
        shop.worker.step()
    (failure,) = shop.rows("SELECT failure FROM recounts WHERE finished_at IS NULL")
    assert failure == (f"DamagedData: {name} is gone or not as it was written",)


def failing(shop: Shop, customer: str, error: BaseException) -> None:
    """Let every recount of a customer fail."""
    recounts: Recounter = shop.worker.recounts
    measure = recounts._measure

    def fail(transaction: Any, seq: int, run: Any, scope: Any, chunk: Any) -> Measured:
        if customer in (scope.single() or ()):
            raise error
        return measure(transaction, seq, run, scope, chunk)

    recounts._measure = fail  # type: ignore[method-assign]


def changed_customers(shop: Shop, count: int) -> list[str]:
    """Customers whose recounts are queued."""
    customers = [f"customer-{number}" for number in range(count)]
    shop.feature("a")
    shop.plan("p", "MONTH", "a")
    for customer in customers:
        shop.world.post("/api/v1/customers", {"id": customer})
        shop.send(2, customer)
    shop.worker.drain()
    for customer in customers:
        shop.subscribe("p", customer)
    return customers


@pytest.mark.usefixtures("impatient")
def test_one_that_fails_is_found_among_many(shop: Shop) -> None:
    customers = changed_customers(shop, 40)
    failing(shop, "customer-7", ValueError("poison"))
    while shop.worker.step() or len(shop.open()) > 1:
        pass
    (failure,) = shop.rows("SELECT customer, failure FROM recounts WHERE finished_at IS NULL")
    assert failure == ("customer-7", "ValueError: poison")
    found = {customer: shop.check("a", customer) for customer in customers}
    assert found.pop("customer-7") == (0, True)
    assert set(found.values()) == {(2, False)}
    assert shop.differences() == []

    # Another change of its rules is a reason to try again.
    shop.world.restart()
    shop.worker.drain()
    assert shop.check("a", "customer-7") == (2, False)


@pytest.mark.usefixtures("impatient")
def test_one_that_ends_the_process_is_found_and_does_not_end_it_again(shop: Shop) -> None:
    changed_customers(shop, 3)
    deaths = 0
    while deaths < 100:
        failing(shop, "customer-1", Crash("the process ends"))
        try:
            while shop.worker.recounts.step():
                pass
            break
        except Crash:
            deaths += 1
            shop.world.restart()
    assert deaths == 2 * limits.RECOUNT_ATTEMPTS_MAX
    (failure,) = shop.rows("SELECT customer, failure FROM recounts WHERE finished_at IS NULL")
    assert failure == ("customer-1", "it ended the worker process each time")
    assert shop.check("a", "customer-2") == (2, False)


def test_a_store_that_cannot_take_it_is_no_failure_of_the_recount(shop: Shop) -> None:
    changed_customers(shop, 1)
    failing(shop, "customer-0", Unavailable("the disk is full"))
    for _ in range(3 * limits.RECOUNT_ATTEMPTS_MAX):
        with pytest.raises(Unavailable):
            shop.worker.recounts.step()
    assert shop.rows("SELECT max(attempts) FROM recount_runs") == [(1,)]
    shop.world.restart()
    shop.worker.drain()
    assert shop.check("a", "customer-0") == (2, False)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("error", [ValueError("poison"), Unavailable("full"), OSError("full")])
def test_an_archiver_of_reports_that_fails_stops_nobody(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    shop.feature("a")
    shop.plan("p", "MONTH", "a")

    def fail() -> bool:
        raise error

    monkeypatch.setattr(shop.worker.reports, "step", fail)
    shop.subscribe("p")
    shop.send(2)
    while shop.worker.step():
        pass
    shop.change_meter("a", "page")
    shop.send(2, event="page")
    while shop.worker.step():
        pass
    assert shop.check("a") == (2, False)
