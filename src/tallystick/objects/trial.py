"""What an import would count: every record read and judged, nothing stored."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import duckdb

from tallystick import limits
from tallystick.clock import Instant, SystemClock
from tallystick.errors import TallystickError
from tallystick.objects.buckets import Bucket
from tallystick.objects.feed import Ended
from tallystick.objects.formats import format_of
from tallystick.objects.info import ObjectInfo
from tallystick.objects.job import Job, job_of
from tallystick.objects.ledger import StoredObject
from tallystick.objects.reader import ObjectReader
from tallystick.objects.rejects import reasons
from tallystick.objects.sent import Rules, Sent

REASONS_SHOWN_MAX = limits.RUN_REASONS_MAX


class Bar(Protocol):
    """Shows how far it is."""

    def show(self, progress: dict[str, Any], events: int) -> None:
        """Now."""
        ...

    def end(self) -> None:
        """Leave it."""
        ...


def try_out(given: dict[str, Any], now: Instant, future_us: int, bar: Bar) -> dict[str, Any]:
    """Read what ``given["urls"]`` name. Keys are not compared: what is there twice counts twice
    here. Raises what a bucket raises that cannot be listed."""
    with tempfile.TemporaryDirectory(prefix="tallystick-") as scratch:
        (Path(scratch) / "run").mkdir()
        trial = _Trial(now, future_us, Path(scratch), bar)
        for url in given["urls"]:
            job = job_of({**given, "url": url})
            trial.read(job, Bucket.open(job.url, SystemClock(), job.access))
        bar.end()
        return trial.told()


class _Trial:
    def __init__(self, now: Instant, future_us: int, scratch: Path, bar: Bar) -> None:
        self._now = now
        self._future_us = future_us
        self._scratch = scratch
        self._bar = bar
        self._connection = duckdb.connect()
        self._objects: list[dict[str, Any]] = []
        self._reasons: Counter[str] = Counter()
        self._good = 0
        self._bytes = [0, 0]

    def read(self, job: Job, bucket: Bucket) -> None:
        listed = [each for each in bucket.list() if job.wants(each.key)]
        readable = [each for each in listed if format_of(each.key) is not None]
        self._bytes[1] += sum(each.size for each in readable)
        for info in readable:
            self._objects.append(self._one(job, bucket, info))
            self._bytes[0] += info.size

    def told(self) -> dict[str, Any]:
        rejected = sum(each["rejected"] for each in self._objects)
        is_good = not rejected and all(each["state"] == "done" for each in self._objects)
        return {
            "state": "succeeded" if is_good else "partial",
            "good": self._good,
            "rejected": rejected,
            "reasons": dict(self._reasons.most_common(REASONS_SHOWN_MAX)),
            "objects": self._objects,
        }

    def _one(self, job: Job, bucket: Bucket, info: ObjectInfo) -> dict[str, Any]:
        told = {"key": info.key, "version": info.version, "state": "done", "records": 0,
                "rejected": 0, "reason": None}  # fmt: skip
        reader = ObjectReader(_unread(bucket, info), job, bucket, self._connection, self._scratch)
        try:
            self._parts(reader, job, told)
        except TallystickError as error:
            told |= {"state": "failed", "reason": error.message}
        finally:
            reader.give_up()
        return told

    def _parts(self, reader: ObjectReader, job: Job, told: dict[str, Any]) -> None:
        while True:
            part = reader.part(limits.STEP_EVENTS_MAX)
            if isinstance(part, Ended):
                if part.error is not None:
                    raise part.error
                return
            if part is None:
                continue
            rules = Rules(job.columns, self._now, self._future_us)
            sent = Sent(self._connection, self._scratch / "lines", rules, part.lines)
            if len(part.lines):
                part.read(sent)
            self._reasons.update(reasons(sent.rejected))
            refused = len(sent.rejected) + len(part.oversized)
            told["records"] += len(part.lines) + len(part.oversized)
            told["rejected"] += refused
            self._good += len(part.lines) - len(sent.rejected)
            reader.passed(part)
            self._bar.show(self._progress(), self._good)

    def _progress(self) -> dict[str, Any]:
        done, total = self._bytes
        return {"bytes": done, "bytesTotal": total, "objects": len(self._objects),
                "objectsTotal": len(self._objects) + 1, "listed": True}  # fmt: skip


def _unread(bucket: Bucket, info: ObjectInfo) -> StoredObject:
    return StoredObject(
        id=0, scope="", environment="", url=bucket.url, key=info.key, version=info.version,
        size=info.size, modified_at=info.modified_at, state="queued", reason=None, byte=0, line=1,
        skip=0, records=0, counted=0, duplicates=0, rejected=0, attempts=0, run=0, ended_at=None,
    )  # fmt: skip
