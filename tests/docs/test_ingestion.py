"""``docs/ingestion.md``: examples that run, operators that are cases, figures as measured."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
from bench import figures

from tallystick.core.meters import Meter, Operation, check_meter
from tests.metering.cases import ABSENT, COMPARED
from tests.serving import API_KEY, Server
from tests.tidy.source import ROOT

PATH: Final = ROOT / "docs" / "ingestion.md"
DOCUMENT: Final = PATH.read_text()
MISSING: Final = "a missing one"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data") as started:
        yield started


def run_python(url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the examples one after the other; returns what they printed."""
    monkeypatch.setenv("STIGG_API_KEY", API_KEY)
    monkeypatch.setenv("STIGG_BASE_URL", url)
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, block in enumerate(blocks("python")):
            exec(compile(block, f"{PATH.name}, example {number + 1}", "exec"), names)
    return printed.getvalue().splitlines()


def test_the_examples_print_what_they_say(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = re.findall(r"^ *print\(.*\)  # (.+)$", "\n".join(blocks("python")), re.MULTILINE)
    assert len(expected) >= 7
    assert run_python(server.url, monkeypatch) == expected


def test_the_curl_examples_are_accepted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    run_python(server.url, monkeypatch)
    answers = [_shell(block, server.url) for block in blocks("sh")]
    assert [answer["data"] for answer in answers[1:2]] == [{}]
    assert [item["currentUsage"] for item in answers[0]["data"]["usages"]] == [4, 3]
    assert answers[2]["data"]["isGranted"] is True


def _shell(block: str, url: str) -> Any:
    environment = os.environ | {"STIGG_BASE_URL": url, "STIGG_API_KEY": API_KEY}
    told = subprocess.run(
        ["bash", "-ec", block], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(told.stdout.splitlines()[-1])


def test_the_meter_is_one() -> None:
    (text,) = blocks("json")
    check_meter(msgspec.json.decode(text, type=Meter))


def operators() -> list[list[str]]:
    found = re.findall(r"^\| `([A-Z_]+)` \| (.*)\| (.*)\| (.*)\|$", DOCUMENT, re.MULTILINE)
    return [[cell.strip() for cell in row] for row in found]


def test_every_operator_is_explained() -> None:
    assert sorted(row[0] for row in operators()) == sorted(get_args(Operation))


@pytest.mark.parametrize("row", operators(), ids=lambda row: row[0])
def test_what_is_said_of_an_operator_is_a_case(row: list[str]) -> None:
    operation, value, matching, others = row
    compared = _compared(operation, value)
    said = {(sent, True) for sent in _sent(matching)} | {(sent, False) for sent in _sent(others)}
    known = {
        (sent, matches)
        for sent, operator, other, matches in COMPARED
        if operator == operation and other == compared
    }
    assert said - known == set()


def _compared(operation: str, cell: str) -> str | list[str] | None:
    values = re.findall(r"`([^`]*)`", cell)
    if operation == "IN":
        return values
    return values[0] if values else None


def _sent(cell: str) -> list[str]:
    missing = [ABSENT] if MISSING in cell else []
    return re.findall(r"`([^`]*)`", cell) + missing


def test_the_figures_are_the_measured_ones_or_none() -> None:
    possible = (figures.NOTHING, figures.figures(figures.RESULTS))
    assert DOCUMENT in [figures.put(DOCUMENT, block) for block in possible], (
        "run python -m bench.figures"
    )


def test_figures_are_put_between_the_marks(tmp_path: Path) -> None:
    results = tmp_path / "latest.json"
    row = {"work": "check", "tallystick": "9k/s", "home_made": "2k/s", "floor": "", "aim": ""}
    about = {"machine": "2 cores", "when": "today", "seconds_per_scenario": 5.0}
    results.write_text(json.dumps({"about": about, "results": [row]}))
    put = figures.put(
        "before <!-- figures -->\nold\n<!-- /figures --> after", figures.figures(results)
    )
    assert put.startswith("before <!-- figures -->\nMeasured today on 2 cores, 5 s each.")
    assert put.endswith("\n| check | 9k/s | 2k/s |\n<!-- /figures --> after")


def test_anchors_lead_somewhere() -> None:
    headings = {_anchor(title) for title in re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT)) <= headings


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
