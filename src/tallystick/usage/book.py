"""The book that reports are entered in: read at once for many calls, and written at once.

Owns: the rows that a group of reports reads and changes (counters, claims of keys, reports that
wait for the archive, the ledger of what was accepted), with a handful of statements however many
reports there are. Promises: nothing is written before ``write``; the changes of a call that fails
are dropped by not entering its page; no more reports wait than ``limits.REPORTS_WAITING_MAX``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tallystick import limits
from tallystick.clock import Instant
from tallystick.core.parts import Part
from tallystick.errors import TooManyRequests
from tallystick.store import Transaction
from tallystick.store.many_rows import for_many, run_rows
from tallystick.usage.counters import CounterKey, write_counters, write_read_counters
from tallystick.usage.keys import Claim, write_claims
from tallystick.usage.lookup import Asked, look_up

INSERT_WAITING: Final = for_many(
    "INSERT INTO reports_waiting (environment, id, customer, resource, feature, value, key, "
    "created_at, received_at, dimensions) VALUES {rows}",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
)

ADD_TO_LEDGER: Final = """
INSERT INTO totals (environment, accepted_reports, duplicate_reports) VALUES (?, ?, ?)
ON CONFLICT (environment) DO UPDATE
SET accepted_reports = totals.accepted_reports + excluded.accepted_reports,
    duplicate_reports = totals.duplicate_reports + excluded.duplicate_reports
"""


class Entry(NamedTuple):
    """One report as it waits for the archive; ``value`` is the delta as decimal text."""

    id: str
    customer: str
    resource: str
    feature: str
    value: str
    key: str | None
    created_at: Instant
    received_at: Instant
    dimensions: str


class Book:
    """What a group of calls reads and changes."""

    def __init__(
        self, transaction: Transaction, asked: Sequence[Asked], first_live: Instant | int
    ) -> None:
        """Opened at ``asked``, all that the pages will ask for; keys claimed before ``first_live``
        are free again."""
        self._transaction = transaction
        found = look_up(transaction, asked, first_live)
        self._parts, self._numbers, self._claims, self._waiting = found
        self._pages: list[Page] = []

    def part(self, counter: CounterKey) -> Part:
        """What a counter holds, with all pages entered so far."""
        return self._parts.get(counter) or Part()

    def claim(self, key: bytes) -> Claim | None:
        """Who claimed a key first, if anyone did."""
        return self._claims.get(key)

    def enter(self, page: Page) -> None:
        """Make a page's changes part of the book.

        Raises ``TooManyRequests`` when so many reports wait that the page's have no room.
        """
        if self._waiting + len(page.entries) > limits.REPORTS_WAITING_MAX:
            raise TooManyRequests(
                f"{self._waiting} usage reports wait to be archived and the limit is "
                f"{limits.REPORTS_WAITING_MAX}; try again later"
            )
        self._waiting += len(page.entries)
        self._pages.append(page)
        self._parts |= page.parts
        self._claims |= page.claims

    def write(self) -> None:
        """Everything that the pages changed."""
        transaction, pages = self._transaction, self._pages
        self._write_counters()
        run_rows(transaction, INSERT_WAITING, [
            (page.environment, *entry) for page in pages for entry in page.entries
        ])  # fmt: skip
        write_claims(transaction, [claim for page in pages for claim in page.claims.items()])
        self._write_ledger()

    def _write_counters(self) -> None:
        changed = dict.fromkeys(counter for page in self._pages for counter in page.parts)
        parts, numbers = self._parts, self._numbers
        known = [(numbers[each], parts[each]) for each in changed if each in numbers]
        write_read_counters(self._transaction, known)
        if len(known) < len(changed):
            new = [(each, parts[each]) for each in changed if each not in numbers]
            write_counters(self._transaction, new)

    def _write_ledger(self) -> None:
        ledger: dict[str, tuple[int, int]] = {}
        for page in self._pages:
            accepted, duplicates = ledger.get(page.environment, (0, 0))
            accepted += len(page.entries) + page.duplicates
            ledger[page.environment] = accepted, duplicates + page.duplicates
        for environment, numbers in ledger.items():
            self._transaction.run(ADD_TO_LEDGER, environment, *numbers)


class Page:
    """What one call changes; of no effect until the book enters it."""

    def __init__(self, book: Book, environment: str) -> None:
        self._book = book
        self.environment = environment
        self.parts: dict[CounterKey, Part] = {}
        self.claims: dict[bytes, Claim] = {}
        self.entries: list[Entry] = []
        self.duplicates = 0

    def part(self, counter: CounterKey) -> Part:
        """What a counter holds, with this page's own changes."""
        return self.parts.get(counter) or self._book.part(counter)

    def claim(self, key: bytes) -> Claim | None:
        """Who claimed a key first, this page included."""
        return self.claims.get(key) or self._book.claim(key)

    def count(self, counter: CounterKey, part: Part, entry: Entry) -> None:
        """One report more: ``part`` is what its counter holds from then on."""
        self.parts[counter] = part
        self.entries.append(entry)
