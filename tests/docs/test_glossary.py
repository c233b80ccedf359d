"""``docs/glossary.md``: each word once, briefly, with a module that exists."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import pytest

from tests.tidy.source import PACKAGE, ROOT

DOCUMENT: Final = (ROOT / "docs" / "glossary.md").read_text()
LINES_MAX: Final = 3


class Word(NamedTuple):
    """An entry: its words, the modules it names, and its text."""

    names: tuple[str, ...]
    modules: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.names[0]


def entries() -> list[Word]:
    found = re.findall(r"^\*\*([^*]+)\*\* · (`.+)\n((?:.+\n)+)", DOCUMENT, flags=re.MULTILINE)
    return [
        Word(
            tuple(names.split(", ")), tuple(re.findall(r"`(tallystick[\w.]*)`", owner + text)), text
        )
        for names, owner, text in found
    ]


def module_exists(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_there_are_entries() -> None:
    assert len(entries()) == len(re.findall(r"^\*\*", DOCUMENT, flags=re.MULTILINE)) > 50


@pytest.mark.parametrize("word", entries(), ids=str)
def test_its_module_exists(word: Word) -> None:
    assert word.modules
    assert [name for name in word.modules if not module_exists(name)] == []


@pytest.mark.parametrize("word", entries(), ids=str)
def test_it_is_brief(word: Word) -> None:
    assert 1 <= len(word.text.splitlines()) <= LINES_MAX


def test_a_word_has_one_entry() -> None:
    names = [name for word in entries() for name in word.names]
    assert sorted(names) == sorted(set(names))
