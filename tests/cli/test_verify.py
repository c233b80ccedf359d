"""``tallystick verify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallystick.app import open_inbox, open_state
from tallystick.cli.main import main
from tallystick.folder import DataFolder
from tallystick.settings import Settings


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """Of a folder on which a server has been started."""
    settings = Settings(data_dir=tmp_path)
    DataFolder(tmp_path).prepare()
    state = open_state(settings)
    with state.writing() as transaction:
        transaction.run("INSERT INTO environments VALUES ('default', 0)")
    state.close()
    open_inbox(settings).close()
    return ["--data-dir", str(tmp_path)]


def test_what_is_equal_is_exit_code_0(capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    assert main(["verify", *flags]) == 0
    assert capsys.readouterr().out.endswith("\nequal\n")
    assert main(["verify", "--json", *flags]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["equal"], document["environments"][0]["accepted"]) == (True, 0)


def test_what_differs_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], flags: list[str], tmp_path: Path
) -> None:
    state = open_state(Settings(data_dir=tmp_path))
    with state.writing() as transaction:
        transaction.run("INSERT INTO totals (environment, accepted_reports) VALUES ('default', 1)")
    state.close()
    assert main(["verify", *flags]) == 1
    assert "DIFFERS: accepted = waiting" in capsys.readouterr().out


def test_a_folder_without_data_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["verify", "--data-dir", str(tmp_path)]) == 2
    assert "no Tallystick data here" in capsys.readouterr().err
