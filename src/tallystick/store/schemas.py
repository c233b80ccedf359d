"""Schemas: what a new database gets, and how an older one catches up.

Owns: the files in ``schema/``. ``NAME.sql`` is the whole schema as it is today, for whoever reads
it and for new databases; ``NAME-N.sql`` brings a database of version N - 1 to version N. A schema
is of version 1 until there is a step. Promises: a database that caught up has the same tables and
indexes as a new one (a test compares them, so a table cannot be changed without its step).

Leaves to an engine: where it keeps the version, and that a database is brought up to date in one
transaction, so that a crash leaves it whole, of the one version or the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from typing import Final

_FOLDER: Final = resources.files("tallystick.store").joinpath("schema")


def newest_version(schema: str) -> int:
    """The version of ``schema`` as it is today; raises ``ValueError`` when a step is missing."""
    pattern = re.compile(rf"{re.escape(schema)}-(\d+)\.sql")
    found = (pattern.fullmatch(file.name) for file in _FOLDER.iterdir())
    numbers = sorted(int(match[1]) for match in found if match)
    if numbers != list(range(2, len(numbers) + 2)):
        raise ValueError(f"the steps of schema {schema} must be numbered from 2 on: {numbers}")
    return len(numbers) + 1


def statements_from(schema: str, version: int) -> Iterator[str]:
    """What brings a database of ``version`` up to date; 0 is an empty one."""
    if version == 0:
        yield from _statements(f"{schema}.sql")
        return
    for number in range(version + 1, newest_version(schema) + 1):
        yield from _statements(f"{schema}-{number}.sql")


def _statements(name: str) -> Iterator[str]:
    """The statements of a file, which has no semicolon inside one."""
    script = _FOLDER.joinpath(name).read_text()
    without_comments = "\n".join(line.split("--")[0] for line in script.splitlines())
    for statement in without_comments.split(";"):
        if statement.strip():
            yield statement
