"""``tallystick import``: without a server, and what it shows meanwhile."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tallystick.cli.main import main
from tallystick.cli.progress import ProgressBar, line
from tallystick.folder import DataFolder
from tallystick.process.owner import OwnerLock


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return ["--data-dir", str(tmp_path / "data")]


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    put(folder, "a.jsonl", "1", "2")
    return folder


def put(folder: Path, name: str, *keys: str) -> None:
    events = [{"customerId": "acme", "eventName": "call", "idempotencyKey": key} for key in keys]
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in events))


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What an import prints as JSON."""
    capsys.readouterr()
    assert main(["import", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_what_is_named_is_counted_once(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path
) -> None:
    run = told(capsys, str(exports), *flags)
    assert (run["state"], run["counted"], run["cause"]) == ("succeeded", 2, "import")
    put(exports, "b.jsonl", "2", "3")
    again = told(capsys, str(exports / "a.jsonl"), f"file://{exports}/b.jsonl", *flags)
    assert (again["state"], again["counted"], again["duplicates"]) == ("succeeded", 1, 3)
    assert main(["verify", *flags]) == 0


def test_a_reject_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path
) -> None:
    with open(exports / "a.jsonl", "a") as file:
        file.write("nonsense\n")
    assert main(["import", str(exports), *flags]) == 1
    out, error = capsys.readouterr()
    assert "partial (records that were refused: 1): 2 counted, 0 duplicates, 1 rejected" in out
    (folder,) = [each for each in out.splitlines() if each.startswith("what was rejected")]
    (file_of_rejects,) = Path(folder.rpartition(": ")[2]).iterdir()
    assert json.loads(file_of_rejects.read_text())["line"] == 3
    assert error.splitlines() == [f"{exports.parent / 'data'} is a new data folder"], "no bar"


def test_a_dry_run_judges_and_counts_nothing(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path, tmp_path: Path
) -> None:
    (exports / "b.csv").write_text("customerId,eventName,idempotencyKey\nacme,,3\n")
    tried = told(capsys, str(exports), "--dry-run", *flags, code=1)
    assert (tried["state"], tried["good"], tried["rejected"]) == ("partial", 2, 1)
    assert not (tmp_path / "data").exists()
    assert main(["import", str(exports), "--dry-run", *flags]) == 1
    assert "2 good records, 1 rejected" in capsys.readouterr().out


def test_a_new_environment_is_said_once(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path
) -> None:
    said = "nosuch is a new environment; `tallystick keys create --environment nosuch`"
    for expected in (True, False):
        main(["import", str(exports), "--environment", "nosuch", *flags])
        assert (said in capsys.readouterr().err) is expected


def test_nothing_new_is_said(
    capsys: pytest.CaptureFixture[str], flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["import", str(tmp_path / "empty"), *flags]) == 0
    assert capsys.readouterr().out.startswith(
        "there was nothing to read that was not read before\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: there is no such file or folder"),
        (["file:///nowhere"], "file:///nowhere: there is no such file or folder"),
        (["ftp://host/x"], "url: must begin with s3://, gs:// or file://, or be a path"),
        ([".", "--column", "customer=x"], "columns.customer: no field"),
    ],
)
def test_wrong_use_is_one_line(
    capsys: pytest.CaptureFixture[str], flags: list[str], arguments: list[str], complaint: str
) -> None:
    assert main(["import", *arguments, *flags]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert complaint in error


def test_an_import_goes_on_when_the_owner_ends_without_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    exports: Path,
    tmp_path: Path,
) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    lock = OwnerLock.take(folder)
    monkeypatch.setattr("tallystick.cli.imports._OWNER_ASKED_SECONDS", 0.05)
    threading.Timer(0.3, lock.release).start()
    assert told(capsys, str(exports), *flags)["counted"] == 2


# ---------------------------------------------------------------------------------- the bar

HALF = {"bytes": 512 * 1024**2, "bytesTotal": 1024**3, "objects": 1, "objectsTotal": 2,
        "listed": True}  # fmt: skip


def test_the_bar_says_how_far_how_fast_and_how_long() -> None:
    assert line(HALF, 3_000_000, 10.0) == (
        "[#####     ]  50%  0.5 of 1.0 GiB  1/2 objects  300,000 events/s  0:10 left"
    )


def test_the_bar_promises_no_end_while_it_still_lists() -> None:
    assert "left" not in line(HALF | {"listed": False}, 0, 10.0)
    assert line(HALF | {"bytes": 0, "bytesTotal": 0}, 0, 0.0).startswith(
        "[          ]   0%  0 of 0 B"
    )


def test_the_bar_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = ProgressBar()
    bar.show(HALF, 1)
    bar.end()
    shown = capsys.readouterr().err
    assert shown.startswith("\r[#####")
    assert shown.endswith("\x1b[K\n")
    assert len(shown) < 50
