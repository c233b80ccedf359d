"""Quarantine: requests that could not be folded, kept with their bytes.

Owns: the rows of ``quarantine``. A request goes in within the transaction that moves the position
past it, so the ledger stays whole. A retry puts it into the inbox once more, with a new position
and its quarantine id as ``origin``; it stays quarantined until the fold's own transaction counts
it, and an origin that is gone is passed over, so asking twice repeats nothing. A request that is
discarded leaves with its bytes and stays in the books: ``totals.discarded`` takes its events over,
in the transaction that removes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from tallystick.clock import Instant
from tallystick.errors import Unavailable
from tallystick.failpoints import reach
from tallystick.inbox.inbox import Inbox, InboxRequest
from tallystick.store import Store, Transaction

INSERT = """
INSERT INTO quarantine (environment, position, received_at, events, body, reason, quarantined_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""

ADD_TO_TOTAL = """
INSERT INTO totals (environment, quarantined) VALUES (?, ?)
ON CONFLICT (environment) DO UPDATE SET quarantined = totals.quarantined + excluded.quarantined
"""

LIST = """
SELECT id, environment, position, received_at, events, reason, quarantined_at
FROM quarantine ORDER BY id
"""

FIND = """
SELECT id, environment, position, received_at, events, reason, quarantined_at
FROM quarantine WHERE id = ?
"""

RECEIVED_TIMES = "SELECT DISTINCT received_at FROM quarantine"
BODY = "SELECT body FROM quarantine WHERE id = ?"
EXISTS = "SELECT 1 FROM quarantine WHERE id = ?"
KEEP_REASON = "UPDATE quarantine SET reason = ?, quarantined_at = ? WHERE id = ?"
DELETE = "DELETE FROM quarantine WHERE id = ?"
ADD_TO_DISCARDED = "UPDATE totals SET discarded = discarded + ? WHERE environment = ?"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A request set aside. Instants are microseconds, UTC."""

    id: int
    environment: str
    position: int
    received_at: Instant
    events: int
    reason: str
    quarantined_at: Instant


def set_aside(transaction: Transaction, request: InboxRequest, reason: str, now: Instant) -> None:
    """Keep a request that could not be folded; one that failed again keeps its place."""
    if request.origin is not None:
        transaction.run(KEEP_REASON, reason, now, request.origin)
        return
    transaction.insert(
        INSERT,
        request.environment,
        request.position,
        request.received_at,
        request.events,
        request.body,
        reason,
        now,
    )
    transaction.run(ADD_TO_TOTAL, request.environment, request.events)


def list_quarantined(transaction: Transaction) -> list[Quarantined]:
    """Everything set aside, oldest first."""
    return [Quarantined(*row) for row in transaction.all(LIST)]  # type: ignore[arg-type]


def received_times(transaction: Transaction) -> list[Instant]:
    """When what is set aside came in: tried again, it is compared with the keys of then."""
    return [Instant(cast("int", row[0])) for row in transaction.all(RECEIVED_TIMES)]


def ask_retry(state: Store, inbox: Inbox, inbox_store: Store, quarantine_id: int | None) -> int:
    """Put one quarantined request, or all, into the inbox again; returns how many."""
    with state.reading() as transaction:
        wanted = [
            (item, transaction.one(BODY, item.id))
            for item in list_quarantined(transaction)
            if quarantine_id is None or item.id == quarantine_id
        ]
    with inbox_store.writing() as transaction:
        for item, row in wanted:
            assert row is not None
            assert isinstance(row[0], bytes)
            inbox.add_again(
                transaction, item.environment, item.received_at, item.events, row[0], item.id
            )
    return len(wanted)


def discard(state: Store, quarantine_id: int) -> Quarantined | None:
    """Let a quarantined request go for good; None when there is none of this id.

    A retry of it that still waits in the inbox is passed over. Keys of its events were never
    remembered: sent again, they are new.
    """
    with state.writing() as transaction:
        row = transaction.one(FIND, quarantine_id)
        if row is None:
            return None
        found = Quarantined(*row)  # type: ignore[arg-type]
        transaction.run(DELETE, found.id)
        transaction.run(ADD_TO_TOTAL, found.environment, -found.events)
        transaction.run(ADD_TO_DISCARDED, found.events, found.environment)
        reach("quarantine.before_discard")
    return found


def to_fold(transaction: Transaction, requests: Iterable[InboxRequest]) -> list[InboxRequest]:
    """Those that are new, and those that are still quarantined, each of these once."""
    found = []
    again: set[int] = set()
    for request in requests:
        if request.origin is not None:
            if request.origin in again or transaction.one(EXISTS, request.origin) is None:
                continue
            again.add(request.origin)
        found.append(request)
    return found


def release(transaction: Transaction, request: InboxRequest) -> None:
    """The request is folded now; if it was quarantined, it no longer is.

    Raises ``Unavailable`` when it was discarded meanwhile: the step begins anew, without it.
    """
    if request.origin is not None:
        if transaction.run(DELETE, request.origin) == 0:
            raise Unavailable(f"quarantined request {request.origin} was discarded meanwhile")
        transaction.run(ADD_TO_TOTAL, request.environment, -request.events)
