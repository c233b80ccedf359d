"""How the server does: alive, ready, and its numbers for Prometheus.

Owns: what "ready" means: counters no older than ``READY_SECONDS_MAX``. What is quarantined or being
recounted is told, and does not make a server unready. Promises: whoever sends no key learns numbers
of the whole server alone; the names of environments, and what belongs to one, are told to its own
server keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import msgspec

from tallystick import limits
from tallystick.api.answers import encode
from tallystick.api.http import Raw, Reply, Request, Route
from tallystick.api.metrics import Family, SharedCounts, render, request_families, single
from tallystick.api.object_metrics import object_families
from tallystick.clock import SECOND, TestClock, format_instant
from tallystick.store import Row, Transaction
from tallystick.usage.lookup import WAITING

if TYPE_CHECKING:
    from tallystick.app import Services
    from tallystick.inbox.inbox import Inbox


FOLDED: Final = "SELECT min(position) FROM partitions"
QUARANTINED: Final = "SELECT count(*), coalesce(sum(events), 0) FROM quarantine"
RECOUNTS_OPEN: Final = "SELECT count(*), count(failure) FROM recounts WHERE finished_at IS NULL"

# Sources whose time came a while ago and that were not looked at; and whose last run failed.
SOURCES_LATE: Final = """
SELECT count(*) FROM sources
WHERE removed_at IS NULL AND (next_run_at < ? OR EXISTS (
    SELECT 1 FROM object_runs
    WHERE source = sources.id AND state = 'queued' AND cause = 'schedule' AND queued_at < ?
))
"""
SOURCES_FAILING: Final = """
SELECT count(*) FROM sources
WHERE removed_at IS NULL AND 'failed' = (
    SELECT state FROM object_runs
    WHERE source = sources.id AND ended_at IS NOT NULL ORDER BY seq DESC LIMIT 1
)
"""
REPORTS_WAITING: Final = f"SELECT {WAITING}"
OLDEST_WAITING: Final = (
    "SELECT received_at FROM requests WHERE position > ? ORDER BY position LIMIT 1"
)
TOTALS: Final = """
SELECT environment, accepted_reports, duplicate_reports, counted, duplicates, quarantined,
       discarded
FROM totals ORDER BY environment
"""


_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str


class Lag(msgspec.Struct, frozen=True, rename="camel"):
    """How far counting is behind accepting."""

    positions: int
    seconds: float
    waiting_events: int
    waiting_bytes: int


class Readiness(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the server counts what it accepts, and what waits or was set aside."""

    status: str
    problems: list[str]
    as_of: str
    fold: Lag
    quarantined_requests: int
    quarantined_events: int
    recounts_open: int
    recounts_set_aside: int
    sources_late: int
    sources_failing: int


def alive(services: Services, transaction: Transaction, request: Request) -> Reply:
    """The process answers."""
    return Reply(Raw(encode(Alive("ok"))))


def ready(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Whether everything works that answers depend on."""
    as_of = request.fresh.as_of
    requests, events = _row(transaction, QUARANTINED)
    recounts, recounts_aside = _row(transaction, RECOUNTS_OPEN)
    late, failing = _sources(services, transaction)
    problems = []
    if not isinstance(services.clock, TestClock):
        stale = (services.clock.now() - as_of) // SECOND
        if stale > limits.READY_SECONDS_MAX:
            problems.append(
                f"the counters are of {format_instant(as_of)}: the worker does not run or lags"
            )
    readiness = Readiness(
        "not ready" if problems else "ready",
        problems,
        format_instant(as_of),
        _lag(services, transaction),
        requests,
        events,
        recounts,
        recounts_aside,
        late,
        failing,
    )
    return Reply(Raw(encode(readiness)), 503 if problems else 200)


def _sources(services: Services, transaction: Transaction) -> tuple[int, int]:
    """How many are late, and how many are failing."""
    late_before = services.clock.now() - limits.SOURCE_LATE_SECONDS * SECOND
    late = cast("tuple[int]", transaction.one(SOURCES_LATE, late_before, late_before))
    return late[0], _row(transaction, SOURCES_FAILING)[0]


def _lag(services: Services, transaction: Transaction) -> Lag:
    folded = _row(transaction, FOLDED)[0]
    events, size = services.inbox.backlog()
    with services.inbox_store.reading() as inbox:
        oldest = inbox.one(OLDEST_WAITING, folded)
    seconds = 0.0
    if oldest is not None:
        seconds = max(0, services.clock.now() - cast("int", oldest[0])) / SECOND
    return Lag(max(0, services.inbox.head() - folded), seconds, events, size)


def _row(transaction: Transaction, sql: str) -> tuple[int, ...]:
    return cast("tuple[int, ...]", transaction.one(sql))


@dataclass(frozen=True)
class MetricsPage:
    """The handler of ``/metrics``."""

    shared: SharedCounts

    def __call__(self, services: Services, transaction: Transaction, request: Request) -> Reply:
        """Everything in the Prometheus text format."""
        families = [
            *request_families(self.shared.read()),
            *_ledger(services.inbox, transaction, request),
            *object_families(services.clock.now(), transaction, _own(request)),
            *_gauges(services, transaction),
        ]
        return Reply(Raw(render(families), _TEXT))


def _ledger(inbox: Inbox, transaction: Transaction, request: Request) -> list[Family]:
    """The books: those of the environment whose server key was sent, else of all together."""
    accepted: list[Row] = list(inbox.accepted().items())
    totals = transaction.all(TOTALS)
    own = _own(request)
    columns = [("events_accepted_total", "counter", "Events accepted.", accepted, 1)]
    columns += [(*told, totals, number) for number, told in enumerate(_COLUMNS, 1)]
    return [_book(*column, own) for column in columns]


def _own(request: Request) -> str | None:
    """The environment whose server key was sent; None is all of them together."""
    return request.environment if request.key_kind == "server" else None


_COLUMNS: Final = (
    ("reports_accepted_total", "counter", "Usage reports accepted."),
    ("reports_duplicate_total", "counter", "Usage reports that were repetitions."),
    ("counted_total", "counter", "Events and usage reports counted and archived."),
    ("events_duplicate_total", "counter", "Events that were repetitions."),
    ("events_quarantined", "gauge", "Events set aside as poison."),
    ("events_discarded_total", "counter", "Events set aside and discarded."),
)
"""What the columns of ``TOTALS`` after the first are."""


def _book(
    name: str, kind: str, help_: str, rows: list[Row], column: int, own: str | None
) -> Family:
    wanted = (row for row in rows if own is None or row[0] == own)
    value = sum(cast("int", row[column]) for row in wanted)
    labels = {} if own is None else {"environment": own}
    return Family(f"tallystick_{name}", kind, help_, [("", labels, value)])


def _gauges(services: Services, transaction: Transaction) -> list[Family]:
    lag = _lag(services, transaction)
    quarantined = _row(transaction, QUARANTINED)[0]
    recounts, aside = _row(transaction, RECOUNTS_OPEN)
    late, failing = _sources(services, transaction)
    gauges = (
        ("fold_lag_positions", "Accepted requests that are not counted yet.", lag.positions),
        ("fold_lag_seconds", "Age of the oldest request that is not counted.", lag.seconds),
        ("inbox_events", "Events in the inbox.", lag.waiting_events),
        ("inbox_bytes", "Bytes in the inbox; beyond INBOX_MAX_BYTES 429.", lag.waiting_bytes),
        ("reports_waiting", "Usage reports to be archived.", _row(transaction, REPORTS_WAITING)[0]),
        ("quarantined_requests", "Requests set aside as poison.", quarantined),
        ("recounts_open", "Recounts that are not done.", recounts),
        ("recounts_set_aside", "Recounts that failed and were set aside.", aside),
        ("sources_late", "Sources that were not looked at in time.", late),
        ("sources_failing", "Sources whose last run failed.", failing),
    )
    return [single(f"tallystick_{name}", "gauge", text, value) for name, text, value in gauges]


def routes(shared: SharedCounts) -> tuple[Route, ...]:
    """The routes, with the numbers that ``/metrics`` tells."""
    return (
        Route(
            method="GET",
            path="/health",
            handler=alive,
            summary="Is the process alive",
            description='`{"status": "ok"}` whenever the process answers.',
            tag="Operations",
            access="public",
            reply=Alive,
            envelope=False,
        ),
        Route(
            method="GET",
            path="/ready",
            handler=ready,
            summary="Is the server ready",
            description="200 while the worker counts, else 503 with the problems; how far counting "
            "is behind, what is quarantined, which recounts are open, and how many sources of "
            "objects are late or failed when they were last looked at.",
            tag="Operations",
            access="public",
            reply=Readiness,
            envelope=False,
        ),
        Route(
            method="GET",
            path="/metrics",
            handler=MetricsPage(shared),
            summary="Metrics",
            description="Requests, latencies, events and lag in the Prometheus text format: of the "
            "whole server, since no key is needed. With a server key what was accepted and counted "
            "is that of the key's environment, and is labelled with its name.",
            tag="Operations",
            access="optional",
            media_type=_TEXT,
        ),
    )
