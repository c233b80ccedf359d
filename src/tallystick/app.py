"""The one file that names concrete engines: what a process is made of.

Settings come in, components come out. Each component takes the few things it uses; the bag
below exists for the doors (``api``) alone, which hand every handler what it may need. Engines are
imported where they are opened, so that a command or the supervisor pays for none it does not use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick import limits
from tallystick.clock import DAY, HOUR, Clock, SystemClock, TestClock
from tallystick.errors import OperatorError
from tallystick.folder import DataFolder
from tallystick.freshness import Freshness
from tallystick.settings import Settings
from tallystick.store import Store
from tallystick.store.sqlite import SqliteStore
from tallystick.store.writer import GroupWriter

if TYPE_CHECKING:
    from tallystick.api.gathering import Gathering
    from tallystick.api.waiting import Readers
    from tallystick.archive.query import QueryEngine
    from tallystick.catalog.entity_calls import EntityCalls
    from tallystick.entitlements.rules import Rules
    from tallystick.fold.attempts import Isolation
    from tallystick.fold.worker import Worker
    from tallystick.inbox.inbox import Arrival, Inbox
    from tallystick.usage.desk import Measurements
    from tallystick.usage.report import Call


@dataclass(frozen=True)
class Services:
    """What an API process hands to its handlers."""

    settings: Settings
    folder: DataFolder
    clock: Clock
    state: Store
    inbox_store: Store
    inbox: Inbox
    arrivals: Gathering[Arrival, int]
    """The way into the inbox: an accepted request becomes its position."""
    inbox_writer: GroupWriter
    """The way into the inbox of requests with an ``Idempotency-Key``, each with its own
    statements."""
    state_writer: GroupWriter
    reports: Gathering[Call, Measurements]
    """The way in for usage reports."""
    entity_calls: EntityCalls
    freshness: Freshness
    queries: QueryEngine
    readers: Readers
    """Who reads the stores for the event loop."""
    rules: Callable[[], Rules]
    """The calling thread's own rules cache."""

    @property
    def archive(self) -> Path:
        """Folder of the archive's files."""
        return self.folder.archive

    def close(self) -> None:
        """Finish what the writers have queued and close the stores."""
        self.arrivals.close()
        self.reports.close()
        self.inbox_writer.close()
        self.state_writer.close()
        self.queries.close()
        self.readers.close()
        self.inbox_store.close()
        self.state.close()


def open_state(settings: Settings) -> Store:
    """The state: in PostgreSQL where the settings say so, else in the data folder."""
    return _open(settings, DataFolder(settings.data_dir).state_db, "state")


def open_inbox(settings: Settings) -> Store:
    """The inbox, likewise."""
    return _open(settings, DataFolder(settings.data_dir).inbox_db, "inbox")


def _open(settings: Settings, path: Path, schema: str) -> Store:
    if settings.database_url is None:
        return SqliteStore(path, schema)
    try:
        from tallystick.store.postgres import PostgresStore
    except ModuleNotFoundError as error:
        raise OperatorError(
            f"TALLYSTICK_DATABASE_URL needs {error.name}, which is not installed here: "
            "pip install 'tallystick[postgres]'"
        ) from None
    return PostgresStore(settings.database_url, schema)


def open_clock(settings: Settings, folder: DataFolder) -> Clock:
    """The machine's clock, or the folder's test clock when the settings ask for one.

    A test clock continues where it stood; an instant given moves it there, forward only.
    """
    if settings.test_clock is None:
        return SystemClock()
    if settings.test_clock == "now":
        if folder.test_clock.exists():
            return TestClock(folder.test_clock)
        return TestClock.create(folder.test_clock, SystemClock().now())
    return TestClock.create(folder.test_clock, settings.test_clock)


def open_folder_clock(folder: DataFolder) -> Clock:
    """The clock that a command beside a server obeys: the folder's own."""
    if folder.test_clock.exists():
        return TestClock(folder.test_clock)
    return SystemClock()


def isolation_of(folder: DataFolder) -> Isolation:
    """Whether the deaths of the worker come closer to what causes them."""
    from tallystick.fold.attempts import Isolation

    return Isolation(folder.run / "attempt")


def open_services(settings: Settings) -> Services:
    """Everything an API process works with; close it when it ends."""
    from tallystick.api.gathering import Gathering
    from tallystick.api.waiting import Readers
    from tallystick.archive.query import QueryEngine
    from tallystick.catalog.entity_calls import EntityCalls
    from tallystick.entitlements.rules import Rules
    from tallystick.inbox.inbox import Inbox
    from tallystick.usage.desk import ReportDesk

    folder = DataFolder(settings.data_dir)
    state, inbox_store = open_state(settings), open_inbox(settings)
    inbox = Inbox(inbox_store, settings.inbox_max_bytes)
    clock, rules = open_clock(settings, folder), _one_per_thread(Rules)
    desk = ReportDesk(rules, clock, settings.dedupe_window_days * DAY)
    return Services(
        settings=settings,
        folder=folder,
        clock=clock,
        state=state,
        inbox_store=inbox_store,
        inbox=inbox,
        arrivals=Gathering(
            inbox_store,
            inbox.add_all,
            name="inbox-commit",
            weigh=lambda arrival: 1 + len(arrival.body) // (16 * limits.KIB),
        ),
        inbox_writer=GroupWriter(inbox_store, "inbox-writer"),
        state_writer=GroupWriter(state, "state-writer"),
        reports=Gathering(
            state, desk.count, name="reports-commit", weigh=lambda call: len(call.items)
        ),
        entity_calls=EntityCalls(settings.entity_calls_per_minute, SystemClock()),
        freshness=Freshness(folder.freshness),
        queries=QueryEngine(folder.path, memory_mib=settings.query_memory_mib),
        readers=Readers(state),
        rules=rules,
    )


@contextmanager
def open_worker(settings: Settings, *, alone: bool = False) -> Iterator[Worker]:
    """The worker of a data folder whose lock this process or its parent holds; ``alone`` when no
    server uses the folder meanwhile."""
    from tallystick.fold.worker import Worker, WorkerSettings
    from tallystick.inbox.inbox import Inbox

    folder = DataFolder(settings.data_dir)
    folder.note_window(settings.dedupe_window_days)
    with ExitStack() as stack:
        state, inbox_store = open_state(settings), open_inbox(settings)
        stack.callback(state.close)
        stack.callback(inbox_store.close)
        worker = Worker(
            WorkerSettings(
                data_folder=folder.path,
                window_us=settings.dedupe_window_days * DAY,
                future_us=settings.event_future_hours * HOUR,
                engine_threads=settings.worker_threads,
                engine_memory_mib=settings.worker_memory_mib,
                import_cores=settings.import_cores,
                alone=alone,
            ),
            state=state,
            inbox=Inbox(inbox_store),
            clock=open_clock(settings, folder),
            freshness=Freshness(folder.freshness),
        )
        stack.callback(worker.close)
        yield worker


def _one_per_thread(make: Callable[[], Rules]) -> Callable[[], Rules]:
    mine = threading.local()

    def get() -> Rules:
        found: Rules | None = getattr(mine, "rules", None)
        if found is None:
            found = mine.rules = make()
        return found

    return get
