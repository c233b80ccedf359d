"""Imports measured: files of the bench's events, counted by ``tallystick import``.

Owns: the files (written by DuckDB, gone with the block), and what reads them and does nothing else:
``wc -l``, and DuckDB. An import's time is that of the whole command, Python's start included, on a
data folder with the scene's meters and customers and no event yet.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import duckdb
import numpy as np
import psutil  # type: ignore[import-untyped]

from bench import scene, servers
from bench.load import CUSTOMERS, EVENT_NAME
from bench.servers import SCRATCH, Server

Kind = Literal["ndjson", "parquet"]
KINDS: Final[tuple[Kind, ...]] = ("ndjson", "parquet")

BESIDE_EVENTS_PER_SECOND: Final = 150_000
"""So many events last for a second at least beside checks."""

EVENTS: Final = """
SELECT format('customer-{:05d}', customer) AS "customerId", ? AS "eventName",
       md5(? || row)[:24] AS "idempotencyKey", make_timestamp(? + row) AS moment,
       CAST(row * 7919 % 5000 AS INTEGER) AS tokens, ['eu', 'us', 'ap'][1 + row % 3] AS region,
       '/v1/things/' || (row % 50) AS path
FROM (SELECT customer, row_number() OVER () AS row FROM customers)
"""
WRITE: Final[dict[Kind, str]] = {
    "ndjson": """
        COPY (SELECT "customerId", "eventName", "idempotencyKey",
                     strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ') AS "timestamp",
                     {tokens: tokens, region: region, path: path} AS dimensions FROM written)
        TO '$' (FORMAT json)""",
    "parquet": """
        COPY (SELECT "customerId", "eventName", "idempotencyKey", moment AS "timestamp",
                     tokens AS "dimensions.tokens", region AS "dimensions.region",
                     path AS "dimensions.path" FROM written)
        TO '$' (FORMAT parquet, COMPRESSION zstd)""",
}
PARSE: Final[dict[Kind, str]] = {
    "ndjson": """
        CREATE TABLE parsed AS SELECT * FROM read_ndjson('$', columns = {
            customerId: 'VARCHAR', eventName: 'VARCHAR', idempotencyKey: 'VARCHAR',
            "timestamp": 'VARCHAR', dimensions: 'JSON'})""",
    "parquet": "CREATE TABLE parsed AS SELECT * FROM read_parquet('$')",
}


def write_events(path: Path, kind: Kind, events: int, *, run: str = "") -> None:
    """Write so many events of the scene's customers (Zipf), a microsecond apart from now on; two
    runs have no key in common."""
    weights = 1.0 / np.arange(1, CUSTOMERS + 1)
    rng = np.random.default_rng(1)
    chosen = rng.choice(CUSTOMERS, size=events, p=weights / weights.sum()).astype(np.int32)
    with duckdb.connect() as connection:
        connection.register("customers", {"customer": chosen})
        since = int(time.time() * 1e6)
        connection.execute(f"CREATE TABLE written AS {EVENTS}", [EVENT_NAME, run, since])
        connection.execute(WRITE[kind].replace("$", str(path)))


class Files:
    """Files to import, and a data folder to import each into."""

    def __init__(self, folder: Path, data: Path, events: int) -> None:
        self._folder = folder
        self._data = data
        self._events = events

    def measure(self, kind: Kind) -> dict[str, Any]:
        """One import, and beside it what only reads the file, in the same minute."""
        path = self._folder / f"events.{kind}"
        write_events(path, kind, self._events)
        found: dict[str, Any] = {"events": self._events, "bytes": path.stat().st_size}
        try:
            if kind == "ndjson":
                found["wc_per_second"] = self._rate(["wc", "-l", str(path)])
            parse = f"import duckdb; duckdb.execute({PARSE[kind].replace('$', str(path))!r})"
            found["duckdb_per_second"] = self._rate([sys.executable, "-c", parse])
            found["counted_per_second"] = self._import(path)
        finally:
            path.unlink()
        return found

    def _import(self, path: Path) -> float:
        data = self._folder / "data"
        shutil.copytree(self._data, data)
        try:
            return self._rate(import_command(path, data))
        finally:
            shutil.rmtree(data)

    def _rate(self, command: list[str]) -> float:
        """Events a second of a command that handles all of them."""
        began = time.monotonic()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if ended.returncode != 0:
            raise SystemExit(f"{command[:4]}: {ended.stdout[-500:]} {ended.stderr[-500:]}")
        if "import" in command and json.loads(ended.stdout)["counted"] != self._events:
            raise SystemExit(f"not all was counted: {ended.stdout[-500:]}")
        return self._events / seconds


@contextmanager
def scene_of_files(events: int) -> Iterator[Files]:
    """The scene, set over HTTP on a server that has ended; all of it goes with the block."""
    folder = Path(tempfile.mkdtemp(prefix="tallystick-bench-", dir=SCRATCH))
    try:
        with servers.tallystick() as server:
            scene.set_up(server)
            server_process = psutil.Process(server.pid)
            server_process.terminate()
            server_process.wait(60)
            assert server.folder is not None
            run = shutil.ignore_patterns("run")  # of processes that ended
            shutil.copytree(server.folder, folder / "scene", ignore=run)
        yield Files(folder, folder / "scene", events)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def under_way(server: Server, seconds: float) -> Iterator[Callable[[], bool]]:
    """An import by the server's worker that lasts for so long; ends with the block. Gives whether
    it goes on still."""
    assert server.folder is not None
    path = server.folder.parent / "beside.ndjson"
    write_events(path, "ndjson", round(BESIDE_EVENTS_PER_SECOND * seconds), run="beside")
    command = import_command(path, server.folder)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(2.0)  # it is asked for, listed and begun
        yield lambda: process.poll() is None
    finally:
        process.wait()
        path.unlink()


def import_command(path: Path, data: Path) -> list[str]:
    """The command that imports a file."""
    return [
        sys.executable, "-m", "tallystick", "import", str(path), "--data-dir", str(data), "--json",
    ]  # fmt: skip
