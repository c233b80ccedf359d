"""Imports point inwards: from the doors over the data path to the pure core."""

from __future__ import annotations

from typing import Final

import pytest

from tests.tidy.source import Module, imported, modules

FREE: Final = {"backoff", "clock", "errors", "ids", "limits"}
"""What anybody may import; they import nothing but each other."""

MAY_IMPORT: Final[dict[str, set[str]]] = {
    # what everything stands on
    "limits": set(),
    "backoff": {"limits"},
    "errors": set(),
    "ids": set(),
    "clock": {"errors"},
    "failpoints": set(),
    "folder": {"errors"},
    "freshness": {"clock"},
    "local_socket": {"limits"},
    "settings": {"clock", "errors", "limits"},
    "threads": set(),
    # pure
    "core": {"clock", "errors", "limits"},
    "metering": FREE | {"core"},
    # what is durable
    "store": FREE | {"failpoints"},
    "access": FREE | {"store"},
    "inbox": FREE | {"store"},
    "archive": FREE | {"core", "entitlements", "failpoints", "metering", "store", "usage"},
    "keys": FREE | {"archive"},
    # the way in
    "ingest": FREE | {"core"},
    # what is granted, and what is used of it
    "entitlements": FREE | {"catalog", "core", "store", "usage"},
    "usage": FREE
    | {"archive", "core", "entitlements", "ingest", "keys", "metering", "store"},
    "catalog": FREE
    | {"archive", "core", "entitlements", "folder", "freshness", "store", "usage"},
    # what counts, and what proves it
    "fold": FREE
    | {"archive", "catalog", "core", "entitlements", "failpoints", "freshness", "inbox", "keys",
       "metering", "objects", "store", "threads", "usage"},
    # Objects are counted as the fold counts, at its positions; the worker alone takes both.
    "objects": FREE
    | {"archive", "failpoints", "fold", "inbox", "ingest", "store", "threads"},
    "verify": FREE
    | {"archive", "core", "entitlements", "inbox", "metering", "store", "usage"},
    # what joins everything, and the doors
    "app": FREE
    | {"api", "archive", "catalog", "entitlements", "fold", "folder", "freshness", "inbox",
       "settings", "store", "usage"},
    "api": FREE
    | {"__init__", "access", "app", "archive", "catalog", "core", "entitlements", "failpoints",
       "freshness", "inbox", "ingest", "local_socket", "objects", "store", "threads", "usage"},
    "process": FREE
    | {"access", "api", "app", "archive", "folder", "local_socket", "settings", "store",
       "threads"},
    "cli": FREE
    | {"__init__", "access", "app", "failpoints", "fold", "folder", "inbox", "objects",
       "process",
       "settings", "store", "verify"},
    "__main__": {"cli"},
    "__init__": set(),
}  # fmt: skip

# What stands behind a seam, and the only files that know it.
ENGINES: Final = {
    "sqlite3": {"store"},
    "psycopg": {"store"},
    "duckdb": {"archive", "fold", "objects", "verify"},
    "uvicorn": {"process"},
    "uvloop": {"process"},
    "obstore": {"objects"},
    "zstandard": {"objects"},
    "cronsim": {"objects"},
}
CONCRETE_STORES: Final = ("tallystick.store.sqlite", "tallystick.store.postgres")

# The core is computed, never fetched: of the standard library it takes what does neither I/O nor
# time nor chance.
CORE_TAKES: Final = {
    "__future__", "bisect", "calendar", "collections", "dataclasses", "datetime", "decimal", "enum",
    "functools", "itertools", "math", "msgspec", "operator", "re", "tallystick", "typing",
    "zoneinfo",
}  # fmt: skip


def units(module: Module) -> set[str]:
    """Which parts of the package a module imports, its own left out."""
    found = set()
    for name in imported(module):
        package, _, rest = name.partition(".")
        if package == "tallystick":
            first = rest.partition(".")[0]
            found.add("__init__" if first in ("", "__version__") else first)
    return found - {module.unit}


def packages(module: Module) -> set[str]:
    return {name.partition(".")[0] for name in imported(module)}


def test_every_part_has_a_rule() -> None:
    assert {each.unit for each in modules()} - MAY_IMPORT.keys() == set()


@pytest.mark.parametrize("unit", MAY_IMPORT)
def test_imports_point_inwards(unit: str) -> None:
    wrong = {
        (module.name, other)
        for module in modules()
        if module.unit == unit
        for other in units(module) - MAY_IMPORT[unit]
    }
    assert wrong == set()


def test_of_the_fold_the_worker_alone_takes_objects() -> None:
    users = {each.name for each in modules() if each.unit == "fold" and "objects" in units(each)}
    assert users == {"fold/worker.py"}


def test_the_doors_are_imported_by_doors_alone() -> None:
    doors = {"api", "cli", "process"}
    others = {unit for unit, allowed in MAY_IMPORT.items() if allowed & doors}
    assert others <= {*doors, "app", "__main__"}


def test_the_core_is_pure() -> None:
    taken = {each.name: packages(each) - CORE_TAKES for each in modules() if each.unit == "core"}
    assert {name: foreign for name, foreign in taken.items() if foreign} == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_known_to_its_own_folders(engine: str) -> None:
    users = {module.unit for module in modules() if engine in packages(module)}
    assert users <= ENGINES[engine]


@pytest.mark.parametrize("store", CONCRETE_STORES)
def test_only_the_app_names_a_concrete_store(store: str) -> None:
    users = {
        module.name
        for module in modules()
        if any(f"{name}.".startswith(f"{store}.") for name in imported(module))
    }
    assert users == {"app.py"}
