"""A data folder with sources and imports, its door and its worker, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from tallystick import failpoints
from tallystick.app import open_worker
from tallystick.archive.manifest import live_files
from tallystick.clock import DAY
from tallystick.errors import TryLater
from tallystick.fold.worker import Worker
from tallystick.objects import ledger, requests, sources
from tallystick.objects.buckets import Bucket
from tallystick.objects.ledger import Run, StoredObject
from tallystick.verify.report import VerifyReport
from tallystick.verify.verify import verify
from tests.api.door import NOW, Door
from tests.objects.scenes import Later
from tests.simulation.world import Crash

STEPS_MAX = 20_000


def event(key: object, **more: Any) -> dict[str, Any]:
    """One call of acme."""
    return {"customerId": "acme", "eventName": "call", "idempotencyKey": f"{key}", **more}


def lines(events: Sequence[dict[str, Any]]) -> bytes:
    """Events as an object of JSON lines."""
    return b"".join(msgspec.json.encode(each) + b"\n" for each in events)


def calls(keys: Sequence[object]) -> bytes:
    """An object of calls, one a key."""
    return lines([event(key) for key in keys])


class Place:
    """Everything that an import takes; a context manager."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._stack = ExitStack()
        self.door = self._stack.enter_context(Door(folder, **settings))
        self.folder = folder
        self.opened: Callable[[str, Any], Bucket] = lambda url, job: Bucket.open(
            url, Later(), job.access
        )
        self._worker_stack = ExitStack()
        self.worker = self.new_worker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        failpoints.arm(None)
        self._worker_stack.close()
        self._stack.close()

    def new_worker(self) -> Worker:
        """A new worker on what the one before left behind."""
        self._worker_stack.close()
        self._worker_stack = ExitStack()
        self.worker = self._worker_stack.enter_context(open_worker(self.door.settings))
        self.worker.importer._opened = self.opened
        self.worker.importer._parts._opened = self.opened
        return self.worker

    # ------------------------------------------------------------------------------ what is asked

    def add_import(self, *urls: str | Path, **more: Any) -> str:
        """Ask for an import; its run."""
        state = self.door.services.state
        given = {"urls": [str(url) for url in urls], **more}
        with state.writing() as transaction:
            return requests.ask_import(transaction, "default", given, self.now())

    def add_source(self, url: str | Path, **more: Any) -> str:
        """Add a source; its id."""
        with self.door.services.state.writing() as transaction:
            given = {"url": f"file://{url}" if isinstance(url, Path) else url, **more}
            return sources.add(transaction, "default", given, self.now()).id

    def ask_run(self, source: str) -> str:
        """Ask for a run of a source."""
        with self.door.services.state.writing() as transaction:
            found = sources.find(transaction, "default", source)
            return requests.ask_run(transaction, found, self.now())

    def retry(self, source: str, number: int) -> str:
        """Ask for an object to be tried again."""
        with self.door.services.state.writing() as transaction:
            found = sources.find(transaction, "default", source)
            return requests.ask_retry(transaction, found, number, self.now())

    def now(self) -> Any:
        return self.door.services.clock.now()

    # ------------------------------------------------------------------------------- what is done

    def drain(self) -> None:
        """Everything there is to do, whatever has to be tried again."""
        for _ in range(STEPS_MAX):
            try:
                self.worker.drain()
            except TryLater:
                continue
            return
        raise AssertionError("it never ends")

    def step(self) -> bool:
        """One step of each kind, as the worker's loop does it, without its waits."""
        worker = self.worker
        return worker.fold.step() | worker.importer.step()

    def until(self, condition: Callable[[], object]) -> None:
        """Step until something holds."""
        for _ in range(STEPS_MAX):
            if condition():
                return
            self.step()
        raise AssertionError("it never held")

    def imported(self, *urls: str | Path, **more: Any) -> Run:
        """An import, done."""
        run = self.add_import(*urls, **more)
        self.drain()
        return self.run(run)

    def ran(self, source: str) -> Run:
        """A run of a source, done."""
        run = self.ask_run(source)
        self.drain()
        return self.run(run)

    @contextmanager
    def dying(self, point: str, times: int = 1) -> Iterator[None]:
        """The worker dies in the block, when it reaches ``point`` for the so-manieth time; another
        follows."""
        left = times
        died = False

        def action(reached: str) -> None:
            nonlocal left, died
            if reached == point:
                left -= 1
                if left == 0:
                    died = True
                    raise Crash(point)

        failpoints.arm(action)
        try:
            yield
        except Crash:
            pass
        finally:
            failpoints.arm(None)
        assert died, f"{point} was not reached {times} times"
        self.new_worker()

    # ------------------------------------------------------------------------------- what came out

    def run(self, run: str) -> Run:
        with self.door.services.state.reading() as transaction:
            found = ledger.find_run(transaction, run)
        assert found is not None
        return found

    def objects(self, run: Run | str) -> dict[str, StoredObject]:
        """The objects of a run, by key; of several versions the last."""
        found = self.run(run) if isinstance(run, str) else run
        with self.door.services.state.reading() as transaction:
            return {each.key: each for each in ledger.objects_of(transaction, found, 10_000)}

    def one(self, run: Run | str) -> StoredObject:
        """The only object of a run."""
        (found,) = self.objects(run).values()
        return found

    def rows(self, what: str = "key") -> list[Any]:
        """A column of the archive, in order of arrival."""
        with self.door.services.state.reading() as transaction:
            names = [str(self.folder / each.name) for each in live_files(transaction, "archive")]
        if not names:
            return []
        sql = f"SELECT {what} FROM read_parquet({names}) ORDER BY position, event_index"
        return [row[0] for row in self.worker._connection.execute(sql).fetchall()]

    def rejects(self, run: Run | str) -> list[dict[str, Any]]:
        """What the folder of rejects says of a run."""
        number = run if isinstance(run, str) else run.id
        files = sorted((self.folder / "rejects" / number).glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def verified(self) -> VerifyReport:
        """What ``tallystick verify`` says; everything is equal."""
        services, settings = self.door.services, self.door.settings
        window_us = settings.dedupe_window_days * DAY
        report = verify(
            services.state, services.inbox_store, services.inbox, settings.data_dir, window_us
        )
        assert report.equal, "\n".join(report.lines())
        return report

    def send(self, *keys: object) -> None:
        """The same calls by the API."""
        body = {"events": [event(key) for key in keys]}
        assert self.door.post("/api/v1/events", body).status == 200


__all__ = ["NOW", "Place", "calls", "event", "lines"]
