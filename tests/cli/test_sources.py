"""``tallystick sources``: where there is no server, so that the command itself does the work."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tallystick import limits
from tallystick.cli.main import main

KEY = {"customerId": "acme", "eventName": "call"}


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one file, which counts at once."""
    monkeypatch.setattr(limits, "OBJECT_SETTLED_SECONDS", 0)
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps(KEY | {"idempotencyKey": "1"}))
    return folder


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return ["--data-dir", str(tmp_path / "data")]


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_from_adding_to_removing(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path
) -> None:
    made = told(capsys, "sources", "add", str(exports), "--every", "15m", *flags)
    source = made["id"]
    assert made["url"] == f"file://{exports}", "a path becomes a URL"
    assert told(capsys, "sources", "check", source, *flags)["good"] is True
    run = told(capsys, "sources", "run", source, "--wait", *flags)
    assert (run["state"], run["counted"]) == ("succeeded", 1)
    assert told(capsys, "sources", "show", source, *flags)["runs"][0]["id"] == run["runId"]
    (listed,) = told(capsys, "sources", "list", *flags)
    assert (listed["id"], listed["lastRun"]) == (source, "succeeded")
    changed = told(capsys, "sources", "change", source, "--cron", "0 3 * * *", *flags)
    assert changed["schedule"] == {"cron": "0 3 * * *", "timeZone": "UTC"}
    assert told(capsys, "sources", "pause", source, *flags)["paused"] is True
    assert told(capsys, "sources", "resume", source, *flags)["paused"] is False
    assert "runId" in told(capsys, "sources", "run", source, *flags)
    assert told(capsys, "sources", "remove", source, *flags)["id"] == source
    assert told(capsys, "sources", "list", *flags) == []


def test_what_people_read(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path
) -> None:
    (exports / "b.csv").write_text("no,such,columns\n")
    source = told(capsys, "sources", "add", str(exports), *flags)["id"]
    assert main(["sources", "run", source, "--wait", *flags]) == 1
    out = capsys.readouterr().out
    assert "partial (objects that wait for a person: 1): 1 counted" in out
    assert "customerId, eventName, idempotencyKey is missing" in out
    (number,) = [line.split()[0] for line in out.splitlines() if " b.csv " in line]
    assert main(["sources", "run", source, "--wait", *flags]) == 0
    assert "there was nothing to read that was not read before" in capsys.readouterr().out
    for verb, words in (
        ("list", "succeeded"), ("show", "`retry` it by its id:\nID"), ("show", f"\n{number} "),
        ("show", "schedule  every 1h"), ("check", "good  list:"),
        ("pause", "is paused"), ("resume", "resumed; next at"), ("run", "is queued"),
        ("remove", "what came of it stays counted"),
    ):  # fmt: skip
        assert main(["sources", verb, *([] if verb == "list" else [source]), *flags]) == 0
        assert words in capsys.readouterr().out


def test_an_object_is_retried(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path
) -> None:
    (exports / "b.csv").write_text("account,eventName,idempotencyKey\nacme,call,2\n")
    source = told(capsys, "sources", "add", str(exports), *flags)["id"]
    run = told(capsys, "sources", "run", source, "--wait", *flags, code=1)
    (failed,) = [str(each["id"]) for each in run["objects"] if each["state"] == "failed"]
    told(capsys, "sources", "change", source, "--column", "customerId=account", *flags)
    retried = told(capsys, "sources", "retry", source, failed, "--wait", *flags)
    assert (retried["cause"], retried["state"], retried["counted"]) == ("retry", "succeeded", 1)


def test_an_environment_of_its_own(
    capsys: pytest.CaptureFixture[str], flags: list[str], exports: Path
) -> None:
    source = told(capsys, "sources", "add", str(exports), "--environment", "test", *flags)["id"]
    assert told(capsys, "sources", "list", *flags) == []
    assert main(["sources", "show", source, *flags]) == 2
    assert told(capsys, "sources", "show", source, "--environment", "test", *flags)["id"] == source


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["list"], "no Tallystick data here"),
        (["add", "ftp://x"], "url: must begin with s3://, gs:// or file://"),
        (["add", "/x", "--every", "1h", "--cron", "0 * * * *"], "give either cron or every"),
        (["add", "/x", "--time-zone", "Europe/Berlin"], "give either cron or every"),
        (["add", "/x", "--every", "often"], "schedule.every: must be a number and s, m, h or d"),
        (["add", "/x", "--column", "account"], "--column account: must be FIELD=COLUMN"),
        (["add", "s3://x", "--secret-variable", "NOT_SET"], "no such environment variable"),
        (["add", "/x", "--reject-share-max", "7"], "rejectShareMax: must be a number from 0 to 1"),
    ],
)
def test_wrong_use_is_one_line(
    capsys: pytest.CaptureFixture[str], flags: list[str], arguments: list[str], complaint: str
) -> None:
    assert main(["sources", *arguments, *flags]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert complaint in error


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("obstore", ["sources", "add", "s3://bucket"]),
        ("obstore", ["import", "gs://bucket/x.jsonl", "--dry-run"]),
        ("cronsim", ["sources", "add", "/x", "--cron", "0 * * * *"]),
    ],
)
def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    package: str,
    arguments: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main([*arguments, *flags]) == 2
    error = capsys.readouterr().err
    assert package in error
    assert "pip install 'tallystick[objects]'" in error
    assert error.count("\n") == 1
