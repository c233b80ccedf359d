"""Values of UNIQUE are forgotten with their counter, and not before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tallystick import failpoints, limits
from tallystick.archive.manifest import ManifestFile, add_file, live_files
from tallystick.fold.slots import name_of
from tallystick.keys.order import Words
from tallystick.keys.owners import OWNED, owned, owner_of
from tallystick.usage.counters import CounterKey
from tests.archive.building import NOON, at
from tests.keys.building import random_keys
from tests.simulation.world import Crash, World
from tests.verify.counted import Counted

COUNTERS = "SELECT environment, customer, resource, feature, generation, period_start FROM counters"
GONE = [name_of(CounterKey("default", "acme", "", "users", 0, period)) for period in range(40)]
"""Counters that there are none of."""


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """Forty customers with a counter each."""
    monkeypatch.setattr(limits, "UNIQUES_FORGOTTEN_SECONDS", 0.0)
    monkeypatch.setattr(limits, "SWEEP_STEP_ROWS", 7)
    monkeypatch.setattr(limits, "KEY_STEP_KEYS", 500)
    built = Counted(tmp_path / "data")
    built.configured.feature("users", function="COUNT")
    built.configured.plan("plan", "MONTH", "users")
    for number in range(40):
        built.configured.customer(f"customer-{number}")
        built.configured.subscription("plan", at("2026-01-01"), customer=f"customer-{number}")
        built.accept({"customerId": f"customer-{number}", "idempotencyKey": f"{number}"})
    built.count()
    yield built
    failpoints.arm(None)
    built.close()


def standing(counted: Counted) -> list[str]:
    """The names of the counters that there are."""
    with counted.state.reading() as transaction:
        return [name_of(CounterKey(*row)) for row in transaction.all(COUNTERS)]  # type: ignore[arg-type]


def keys_of(names: list[str], each: int, seed: int) -> tuple[Words, Words]:
    """So many keys of each of these counters."""
    hi, lo = random_keys(each * len(names), seed)
    owners = np.repeat(np.array([owner_of(name) for name in names], dtype=np.uint64), each)
    return hi, owned(hi, lo, owners)


def remember(counted: Counted, *keys: tuple[Words, Words], bucket: int = OWNED) -> ManifestFile:
    """A committed run of these keys."""
    worker = counted.worker
    name = worker.owner.file_name("keys", "uniques", "run")
    hi, lo = (np.concatenate(half) for half in zip(*keys, strict=True))
    draft = worker.uniques.write(name, worker.owner.epoch, hi, lo, bucket, 0, 0)
    with counted.state.writing() as transaction:
        file = add_file(transaction, draft, NOON)
    worker.uniques.add(file)
    return file


def runs(counted: Counted) -> list[ManifestFile]:
    with counted.state.reading() as transaction:
        return live_files(transaction, "uniques")


def recounted(counted: Counted, times: int = 1) -> None:
    """So often in all something was recounted and swept away, and upkeep had its turn."""
    for _ in counted.worker.upkeep._forgetter.steps(times):
        pass


def test_values_of_counters_that_are_gone_are_forgotten(counted: Counted) -> None:
    kept, lost = keys_of(standing(counted), 25, 1), keys_of(GONE, 50, 2)
    before = remember(counted, kept, lost)
    recounted(counted)
    (after,) = runs(counted)
    assert after.row_count == 1_000
    assert after.bytes < before.bytes / 2
    assert (after.level, after.bucket) == (before.level, before.bucket)
    assert counted.worker.uniques.contains(*kept).all()
    assert not counted.worker.uniques.contains(*lost).any()
    assert counted.verify().equal, list(counted.verify().lines())


def test_a_run_of_which_more_than_half_is_alive_stays(counted: Counted) -> None:
    kept, lost = keys_of(standing(counted), 25, 1), keys_of(GONE, 24, 2)
    before = remember(counted, kept, lost)
    recounted(counted)
    assert runs(counted) == [before]
    assert counted.worker.uniques.contains(*kept).all()


def test_a_run_of_which_nothing_is_alive_goes(counted: Counted) -> None:
    lost = keys_of(GONE, 24, 2)
    remember(counted, lost)
    recounted(counted)
    assert runs(counted) == []
    assert not counted.worker.uniques.contains(*lost).any()


def test_each_run_is_judged_alone_and_plain_hashes_are_left(counted: Counted) -> None:
    plain = remember(counted, random_keys(100, 7), bucket=0)
    kept, lost = keys_of(standing(counted), 25, 1), keys_of(GONE, 25, 2)
    alive, dead = remember(counted, kept), remember(counted, lost)
    recounted(counted)
    assert {file.id for file in runs(counted)} == {plain.id, alive.id}
    assert dead.id not in {file.id for file in runs(counted)}


def test_it_is_done_once_after_a_recount(counted: Counted) -> None:
    recounted(counted)
    dead = remember(counted, keys_of(GONE, 25, 2))
    recounted(counted)
    assert runs(counted) == [dead], "nothing was recounted since"
    recounted(counted, 2)
    assert runs(counted) == []


def test_a_counter_that_appears_meanwhile_keeps_its_values(counted: Counted) -> None:
    """Its run is named after the walk over the counters began: the run is not looked at."""
    dead = remember(counted, keys_of(GONE, 25, 2))
    steps = counted.worker.upkeep._forgetter.steps(1)
    next(steps)
    late = remember(counted, keys_of(["ab" * 16], 10, 3))
    assert len(list(steps)) > 2
    assert runs(counted) == [late]
    assert dead.id != late.id


def test_recounts_do_not_make_the_disk_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNIQUES_FORGOTTEN_SECONDS", 0.0)
    monkeypatch.setattr(limits, "TIDY_SECONDS", 0.0)
    world = World(tmp_path / "data", 1)
    world.set_up(meters=("users",))
    world.add_customer("acme", 5)
    world.add_customer("globex", 5)
    for customer in ("acme", "globex"):
        world.post("/api/v1/events", {"events": pages(customer, range(200))})
    world.worker.drain()
    for recount in range(6):
        recount_users(world, recount + 1)
        world.worker.drain()
        for _ in range(100):
            world.worker.upkeep_step()
        with world.door.services.state.reading() as transaction:
            keys = sum(file.row_count for file in live_files(transaction, "uniques"))
        assert 400 <= keys <= 800, "no more dead ones than living ones"
        assert [world.usage(customer, "users") for customer in ("acme", "globex")] == [200, 200]
    world.restart()
    for customer in ("acme", "globex"):
        again = pages(customer, range(195, 205), key="again")
        world.post("/api/v1/events", {"events": again})
    world.worker.drain()
    assert [world.usage(customer, "users") for customer in ("acme", "globex")] == [205, 205]
    assert world.verify().equal
    world.close()


def pages(customer: str, users: range, key: str = "first") -> list[dict[str, object]]:
    """An event of each of these users."""
    return [
        {
            "customerId": customer,
            "eventName": "page",
            "idempotencyKey": f"{key}-{user}",
            "dimensions": {"user": f"user-{user}"},
        }
        for user in users
    ]


def recount_users(world: World, number: int) -> None:
    """Change the meter, so that all is counted anew, to one of the same meaning."""
    names = ("page", "nothing")[: 1 + number % 2]
    filters = [
        {"conditions": [{"field": "eventName", "operation": "EQUALS", "value": name}]}
        for name in names
    ]
    meter = {"filters": filters, "aggregation": {"function": "UNIQUE", "field": "user"}}
    changed = world.door.run(world.door.call("PATCH", "/api/v1/features/users", {"meter": meter}))
    assert changed.status == 200


@pytest.mark.parametrize("point", ["merge.after_file", "merge.before_commit", "merge.after_commit"])
def test_a_crash_while_forgetting_loses_nothing(counted: Counted, point: str) -> None:
    kept, lost = keys_of(standing(counted), 25, 1), keys_of(GONE, 50, 2)
    remember(counted, kept, lost)

    def crash(reached: str) -> None:
        if reached == point:
            raise Crash(point)

    failpoints.arm(crash)
    with pytest.raises(Crash):
        recounted(counted)
    failpoints.arm(None)
    counted.reopen_worker()
    assert counted.worker.uniques.contains(*kept).all()
    recounted(counted)
    (after,) = runs(counted)
    assert after.row_count == 1_000
    assert counted.worker.uniques.contains(*kept).all()
    assert counted.verify().equal
