"""``docs/object-storage.md``: every command runs, every example is what it is said to be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tallystick.api.sources import ROUTES
from tallystick.cli.main import main
from tallystick.objects import ledger
from tallystick.objects.cloud import _WORDS
from tallystick.objects.formats import format_of
from tests.api.door import Door
from tests.tidy.source import ROOT

DOCUMENT: Final = (ROOT / "docs" / "object-storage.md").read_text()
SOURCES: Final = "/tally/v1/sources"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


AT_ONCE, SOURCE, RENAMED, RETRY = blocks("sh")
POLICY, REJECT, GIVEN, RUN = (json.loads(block) for block in blocks("json"))
(LINES,) = blocks("jsonl")
(TABLE,) = blocks("csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the commands are given: with the files that the page shows, and ``tallystick``."""
    for name, text in (
        ("exports/day-1.jsonl", LINES),
        ("exports/day-2.csv", TABLE),
        ("billing/export.csv", "account_id,kind,id,token_count\nacme,completion,b-1,7\n"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = tmp_path / "bin" / "tallystick"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tallystick "$@"\n')
    command.chmod(0o755)
    return tmp_path


def shell(folder: Path, block: str, **variables: str) -> str:
    """What the commands print, each of which must succeed."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    told = subprocess.run(
        ["bash", "-euc", block], cwd=folder, env=os.environ | variables | {"PATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_the_imports_count_what_the_page_shows(folder: Path) -> None:
    told = shell(folder, AT_ONCE)
    assert "4 good records, 0 rejected" in told
    assert "4 counted, 0 duplicates, 0 rejected" in told
    staging = json.loads(told[told.index("{") :])
    assert (staging["environment"], staging["counted"]) == ("staging", 4)
    assert "1 counted" in shell(folder, RENAMED)


def test_the_commands_on_sources_run(folder: Path) -> None:
    told = shell(folder, SOURCE)
    assert "good  read:" in told
    assert "succeeded: 4 counted" in told
    assert "is removed" in told


def test_an_object_is_retried(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data-dir", str(folder / "data"), "--json"]
    assert main(["sources", "add", str(folder / "billing"), *flags]) == 0
    source = json.loads(capsys.readouterr().out)["id"]
    assert main(["sources", "run", source, "--wait", *flags]) == 1
    (failed,) = json.loads(capsys.readouterr().out)["objects"]
    renamed = [f"--column={field}={column}" for field, column in
               re.findall(r"--column (\w+)=(\w+)", RENAMED)]  # fmt: skip
    assert main(["sources", "change", source, *renamed, *flags]) == 0
    assert "1 counted" in shell(folder, RETRY, SOURCE=source, OBJECT=str(failed["id"]))


def test_the_policy_allows_what_is_asked_for_and_no_more() -> None:
    asked = {_WORDS["s3"].list_permission, _WORDS["s3"].get_permission}
    assert {each["Action"] for each in POLICY["Statement"]} == asked
    for permission in (_WORDS["gs"].list_permission, _WORDS["gs"].get_permission):
        assert f"`{permission}`" in DOCUMENT


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with Door(tmp_path / "data") as it:
        yield it


def test_the_source_is_accepted_as_it_is_shown(door: Door) -> None:
    told = door.post(SOURCES, GIVEN).data
    assert {name: told[name] for name in GIVEN} == GIVEN


def test_a_run_is_answered_as_it_is_shown(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick.limits.OBJECT_SETTLED_SECONDS", 0)
    exports = tmp_path / "exports"
    exports.mkdir()
    (exports / "day-1.jsonl").write_text(LINES + '{"customerId": "acme", "eventName": "x"}\n')
    (exports / "notes.txt").write_text("")
    source = door.post(SOURCES, {"url": f"file://{exports}"}).data["id"]
    run = door.post(f"{SOURCES}/{source}/run").data["runId"]
    door.fold()
    told = door.get(f"{SOURCES}/{source}/runs/{run}").data
    same = ("state", "reason", "rejected", "ignored", "reasons")
    assert {name: told[name] for name in same} == {name: RUN[name] for name in same}
    assert RUN.keys() <= told.keys()
    assert RUN["objects"][0].keys() <= told["objects"][0].keys()
    assert RUN["progress"].keys() == told["progress"].keys()
    (rejects,) = Path(told["rejects"]).iterdir()
    refused: dict[str, Any] = json.loads(rejects.read_text())
    assert refused.keys() == REJECT.keys()
    assert {name: refused[name] for name in ("field", "reason")} == {
        name: REJECT[name] for name in ("field", "reason")
    }


def test_every_route_is_named() -> None:
    named = re.findall(r"^\| `(\w+) (/\S+)`(?:, `…(/\w+)`)? \|", DOCUMENT, re.MULTILINE)
    paths = {(method, path) for method, path, _ in named}
    paths |= {(method, path.rpartition("/")[0] + more) for method, path, more in named if more}
    assert paths == {(route.method, route.path) for route in ROUTES}


def test_every_state_is_explained() -> None:
    runs, objects = (
        set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines())))
        for table in re.findall(r"^\| state.*\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
    )
    assert runs == {"queued", "running", *ledger.ENDED_STATES}
    schema = (ROOT / "src/tallystick/store/schema/state.sql").read_text()
    (known,) = re.findall(r"-- (queued \| reading \|[^\n]*(?:\n *--[^\n]*)*)", schema)
    assert objects == set(re.findall(r"\w+", known))


def test_the_formats_are_read() -> None:
    (table,) = re.findall(r"^\| name \|.*\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
    names = re.findall(r"`(\.[\w.]+)`", table)
    assert len(names) == 6
    assert [name for name in names if format_of(f"x{name}") is None] == []


def test_anchors_lead_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT)) <= headings
