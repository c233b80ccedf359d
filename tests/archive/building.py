"""A data folder with an archive, and events with ordinary defaults."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb

from tallystick.archive.manifest import FileDraft, ManifestFile, Way, add_file
from tallystick.archive.relation import (
    CREATE_EVENTS_TABLE,
    DUPLICATE_COLUMNS,
    DUPLICATE_TYPES,
    EVENT_COLUMNS,
    EVENT_TYPES,
    USAGE_REPORTED,
    copy_to_parquet,
)
from tallystick.clock import HOUR, Instant, from_datetime, to_datetime
from tallystick.store.sqlite import SqliteStore

DEFAULT = "default"


def at(text: str) -> Instant:
    """The instant of an ISO text, ``2026-01-02`` or ``2026-01-02T03:04:05``, in UTC."""
    return from_datetime(datetime.fromisoformat(text))


NOON = at("2026-01-15T12:00:00")


@dataclass(frozen=True)
class Event:
    """One row of the relation; a report when ``feature`` is given."""

    time: int = NOON
    customer: str = "acme"
    resource: str | None = None
    name: str = "call"
    key: str | None = None
    dimensions: dict[str, object] = field(default_factory=dict)
    environment: str = DEFAULT
    feature: str | None = None
    value: Decimal | None = None

    def row(self, position: int, index: int) -> list[object]:
        """Its values in the order of the relation's columns."""
        return [
            self.environment, position, index, "usage" if self.feature else "event", None, None,
            self.customer, self.resource, USAGE_REPORTED if self.feature else self.name,
            self.key or f"key-{position}-{index}", _timestamp(self.time), _timestamp(self.time),
            json.dumps(self.dimensions) if self.dimensions else None, self.feature, self.value,
        ]  # fmt: skip


def report(feature: str, value: str, **more: object) -> Event:
    """A usage report of ``value``."""
    return Event(feature=feature, value=Decimal(value), **more)  # type: ignore[arg-type]


class Archive:
    """A data folder whose state names the files that are put into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "archive").mkdir(parents=True)
        (folder / "keys").mkdir()
        self.state = SqliteStore(folder / "state.db", "state")
        self.inbox_store = SqliteStore(folder / "inbox.db", "inbox")
        self.connection = duckdb.connect(":memory:", config={"threads": 1})
        self._names = itertools.count(1)
        self._positions = itertools.count(1)

    def name(self, kind: str = "archive", epoch: int = 0) -> str:
        """A fresh name."""
        return f"archive/{kind}-{epoch:08d}-{next(self._names):010d}.parquet"

    def add(self, *events: Event, way: Way | None = None) -> ManifestFile:
        """Archive events as one file, each as a request of its own."""
        rows = [event.row(next(self._positions), 0) for event in events]
        self._fill(CREATE_EVENTS_TABLE, EVENT_TYPES, "events", rows)
        name = self.name()
        select = f"SELECT {EVENT_COLUMNS} FROM events"
        size = copy_to_parquet(self.connection, select, self.folder / name)
        times = [event.time for event in events]
        draft = FileDraft(
            kind="archive", name=name, epoch=0, row_count=len(events), bytes=size,
            way=way or ("usage" if events[0].feature else "event"),
            position_first=rows[0][1], position_last=rows[-1][1],  # type: ignore[arg-type]
            time_first=min(times), time_last=max(times),
        )  # fmt: skip
        return self._name(draft)

    def add_waiting(self, event: Event) -> None:
        """Put a report among those that wait to be archived."""
        with self.state.writing() as transaction:
            transaction.insert(
                "INSERT INTO reports_waiting (environment, id, customer, resource, feature, value, "
                "key, created_at, received_at, dimensions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                event.environment, "id", event.customer, event.resource or "", event.feature,
                str(event.value), event.key, event.time, event.time, json.dumps(event.dimensions),
            )  # fmt: skip

    def add_duplicates(
        self, received_at: Instant, count: int, *, bucket: int = 0, environment: str = DEFAULT
    ) -> ManifestFile:
        """Log ``count`` repeated deliveries as one file."""
        rows: list[list[object]] = [
            [environment, next(self._positions), 0, "acme", "call", "key", _timestamp(received_at)]
            for _ in range(count)
        ]
        create = ", ".join(f"{name} {kind}" for name, kind in DUPLICATE_TYPES)
        self._fill(
            f"CREATE OR REPLACE TEMP TABLE repeated ({create})", DUPLICATE_TYPES, "repeated", rows
        )
        name = self.name("duplicates")
        select = f"SELECT {DUPLICATE_COLUMNS} FROM repeated"
        size = copy_to_parquet(self.connection, select, self.folder / name)
        draft = FileDraft(
            kind="duplicates", name=name, epoch=0, row_count=count, bytes=size,
            position_first=rows[0][1], position_last=rows[-1][1],  # type: ignore[arg-type]
            time_first=received_at, time_last=received_at, bucket=bucket,
        )  # fmt: skip
        return self._name(draft)

    def close(self) -> None:
        """Close the state and the connection."""
        self.state.close()
        self.inbox_store.close()
        self.connection.close()

    def _fill(
        self, create: str, types: Sequence[tuple[str, str]], table: str, rows: list[list[object]]
    ) -> None:
        self.connection.execute(create)
        marks = ", ".join("?" for _ in types)
        self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def _name(self, draft: FileDraft) -> ManifestFile:
        with self.state.writing() as transaction:
            return add_file(transaction, draft, NOON)


def _timestamp(instant: int) -> object:
    return to_datetime(instant).replace(tzinfo=None)


def hours(count: float) -> int:
    """Microseconds of some hours."""
    return int(count * HOUR)
