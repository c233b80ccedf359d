"""Files and requests under one seed of bad luck: every event that either held is counted once.

A red run names its seed: ``pytest tests/simulation -k "deliveries and seed-3"`` replays it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.objects.feed import Feed
from tests.simulation.deliveries import Deliveries
from tests.simulation.world import CUSTOMERS, World

SEEDS = range(6)
ROUNDS = 90


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed-{seed}")
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setattr(limits, "TIDY_SECONDS", 0.0)
    monkeypatch.setattr(limits, "UNIQUES_FORGOTTEN_SECONDS", 0.0)
    # Parts and pieces are small, so that there is something between them.
    monkeypatch.setattr(limits, "STEP_EVENTS_MIN", 12)
    monkeypatch.setattr(limits, "STEP_EVENTS_MAX", 40)
    monkeypatch.setattr(limits, "OBJECT_PIECE_BYTES", 3_000)
    take = Feed.take
    monkeypatch.setattr(Feed, "take", lambda feed, _=0: take(feed, 10))  # no chance but the seed's
    made = World(tmp_path / "data", request.param)
    yield made
    made.close()


def test_deliveries_of_every_kind_are_counted_exactly_once(world: World, tmp_path: Path) -> None:
    world.set_up()
    files = Deliveries(world, tmp_path / "exports")
    waiting = list(CUSTOMERS)
    for _ in range(ROUNDS):
        action = world.random.random()
        if waiting and (not world.auditor.lifetime or action < 0.06):
            world.add_customer(waiting.pop(), world.random.randint(0, 70))
        elif action < 0.16:
            world.send_events()
        elif action < 0.28:
            files.deliver()
        elif action < 0.36:
            files.ask()
        elif action < 0.44 and world.auditor.lifetime:
            world.send_report()
        elif action < 0.93:
            worker = world.worker
            world.work(lambda worker: worker.fold.step() | worker.importer.step())
            if world.worker is not worker:
                files.adopt(world.worker)
        else:
            world.work(lambda worker: worker.upkeep_step())
            files.adopt(world.worker)
    files.ask()
    assert world.differences() == []
    assert {run.state for run in files.states()} <= {"succeeded", "partial"}
    report = world.verify()
    assert report.equal, "\n".join(report.lines())
    (environment,) = report.environments
    assert environment.waiting == 0
    assert environment.quarantined == 0
    assert world.crashes > 0, "a history without bad luck proves nothing: change the seed"
