"""The test clock of a data folder, over several starts."""

from __future__ import annotations

from pathlib import Path

from tests.serving import Server

CLOCK = "/tally/v1/test-clock"


def test_it_stands_where_it_was_told_to_until_it_is_moved(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--test-clock=2026-01-31T12:00:00Z") as server:
        assert server.ask(CLOCK)[1]["data"]["now"] == "2026-01-31T12:00:00.000Z"
        assert server.ask(CLOCK, {"now": "2026-02-01T00:00:00Z"})[0] == 200
        assert server.ask(CLOCK)[1]["data"]["now"] == "2026-02-01T00:00:00.000Z"
        server.stop()
    with Server(tmp_path / "data", "--test-clock") as server:
        assert server.ask(CLOCK)[1]["data"]["now"] == "2026-02-01T00:00:00.000Z"
        server.stop()
    with Server(tmp_path / "data", "--test-clock=2026-01-01T00:00:00Z") as server:
        assert server.ask(CLOCK)[1]["data"]["now"] == "2026-02-01T00:00:00.000Z"


def test_without_the_flag_there_is_none(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        assert server.ask(CLOCK)[0] == 404
