"""A batch: some requests of the inbox as one DuckDB table, without duplicates.

Owns: the temp tables ``incoming`` (what was taken) and ``events`` (what is new), both of one
connection and replaced by each batch. The lines go through a file in shared memory, because that
is where DuckDB reads JSON fastest (docs/decisions/ has the figures). Promises: rows keep the order
of positions; a body that does not hold as many lines as its row says raises ``PoisonError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick.archive.relation import EVENT_COLUMNS, make_events, show_events
from tallystick.inbox.inbox import InboxRequest
from tallystick.keys.hashing import key_hash_sql

KEY_HASHES = key_hash_sql(("environment", "customer", "event_name", "key"))
"""The key hash of an event (hi, lo) as SQL over its columns."""

_HI, _LO = KEY_HASHES

# What was taken, in the order of positions, with the hash of each event's key.
CREATE_INCOMING = f"""
CREATE OR REPLACE TEMP TABLE incoming AS
SELECT *, {_HI} AS hi, {_LO} AS lo
FROM (
    SELECT
        (?::VARCHAR[])[place.env_no + 1] AS environment,
        place.position AS position,
        place.event_index AS event_index,
        'event' AS way,
        NULL::VARCHAR AS source,
        NULL::BIGINT AS line,
        sent.customerId AS customer,
        sent.resourceId AS resource,
        sent.eventName AS event_name,
        sent.idempotencyKey AS key,
        coalesce(CAST(sent."timestamp" AS TIMESTAMP), make_timestamp(place.received_at))
            AS event_time,
        make_timestamp(place.received_at) AS received_at,
        CAST(sent.dimensions AS VARCHAR) AS dimensions,
        NULL::VARCHAR AS feature,
        NULL::DECIMAL(38, 9) AS value,
        place.env_no AS env_no
    FROM read_ndjson(?, columns = {{
        customerId: 'VARCHAR', resourceId: 'VARCHAR', eventName: 'VARCHAR',
        idempotencyKey: 'VARCHAR', "timestamp": 'VARCHAR', dimensions: 'JSON'
    }}, maximum_object_size = 33554432) AS sent
    POSITIONAL JOIN places AS place
)
"""

INCOMING_KEYS = "SELECT hi, lo FROM incoming"

ALL = f"SELECT {EVENT_COLUMNS}, env_no FROM ({{incoming}})"
FRESH = f"{ALL} POSITIONAL JOIN marks WHERE fresh"

# The log of duplicates: which delivery was dropped.
KEEP_DUPLICATES = """
CREATE OR REPLACE TEMP TABLE repeated AS
SELECT environment, position, event_index, customer, event_name, key, received_at
FROM ({incoming}) POSITIONAL JOIN marks WHERE NOT fresh
"""


class PoisonError(Exception):
    """A request does not hold what its row says: it alone is set aside."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What was taken: requests in position order, and the environment number of each event."""

    requests: tuple[InboxRequest, ...]
    environments: tuple[str, ...]
    env_nos: NDArray[np.int32]
    incoming: str = "SELECT * FROM incoming"
    """A select of the events, in order: the table ``incoming`` unless they are elsewhere. What is
    new of them is told by their places, so it gives the same until the batch is done with."""

    @property
    def position_first(self) -> int:
        """The first request's position."""
        return self.requests[0].position

    @property
    def position_last(self) -> int:
        """The last request's position."""
        return self.requests[-1].position

    def counts(self, mask: NDArray[np.bool_]) -> dict[str, int]:
        """Events per environment where ``mask`` (one per event) is true; none with zero."""
        numbers = np.bincount(self.env_nos[mask], minlength=len(self.environments))
        return {
            name: int(number)
            for name, number in zip(self.environments, numbers, strict=True)
            if number
        }


def load(
    connection: duckdb.DuckDBPyConnection, requests: Sequence[InboxRequest], lines_file: Path
) -> tuple[Batch, NDArray[np.uint64], NDArray[np.uint64]]:
    """Make ``incoming`` of the requests; returns the batch and its key hashes (hi, lo)."""
    environments = tuple(dict.fromkeys(request.environment for request in requests))
    places = _places(requests, environments)
    lines_file.write_bytes(b"".join(_lines(request) for request in requests))
    connection.register("places", places)
    connection.execute(CREATE_INCOMING, [list(environments), str(lines_file)])
    keys = connection.execute(INCOMING_KEYS).fetchnumpy()
    hi, lo = unmasked(keys["hi"]), unmasked(keys["lo"])
    _check_lines(connection, len(hi), len(places["position"]))
    return Batch(tuple(requests), environments, places["env_no"]), hi, lo


def keep(connection: duckdb.DuckDBPyConnection, batch: Batch, fresh: NDArray[np.bool_]) -> None:
    """Make ``events`` of the fresh rows and, where there are others, ``repeated`` of those."""
    if fresh.all():
        show_events(connection, ALL.format(incoming=batch.incoming))
        return
    connection.register("marks", {"fresh": fresh})
    make_events(connection, FRESH.format(incoming=batch.incoming))
    connection.execute(KEEP_DUPLICATES.format(incoming=batch.incoming))


def _places(
    requests: Sequence[InboxRequest], environments: tuple[str, ...]
) -> dict[str, NDArray[Any]]:
    """Where each line stands: one array element per event."""
    sizes = np.array([request.events for request in requests], dtype=np.int64)
    total = int(sizes.sum())
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    number = {name: index for index, name in enumerate(environments)}
    env_nos = np.array([number[request.environment] for request in requests], dtype=np.int32)
    positions = np.array([request.position for request in requests], dtype=np.int64)
    received = np.array([request.received_at for request in requests], dtype=np.int64)
    return {
        "position": np.repeat(positions, sizes),
        "event_index": (np.arange(total, dtype=np.int64) - starts).astype(np.int32),
        "env_no": np.repeat(env_nos, sizes),
        "received_at": np.repeat(received, sizes),
    }


def _lines(request: InboxRequest) -> bytes:
    """The request's lines, ending with a line feed, exactly as many as its row says."""
    body = request.body if request.body.endswith(b"\n") else request.body + b"\n"
    lines = body.count(b"\n")
    if lines != request.events:
        raise PoisonError(
            f"inbox position {request.position}: holds {lines} lines, "
            f"its row says {request.events} events"
        )
    return body


def _check_lines(connection: duckdb.DuckDBPyConnection, read: int, expected: int) -> None:
    """POSITIONAL JOIN pads the shorter side with NULL, so a lost line shows as a NULL customer."""
    missing = connection.execute(
        "SELECT count(*) FROM incoming WHERE customer IS NULL OR event_name IS NULL "
        "OR key IS NULL OR position IS NULL"
    ).fetchall()
    if read != expected or missing[0][0]:
        raise PoisonError(f"{expected} events were taken from the inbox, {read} lines were read")


def unmasked(column: Any) -> NDArray[np.uint64]:
    """fetchnumpy gives a masked array where a column may be NULL; hashes never are."""
    return np.ascontiguousarray(np.ma.getdata(column), dtype=np.uint64)
