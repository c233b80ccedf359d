"""``README.md`` shows what the demo prints, and every document leads to what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tallystick.cli.main import main
from tests.tidy.source import ROOT

README: Final = (ROOT / "README.md").read_text()
DOCUMENTS: Final = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})


def test_what_the_demo_shows_is_what_it_prints() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=os.environ | {"ONCE": "1", "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    (shown,) = re.findall(r"^```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert [line for line in shown.splitlines() if line not in told.stdout.splitlines()] == []


def test_the_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in set(re.findall(r"`?tallystick ((?:keys|quarantine) \w+|verify|serve)", README)):
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), "--help"])
        assert ended.value.code == 0
    assert capsys.readouterr().err == ""


def test_the_verbs_exist() -> None:
    verbs = set(re.findall(r"\bmake (\w+)", README))
    made = set(re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert verbs <= made


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_are_named_exist(document: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+(?:\.py|/))", document.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []
