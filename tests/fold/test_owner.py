"""A worker that another one replaced changes nothing more, and its successor counts once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.fold.owner import LostOwnership, Owner
from tests.fold.test_laws import events, sold, totals
from tests.simulation.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = sold(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def undisturbed(tmp_path: Path) -> Iterator[World]:
    """One in which the same events were counted without trouble."""
    made = sold(tmp_path / "undisturbed")
    made.post("/api/v1/events", {"events": events(30)})
    made.worker.drain()
    yield made
    made.close()


def test_a_former_owner_cannot_commit(world: World, undisturbed: World) -> None:
    world.post("/api/v1/events", {"events": events(3)})
    world.worker.drain()
    counted = totals(world)
    world.post("/api/v1/events", {"events": events(30)})
    Owner.take(world.door.services.state)
    with pytest.raises(LostOwnership) as lost:
        world.worker.drain()
    assert lost.value.code == "LostOwnership"
    assert totals(world) == counted
    world.restart()
    world.worker.drain()
    assert totals(undisturbed) == totals(world)
