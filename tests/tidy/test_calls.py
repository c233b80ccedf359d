"""What code may not do: ask for time or chance, use floats, build SQL from what users say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tallystick import failpoints
from tests.tidy.source import Module, calls, functions, imported, modules

DOOR_OF_TIME: Final = "clock.py"
DOOR_OF_CHANCE: Final = "ids.py"

TIME: Final = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time",
               "time.time_ns", "time.localtime", "time.gmtime"}  # fmt: skip
CHANCE: Final = {"random", "secrets", "uuid"}

FLOATS: Final = {
    "ingest/literals.py": "a float whose shortest text is the literal that was sent, and no other",
    "api/http.py": "the timeout of a request",
    "backoff.py": "how long to wait",
    "objects/job.py": "the share of bad records that an object may have",
}

# SQL that is put together from more than constants, all of it for DuckDB and none of it from text
# that a caller sent.
COMPOSED_SQL: Final = {
    "metering/compile.py": "columns and conditions; what users wrote is a parameter, see its tests",
    "archive/history.py": "which of two conditions; meters as they were compiled",
    "archive/relation.py": "names of columns, and paths of our own files, quoted",
    "archive/reports.py": "two statements that are joined",
    "fold/batch.py": "a select over our own tables",
    "fold/metering.py": "numbers that the batch gave to environments; meters as they were compiled",
    "fold/recount.py": "paths of our own files, quoted; conditions that are constants",
    "fold/record.py": "which of our two tables",
    "objects/csv_rows.py": "columns of a file, by number; names, quoted",
    "objects/ndjson.py": "columns of a file, by number; names, quoted",
    "objects/parquet_rows.py": "columns of a file, its path and names, quoted",
    "objects/sent.py": "which of our two tables; names and numbers of a view, which takes no "
    "parameters: quoted",
    "store/postgres.py": "numbers of ours, and names of schemas and of generated columns",
    "store/postgres_link.py": "names of tables and columns, which are constants of ours",
    "store/sqlite.py": "names of tables and columns, which are constants of ours",
    "usage/recalculate.py": "a statement over our own files",
    "verify/counters.py": "meters as they were compiled",
    "verify/record.py": "a statement over our own files, and how many rows to name",
    "verify/verify.py": "a statement over our own files",
}
_SQL: Final = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|FROM|WHERE|UNION ALL|COPY|PRAGMA|VALUES)\b"
)


def test_time_comes_in_through_its_door() -> None:
    asked = {
        (module.name, name)
        for module in modules()
        for name, _ in calls(module)
        if name.removeprefix("datetime.") in TIME or name in TIME
    }
    assert {name for name, _ in asked} <= {DOOR_OF_TIME}


def test_functions_of_time_are_called_by_their_full_name() -> None:
    """Else a call of one would not be seen above."""
    hidden = {name for module in modules() for name in imported(module) if name.startswith("time.")}
    assert hidden == set()


def test_chance_comes_in_through_its_door() -> None:
    users = {
        module.name
        for module in modules()
        for name in imported(module)
        if name.partition(".")[0] in CHANCE or name == "os.urandom"
    }
    assert users == {DOOR_OF_CHANCE}


def test_quantities_are_never_floats() -> None:
    users = {module.name for module in modules() for name, _ in calls(module) if name == "float"}
    assert users == set(FLOATS)


def test_async_stops_at_the_edge() -> None:
    edge = {"api", "process"}
    inside = {
        module.name
        for module in modules()
        if module.unit not in edge
        and any(isinstance(each, ast.AsyncFunctionDef) for each in functions(module))
    }
    assert inside == set()


REACHES: Final = ("reach", "reach_each")


def test_every_fail_point_is_reached_and_every_reached_one_is_named() -> None:
    reached = {
        argument.value
        for module in modules()
        for name, call in calls(module)
        if name.rpartition(".")[2] in REACHES
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    assert reached == set(failpoints.POINTS)


def test_every_fail_point_is_reached_by_its_name() -> None:
    computed = [
        f"{module.name}:{call.lineno}"
        for module in modules()
        for name, call in calls(module)
        if name.rpartition(".")[2] in REACHES and not isinstance(call.args[0], ast.Constant)
    ]
    assert computed == []


def test_sql_is_made_of_constants() -> None:
    composed = {module.name for module in modules() for _ in composed_sql(module)}
    assert composed == set(COMPOSED_SQL)


def composed_sql(module: Module) -> Iterator[ast.expr]:
    """SQL texts into which something else than a module's own constant is put."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
            if _SQL.search(text_in(node)) and not all(is_constant(part) for part in parts):
                yield node
    for name, call in calls(module):
        owner, _, method = name.rpartition(".")
        if method == "format" and owner in sql_constants(module):
            yield call


def sql_constants(module: Module) -> set[str]:
    """Names that a module gives to texts of SQL."""
    return {
        target.id
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and _SQL.search(text_in(node.value))
    }


def text_in(node: ast.expr) -> str:
    """The texts that are written in an expression."""
    return " ".join(str(each.value) for each in ast.walk(node) if isinstance(each, ast.Constant))


def is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.isupper()
