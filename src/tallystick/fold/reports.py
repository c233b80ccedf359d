"""Archives usage reports: counted already, now part of the record that recounts read.

Owns: moving rows of ``reports_waiting`` to archive files of the way ``usage``. A report counts when
its own transaction commits; this only moves where it is kept, so nothing is counted here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import duckdb
import msgspec

from tallystick import limits
from tallystick.archive.manifest import add_file
from tallystick.archive.relation import USAGE_REPORTED, make_events
from tallystick.clock import Clock
from tallystick.failpoints import reach
from tallystick.fold.ledger import remember_customers, write_totals
from tallystick.fold.owner import Owner
from tallystick.fold.record import Recorder
from tallystick.store import Row, Store, Transaction

# A page of those that wait, the oldest first, after a seq.
OLDEST = """
SELECT seq, environment, customer, resource, feature, value, key, created_at, received_at,
       dimensions
FROM reports_waiting WHERE seq > ? ORDER BY seq LIMIT ?
"""

DELETE = "DELETE FROM reports_waiting WHERE seq <= ?"

EVENTS = f"""
SELECT environment, seq AS position, CAST(0 AS INTEGER) AS event_index, 'usage' AS way,
       NULL::VARCHAR AS source, NULL::BIGINT AS line, customer, nullif(resource, '') AS resource,
       '{USAGE_REPORTED}' AS event_name, key, make_timestamp(created_at) AS event_time,
       make_timestamp(received_at) AS received_at, dimensions, feature,
       CAST(value AS DECIMAL(38, 9)) AS value
FROM read_ndjson(?, columns = {{
    seq: 'BIGINT', environment: 'VARCHAR', customer: 'VARCHAR', resource: 'VARCHAR',
    feature: 'VARCHAR', value: 'VARCHAR', key: 'VARCHAR', created_at: 'BIGINT',
    received_at: 'BIGINT', dimensions: 'VARCHAR'
}}, maximum_object_size = 33554432)
"""

COLUMNS = (
    "seq", "environment", "customer", "resource", "feature", "value", "key", "created_at",
    "received_at", "dimensions",
)  # fmt: skip


class ReportArchiver:
    """Moves waiting reports to the archive. Used by the thread that folds."""

    def __init__(
        self,
        *,
        state: Store,
        owner: Owner,
        recorder: Recorder,
        connection: duckdb.DuckDBPyConnection,
        clock: Clock,
        lines_file: Path,
    ) -> None:
        self._state = state
        self._owner = owner
        self._recorder = recorder
        self._connection = connection
        self._clock = clock
        self._lines_file = lines_file
        self._not_before = 0.0

    def step(self, *, at_once: bool = False) -> bool:
        """Archive what waits, a bounded number of reports; False when nothing waited.

        ``at_once`` does not wait for company (tests, draining).
        """
        if not at_once and time.monotonic() < self._not_before:
            return False
        with self._state.reading() as transaction:
            rows, more = _oldest(transaction)
        if not more:
            self._not_before = time.monotonic() + limits.REPORTS_WAIT_SECONDS
        if not rows:
            return False
        self._load(rows)
        self._commit(rows)
        return True

    def _load(self, rows: Sequence[Row]) -> None:
        records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        self._lines_file.write_bytes(msgspec.json.Encoder().encode_lines(records))
        make_events(self._connection, EVENTS, [str(self._lines_file)])

    def _commit(self, rows: Sequence[Row]) -> None:
        with self._recorder.drafts() as drafts:
            draft = drafts.add(self._recorder.events("usage"))
            assert draft is not None
            reach("reports.after_archive_file")
            with self._state.writing() as transaction:
                self._owner.confirm(transaction)
                add_file(transaction, draft, self._clock.now())
                last = rows[-1][0]
                deleted = transaction.run(DELETE, last)
                assert deleted == len(rows), "reports become visible in the order of seq"
                write_totals(transaction, Counter(str(row[1]) for row in rows), {})
                remember_customers(transaction, {(str(row[1]), str(row[2])) for row in rows})
                reach("reports.before_commit")
                drafts.may_be_named = True
        reach("reports.after_commit")


def _oldest(transaction: Transaction) -> tuple[list[Row], bool]:
    """The oldest reports that wait, bounded in number and bytes; whether more may wait."""
    rows: list[Row] = []
    room, after = limits.STEP_BYTES_MAX, 0
    while len(rows) < limits.REPORTS_PER_STEP_MAX and room > 0:
        # No report is larger than an event, so that a page fits even if all of it are the largest.
        page_rows = max(1, room // limits.EVENT_BYTES_MAX)
        page = transaction.all(OLDEST, after, page_rows)
        rows += page
        if len(page) < page_rows:
            return rows, False
        after = cast("int", page[-1][0])
        room -= sum(len(cast("str", row[-1]).encode()) for row in page)
    return rows, True
