"""The record itself: every file as the manifest says, and no event in it twice.

Owns: checking files against the manifest, and promise 2 on what is archived: within the window, an
(environment, customer, event name, key) is archived once, a place of the inbox only ever once, and
what was logged as a duplicate repeats an event that is archived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb

from tallystick import limits
from tallystick.archive.manifest import Kind, ManifestFile, Way, live_files
from tallystick.archive.query import Session
from tallystick.archive.relation import duplicates_sql, events_sql, paths_of
from tallystick.store import Transaction
from tallystick.verify.report import Difference, EnvironmentReport

KINDS: Final[tuple[Kind, ...]] = ("archive", "duplicates", "keys", "uniques")
PARQUET: Final = ("archive", "duplicates")

COUNT_OF_FILE = "SELECT count(*) FROM read_parquet(?)"

# Places of the inbox that are in the record more than once.
REPEATED_PLACES = """
SELECT any_value(environment), position, event_index, count(*) FROM ({relation})
GROUP BY position, event_index HAVING count(*) > 1 LIMIT {limit}
"""

# Hashes of keys that are there more than once; few, unless something is wrong. Other keys may
# share a hash, so what is found is looked at again.
CREATE_SUSPECTS = """
CREATE OR REPLACE TEMP TABLE suspects AS
SELECT hash(environment, customer, event_name, key) AS hash FROM ({relation})
GROUP BY ALL HAVING count(*) > 1
"""

# Of those, keys that came again within the window.
REPEATED_KEYS = """
SELECT environment, customer, event_name, key, count(*)
FROM (
    SELECT environment, customer, event_name, key,
           epoch_us(received_at) - lag(epoch_us(received_at)) OVER (
               PARTITION BY environment, customer, event_name, key ORDER BY received_at
           ) AS apart
    FROM ({relation}) WHERE hash(environment, customer, event_name, key) IN (FROM suspects)
)
WHERE apart < ? GROUP BY ALL LIMIT {limit}
"""

# Hashes of keys that were logged as repeated, and those of them that are archived. No more of the
# archive is held than the log has keys.
CREATE_LOGGED = """
CREATE OR REPLACE TEMP TABLE logged AS
SELECT DISTINCT hash(environment, customer, event_name, key) AS hash FROM ({log})
"""
CREATE_KEPT = """
CREATE OR REPLACE TEMP TABLE kept AS
SELECT DISTINCT hash(environment, customer, event_name, key) AS hash FROM ({relation})
WHERE hash(environment, customer, event_name, key) IN (FROM logged)
"""

# Keys of the log that no archived event has: the first of them was new, and is lost.
LOST_KEYS = """
SELECT environment, customer, event_name, key, count(*) FROM ({log})
WHERE hash(environment, customer, event_name, key) NOT IN (FROM kept)
GROUP BY ALL LIMIT {limit}
"""

_LIMIT: Final = limits.DIFFERENCES_LISTED_MAX


@dataclass(slots=True)
class Record:
    """The Parquet files of a manifest that can be read, and what is wrong with the others."""

    data_folder: Path
    files: list[ManifestFile] = field(default_factory=list)
    problems: list[Difference] = field(default_factory=list)

    def events_sql(self, way: Way | None = None) -> str:
        """A SELECT of everything archived (of a way)."""
        files = [file for file in self.files if file.kind == "archive" and way in (None, file.way)]
        return events_sql(paths_of(self.data_folder, files))

    def duplicates_sql(self) -> str:
        """A SELECT of the log of duplicates."""
        files = [file for file in self.files if file.kind == "duplicates"]
        return duplicates_sql(paths_of(self.data_folder, files))


def open_record(session: Session, transaction: Transaction, data_folder: Path) -> Record:
    """The files that the snapshot names, each looked at."""
    record = Record(data_folder)
    for kind in KINDS:
        for file in live_files(transaction, kind):
            problem = _problem(session, data_folder, file)
            if problem is not None:
                record.problems.append(problem)
            elif kind in PARQUET:
                record.files.append(file)
    return record


def verify_record(
    session: Session, record: Record, window_us: int, reports: Mapping[str, EnvironmentReport]
) -> None:
    """Note what is wrong with the record. Any environment may be in a file, so each is told."""
    for problem in record.problems:
        for report in reports.values():
            report.expect(problem.what, problem.expected, problem.found)
    archive = [file for file in record.files if file.kind == "archive"]
    for files in _overlapping(archive):
        _check_places(session, paths_of(record.data_folder, files), reports)
    events = record.events_sql("event")
    _check_keys(session, events, window_us, reports)
    if any(file.kind == "duplicates" for file in record.files):
        _check_log(session, record.duplicates_sql(), events, reports)


def _problem(session: Session, data_folder: Path, file: ManifestFile) -> Difference | None:
    path = data_folder / file.name
    if not path.exists():
        return Difference(f"file {file.name}", "in the data folder", "missing")
    if path.stat().st_size != file.bytes:
        size = str(path.stat().st_size)
        return Difference(f"bytes of file {file.name}", str(file.bytes), size)
    if file.kind not in PARQUET:
        return None
    try:
        ((rows,),) = session.rows(COUNT_OF_FILE, [[str(path)]])
    except duckdb.Error as error:
        return Difference(f"file {file.name}", "Parquet", str(error).splitlines()[0])
    if rows != file.row_count:
        return Difference(f"rows of file {file.name}", str(file.row_count), str(rows))
    return None


def _overlapping(files: Sequence[ManifestFile]) -> Iterator[list[ManifestFile]]:
    """Files of one way whose positions overlap together, the rest alone."""
    cluster: list[ManifestFile] = []
    last = -1
    for file in sorted(files, key=lambda file: (file.way, file.position_first)):
        if cluster and (file.way != cluster[0].way or file.position_first > last):
            yield cluster
            cluster, last = [], -1
        cluster.append(file)
        last = max(last, file.position_last)
    if cluster:
        yield cluster


def _check_places(
    session: Session, paths: list[Path], reports: Mapping[str, EnvironmentReport]
) -> None:
    sql = REPEATED_PLACES.format(relation=events_sql(paths), limit=_LIMIT)
    for environment, position, index, count in session.rows(sql):
        what = f"archived copies of event {index} of position {position}"
        reports[environment].expect(what, 1, count)


def _check_keys(
    session: Session, relation: str, window_us: int, reports: Mapping[str, EnvironmentReport]
) -> None:
    session.run(CREATE_SUSPECTS.format(relation=relation))
    sql = REPEATED_KEYS.format(relation=relation, limit=_LIMIT)
    for environment, customer, name, key, count in session.rows(sql, [window_us]):
        what = f"archived events of customer {customer!r} named {name!r} with key {key!r}"
        reports[environment].expect(what, 1, count + 1)


def _check_log(
    session: Session, log: str, relation: str, reports: Mapping[str, EnvironmentReport]
) -> None:
    """An event that was dropped as a duplicate has its first delivery in the archive, however old:
    the archive forgets nothing, and the window may have been longer when it was dropped."""
    session.run(CREATE_LOGGED.format(log=log))
    session.run(CREATE_KEPT.format(relation=relation))
    sql = LOST_KEYS.format(log=log, limit=_LIMIT)
    for environment, customer, name, key, count in session.rows(sql):
        what = (
            f"what {count} logged duplicates of customer {customer!r} named {name!r} with key "
            f"{key!r} repeat"
        )
        reports[environment].expect(what, "archived", "missing")
