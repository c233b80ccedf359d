"""What is committed: nothing of one machine, no registry, no skipped test that is silent."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Final

from tests.tidy.source import ROOT, calls, modules

_SLASH: Final = "/"
MACHINE: Final = re.compile(
    "|".join(f"{_SLASH}{name}{_SLASH}" for name in ("work", "root", "home"))
)
REGISTRIES: Final = re.compile(
    "|".join(
        ("pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", "artifact" + "ory")
    )
)
SKIPS: Final = {"pytest.skip", "pytest.xfail", "pytest.importorskip", "pytest.mark.skip",
                "pytest.mark.skipif", "pytest.mark.xfail"}  # fmt: skip
BINARY: Final = {".png", ".ico", ".parquet", ".run"}


def committed() -> list[Path]:
    """The files under version control; every file that is not hidden where there is none."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if "/." not in str(path.relative_to(ROOT))]
    return [path for path in found if path.is_file() and path.suffix not in BINARY]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in committed()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_path_of_one_machine() -> None:
    assert lines_with(MACHINE) == []


def test_no_address_of_a_registry() -> None:
    assert lines_with(REGISTRIES) == []


def test_few_files_at_the_root() -> None:
    names = {path.name for path in committed() if path.parent == ROOT}
    assert len(names) <= 10, sorted(names)


def test_whoever_skips_says_why() -> None:
    silent = [
        f"{module.name}:{call.lineno}"
        for module in modules(ROOT / "tests")
        for name, call in calls(module)
        if name in SKIPS and not says_why(name, call)
    ]
    assert silent == []


def says_why(name: str, call: ast.Call) -> bool:
    reasons = {keyword.arg for keyword in call.keywords} & {"reason"}
    return bool(reasons) or (name == "pytest.skip" and bool(call.args))


def test_marks_that_skip_are_called() -> None:
    bare = [
        f"{module.name}:{decorator.lineno}"
        for module in modules(ROOT / "tests")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator) in SKIPS
    ]
    assert bare == []
