"""What the shell is told: exit codes, and one line for wrong use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick import __version__
from tallystick.cli.main import main
from tests.serving import command


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["serve", "--no-such-flag"],
        ["serve", "--port", "http"],
        ["serve", "--por", "80"],
        ["keys", "create"],
        ["quarantine", "retry", "one"],
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    refused = command(*arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["keys", "list"], ["quarantine", "list"]])
def test_a_folder_without_data_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str]
) -> None:
    refused = command(*arguments, "--data-dir", str(tmp_path / "nothing"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "nothing").exists()
