"""The auditor: what the totals must be, by a second way of thinking that shares no code.

It keeps every acknowledged event and report in plain lists and adds them up anew when asked, with
fractions, sets and loops. It imports nothing from the product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

Sent = dict[str, Any]
"""An event or report as it was put on the wire."""


@dataclass
class Book:
    """What one feature counts: which events match, which value they bring, how it adds up."""

    matches: Callable[[Sent], bool]
    value: Callable[[Sent], Any]
    function: str


@dataclass
class Auditor:
    """Everything that was acknowledged, and what follows from it."""

    books: dict[str, Book] = field(default_factory=dict)
    month_from: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """(customer, feature) → start of the subscription, of features that reset each month."""
    lifetime: set[tuple[str, str]] = field(default_factory=set)
    """(customer, feature) that never reset."""
    _events: dict[tuple[str, str, str], Sent] = field(default_factory=dict)
    _reports: list[Sent] = field(default_factory=list)
    _report_keys: set[tuple[str, str, str]] = field(default_factory=set)
    accepted: int = 0

    def event(self, sent: Sent, received: datetime) -> None:
        """An acknowledged event; the first of a key wins."""
        self.accepted += 1
        key = (sent["customerId"], sent["eventName"], sent["idempotencyKey"])
        self._events.setdefault(key, {"at": received, **sent})

    def report(self, sent: Sent, received: datetime) -> None:
        """An acknowledged report of a difference; the first of a key wins."""
        self.accepted += 1
        if "idempotencyKey" in sent:
            key = (sent["customerId"], sent["featureId"], sent["idempotencyKey"])
            if key in self._report_keys:
                return
            self._report_keys.add(key)
        self._reports.append({"at": received, **sent})

    @property
    def distinct_events(self) -> int:
        """Events that must be counted."""
        return len(self._events)

    def usage(self, customer: str, feature: str, now: datetime) -> Fraction:
        """The usage a check must show at ``now``."""
        values = [
            value for at, value in self._values(customer, feature)
            if self._counts(customer, feature, at, now)
        ]  # fmt: skip
        book = self.books.get(feature)
        return _add_up(book.function if book else "SUM", values)

    def _values(self, customer: str, feature: str) -> list[tuple[datetime, Any]]:
        book = self.books.get(feature)
        if book is None:
            return [
                (_time(report, "createdAt"), Fraction(str(report["value"])))
                for report in self._reports
                if (report["customerId"], report["featureId"]) == (customer, feature)
            ]
        return [
            (_time(event, "timestamp"), book.value(event))
            for event in self._events.values()
            if event["customerId"] == customer
            and book.matches(event)
            and book.value(event) is not None
        ]

    def _counts(self, customer: str, feature: str, at: datetime, now: datetime) -> bool:
        if (customer, feature) in self.lifetime:
            return True
        start = self.month_from.get((customer, feature))
        if start is None or at < start:
            return False
        return _month_number(start, at) == _month_number(start, now)


def _time(sent: Sent, name: str) -> datetime:
    text = sent.get(name)
    if text is None:
        return sent["at"]  # type: ignore[no-any-return]
    return datetime.fromisoformat(text).astimezone(UTC)


def _month_number(start: datetime, at: datetime) -> int:
    """In which month after ``start`` an instant lies: by walking, not by arithmetic."""
    number = 0
    while _months_after(start, number + 1) <= at:
        number += 1
    return number


def _months_after(start: datetime, months: int) -> datetime:
    year, month = start.year, start.month
    for _ in range(months):
        month += 1
        if month == 13:
            year, month = year + 1, 1
    day = start.day
    while True:
        try:
            return start.replace(year=year, month=month, day=day)
        except ValueError:
            day -= 1


def _add_up(function: str, values: list[Any]) -> Fraction:
    if function == "COUNT":
        return Fraction(len(values))
    if function == "UNIQUE":
        return Fraction(len({str(value) for value in values}))
    if not values:
        return Fraction(0)
    if function == "SUM":
        return sum(values, Fraction(0))
    if function == "AVG":
        return _nine_decimals(sum(values, Fraction(0)) / len(values))
    return Fraction(min(values) if function == "MIN" else max(values))


def _nine_decimals(value: Fraction) -> Fraction:
    """Half away from zero."""
    scaled = abs(value) * 10**9
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Fraction(whole if value >= 0 else -whole, 10**9)
