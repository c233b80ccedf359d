"""Short files, short functions, and a sentence on everything that others may use."""

from __future__ import annotations

import ast
import statistics

import pytest

from tests.tidy.source import PACKAGE, ROOT, Module, Named, functions, modules, public_names

FILE_LINES_MAX = 599
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_MEDIAN_MAX = 15
FUNCTION_LINES_P90_MAX = 30

# Whoever stands behind a protocol keeps its promises: what a method means is said there, once.
IMPLEMENTS = {
    "SystemClock": "Clock",
    "TestClock": "Clock",
    "SqliteStore": "Store",
    "SqliteTransaction": "Transaction",
    "SqliteBegun": "Begun",
    "PostgresStore": "Store",
    "PostgresTransaction": "Transaction",
    "PostgresBegun": "Begun",
    "OwnQueries": "Queries",
    "DistantQueries": "Queries",
}


def lengths(module: Module) -> list[int]:
    return [(node.end_lineno or 0) - node.lineno + 1 for node in functions(module)]


@pytest.mark.parametrize("folder", ["src", "tests", "bench", "demo"])
def test_files_are_short(folder: str) -> None:
    counts = {each.name: len(each.path.read_text().splitlines()) for each in modules(ROOT / folder)}
    assert counts
    assert {name: count for name, count in counts.items() if count > FILE_LINES_MAX} == {}


@pytest.mark.parametrize("folder", ["src", "tests", "bench", "demo"])
def test_functions_are_short(folder: str) -> None:
    longest = {each.name: max(lengths(each), default=0) for each in modules(ROOT / folder)}
    assert {name: count for name, count in longest.items() if count > FUNCTION_LINES_MAX} == {}


def test_most_functions_are_very_short() -> None:
    lines = [count for module in modules() for count in lengths(module)]
    assert statistics.median(lines) <= FUNCTION_LINES_MEDIAN_MAX
    assert statistics.quantiles(lines, n=10)[-1] <= FUNCTION_LINES_P90_MAX


@pytest.mark.parametrize("folder", ["src", "tests", "bench", "demo"])
def test_every_module_says_what_it_owns(folder: str) -> None:
    silent = [
        each.name
        for each in modules(ROOT / folder)
        if each.path.read_text().strip() and not ast.get_docstring(each.tree)
    ]
    assert silent == []


def test_everything_public_says_what_it_means() -> None:
    silent = [
        str(each)
        for module in modules()
        for each in public_names(module)
        if not ast.get_docstring(each.node) and not is_said_by_a_protocol(each)
    ]
    assert silent == []


def is_said_by_a_protocol(method: Named) -> bool:
    owner, _, name = method.name.rpartition(".")
    return f"{IMPLEMENTS.get(owner)}.{name}" in documented_by_protocols()


def documented_by_protocols() -> set[str]:
    return {
        each.name
        for module in modules()
        for each in public_names(module)
        if each.name.partition(".")[0] in IMPLEMENTS.values() and ast.get_docstring(each.node)
    }


def test_the_exemptions_are_of_classes_that_exist() -> None:
    names = {each.name for module in modules(PACKAGE) for each in public_names(module)}
    assert {*IMPLEMENTS, *IMPLEMENTS.values()} - names == set()
