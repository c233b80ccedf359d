"""``tallystick quarantine``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.app import open_inbox, open_state
from tallystick.cli.main import main
from tallystick.clock import Instant
from tallystick.fold.quarantine import set_aside
from tallystick.folder import DataFolder
from tallystick.inbox.inbox import Inbox, InboxRequest
from tallystick.settings import Settings
from tallystick.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


@pytest.fixture
def flags(folder: DataFolder) -> list[str]:
    return ["--data-dir", str(folder.path)]


@pytest.fixture
def state(folder: DataFolder) -> Iterator[Store]:
    store = open_state(Settings(data_dir=folder.path))
    yield store
    store.close()


def quarantine(state: Store, position: int) -> None:
    request = InboxRequest(position, "acme", Instant(0), 3, b"{}\n{}\n{}\n")
    with state.writing() as tx:
        set_aside(tx, request, "it would not fold", Instant(1_000_000))


def test_nothing_set_aside_is_exit_code_0(
    capsys: pytest.CaptureFixture[str], flags: list[str], state: Store
) -> None:
    assert main(["quarantine", "list", *flags]) == 0
    assert capsys.readouterr().out == "nothing is quarantined\n"
    assert main(["quarantine", "list", "--json", *flags]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_what_is_set_aside_is_listed_with_its_reason_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], flags: list[str], state: Store
) -> None:
    quarantine(state, 7)
    assert main(["quarantine", "list", *flags]) == 1
    assert "it would not fold" in capsys.readouterr().out
    assert main(["quarantine", "list", "--json", *flags]) == 1
    listed = json.loads(capsys.readouterr().out)
    assert [(each["environment"], each["position"], each["events"]) for each in listed] == [
        ("acme", 7, 3)
    ]


def test_a_retry_puts_the_request_into_the_inbox_again(
    capsys: pytest.CaptureFixture[str], flags: list[str], state: Store, folder: DataFolder
) -> None:
    quarantine(state, 7)
    quarantine(state, 8)
    assert main(["quarantine", "retry", "2", *flags]) == 0
    assert main(["quarantine", "retry", "--json", *flags]) == 0
    assert '"asked": 2' in capsys.readouterr().out
    store = open_inbox(Settings(data_dir=folder.path))
    waiting = Inbox(store).take(0, 1_000_000, 1_000)
    store.close()
    assert [request.origin for request in waiting] == [2, 1, 2]


def test_an_unknown_id_is_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], state: Store
) -> None:
    for verb in ("retry", "discard"):
        assert main(["quarantine", verb, "1", *flags]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_discarded_request_is_told_and_no_longer_listed(
    capsys: pytest.CaptureFixture[str], flags: list[str], state: Store
) -> None:
    quarantine(state, 7)
    quarantine(state, 8)
    assert main(["quarantine", "discard", "1", *flags]) == 0
    assert capsys.readouterr().out == "discarded 3 events of environment acme\n"
    assert main(["quarantine", "discard", "2", "--json", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["discarded"]["position"] == 8
    assert main(["quarantine", "list", *flags]) == 0
