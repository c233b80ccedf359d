"""The manifest: which files hold the record.

Owns: the rows of ``files``. A file exists for readers when its row does, and no longer once
``removed_at`` is set; the file itself is deleted later (``archive/garbage.py``), so that a query
that began before may finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from tallystick.clock import Instant
from tallystick.store import Row, Transaction

Kind = Literal["archive", "duplicates", "keys", "uniques"]
Way = Literal["event", "usage", ""]


@dataclass(frozen=True, slots=True)
class FileDraft:
    """A file that is written and fsynced, and not yet named by a row.

    ``name`` is relative to the data folder. Positions and times are inclusive ranges; times are
    event times for the archive, received times for keys and duplicates.
    """

    kind: Kind
    name: str
    epoch: int
    row_count: int
    bytes: int
    way: Way = ""
    level: int = 0
    position_first: int = 0
    position_last: int = 0
    time_first: int = 0
    time_last: int = 0
    bucket: int = 0


@dataclass(frozen=True, slots=True)
class ManifestFile(FileDraft):
    """A file of the record."""

    id: int = 0
    created_at: int = 0


INSERT_FILE = """
INSERT INTO files (kind, name, epoch, row_count, bytes, way, level, position_first, position_last,
                   time_first, time_last, bucket, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Live files of a kind, in the order of their positions.
LIVE_FILES = """
SELECT kind, name, epoch, row_count, bytes, way, level, position_first, position_last,
       time_first, time_last, bucket, id, created_at
FROM files WHERE kind = ? AND removed_at IS NULL ORDER BY position_first, id
"""

REMOVE_FILE = "UPDATE files SET removed_at = ? WHERE id = ? AND removed_at IS NULL"


def add_file(transaction: Transaction, draft: FileDraft, now: Instant) -> ManifestFile:
    """Name a written and fsynced file; it is part of the record once this commits."""
    values = (
        draft.kind, draft.name, draft.epoch, draft.row_count, draft.bytes, draft.way, draft.level,
        draft.position_first, draft.position_last, draft.time_first, draft.time_last, draft.bucket,
    )  # fmt: skip
    file_id = transaction.insert(INSERT_FILE, *values, now)
    return ManifestFile(*values, id=file_id, created_at=now)


def live_files(transaction: Transaction, kind: Kind, way: Way | None = None) -> list[ManifestFile]:
    """The files of a kind (and way) that hold the record now, in position order."""
    rows = transaction.all(LIVE_FILES, kind)
    return [_file(row) for row in rows if way is None or row[5] == way]


def remove_files(transaction: Transaction, files: list[ManifestFile], now: Instant) -> bool:
    """Take files out of the record; False, and perhaps only some taken, when one was not in it."""
    return all(transaction.run(REMOVE_FILE, now, file.id) == 1 for file in files)


def _file(row: Row) -> ManifestFile:
    return ManifestFile(*cast("tuple[Kind, str, int, int, int, Way]", row[:6]), *row[6:])  # type: ignore[arg-type]
