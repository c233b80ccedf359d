"""``docs/limits.md``: every constant with its value; every table and file kind with its bound."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Final, get_args

import pytest

from tallystick import limits
from tallystick.archive.manifest import Kind
from tests.tidy.source import PACKAGE, ROOT

DOCUMENT: Final = (ROOT / "docs" / "limits.md").read_text()
UNITS: Final = {"KIB", "MIB"}
ROW: Final = re.compile(r"^\| (.+) \|$", re.MULTILINE)


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    level, _, _ = title.partition(" ")
    rest = DOCUMENT.split(f"\n{title}\n", 1)[1]
    return re.split(rf"^{level} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, heads left out."""
    cells = [line.split(" | ") for line in ROW.findall(text) if not line.startswith("-")]
    return [
        row for row in cells if row[0].startswith(("`", "files", "scratch")) or "`tests" in row[-1]
    ]


def value_of(shown: str) -> float:
    """The number that a cell shows: ``16 MiB``, ``1,000``, ``10^18``."""
    if "^" in shown:
        base, exponent = shown.split("^")
        return float(int(base) ** int(exponent))
    number, _, unit = shown.replace(",", "").partition(" ")
    factor = {"": 1, "MiB": limits.MIB, "KiB": limits.KIB}[unit]
    return float(number) * factor if "." in number else int(number) * factor


def test_every_limit_has_its_value_in_the_document() -> None:
    documented = {row[0].strip("`"): value_of(row[1]) for row in rows(section("## Values"))}
    constants = {
        name: value for name, value in vars(limits).items() if name.isupper() and name not in UNITS
    }
    assert documented == constants


def test_every_limit_has_a_unit_and_a_meaning() -> None:
    assert all(
        len(row) == 4 and row[2] and row[3].endswith(".") for row in rows(section("## Values"))
    )


@pytest.mark.parametrize("name", ["inbox", "state"])
def test_every_table_says_what_bounds_it(name: str) -> None:
    schema = (PACKAGE / "store" / "schema" / f"{name}.sql").read_text()
    tables = re.findall(r"^CREATE TABLE (\w+)", schema, re.MULTILINE)
    documented = [row[0].strip("`") for row in rows(section(f"### Tables of `{name}.db`"))]
    assert documented == tables


def test_every_kind_of_file_says_what_bounds_it() -> None:
    files = " ".join(row[0] for row in rows(section("### Files of the data folder")))
    kinds = {"archive": "archive/archive-", "duplicates": "archive/duplicates-",
             "keys": "keys/keys-", "uniques": "keys/uniques-"}  # fmt: skip
    assert kinds.keys() == set(get_args(Kind))
    assert [start for start in kinds.values() if start not in files] == []
    for path in ("run/freshness", "run/attempt", "run/*.pid", "owner.lock", "test-clock",
                 "dedupe-window-days", "rejects/RUN/*.jsonl", "run/object-*"):  # fmt: skip
        assert f"`{path}`" in files


def proofs() -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py::\w+)`", section("## What grows, and what bounds it"))


def test_every_row_names_its_proof() -> None:
    silent = [
        row for row in rows(section("## What grows, and what bounds it")) if "::" not in row[-1]
    ]
    assert silent == []


@pytest.mark.parametrize("proof", sorted(set(proofs())))
def test_the_proof_exists(proof: str) -> None:
    path, _, name = proof.partition("::")
    assert name in names_in(ROOT / path)


@functools.cache
def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
