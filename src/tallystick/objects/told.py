"""Sources and runs as they are told, over HTTP and by commands alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from tallystick import limits
from tallystick.clock import Instant, format_instant
from tallystick.objects import ledger
from tallystick.objects.info import Finding
from tallystick.objects.ledger import Run, StoredObject
from tallystick.objects.schedule import HOURLY
from tallystick.objects.sources import Source
from tallystick.store import Transaction

# What a run has read, in bytes of objects as stored: those that ended, and what will be read.
SIZES: Final = """
SELECT coalesce(sum(CASE WHEN state NOT IN ('queued', 'reading') THEN size END), 0),
       coalesce(sum(CASE WHEN state <> 'reading' THEN 0 WHEN byte < size THEN byte ELSE size END),
                0),
       coalesce(sum(size), 0), count(*),
       count(CASE WHEN state NOT IN ('queued', 'reading') THEN 1 END)
FROM objects WHERE run = ? AND state <> 'ignored'
"""


def source_told(source: Source) -> dict[str, Any]:
    """A source; what is secret of its access is not told."""
    shown = source.job.shown()
    return {
        "id": source.id,
        "environment": source.environment,
        "url": source.job.url,
        "schedule": (source.job.schedule or HOURLY).as_json(),
        "pattern": source.job.pattern or None,
        "columns": shown.get("columns") or {},
        "access": shown.get("access") or "environment",
        "rejectShareMax": source.job.reject_share_max,
        "rejectsUrl": source.job.rejects_url,
        "paused": source.paused,
        "createdAt": format_instant(source.created_at),
        "updatedAt": format_instant(source.updated_at),
        "nextRunAt": _text(source.next_run_at),
    }


def run_told(
    transaction: Transaction, run: Run, rejects: Path | None = None, *, with_objects: bool = True
) -> dict[str, Any]:
    """A run; ``rejects`` is the folder of refused records, told where there are any."""
    told: dict[str, Any] = {
        "id": run.id,
        "runId": run.id,
        "source": run.source,
        "environment": run.environment,
        "cause": run.cause,
        "state": run.state,
        "reason": run.reason,
        "counted": run.counted,
        "duplicates": run.duplicates,
        "rejected": run.rejected,
        "ignored": run.ignored,
        "reasons": run.reasons_told(),
        "bytes": run.bytes,
        "queuedAt": format_instant(Instant(run.queued_at)),
        "startedAt": _text(run.started_at),
        "endedAt": _text(run.ended_at),
        "progress": progress_told(transaction, run),
        "rejects": str(rejects / run.id) if rejects is not None and run.rejected else None,
    }
    if with_objects:
        found = ledger.objects_of(transaction, run, limits.RUN_OBJECTS_SHOWN_MAX)
        told["objects"] = [object_told(each) for each in found]
    return told


def progress_told(transaction: Transaction, run: Run) -> dict[str, Any]:
    """How far a run is, in bytes of objects as they are stored; the total grows while listing."""
    row = transaction.one(SIZES, run.seq)
    assert row is not None
    ended, reading, total, objects, objects_ended = cast(
        "tuple[int, int | None, int, int, int]", row
    )
    return {
        "bytes": ended + (reading or 0),
        "bytesTotal": total,
        "objects": objects_ended,
        "objectsTotal": objects,
        "listed": bool(run.listed),
    }


def check_told(findings: Sequence[Finding]) -> dict[str, Any]:
    """What a look at a source found."""
    return {
        "good": all(each.good for each in findings),
        "findings": [
            {"step": each.step, "good": each.good, "message": each.message,
             "permission": each.permission}
            for each in findings
        ],
    }  # fmt: skip


def object_told(found: StoredObject) -> dict[str, Any]:
    """An object of a run."""
    return {
        "id": found.id,
        "url": found.url,
        "key": found.key,
        "version": found.version,
        "size": found.size,
        "state": found.state,
        "counted": found.counted,
        "duplicates": found.duplicates,
        "rejected": found.rejected,
        "reason": found.reason,
    }


def _text(at: int | None) -> str | None:
    return None if at is None else format_instant(Instant(at))
