"""The inbox: the durable queue between accepting and counting.

Owns: the rows of ``requests``, ``accepted`` and ``backlog``. Promises: positions grow by one with
each request, are never given out twice and become visible in order; ``accepted`` is written by the
transaction that accepts; the backlog is exact at every commit; beyond its limit a request is
refused before anything is stored.

Leaves to others: what is in a body (``ingest``), when it may be removed (``fold``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

from tallystick import limits
from tallystick.clock import Instant
from tallystick.errors import TooManyRequests
from tallystick.store import Store, Transaction
from tallystick.store.many_rows import for_many, run_rows

HEAD: Final = "SELECT head FROM backlog WHERE id = 1"

ROOM: Final = "SELECT head, bytes FROM backlog WHERE id = 1"

# Writers are serialised, so nobody reads a position before its row is there.
GROW: Final = """
UPDATE backlog SET head = ?, events = events + ?, bytes = bytes + ? WHERE id = 1
"""

ADD: Final = for_many(
    "INSERT INTO requests (position, environment, received_at, events, body, origin) VALUES {rows}",
    "(?, ?, ?, ?, ?, ?)",
)

ACCEPT: Final = """
INSERT INTO accepted (environment, events) VALUES (?, ?)
ON CONFLICT (environment) DO UPDATE SET events = accepted.events + excluded.events
"""

# What the next requests weigh, without reading them.
WEIGHTS: Final = """
SELECT position, events, length(body) FROM requests WHERE position > ? ORDER BY position LIMIT ?
"""

TAKE: Final = """
SELECT position, environment, received_at, events, body, origin FROM requests
WHERE position > ? AND position <= ? ORDER BY position
"""

# The oldest requests, and what they weigh.
OLDEST: Final = """
SELECT max(position), sum(events), sum(length(body)) FROM
    (SELECT position, events, body FROM requests WHERE position <= ? ORDER BY position LIMIT ?)
    AS oldest
"""

REMOVE: Final = "DELETE FROM requests WHERE position <= ?"
LIGHTEN: Final = "UPDATE backlog SET events = events - ?, bytes = bytes - ? WHERE id = 1"
BETWEEN: Final = "SELECT 1 FROM requests WHERE position > ? AND position < ? LIMIT 1"
RESUME: Final = "UPDATE backlog SET head = ? WHERE id = 1 AND head < ?"
BACKLOG: Final = "SELECT events, bytes FROM backlog WHERE id = 1"
STORED: Final = "SELECT coalesce(sum(events), 0), coalesce(sum(length(body)), 0) FROM requests"
ACCEPTED: Final = "SELECT environment, events FROM accepted"

# What was accepted and waits. A request that is tried again is no part of it: it is quarantined.
WAITING: Final = """
SELECT environment, sum(events) FROM requests
WHERE position > ? AND origin IS NULL GROUP BY environment
"""


class Arrival(NamedTuple):
    """An accepted request: ``events`` lines of NDJSON in ``body``."""

    environment: str
    received_at: Instant
    events: int
    body: bytes


_RequestRow: TypeAlias = tuple[int, str, Instant, int, bytes, int | None]


class InboxRequest(NamedTuple):
    """One accepted request: ``events`` lines of NDJSON in ``body``. ``origin`` is the quarantined
    request that this one is again, if it is one."""

    position: int
    environment: str
    received_at: Instant
    events: int
    body: bytes
    origin: int | None = None


class Backlog(NamedTuple):
    """What waits: events, and bytes of bodies."""

    events: int
    bytes: int


class Inbox:
    """The requests of one inbox store."""

    def __init__(self, store: Store, bytes_max: int = limits.INBOX_BYTES_MAX) -> None:
        """``bytes_max`` bounds the bodies that wait; beyond it requests are refused."""
        self.store = store
        self._bytes_max = bytes_max

    def add(
        self,
        transaction: Transaction,
        environment: str,
        received_at: Instant,
        events: int,
        body: bytes,
    ) -> int:
        """Queue an accepted request and return its position.

        Raises ``TooManyRequests`` when the bodies that wait leave no room for this one.
        """
        arrival = Arrival(environment, received_at, events, body)
        (outcome,) = self.add_all(transaction, [arrival])
        if isinstance(outcome, TooManyRequests):
            raise outcome
        return outcome

    def add_all(
        self, transaction: Transaction, arrivals: Sequence[Arrival]
    ) -> list[int | TooManyRequests]:
        """Queue accepted requests; the position of each, or the refusal of one without room."""
        head, waiting = _room(transaction)
        rows: list[_RequestRow] = []
        outcomes: list[int | TooManyRequests] = []
        for arrival in arrivals:
            if waiting + len(arrival.body) > self._bytes_max:
                outcomes.append(self._refusal(waiting, len(arrival.body)))
                continue
            waiting += len(arrival.body)
            head += 1
            rows.append((head, *arrival, None))
            outcomes.append(head)
        _insert(transaction, rows)
        for environment, events in _events_by_environment(rows).items():
            transaction.run(ACCEPT, environment, events)
        return outcomes

    def add_again(
        self,
        transaction: Transaction,
        environment: str,
        received_at: Instant,
        events: int,
        body: bytes,
        origin: int,
    ) -> int:
        """Queue the quarantined request ``origin`` once more: accepted it was already, and an
        operator is never refused for want of room."""
        position = _room(transaction)[0] + 1
        _insert(transaction, [(position, environment, received_at, events, body, origin)])
        return position

    def take(self, after: int, bytes_max: int, events_max: int) -> list[InboxRequest]:
        """The requests that follow position ``after``, up to both bounds; one at least, if any."""
        with self.store.reading() as transaction:
            weights = transaction.all(WEIGHTS, after, events_max)
            if not weights:
                return []
            last = _last_that_fits(
                cast("list[tuple[int, int, int]]", weights), bytes_max, events_max
            )
            rows = transaction.all(TAKE, after, last)
        return [InboxRequest(*row) for row in rows]  # type: ignore[arg-type]

    def reserve(self) -> int:
        """Give out a position for what does not come through the inbox."""
        with self.store.writing() as transaction:
            position = _room(transaction)[0] + 1
            transaction.run(GROW, position, 0, 0)
        return position

    def waits_between(self, after: int, before: int) -> bool:
        """Whether a request waits at a position between these two."""
        with self.store.reading() as transaction:
            return transaction.one(BETWEEN, after, before) is not None

    def remove(self, through: int) -> None:
        """Drop the requests up to position ``through``, a bounded number in each transaction."""
        while self._remove_some(through):
            pass

    def head(self) -> int:
        """The largest position ever given out; 0 before the first."""
        with self.store.reading() as transaction:
            row = transaction.one(HEAD)
            assert row is not None
            return cast("int", row[0])

    def resume_after(self, position: int) -> None:
        """Give out only positions beyond ``position`` from now on.

        The state may know positions that the inbox does not: one of the two was restored.
        """
        if self.head() < position:
            with self.store.writing() as transaction:
                transaction.run(RESUME, position, position)

    def backlog(self) -> Backlog:
        """What waits now."""
        with self.store.reading() as transaction:
            return _backlog(transaction)

    def backlog_in(self, transaction: Transaction) -> tuple[Backlog, Backlog]:
        """What waits as of a snapshot: as it is kept, and as its requests add up to."""
        row = transaction.one(STORED)
        assert row is not None
        return _backlog(transaction), Backlog(*cast("tuple[int, int]", row))

    def accepted(self) -> dict[str, int]:
        """How many events each environment has ever had accepted."""
        with self.store.reading() as transaction:
            return self.accepted_in(transaction)

    def accepted_in(self, transaction: Transaction) -> dict[str, int]:
        """``accepted`` as of a snapshot of the inbox store."""
        return _by_environment(transaction, ACCEPTED)

    def waiting_after(self, transaction: Transaction, position: int) -> dict[str, int]:
        """Accepted events of each environment beyond ``position``, as of a snapshot."""
        return _by_environment(transaction, WAITING, position)

    def _refusal(self, waiting: int, size: int) -> TooManyRequests:
        seconds = 1 + (waiting + size - self._bytes_max) // limits.FOLD_BYTES_PER_SECOND
        return TooManyRequests(
            f"{waiting} bytes of accepted events wait to be counted and the limit is "
            f"{self._bytes_max}; try again later",
            retry_after_seconds=min(seconds, limits.RETRY_AFTER_SECONDS_MAX),
        )

    def _remove_some(self, through: int) -> bool:
        """Whether there may be more to remove."""
        with self.store.writing() as transaction:
            row = transaction.one(OLDEST, through, limits.INBOX_ROWS_REMOVED_MAX)
            assert row is not None
            last, events, size = row
            if last is None:
                return False
            removed = transaction.run(REMOVE, last)
            transaction.run(LIGHTEN, events, size)
        return removed == limits.INBOX_ROWS_REMOVED_MAX


def _by_environment(transaction: Transaction, sql: str, *values: int) -> dict[str, int]:
    return dict(cast("Iterable[tuple[str, int]]", transaction.all(sql, *values)))


def _room(transaction: Transaction) -> tuple[int, int]:
    """The largest position given out, and the bytes that wait."""
    row = transaction.one(ROOM)
    assert row is not None
    return cast("tuple[int, int]", row)


def _insert(transaction: Transaction, rows: Sequence[_RequestRow]) -> None:
    """Store rows of growing positions and count them as waiting."""
    if not rows:
        return
    events, size = sum(row[3] for row in rows), sum(len(row[4]) for row in rows)
    transaction.run(GROW, rows[-1][0], events, size)
    run_rows(transaction, ADD, rows)


def _events_by_environment(rows: Iterable[_RequestRow]) -> dict[str, int]:
    events: dict[str, int] = {}
    for row in rows:
        events[row[1]] = events.get(row[1], 0) + row[3]
    return events


def _backlog(transaction: Transaction) -> Backlog:
    row = transaction.one(BACKLOG)
    assert row is not None
    return Backlog(*cast("tuple[int, int]", row))


def _last_that_fits(
    weights: Iterable[tuple[int, int, int]], bytes_max: int, events_max: int
) -> int:
    """The last position within the bounds; the first position in any case."""
    last = None
    for position, events, size in weights:
        events_max -= events
        bytes_max -= size
        if last is not None and (events_max < 0 or bytes_max < 0):
            break
        last = position
    assert last is not None
    return last
