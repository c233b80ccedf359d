"""The relation ``events``, as the fold reads it and as the archive stores it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from tallystick.archive.relation import copy_to_parquet, quoted
from tallystick.clock import DAY, Instant, format_instant
from tallystick.ingest.events import accept_events
from tests.metering.cases import Sent

START = Instant(1_767_225_600_000_000)
"""2026-01-01; the time of the first event. Each next one is a microsecond later."""

# As the fold's batch reads the inbox, but for what meters do not look at.
READ = """
SELECT 'test' AS environment, customerId AS customer, resourceId AS resource,
       eventName AS event_name, CAST("timestamp" AS TIMESTAMP) AS event_time, dimensions
FROM read_ndjson({file}, columns = {{
    customerId: 'VARCHAR', resourceId: 'VARCHAR', eventName: 'VARCHAR', idempotencyKey: 'VARCHAR',
    "timestamp": 'VARCHAR', dimensions: 'JSON'
}})
"""


def open_engine() -> duckdb.DuckDBPyConnection:
    """A DuckDB as the product opens it."""
    return duckdb.connect(":memory:", config={"threads": 1})


def as_folded(engine: duckdb.DuckDBPyConnection, sent: Sequence[Sent], folder: Path) -> None:
    """Make ``events`` of requests, read from the lines that the inbox keeps of them."""
    lines = [
        accept_events(one.body(f"key-{n}", format_instant(START + n)), START, DAY).lines
        for n, one in enumerate(sent)
    ]
    file = folder / "lines.ndjson"
    file.write_bytes(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines))
    engine.execute(f"CREATE TABLE events AS {READ.format(file=quoted(file))}")


def as_archived(engine: duckdb.DuckDBPyConnection, sent: Sequence[Sent], folder: Path) -> None:
    """Make ``events`` a view of a Parquet file, dimensions being text."""
    as_folded(engine, sent, folder)
    file = folder / "events.parquet"
    copy_to_parquet(
        engine, "SELECT * REPLACE (dimensions::VARCHAR AS dimensions) FROM events", file
    )
    engine.execute("DROP TABLE events")
    engine.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet({quoted(file)})")
