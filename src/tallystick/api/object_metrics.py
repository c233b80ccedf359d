"""Numbers of objects for ``/metrics``: runs, records, and when each source was last read.

Promises: as of the whole page, who sends no server key learns numbers of all environments together,
and nothing about a single source.
"""

from __future__ import annotations

from typing import Final, cast

from tallystick.api.metrics import Family
from tallystick.clock import SECOND, Instant
from tallystick.store import Transaction

_ENDED: Final = ("succeeded", "partial", "failed", "stopped")

# Of each environment, its numbers in the order of the families below.
TOTALS: Final = """
SELECT environment, counted, duplicates, rejected, bytes, succeeded, partial, failed, stopped
FROM object_totals
"""

OPEN_RUNS: Final = """
SELECT environment, state, count(*) FROM object_runs WHERE ended_at IS NULL
GROUP BY environment, state
"""

# The sources of an environment, and when a run of each last ended well or partly so.
LAST_SUCCESS: Final = """
SELECT sources.id, max(object_runs.ended_at)
FROM sources JOIN object_runs ON object_runs.source = sources.id
WHERE sources.environment = ? AND removed_at IS NULL AND state IN ('succeeded', 'partial')
GROUP BY sources.id ORDER BY sources.id
"""


def object_families(now: Instant, transaction: Transaction, own: str | None) -> list[Family]:
    """The families; ``own`` is the environment whose numbers are told, None all of them."""
    labels = {} if own is None else {"environment": own}
    rows = [row for row in transaction.all(TOTALS) if own in (None, row[0])]
    counted, duplicates, rejected, size, *ended = (
        sum(cast("int", row[column]) for row in rows) for column in range(1, 9)
    )
    families = [
        _records(labels, counted, duplicates, rejected),
        Family("tallystick_object_bytes_total", "counter", "Bytes of objects that were read.",
               [("", labels, size)]),
        Family("tallystick_object_runs_total", "counter", "Runs that ended, by how.",
               [("", labels | {"state": state}, count)
                for state, count in zip(_ENDED, ended, strict=True)]),
        _open_runs(transaction, labels, own),
    ]  # fmt: skip
    return families if own is None else [*families, _last_success(now, transaction, own)]


def _records(labels: dict[str, str], counted: int, duplicates: int, rejected: int) -> Family:
    values = {"counted": counted, "duplicate": duplicates, "rejected": rejected}
    return Family(
        "tallystick_object_records_total", "counter", "Records of objects, by what became of them.",
        [("", labels | {"outcome": outcome}, value) for outcome, value in values.items()],
    )  # fmt: skip


def _open_runs(transaction: Transaction, labels: dict[str, str], own: str | None) -> Family:
    counts = {"queued": 0, "running": 0}
    for environment, state, count in cast("list[tuple[str, str, int]]", transaction.all(OPEN_RUNS)):
        if own in (None, environment):
            counts[state] += count
    return Family(
        "tallystick_object_runs", "gauge", "Runs that have not ended.",
        [("", labels | {"state": state}, count) for state, count in counts.items()],
    )  # fmt: skip


def _last_success(now: Instant, transaction: Transaction, own: str) -> Family:
    ages = cast("list[tuple[str, int]]", transaction.all(LAST_SUCCESS, own))
    return Family(
        "tallystick_source_last_success_seconds", "gauge",
        "How long ago the last run of a source ended that could list it.",
        [("", {"environment": own, "source": source}, max(0, now - at) / SECOND)
         for source, at in ages],
    )  # fmt: skip
