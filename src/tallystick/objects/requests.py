"""What people ask of sources: to look now, to try an object again, to import a file at once."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick import ids
from tallystick.clock import Instant, SystemClock
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.objects import ledger
from tallystick.objects.buckets import Bucket
from tallystick.objects.job import job_of
from tallystick.objects.ledger import Run
from tallystick.objects.sources import Source
from tallystick.store import Transaction


def ask_run(transaction: Transaction, source: Source, now: Instant) -> str:
    """Look at a source now; returns the run's id, that of the one that waits already if one does.

    One that is under way may have listed the source before what is looked for was there, so that
    another waits behind it. Raises ``Conflict`` for a source that is paused.
    """
    _assert_open(source)
    waiting = ledger.waiting_run(transaction, source.id)
    if waiting is not None:
        return waiting
    run = ids.new_id()
    ledger.add_run(transaction, run, source.environment, source.id, "", "request", now)
    return run


def ask_import(
    transaction: Transaction, environment: str, given: dict[str, Any], now: Instant
) -> str:
    """Read what ``given["urls"]`` name, once; the rest of ``given`` is as of a source.

    Raises ``BadInput`` and ``MissingExtra`` while the person looks who asks.
    """
    for url in given["urls"]:
        job = job_of({**given, "url": url})
        Bucket.open(url, SystemClock(), job.access)
    run = ids.new_id()
    request = msgspec.json.encode(given).decode()
    ledger.add_run(transaction, run, environment, None, request, "import", now)
    return run


def ask_retry(transaction: Transaction, source: Source, number: int, now: Instant) -> str:
    """Read an object that waits for a person again, from its beginning; returns the run's id.

    What of it was counted already is known by its keys. Raises ``NotFound``, ``BadInput`` and
    ``Conflict``.
    """
    _assert_open(source)
    found = ledger.find_object(transaction, number)
    if found is None or found.scope != source.id:
        raise NotFound(f"no object {number} of source {source.id!r}", code="ObjectNotFound")
    if found.state not in ("failed", "stopped", "review"):
        raise BadInput(
            f"object {number} is {found.state}; only one that failed, was stopped or is to be "
            "reviewed is tried again"
        )
    run = ids.new_id()
    ledger.add_run(transaction, run, source.environment, source.id, "", "retry", now)
    added = ledger.find_run(transaction, run)
    assert added is not None
    transaction.run(ledger.RETRY_OBJECT, added.seq, number)
    return run


def _assert_open(source: Source) -> None:
    if source.paused:
        raise Conflict(f"source {source.id!r} is paused; resume it first", code="SourceIsPaused")


def run_of(transaction: Transaction, source: Source, run: str) -> Run:
    """A run of a source; raises ``NotFound``."""
    found = ledger.find_run(transaction, run)
    if found is None or found.source != source.id:
        raise NotFound(f"no run {run!r} of source {source.id!r}", code="RunNotFound")
    return found
