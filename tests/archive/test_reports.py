"""Reports are read exactly once, archived or waiting."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import cast

import pytest

from tallystick.archive.manifest import live_files
from tallystick.archive.query import QueryEngine
from tallystick.archive.relation import paths_of
from tallystick.archive.reports import load_waiting, load_waiting_of, usage_sql
from tests.archive.building import DEFAULT, NOON, Archive, Event, report


@pytest.fixture
def engine(archive: Archive) -> Iterator[QueryEngine]:
    """An engine over the archive."""
    built = QueryEngine(archive.folder)
    yield built
    built.close()


def read(engine: QueryEngine, archive: Archive, *features: str) -> list[tuple[object, ...]]:
    """(resource, feature, microseconds after noon, value) of acme's reports, sorted."""
    with archive.state.reading() as transaction, engine.session() as session:
        load_waiting_of(session, transaction, DEFAULT, "acme", features)
        paths = paths_of(archive.folder, live_files(transaction, "archive", "usage"))
        sql = (
            f"SELECT resource, feature, epoch_us(event_time) - {NOON}, value "
            f"FROM ({usage_sql(paths)}) WHERE environment = ? AND customer = 'acme' "
            "AND list_contains(?, feature) ORDER BY event_time"
        )
        return list(session.rows(sql, [DEFAULT, features]))


def count_all(engine: QueryEngine, archive: Archive) -> int:
    """How many reports anybody made."""
    with archive.state.reading() as transaction, engine.session() as session:
        load_waiting(session, transaction)
        paths = paths_of(archive.folder, live_files(transaction, "archive", "usage"))
        ((count,),) = session.rows(f"SELECT count(*) FROM ({usage_sql(paths)})")
        return cast("int", count)


def test_nobody_reported(engine: QueryEngine, archive: Archive) -> None:
    assert read(engine, archive, "seats") == []


def test_archived_and_waiting_reports_are_one_list(engine: QueryEngine, archive: Archive) -> None:
    archive.add(report("seats", "1.5"), report("seats", "-2", resource="r", time=NOON + 1))
    archive.add_waiting(report("seats", "9007199254740991", time=NOON + 2))
    assert read(engine, archive, "seats") == [
        (None, "seats", 0, Decimal("1.5")),
        ("r", "seats", 1, Decimal(-2)),
        (None, "seats", 2, Decimal("9007199254740991")),
    ]


def test_others_are_left_out(engine: QueryEngine, archive: Archive) -> None:
    archive.add(Event(), way="event")
    for add in (archive.add, archive.add_waiting):
        add(report("seats", "1", customer="other"))
        add(report("seats", "1", environment="other"))
        add(report("calls", "1"))
    assert read(engine, archive, "seats") == []
    assert len(read(engine, archive, "seats", "calls")) == 2
    assert count_all(engine, archive) == 6
