"""A real PostgreSQL for tests: one server a test process, a database a test.

Started when first asked for, ended with the process.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import psycopg
import pytest
from bench.postgres import PostgresServer

from tests.conftest import MEMORY, has_memory

SETTINGS: Final = ("max_connections=200", "autovacuum=off", "max_wal_size=256MB")
SMALL_MIB: Final = 12
_numbers: Final = itertools.count()
_BALLAST: Final = 8192


def make_server(*settings: str) -> PostgresServer:
    """A server of one's own, to be stopped; its folder goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="test-pg-", dir=MEMORY if has_memory() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = PostgresServer(folder, (*SETTINGS, *settings))
    atexit.register(server.stop)
    return server


@cache
def the_server() -> PostgresServer:
    """The server of this test process."""
    return make_server()


def administer(sql: str) -> None:
    """Run a statement of the server's administrator."""
    with closing(psycopg.connect(the_server().url(), autocommit=True)) as connection:
        connection.execute(sql.encode())


def new_database(tablespace: str | None = None) -> str:
    """The URL of an empty database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    administer(f"CREATE DATABASE {name}" + (f" TABLESPACE {tablespace}" if tablespace else ""))
    return the_server().url(name)


@contextmanager
def small_disk() -> Iterator[tuple[str, Path]]:
    """A tablespace on a disk of ``SMALL_MIB``, and where that is; databases in it go with it."""
    server = the_server()
    name = f"small_{os.getpid()}_{next(_numbers)}"
    folder = server.folder / name
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m,mode=0777", "tmpfs", str(folder)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"a disk that is full needs a file system of its own: {mounted.stderr.strip()}")
    try:
        location = folder / "space"
        location.mkdir()
        owner = server.folder.stat()
        os.chown(location, owner.st_uid, -1)
        administer(f"CREATE TABLESPACE {name} LOCATION '{location}'")
        yield name, folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on the disk of a folder; returns the file that took it."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(_BALLAST))
        except OSError:
            return ballast
