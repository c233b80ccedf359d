"""The project's own source, read as trees: what the tests of style look at."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "src" / "tallystick"

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """A file of Python and its tree; ``name`` is relative to the folder it was asked for in."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def unit(self) -> str:
        """The folder it lies in, or its own name at the top."""
        first, _, rest = self.name.partition("/")
        return first if rest else first.removesuffix(".py")


class Named(NamedTuple):
    """A function or class by its dotted name within a module."""

    module: Module
    name: str
    node: Function | ast.ClassDef

    def __str__(self) -> str:
        return f"{self.module.name}:{self.node.lineno} {self.name}"


@functools.cache
def modules(folder: Path = PACKAGE) -> tuple[Module, ...]:
    """Every file of Python below ``folder``."""
    return tuple(
        Module(str(path.relative_to(folder)), path, ast.parse(path.read_text()))
        for path in sorted(folder.rglob("*.py"))
    )


def functions(module: Module) -> Iterator[Function]:
    """Every function of a module, nested ones too."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            yield node


def public_names(module: Module) -> Iterator[Named]:
    """Functions, classes and methods that others may use: neither private, dunder nor nested."""
    yield from _public(module, module.tree, "")


def _public(module: Module, parent: ast.Module | ast.ClassDef, scope: str) -> Iterator[Named]:
    for node in parent.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield Named(module, scope + node.name, node)
            if isinstance(node, ast.ClassDef):
                yield from _public(module, node, f"{scope}{node.name}.")


def imported(module: Module) -> Iterator[str]:
    """The dotted name of every module or name it imports, wherever it does."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def calls(module: Module) -> tuple[tuple[str, ast.Call], ...]:
    """Every call, by what is called as it is written."""
    return tuple(
        (ast.unparse(node.func), node)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
    )
