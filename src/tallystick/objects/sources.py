"""Sources: places that are looked at on a schedule.

Owns: the rows of ``sources``. Nothing is ever removed: an object's history is its source's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from tallystick import ids, limits
from tallystick.clock import Instant, SystemClock
from tallystick.errors import BadInput, NotFound
from tallystick.objects.buckets import Bucket
from tallystick.objects.job import Job, job_of
from tallystick.objects.schedule import HOURLY
from tallystick.store import Row, Transaction

_COLUMNS: Final = "id, created_at, environment, settings, paused, updated_at, next_run_at"

ADD: Final = """
INSERT INTO sources (id, environment, settings, paused, created_at, updated_at, next_run_at)
VALUES (?, ?, ?, 0, ?, ?, ?)
"""
FIND: Final = f"""
SELECT {_COLUMNS} FROM sources WHERE environment = ? AND id = ? AND removed_at IS NULL
"""
# Ends in its conditions, for pages of it.
LISTED: Final = f"""
SELECT {_COLUMNS} FROM sources WHERE environment = ? AND removed_at IS NULL
"""
LISTED_IN_ORDER: Final = f"{LISTED} ORDER BY created_at, id"
COUNT: Final = "SELECT count(*) FROM sources WHERE environment = ? AND removed_at IS NULL"
DUE: Final = f"""
SELECT {_COLUMNS} FROM sources
WHERE next_run_at <= ? AND paused = 0 AND removed_at IS NULL ORDER BY next_run_at, id
"""
RESCHEDULE: Final = "UPDATE sources SET next_run_at = ? WHERE id = ?"
PAUSE: Final = "UPDATE sources SET paused = ?, updated_at = ?, next_run_at = ? WHERE id = ?"
CHANGE: Final = "UPDATE sources SET settings = ?, updated_at = ?, next_run_at = ? WHERE id = ?"
# What is secret of a removed source is forgotten with it.
REMOVE: Final = """
UPDATE sources SET removed_at = ?, next_run_at = NULL, settings = '{}' WHERE id = ?
"""
IS_OPEN: Final = "SELECT 1 FROM sources WHERE id = ? AND paused = 0 AND removed_at IS NULL"


@dataclass(frozen=True, slots=True)
class Source:
    """A source, as stored. ``next_run_at`` is when it is looked at next."""

    id: str
    environment: str
    job: Job
    paused: bool
    created_at: Instant
    updated_at: Instant
    next_run_at: Instant | None


def add(transaction: Transaction, environment: str, given: dict[str, Any], now: Instant) -> Source:
    """A new source; raises ``BadInput`` naming what is wrong with its settings."""
    (count,) = cast("tuple[int]", transaction.one(COUNT, environment))
    if count >= limits.SOURCES_MAX:
        raise BadInput(f"there are {count} sources already; remove one that is not used any more")
    job, settings = _settings(given)
    first = (job.schedule or HOURLY).next_after(now)
    source = ids.new_id()
    transaction.run(ADD, source, environment, settings, now, now, first)
    return Source(source, environment, job, False, now, now, first)


def change(transaction: Transaction, source: Source, given: dict[str, Any], now: Instant) -> Source:
    """Other settings from now on: those in ``given``, where None is the default again.

    The URL stays: another place is another source. Raises ``BadInput``.
    """
    if "url" in given:
        raise BadInput("url: cannot be changed; add another source")
    both = {**source.job.given, **given}
    job, settings = _settings({name: value for name, value in both.items() if value is not None})
    after = None if source.paused else (job.schedule or HOURLY).next_after(now)
    transaction.run(CHANGE, settings, now, after, source.id)
    return find(transaction, source.environment, source.id)


def find(transaction: Transaction, environment: str, source: str) -> Source:
    """A source that was not removed; raises ``NotFound``."""
    row = transaction.one(FIND, environment, source)
    if row is None:
        raise NotFound(f"no source {source!r}", code="SourceNotFound")
    return source_of(row)


def listed(transaction: Transaction, environment: str) -> list[Source]:
    """The sources of an environment, the oldest first."""
    rows = transaction.all(LISTED_IN_ORDER, environment)
    return [source_of(row) for row in rows]


def due(transaction: Transaction, now: Instant) -> list[Source]:
    """The sources whose time has come."""
    return [source_of(row) for row in transaction.all(DUE, now)]


def reschedule(transaction: Transaction, source: Source, now: Instant) -> None:
    """Look at a source next when its schedule says."""
    transaction.run(RESCHEDULE, _next(source, now), source.id)


def pause(transaction: Transaction, source: Source, paused: bool, now: Instant) -> Source:
    """Look at a source no more until it is resumed; or resume it."""
    after = None if paused else _next(source, now)
    transaction.run(PAUSE, int(paused), now, after, source.id)
    return find(transaction, source.environment, source.id)


def remove(transaction: Transaction, source: Source, now: Instant) -> None:
    """Forget a source; what came of it stays counted."""
    transaction.run(REMOVE, now, source.id)


def is_closed(transaction: Transaction, source: str | None) -> bool:
    """Whether a run's source was paused or removed; an import has none."""
    return source is not None and transaction.one(IS_OPEN, source) is None


def _next(source: Source, now: Instant) -> Instant:
    return (source.job.schedule or HOURLY).next_after(now)


def _settings(given: dict[str, Any]) -> tuple[Job, str]:
    """The job that settings say, and the settings as they are stored; raises ``BadInput``."""
    settings = msgspec.json.encode(given)
    if len(settings) > limits.SOURCE_BYTES_MAX:
        raise BadInput(f"the settings have more than {limits.SOURCE_BYTES_MAX} bytes")
    job = job_of(given)
    for name, url in (("url", job.url), ("rejectsUrl", job.rejects_url)):
        if url is not None:
            _open(name, url, job)
    return job, settings.decode()


def _open(name: str, url: str, job: Job) -> None:
    """Open it and ask nothing of it: what cannot be meant is refused while a person looks."""
    try:
        Bucket.open(url, SystemClock(), job.access)
    except BadInput as bad:
        raise BadInput(f"{name}: {bad.message.removeprefix('url: ')}") from None


def source_of(row: Row) -> Source:
    """A source as a select of it, ``LISTED`` for one, gives it."""
    source, created_at, environment, settings, paused, updated_at, next_run_at = cast(
        "tuple[str, int, str, str, int, int, int | None]", row
    )
    return Source(
        source, environment, job_of(msgspec.json.decode(settings)), bool(paused),
        Instant(created_at), Instant(updated_at),
        None if next_run_at is None else Instant(next_run_at),
    )  # fmt: skip
