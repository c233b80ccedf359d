"""The pinned packages: all with hashes, from no named registry, and what pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINNED = (ROOT / "requirements" / "dev.txt").read_text()


def test_no_registry_is_named() -> None:
    assert not re.search(r"https?://|index-url|find-links|trusted-host", PINNED)


def test_every_package_has_hashes() -> None:
    blocks = re.findall(r"^[a-z0-9].*(?:\n    .*)*", PINNED, re.MULTILINE)
    assert len(blocks) > 30
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(line for lines in extras for line in lines)]
    names = {re.split(r"[\[<>=]", line)[0].lower() for line in wanted}
    pinned = set(re.findall(r"^([a-z0-9-]+)==", PINNED, re.MULTILINE))
    assert names - pinned == set()
