"""What is known of sources, runs and objects: rows, and what may become of them.

Owns: the tables ``object_runs``, ``objects`` and ``object_totals``. A source is where objects come
from; a run lists a source (or what an import names) and reads what is new; an object is one version
of one file, and where reading it stands. That row moves in the transaction that counts what was
read, so a crash repeats nothing and loses nothing.

States of a run: ``queued``, ``running``, then ``succeeded``, ``partial`` (a record or an object
was refused), ``failed`` (nothing could be listed) or ``stopped`` (somebody paused or removed its
source).

States of an object: ``queued``, ``reading``, then ``done``; ``waiting`` (its bucket cannot be had:
the next run goes on with it); ``gone`` (it was changed or removed while it was read: a new version
is another object); ``failed`` (it cannot be read), ``stopped`` (too many of its records are bad)
and ``review`` (what came of it earlier may be older than keys are remembered) wait for a person;
``ignored`` is not named like anything that is read, or leads elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote

import msgspec

from tallystick import limits
from tallystick.clock import Instant
from tallystick.objects.cutting import Place
from tallystick.objects.info import ObjectInfo
from tallystick.store import Row, Transaction

ENDED_STATES: Final = ("succeeded", "partial", "failed", "stopped")
OTHER_REASONS: Final = "other reasons"
_PARTS: Final = 16
"""Into how many parts the records are cut that were being counted when a process ended."""

ADD_RUN: Final = """
INSERT INTO object_runs (id, environment, source, request, cause, state, queued_at)
VALUES (?, ?, ?, ?, ?, 'queued', ?)
"""

_RUN_COLUMNS: Final = """
    seq, id, environment, source, request, cause, state, reason, queued_at, started_at, ended_at,
    listed, ignored, counted, duplicates, rejected, bytes, reasons
"""

# The run that is served: the one that began, else the one that waits for the longest.
NEXT_RUN: Final = f"""
SELECT {_RUN_COLUMNS} FROM object_runs WHERE ended_at IS NULL
ORDER BY started_at IS NULL, seq LIMIT 1
"""

FIND_RUN: Final = f"SELECT {_RUN_COLUMNS} FROM object_runs WHERE id = ?"

RUNS_OF: Final = f"""
SELECT {_RUN_COLUMNS} FROM object_runs WHERE source = ? AND seq < ? ORDER BY seq DESC LIMIT ?
"""
RUNS_SINCE: Final = f"""
SELECT {_RUN_COLUMNS} FROM object_runs WHERE source = ? AND seq > ? ORDER BY seq LIMIT ?
"""

# The run of a source that has not ended; and one that has not begun, whose list is yet to be made.
OPEN_RUN: Final = """
SELECT id FROM object_runs WHERE source = ? AND ended_at IS NULL ORDER BY seq LIMIT 1
"""
WAITING_RUN: Final = """
SELECT id FROM object_runs WHERE source = ? AND state = 'queued' ORDER BY seq LIMIT 1
"""

START_RUN: Final = "UPDATE object_runs SET state = 'running', started_at = ? WHERE seq = ?"
BEGIN_LISTING: Final = "UPDATE object_runs SET listed = 0, ignored = 0 WHERE seq = ?"
LISTED: Final = "UPDATE object_runs SET listed = 1 WHERE seq = ?"
IGNORE: Final = "UPDATE object_runs SET ignored = ignored + ? WHERE seq = ?"
# What an import was asked may hold secrets, and nobody needs it any more.
END_RUN: Final = """
UPDATE object_runs SET state = ?, reason = ?, ended_at = ?, request = ''
WHERE seq = ? AND ended_at IS NULL
"""

ADD_TO_RUN: Final = """
UPDATE object_runs SET counted = counted + ?, duplicates = duplicates + ?,
                       rejected = rejected + ?, bytes = bytes + ?
WHERE seq = ?
"""

REASONS: Final = "SELECT reasons FROM object_runs WHERE seq = ?"
SET_REASONS: Final = "UPDATE object_runs SET reasons = ? WHERE seq = ?"

ADD_TO_ALL: Final = """
INSERT INTO object_totals (environment, counted, duplicates, rejected, bytes)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (environment) DO UPDATE SET
    counted = object_totals.counted + excluded.counted,
    duplicates = object_totals.duplicates + excluded.duplicates,
    rejected = object_totals.rejected + excluded.rejected,
    bytes = object_totals.bytes + excluded.bytes
"""

ADD_ENDED: Final = """
INSERT INTO object_totals (environment, succeeded, partial, failed, stopped)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (environment) DO UPDATE SET
    succeeded = object_totals.succeeded + excluded.succeeded,
    partial = object_totals.partial + excluded.partial,
    failed = object_totals.failed + excluded.failed,
    stopped = object_totals.stopped + excluded.stopped
"""

ADD_OBJECT: Final = """
INSERT INTO objects (scope, environment, url, key, version, size, modified_at, state, reason, run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, url, key, version) DO NOTHING
"""

# A name that is left alone is shown by the newest run that met it.
SHOW_IGNORED: Final = """
INSERT INTO objects (scope, environment, url, key, version, size, modified_at, state, reason, run)
VALUES (?, ?, ?, ?, ?, ?, ?, 'ignored', ?, ?)
ON CONFLICT (scope, url, key, version) DO UPDATE SET run = excluded.run
WHERE objects.state = 'ignored'
"""

_OBJECT_COLUMNS: Final = """
    id, scope, environment, url, key, version, size, modified_at, state, reason, byte, line, skip,
    records, counted, duplicates, rejected, attempts, run, ended_at, began_at, trying, suspects,
    together
"""

NEXT_OBJECT: Final = f"""
SELECT {_OBJECT_COLUMNS} FROM objects WHERE run = ? AND state IN ('queued', 'reading')
ORDER BY state = 'queued', id LIMIT 1
"""

FIND_OBJECT: Final = f"SELECT {_OBJECT_COLUMNS} FROM objects WHERE id = ?"

OBJECTS_OF_RUN: Final = f"SELECT {_OBJECT_COLUMNS} FROM objects WHERE run = ? ORDER BY id LIMIT ?"

# Of a source, what nobody reads before a person asks for it.
REFUSED_OF_SOURCE: Final = f"""
SELECT {_OBJECT_COLUMNS} FROM objects
WHERE scope = ? AND state IN ('failed', 'stopped', 'review') ORDER BY id LIMIT ?
"""

# Every version of these keys that a source has met.
VERSIONS: Final = """
SELECT key, version, state, ended_at, run FROM objects WHERE scope = ? AND url = ? AND key = ?
"""

# Whether the same bytes, whatever they were called, were read so long ago that their keys may be
# forgotten.
SAME_BYTES: Final = """
SELECT key FROM objects
WHERE environment = ? AND version = ? AND size = ? AND began_at < ? LIMIT 1
"""

# An earlier version of an object, whichever source met it, that was read so long ago.
LONG_AGO: Final = """
SELECT version FROM objects
WHERE environment = ? AND url = ? AND key = ? AND began_at < ? LIMIT 1
"""

MOVE_OBJECT: Final = """
UPDATE objects SET state = 'reading', byte = ?, line = ?, skip = ?, records = records + ?,
                   counted = counted + ?, duplicates = duplicates + ?, rejected = rejected + ?,
                   attempts = 0, began_at = coalesce(began_at, ?)
WHERE id = ?
"""

# The next part is about to be counted. A part of the same size is the same part: they begin where
# reading stands, and that has not moved.
ATTEMPT: Final = """
UPDATE objects SET state = 'reading', trying = ?, suspects = ?, together = ?,
                   attempts = CASE WHEN trying = ? THEN attempts + 1 ELSE 1 END
WHERE id = ?
"""

# It failed and returned: it did not end the process.
RETURNED: Final = "UPDATE objects SET attempts = 0 WHERE id = ?"
END_OBJECT: Final = "UPDATE objects SET state = ?, reason = ?, ended_at = ? WHERE id = ?"
RETRY_OBJECT: Final = """
UPDATE objects SET state = 'queued', reason = NULL, ended_at = NULL, byte = 0, line = 1, skip = 0,
                   records = 0, counted = 0, duplicates = 0, rejected = 0,
                   rejected_before = rejected_before + rejected, attempts = 0, suspects = 0, run = ?
WHERE id = ?
"""
TAKE_OVER: Final = """
UPDATE objects SET run = ?, state = CASE WHEN state = 'waiting' THEN 'queued' ELSE state END
WHERE scope = ? AND state IN ('queued', 'reading', 'waiting')
"""

# What nobody will go on with: the run that met it ended, and no other follows.
ABANDON: Final = """
UPDATE objects SET state = 'failed', reason = ?, ended_at = ?
WHERE run = ? AND scope = ? AND state IN ('queued', 'reading')
"""

# Versions of one object that were gone before a run had read them.
GONE: Final = """
SELECT count(*) FROM objects WHERE run = ? AND url = ? AND key = ? AND state = 'gone'
"""

OUTCOME: Final = """
SELECT count(CASE WHEN state IN ('failed', 'stopped', 'review') THEN 1 END),
       count(CASE WHEN state = 'waiting' THEN 1 END), count(CASE WHEN state = 'gone' THEN 1 END)
FROM objects WHERE run = ?
"""

# The ledger of promise 4, of what came in objects: what was read is accepted, by its own count.
ADD_TOTALS: Final = """
INSERT INTO totals (environment, accepted_objects, rejected) VALUES (?, ?, ?)
ON CONFLICT (environment) DO UPDATE SET
    accepted_objects = totals.accepted_objects + excluded.accepted_objects,
    rejected = totals.rejected + excluded.rejected
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as stored. ``request`` is JSON: what an import names; '' for a source's."""

    seq: int
    id: str
    environment: str
    source: str | None
    request: str
    cause: str
    state: str
    reason: str | None
    queued_at: int
    started_at: int | None
    ended_at: int | None
    listed: int
    ignored: int
    counted: int
    duplicates: int
    rejected: int
    bytes: int
    reasons: str

    @property
    def scope(self) -> str:
        """Whose ledger its objects are in: its source's, or its own."""
        return self.source or self.id

    def asked(self) -> dict[str, Any]:
        """What an import names."""
        return cast("dict[str, Any]", msgspec.json.decode(self.request)) if self.request else {}

    def reasons_told(self) -> dict[str, int]:
        """How many records were refused for what, the most frequent first."""
        found = msgspec.json.decode(self.reasons, type=dict[str, int])
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A version of a file, and where reading it stands."""

    id: int
    scope: str
    environment: str
    url: str
    key: str
    version: str
    size: int
    modified_at: int
    state: str
    reason: str | None
    byte: int
    line: int
    skip: int
    """Records behind the place that are done."""
    records: int
    counted: int
    duplicates: int
    rejected: int
    attempts: int
    run: int
    ended_at: int | None
    began_at: int | None = None
    trying: int = 0
    suspects: int = 0
    together: int = 0

    @property
    def isolation(self) -> Isolation:
        """How carefully it is read on: a sixteenth of what a process was counting when it ended."""
        if self.attempts:
            return Isolation(self.records + self.trying, max(1, self.trying // _PARTS))
        return Isolation(self.suspects, self.together)

    @property
    def info(self) -> ObjectInfo:
        """As it was listed."""
        return ObjectInfo(self.key, self.version, self.size, Instant(self.modified_at))

    @property
    def place(self) -> Place:
        """Where reading goes on."""
        return Place(self.byte, self.line)

    @property
    def source_name(self) -> str:
        """What the archive says about where an event came from."""
        is_alone = self.url.rpartition("/")[2] in (self.key, quote(self.key))
        return self.url if is_alone else f"{self.url}/{self.key}"


class Isolation(NamedTuple):
    """Until so many records of an object are done, at most ``together`` are counted at once."""

    until: int
    together: int


class Progress(NamedTuple):
    """What one step read of an object."""

    place: Place
    skip: int
    records: int
    counted: int
    duplicates: int
    rejected: int
    bytes: int
    reasons: Mapping[str, int] = MappingProxyType({})
    """How many records were refused for what."""


class Outcome(NamedTuple):
    """Objects of a run that wait for a person, for their bucket, and that were gone."""

    refused: int
    waiting: int
    gone: int


def add_run(
    transaction: Transaction,
    run: str,
    environment: str,
    source: str | None,
    request: str,
    cause: str,
    now: Instant,
) -> None:
    """Queue a run. ``cause``: schedule, request, import or retry."""
    transaction.run(ADD_RUN, run, environment, source, request, cause, now)


def next_run(transaction: Transaction) -> Run | None:
    """The run that is served now."""
    row = transaction.one(NEXT_RUN)
    return None if row is None else _run(row)


def find_run(transaction: Transaction, run: str) -> Run | None:
    """A run by its id."""
    row = transaction.one(FIND_RUN, run)
    return None if row is None else _run(row)


def runs_of(transaction: Transaction, source: str, before: int, most: int) -> list[Run]:
    """The runs of a source before a number, the newest first."""
    return [_run(row) for row in transaction.all(RUNS_OF, source, before, most)]


def runs_since(transaction: Transaction, source: str, after: int, most: int) -> list[Run]:
    """The runs of a source after a number, the oldest first."""
    return [_run(row) for row in transaction.all(RUNS_SINCE, source, after, most)]


def waiting_run(transaction: Transaction, source: str) -> str | None:
    """The run of a source that has not begun, if there is one: what is there now, it will find."""
    row = transaction.one(WAITING_RUN, source)
    return None if row is None else str(row[0])


def open_run(transaction: Transaction, source: str) -> str | None:
    """The run of a source that has not ended, if there is one."""
    row = transaction.one(OPEN_RUN, source)
    return None if row is None else str(row[0])


def next_object(transaction: Transaction, run: Run) -> StoredObject | None:
    """The object that a run reads now."""
    row = transaction.one(NEXT_OBJECT, run.seq)
    return None if row is None else _object(row)


def find_object(transaction: Transaction, number: int) -> StoredObject | None:
    """An object by its number."""
    row = transaction.one(FIND_OBJECT, number)
    return None if row is None else _object(row)


def objects_of(transaction: Transaction, run: Run, most: int) -> list[StoredObject]:
    """What a run met, in the order it was listed."""
    return [_object(row) for row in transaction.all(OBJECTS_OF_RUN, run.seq, most)]


def refused_of(transaction: Transaction, source: str, most: int) -> list[StoredObject]:
    """Objects of a source that wait for a person, in the order they were listed."""
    return [_object(row) for row in transaction.all(REFUSED_OF_SOURCE, source, most)]


def begin_part(transaction: Transaction, found: StoredObject, records: int) -> None:
    """Note that the next part, of so many records, is about to be counted."""
    transaction.run(ATTEMPT, records, *found.isolation, records, found.id)


def advance(
    transaction: Transaction, found: StoredObject, run: Run, done: Progress, now: Instant
) -> None:
    """Note what a step read of an object; in the transaction that counts it."""
    counts = (done.counted, done.duplicates, done.rejected)
    transaction.run(MOVE_OBJECT, *done.place, done.skip, done.records, *counts, now, found.id)
    transaction.run(ADD_TO_RUN, *counts, done.bytes, run.seq)
    transaction.run(ADD_TOTALS, found.environment, done.records, done.rejected)
    transaction.run(ADD_TO_ALL, found.environment, *counts, done.bytes)
    if done.reasons:
        _add_reasons(transaction, run, done.reasons)


def end_run(
    transaction: Transaction, run: Run, state: str, reason: str | None, now: Instant
) -> None:
    """A run has come to its end: succeeded, partial, failed or stopped."""
    if transaction.run(END_RUN, state, reason, now, run.seq):
        ended = [int(state == each) for each in ENDED_STATES]
        transaction.run(ADD_ENDED, run.environment, *ended)


def end_object(
    transaction: Transaction, found: StoredObject, state: str, reason: str | None, now: Instant
) -> None:
    """An object is not read any further."""
    transaction.run(END_OBJECT, state, reason, now, found.id)


def meet(
    transaction: Transaction,
    run: Run,
    url: str,
    listed: Sequence[ObjectInfo],
    forgotten_before: int,
) -> None:
    """Take up what a listing shows and the ledger does not know yet.

    ``forgotten_before``: what was read before this instant may come again and be counted again.
    """
    for info in listed:
        known = transaction.all(VERSIONS, run.scope, url, info.key)
        if any(row[1] == info.version for row in known):
            continue
        state, reason = _first_state(transaction, run, url, info, forgotten_before)
        transaction.run(
            ADD_OBJECT, run.scope, run.environment, url, info.key, info.version, info.size,
            info.modified_at, state, reason, run.seq,
        )  # fmt: skip


def ignore(
    transaction: Transaction, run: Run, url: str, listed: Iterable[tuple[ObjectInfo, str]]
) -> None:
    """Show names that are left alone, and why."""
    for info, reason in listed:
        transaction.run(
            SHOW_IGNORED, run.scope, run.environment, url, info.key, info.version, info.size,
            info.modified_at, reason, run.seq,
        )  # fmt: skip


def outcome(transaction: Transaction, run: Run) -> Outcome:
    """What became of the objects of a run."""
    row = transaction.one(OUTCOME, run.seq)
    assert row is not None
    return Outcome(*cast("tuple[int, int, int]", row))


def gone_versions(transaction: Transaction, run: Run, found: StoredObject) -> int:
    """How many versions of an object were gone before the run had read them."""
    row = transaction.one(GONE, run.seq, found.url, found.key)
    assert row is not None
    return cast("int", row[0])


def _first_state(
    transaction: Transaction, run: Run, url: str, info: ObjectInfo, forgotten_before: int
) -> tuple[str, str | None]:
    """Queued, unless reading it might count twice what was read too long ago."""
    asked = (run.environment, url, info.key, forgotten_before)
    if transaction.one(LONG_AGO, *asked) is not None:
        return "review", (
            "an earlier version was read longer ago than keys are remembered: what is in both "
            "would be counted twice; retry it if all of it is new"
        )
    same = transaction.one(SAME_BYTES, run.environment, info.version, info.size, forgotten_before)
    if same is not None and info.size:
        return "review", (
            f"the same bytes were read as {same[0]!s} longer ago than keys are remembered, and "
            "would be counted twice"
        )
    return "queued", None


def _add_reasons(transaction: Transaction, run: Run, more: Mapping[str, int]) -> None:
    """Add to a run's reasons, so many different ones at most."""
    row = transaction.one(REASONS, run.seq)
    assert row is not None
    known = msgspec.json.decode(cast("str", row[0]), type=dict[str, int])
    for reason, count in more.items():
        has_room = reason in known or len(known) < limits.RUN_REASONS_MAX
        name = reason if has_room else OTHER_REASONS
        known[name] = known.get(name, 0) + count
    transaction.run(SET_REASONS, msgspec.json.encode(known).decode(), run.seq)


def _run(row: Row) -> Run:
    return Run(*row)  # type: ignore[arg-type]


def _object(row: Row) -> StoredObject:
    return StoredObject(*row)  # type: ignore[arg-type]
