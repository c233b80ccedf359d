"""Rules change at any time, in the middle of recounts too; when all is done every total is right.

A red run names its seed: ``pytest tests/simulation -k "rules-17"`` replays it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick import limits
from tests.simulation.unruly import Unruly

SEEDS = range(4)
ROUNDS = 50


@pytest.fixture(params=SEEDS, ids=lambda seed: f"rules-{seed}")
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Unruly]:
    """Steps and merges are small, so that recounts take many and meet each other and merges."""
    monkeypatch.setattr(limits, "RECOUNT_STEP_ROWS_FIRST", 20)
    monkeypatch.setattr(limits, "RECOUNT_STEP_ROWS_MAX", 60)
    monkeypatch.setattr(limits, "RECOUNT_STEP_ROWS_MIN", 5)
    monkeypatch.setattr(limits, "RECOUNT_STEP_COUNTERS_MAX", 20)
    monkeypatch.setattr(limits, "ARCHIVE_MERGE_FANOUT", 4)
    made = Unruly(tmp_path / "data", request.param)
    yield made
    made.close()


def test_whatever_changes_under_way_every_total_is_right_in_the_end(world: Unruly) -> None:
    world.rounds(ROUNDS)
    world.settled()
    report = world.verify()
    assert report.equal, "\n".join(report.lines())
    (environment,) = report.environments
    assert environment.unchecked_counters == 0, "a recount never ended"
    assert environment.accepted == world.auditor.accepted
    assert world.unlike_the_auditor() == []
    with world.door.services.state.reading() as transaction:
        runs = transaction.one("SELECT count(*) FROM recount_runs")
    assert runs is not None
    assert runs > (2,), "nothing was recounted: change the seed"
