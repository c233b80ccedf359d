"""One process that writes everything there is to write, for ``test_write_order.py`` to trace.

``python -m tests.crash.every_write FOLDER MARKS``: accepts events, folds them, archives reports,
recounts, merges files of every kind and deletes what was replaced, in the data folder FOLDER. What
it tells callers it writes to the file MARKS first, so that the trace shows when it was told.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from tallystick.archive.garbage import Collector
from tallystick.clock import DAY
from tallystick.fold.engine import open_engine
from tallystick.limits import ARCHIVE_MERGE_FANOUT
from tests.simulation.world import World

ROUNDS: Final = ARCHIVE_MERGE_FANOUT + 1
REPORT_EVERY: Final = 4
CUSTOMER: Final = "acme"
LATE: Final = "late"
"""A customer that is created after its events: they are recounted."""


def main(folder: Path, marks: Path) -> None:
    """Do everything once, the frequent things often enough to be merged."""
    world = World(folder, seed=0)
    world.set_up(meters=("calls", "users"))
    world.add_customer(CUSTOMER, days_ago=1)
    told = os.open(marks, os.O_WRONLY | os.O_CREAT)
    for number in range(ROUNDS):
        answered = world.door.post("/api/v1/events", {"events": events(number)})
        assert answered.status == 200
        os.write(told, f"accepted {answered.headers['tally-position']}\n".encode())
        assert world.worker.fold.step()
        if number % REPORT_EVERY == 0:
            report(world, number)
            os.write(told, f"reported {number // REPORT_EVERY + 1}\n".encode())
            assert world.worker.reports.step(at_once=True)
    world.add_customer(LATE, days_ago=1)
    while world.worker.recounts.step():
        pass
    while world.worker.upkeep_step():
        pass
    collect(world)
    world.close()


def events(number: int) -> list[dict[str, object]]:
    """A new event of each kind, with a value that is new, and one that was sent before."""
    return [
        event(CUSTOMER, "call", number),
        event(CUSTOMER, "page", number),
        event(LATE, "page", number),
        event(CUSTOMER, "call", max(0, number - 1)),
    ]


def event(customer: str, name: str, number: int) -> dict[str, object]:
    """An event with a key and a user of its number."""
    return {"customerId": customer, "eventName": name, "idempotencyKey": f"key-{number}",
            "dimensions": {"user": f"user-{number}"}}  # fmt: skip


def report(world: World, number: int) -> None:
    """A usage report of its own key."""
    usage = {"customerId": CUSTOMER, "featureId": "seats", "value": 1,
             "idempotencyKey": f"key-{number}"}  # fmt: skip
    assert world.door.post("/api/v2/usage", {"usages": [usage]}).status == 201


def collect(world: World) -> None:
    """Delete what was replaced, without the wait for queries that may still read it."""
    folder, owner = world.door.settings.data_dir, world.worker.owner
    collector = Collector(
        state=world.door.services.state, inbox_store=world.door.services.inbox_store,
        connection=open_engine(folder / "run" / "spill-test"),
        data_folder=folder, epoch=owner.epoch, confirm=owner.confirm,
        window_us=world.door.settings.dedupe_window_days * DAY, kept_seconds=0,
    )  # fmt: skip
    while collector.step(world.door.services.clock.now()):
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
