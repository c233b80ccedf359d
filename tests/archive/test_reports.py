"""Reports are read exactly once, archived or waiting."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tallystick.archive.query import QueryEngine
from tallystick.archive.reports import Report, reports_of
from tallystick.clock import Instant
from tests.archive.building import DEFAULT, NOON, Archive, Event, report


@pytest.fixture
def engine(archive: Archive) -> Iterator[QueryEngine]:
    """An engine over the archive."""
    built = QueryEngine(archive.folder)
    yield built
    built.close()


def read(engine: QueryEngine, archive: Archive, *features: str) -> list[Report]:
    """The reports of acme, sorted."""
    with archive.state.reading() as transaction:
        found = reports_of(engine, transaction, archive.folder, DEFAULT, "acme", features)
        return sorted(found, key=lambda report: (report.created_at, report.value))


def test_nobody_reported(engine: QueryEngine, archive: Archive) -> None:
    assert read(engine, archive, "seats") == []


def test_archived_and_waiting_reports_are_one_list(engine: QueryEngine, archive: Archive) -> None:
    archive.add(report("seats", "1.5"), report("seats", "-2", resource="r", time=NOON + 1))
    archive.add_waiting(report("seats", "9007199254740991", time=NOON + 2))
    assert read(engine, archive, "seats") == [
        Report("", "seats", NOON, Decimal("1.5")),
        Report("r", "seats", Instant(NOON + 1), Decimal(-2)),
        Report("", "seats", Instant(NOON + 2), Decimal("9007199254740991")),
    ]


def test_others_are_left_out(engine: QueryEngine, archive: Archive) -> None:
    archive.add(Event(), way="event")
    for add in (archive.add, archive.add_waiting):
        add(report("seats", "1", customer="other"))
        add(report("seats", "1", environment="other"))
        add(report("calls", "1"))
    assert read(engine, archive, "seats") == []
    assert len(read(engine, archive, "seats", "calls")) == 2
