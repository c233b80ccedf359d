"""A faulty world with objects: the same bad luck, and files beside what the API takes.

Files hold new events, events of other files and of requests, and bad lines; they are copied,
renamed, overwritten and compressed while the worker dies at any point. The auditor is told each
event that a file holds when the file is written: it must count once, whenever it is read.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from datetime import datetime
from pathlib import Path

import zstandard

from tallystick.clock import Instant, SystemClock
from tallystick.fold.worker import Worker
from tallystick.objects import requests, sources
from tallystick.objects.buckets import Bucket
from tallystick.objects.ledger import Run, find_run
from tests.simulation.auditor import Sent
from tests.simulation.world import World

BAD_LINES = (b"nope", b"{}", b'{"customerId":1}', b"[", b"\xff", b'{"eventName":"$x"}', b"null")
ENDINGS = ("jsonl", "ndjson.gz", "jsonl.zst", "csv", "csv.gz")


class _Later:
    """Real time some seconds on: what was just written has settled."""

    def now(self) -> Instant:
        return Instant(SystemClock().now() + 11_000_000)


class Deliveries:
    """Files for a world, and the runs that read them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        folder.mkdir()
        self._held: dict[str, list[Sent]] = {}
        """What each file holds: an overwritten one keeps it, for nobody may have read it yet."""
        self.runs: list[str] = []
        self._files = 0
        self._random = world.random
        state = world.door.services.state
        with state.writing() as transaction:
            self.source = sources.add(
                transaction, "default", {"url": f"file://{folder}", "rejectShareMax": 1},
                world.door.services.clock.now(),
            ).id  # fmt: skip
        self.adopt(world.worker)

    def adopt(self, worker: Worker) -> None:
        """Let a worker find what was just written."""

        def opened(url: str, job: object) -> Bucket:
            return Bucket.open(url, _Later())

        worker.importer._opened = opened
        worker.importer._parts._opened = opened

    def deliver(self) -> None:
        """A new file, or another version, a copy or a new name of one."""
        known = sorted(self.folder.iterdir())
        chance = self._random.random()
        if not known or chance < 0.6:
            self._write(self._new_name(self._random.choice(ENDINGS)))
            return
        path = self._random.choice(known)
        _, _, ending = path.name.partition(".")
        if chance < 0.75:
            self._write(path)
            return
        other = self._new_name(ending)
        self._held[other.name] = self._held[path.name]
        if chance < 0.9:
            shutil.copy(path, other)
        else:
            path.rename(other)

    def _new_name(self, ending: str) -> Path:
        self._files += 1
        return self.folder / f"{self._files}.{ending}"

    def ask(self) -> None:
        """A run of the source, or an import of the folder."""
        services = self.world.door.services
        with services.state.writing() as transaction:
            now = services.clock.now()
            if self._random.random() < 0.7:
                found = sources.find(transaction, "default", self.source)
                self.runs.append(requests.ask_run(transaction, found, now))
            else:
                given = {"urls": [f"file://{self.folder}"], "rejectShareMax": 1}
                self.runs.append(requests.ask_import(transaction, "default", given, now))

    def states(self) -> list[Run]:
        """Every run that was asked for."""
        with self.world.door.services.state.reading() as transaction:
            found = [find_run(transaction, run) for run in self.runs]
        return [run for run in found if run is not None]

    def _write(self, path: Path) -> None:
        more = [self.world._event() for _ in range(self._random.randint(0, 60))]
        events = self._held[path.name] = [*self._held.get(path.name, []), *more]
        data = self._csv(events) if ".csv" in path.name else self._lines(events)
        ending = path.name.rpartition(".")[2]
        if ending == "gz":
            data = gzip.compress(data)
        elif ending == "zst":
            data = zstandard.compress(data)
        draft = path.with_name(".draft")
        draft.write_bytes(data)
        draft.replace(path)
        for event in events:
            self._tell(event)

    def _tell(self, event: Sent) -> None:
        """The auditor counts deliveries too, and here nobody knows how often a file is read."""
        before = self.world.auditor.accepted
        self.world.auditor.event(event, self._now())
        self.world.auditor.accepted = before

    def _now(self) -> datetime:
        return self.world.now()

    def _lines(self, events: list[Sent]) -> bytes:
        lines = []
        for event in events:
            if self._random.random() < 0.1:
                lines.append(self._random.choice(BAD_LINES))
            told = dict(event)
            if self._random.random() < 0.5:
                dimensions = told.pop("dimensions")
                told |= {f"dimensions.{name}": value for name, value in dimensions.items()}
            lines.append(json.dumps(told).encode())
        return b"\n".join(lines)

    def _csv(self, events: list[Sent]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["customerId", "eventName", "idempotencyKey", "timestamp",
                         "dimensions.tokens", "dimensions.user"])  # fmt: skip
        for event in events:
            if self._random.random() < 0.1:
                writer.writerow(["ragged"])
            told = [
                event[name] for name in ("customerId", "eventName", "idempotencyKey", "timestamp")
            ]
            writer.writerow([*told, event["dimensions"]["tokens"], event["dimensions"]["user"]])
        return text.getvalue().encode()
