"""Verification: the ledger, the record and the counters of a data folder, a live one included.

Owns: taking one snapshot of inbox and state together, and comparing what the state says with what
the files hold. Promises: it changes nothing; a server may go on meanwhile; memory is bounded by the
engine's limit, whatever the size of the archive (beyond it, DuckDB spills to the data folder).

While it runs it holds a read snapshot of the state, so the state's write-ahead log grows by what is
written meanwhile. Files that the snapshot names outlive it, unless verification takes longer than
``REPLACED_FILE_SECONDS_KEPT``: then it says so and can be tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from tallystick import limits
from tallystick.archive.query import QueryEngine, Session
from tallystick.clock import DAY
from tallystick.errors import Unavailable
from tallystick.inbox.inbox import Backlog, Inbox
from tallystick.store import Store, Transaction
from tallystick.verify.counters import verify_counters
from tallystick.verify.record import Record, open_record, verify_record
from tallystick.verify.report import EnvironmentReport, VerifyReport

_SECONDS_MAX: Final = DAY // 1_000_000
_SNAPSHOT_TRIES: Final = 1_000

FOLDED = "SELECT position FROM partitions WHERE partition = 0"
ENVIRONMENTS = "SELECT environment FROM environments UNION SELECT environment FROM totals"
TOTALS = """
SELECT environment, accepted_reports, accepted_objects, duplicate_reports, counted, duplicates,
       duplicates_expired, quarantined, discarded, rejected
FROM totals
"""
REPORTS_WAITING = "SELECT environment, count(*) FROM reports_waiting GROUP BY environment"
QUARANTINED = "SELECT environment, sum(events) FROM quarantine GROUP BY environment"
REJECTED = "SELECT environment, sum(rejected + rejected_before) FROM objects GROUP BY environment"
COUNT_ROWS = "SELECT environment, count(*) FROM ({relation}) GROUP BY environment"


@dataclass(frozen=True, slots=True)
class Totals:
    """What the state says of an environment."""

    accepted_reports: int = 0
    accepted_objects: int = 0
    duplicate_reports: int = 0
    counted: int = 0
    duplicates: int = 0
    duplicates_expired: int = 0
    quarantined: int = 0
    discarded: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State and inbox at one instant: nothing was folded between the two."""

    transaction: Transaction
    accepted: Mapping[str, int]
    waiting: Mapping[str, int]
    backlog: Backlog
    """What the inbox says that it holds."""
    stored: Backlog
    """What its requests add up to."""


def verify(
    state: Store, inbox_store: Store, inbox: Inbox, data_folder: Path, window_us: int
) -> VerifyReport:
    """Compare everything with everything. ``window_us``: how long event keys are remembered.

    Raises ``Unavailable`` when files vanished meanwhile or the server folds too fast to take a
    snapshot; trying again helps.
    """
    engine = QueryEngine(data_folder, memory_mib=limits.VERIFY_MEMORY_MIB, seconds=_SECONDS_MAX)
    try:
        with take_snapshot(state, inbox_store, inbox) as snapshot, engine.session() as session:
            record = open_record(session, snapshot.transaction, data_folder)
            reports = _ledger(session, snapshot, record)
            verify_record(session, record, window_us, reports)
            verify_counters(session, state, snapshot.transaction, record, reports)
    finally:
        engine.close()
    return VerifyReport(tuple(reports[name] for name in sorted(reports)))


@contextmanager
def take_snapshot(state: Store, inbox_store: Store, inbox: Inbox) -> Iterator[Snapshot]:
    """State and inbox together.

    The folded position is the same before the inbox is read and in the state's snapshot, which is
    taken after it: so nothing was folded in between, and what was accepted later waits behind it.
    """
    for _ in range(_SNAPSHOT_TRIES):
        with state.reading() as transaction:
            before = _folded(transaction)
        with ExitStack() as held:
            with inbox_store.reading() as reading:
                accepted = inbox.accepted_in(reading)
                backlog, stored = inbox.backlog_in(reading)
                transaction = held.enter_context(state.reading())
                if _folded(transaction) != before:
                    continue
                waiting = inbox.waiting_after(reading, before)
            yield Snapshot(transaction, accepted, waiting, backlog, stored)
            return
    raise Unavailable("the server folds without a pause; try again")


def _folded(transaction: Transaction) -> int:
    return cast("tuple[int]", transaction.one(FOLDED))[0]


def _ledger(session: Session, snapshot: Snapshot, record: Record) -> dict[str, EnvironmentReport]:
    """Accepted = waiting + counted + duplicates + quarantined + discarded + rejected, each read
    where it is kept."""
    transaction = snapshot.transaction
    totals = {cast("str", row[0]): Totals(*row[1:]) for row in transaction.all(TOTALS)}  # type: ignore[arg-type]
    reports_waiting = _by_environment(transaction, REPORTS_WAITING)
    quarantined = _by_environment(transaction, QUARANTINED)
    rejected = _by_environment(transaction, REJECTED)
    counted = _rows(session, record.events_sql())
    logged = _rows(session, record.duplicates_sql())
    names = {cast("str", row[0]) for row in transaction.all(ENVIRONMENTS)}
    reports = {}
    for name in names | snapshot.accepted.keys() | counted.keys() | logged.keys():
        total = totals.get(name, Totals())
        report = reports[name] = EnvironmentReport(name)
        accepted = total.accepted_reports + total.accepted_objects
        report.accepted = snapshot.accepted.get(name, 0) + accepted
        report.waiting = snapshot.waiting.get(name, 0) + reports_waiting.get(name, 0)
        report.counted = counted.get(name, 0)
        report.duplicates = logged.get(name, 0) + total.duplicates_expired + total.duplicate_reports
        report.quarantined = quarantined.get(name, 0)
        report.discarded = total.discarded
        report.rejected = rejected.get(name, 0)
        _check_ledger(report, total)
        _check_backlog(report, snapshot)
    return reports


def _check_ledger(report: EnvironmentReport, total: Totals) -> None:
    aside = report.quarantined + report.discarded
    parts = report.waiting + report.counted + report.duplicates + aside + report.rejected
    what = "accepted = waiting + counted + duplicates + quarantined + discarded + rejected"
    report.expect(what, report.accepted, parts)
    report.expect("rows in the archive", total.counted, report.counted)
    report.expect(
        "duplicates in the log, expired ones included",
        total.duplicates,
        report.duplicates - total.duplicate_reports,
    )
    report.expect("events in quarantine", total.quarantined, report.quarantined)
    report.expect("records that objects say were refused", total.rejected, report.rejected)


def _check_backlog(report: EnvironmentReport, snapshot: Snapshot) -> None:
    """The inbox is everyone's, so each environment is told."""
    kept, stored = snapshot.backlog, snapshot.stored
    report.expect("events of the inbox's backlog", stored.events, kept.events)
    report.expect("bytes of the inbox's backlog", stored.bytes, kept.bytes)


def _rows(session: Session, relation: str) -> dict[str, int]:
    return dict(session.rows(COUNT_ROWS.format(relation=relation)))


def _by_environment(transaction: Transaction, sql: str) -> dict[str, int]:
    return dict(cast("list[tuple[str, int]]", transaction.all(sql)))
