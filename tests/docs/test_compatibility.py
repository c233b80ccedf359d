"""``docs/compatibility.md`` names every method of the SDK, and what it says is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.door import Door
from tests.docs.sdk_methods import Operation, async_operations, sync_operations

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
ROW = re.compile(r"^\| `([\w.]+)` \| `(\w+) (\S+)` \| (works|stored|501) \|$", re.MULTILINE)

OPERATIONS = sync_operations()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(tmp_path_factory.mktemp("door") / "data") as it:
        yield it


def rows() -> dict[str, tuple[Operation, str]]:
    found = ROW.findall(PAGE.read_text())
    table = {name: (Operation(method, path), said) for name, method, path, said in found}
    assert len(table) == len(found)
    return table


def test_the_table_names_every_method_once() -> None:
    assert rows().keys() == OPERATIONS.keys()


def test_both_clients_call_the_same() -> None:
    assert async_operations() == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_the_table_says_is_so(door: Door, name: str) -> None:
    told, said = rows()[name]
    method, path = OPERATIONS[name]
    assert (told.method, re.sub(r"\{\w+\}", "x", told.path)) == (method, path)
    answered = door.run(door.call(method, path, key=None))
    # Who asks is looked at only where there is something to ask for.
    expected = (501, "NotImplemented") if said == "501" else (401, "Unauthenticated")
    assert (answered.status, answered.code) == expected
