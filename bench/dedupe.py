"""What finding duplicates costs, from one million remembered keys to a hundred million.

``python -m bench.dedupe`` builds each set in the shape the merges of a full window leave (eight
closed buckets of one run each, a half-full one in tiers), then folds batches as a step does: hash,
sift, write with fsync, add, and merges and ``tend`` between the batches. Each set runs in a process
of its own. Costs are nanoseconds per key sent, by the clock on the wall and as processor time,
which a busy machine disturbs less: medians of the batches; means for merges and ``tend``, which run
beside the hot path in production. Repeats come from the batch before, as retries do, or from
anywhere in the window (``--repeats window``), which is the worst case. ``python -m bench`` measures
two sizes, with repeats from the batch before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb
import numpy as np

from tallystick.archive.manifest import FileDraft, ManifestFile
from tallystick.keys import merge as merges
from tallystick.keys.hashing import key_hash_sql
from tallystick.keys.key_set import KeySet
from tallystick.keys.order import Words
from tallystick.keys.runs import write_run
from tallystick.limits import (
    DEDUPE_BUCKETS_PER_WINDOW,
    KEY_FILTER_MEMORY_BYTES_MAX,
    KEY_MERGE_FANOUT,
)

BATCH_KEYS: Final = 20_000
BATCHES: Final = 60
REPEATS_SHARE: Final = 0.1
SIZES: Final = (1_000_000, 10_000_000, 100_000_000)
WARM_BATCHES: Final = 3
HOT: Final = ("hash", "sift", "write", "add")
BESIDE: Final = ("merge", "tend")
SAMPLE_KEYS: Final = 400_000

T = TypeVar("T")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Scene:
    """A set in its folder, the rows that name its runs, and keys that are in it."""

    keys: KeySet
    folder: Path
    files: list[ManifestFile]
    known: tuple[Words, Words]


class Watch:
    """Nanoseconds per key of each part, batch by batch, on the wall and of the processor."""

    def __init__(self) -> None:
        self.costs: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def time(self, part: str, work: Callable[[], T]) -> T:
        """Do a part of a batch's work."""
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        result = work()
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        self.costs[part].append((wall / BATCH_KEYS, cpu / BATCH_KEYS))
        return result

    def figures(self) -> dict[str, dict[str, float]]:
        """Per clock: each part, and ``hot``, what a step waits for."""
        figures: dict[str, dict[str, float]] = {}
        for column, clock in enumerate(("wall", "cpu")):
            costs = {part: np.array(pairs)[:, column] for part, pairs in self.costs.items()}
            of = {part: float(np.median(costs[part])) for part in HOT}
            of |= {part: float(np.mean(costs[part])) for part in BESIDE}
            of["hot"] = sum(of[part] for part in HOT)
            figures[clock] = {part: round(cost, 1) for part, cost in of.items()}
        return figures


def run_sizes(keys: int) -> Iterator[tuple[int, int, int]]:
    """(bucket, level, keys) of each run of a steady window that holds so many keys."""
    closed = max(BATCH_KEYS, int(keys / (DEDUPE_BUCKETS_PER_WINDOW + 0.5)))
    left = keys
    for bucket in range(DEDUPE_BUCKETS_PER_WINDOW):
        yield bucket, 9, closed
        left -= closed
    level = 0
    while BATCH_KEYS * KEY_MERGE_FANOUT ** (level + 1) <= left:
        level += 1
    while left >= BATCH_KEYS:
        size = BATCH_KEYS * KEY_MERGE_FANOUT**level
        if left < size:
            level -= 1
            continue
        yield DEDUPE_BUCKETS_PER_WINDOW, level, size
        left -= size


def build(folder: Path, keys: int, random: np.random.Generator) -> Scene:
    """Write the runs as merges would have left them, and make the set of them, not yet open."""
    (folder / "keys").mkdir()
    files: list[ManifestFile] = []
    known: list[tuple[Words, Words]] = []
    for bucket, level, size in run_sizes(keys):
        hi, lo = np.sort(_random_words(random, size)), _random_words(random, size)
        name = _next_name()
        bytes_ = write_run(folder / name, hi, lo)
        sample = random.choice(size, min(size, max(1, size * SAMPLE_KEYS // keys)), replace=False)
        known.append((hi[sample], lo[sample]))
        files.append(
            ManifestFile(
                kind="keys",
                name=name,
                epoch=1,
                row_count=size,
                bytes=bytes_,
                level=level,
                bucket=bucket,
                time_first=bucket,
                time_last=bucket,
                id=next(_numbers),
            )
        )
    hi, lo = (np.concatenate(half) for half in zip(*known, strict=True))
    order = random.permutation(len(hi))
    key_set = KeySet(folder, "keys", KEY_FILTER_MEMORY_BYTES_MAX)
    return Scene(key_set, folder, files, (hi[order], lo[order]))


def fold_batches(scene: Scene, batches: int, window: bool, random: np.random.Generator) -> Watch:
    """Fold batches of new keys and repeats into the set, each answer checked.

    Repeats are of keys from anywhere in the window, else from the batch before.
    """
    watch = Watch()
    known, recent = scene.known, _first(scene.known, BATCH_KEYS)
    repeats = int(BATCH_KEYS * REPEATS_SHARE)
    for _ in range(batches):
        hi, lo = _random_words(random, BATCH_KEYS), _random_words(random, BATCH_KEYS)
        places = random.choice(BATCH_KEYS, repeats, replace=False)
        source = known if window else recent
        chosen = random.choice(len(source[0]), repeats, replace=False)
        hi[places], lo[places] = source[0][chosen], source[1][chosen]
        fresh = watch.time("sift", partial(scene.keys.fresh, hi, lo))
        assert fresh.sum() == BATCH_KEYS - repeats
        assert not fresh[places].any()
        recent = scene.keys.fresh_keys
        _fold(scene, *recent, watch)
        watch.time("merge", partial(_merge, scene))
        watch.time("tend", lambda: sum(1 for _ in scene.keys.tend()))
    return watch


def measure(keys: int, batches: int, window: bool) -> dict[str, Any]:
    """Costs and memory of a set of so many keys."""
    random = np.random.default_rng(keys)
    with tempfile.TemporaryDirectory(prefix="tallystick-dedupe-") as folder:
        scene = build(Path(folder), keys, random)
        began = time.perf_counter()
        scene.keys.open(scene.files)
        opened = time.perf_counter() - began
        runs, before = len(scene.files), _resident_mib()
        fold_batches(scene, WARM_BATCHES, window, random)
        watch = fold_batches(scene, batches, window, random)
        _hash(watch, batches)
    return {
        "keys": keys, "runs": runs, "ns_per_key": watch.figures(), "open_seconds": round(opened, 2),
        "filter_mib": scene.keys.memory_bytes() >> 20,
        "resident_mib_before": before, "resident_mib": _resident_mib(),
    }  # fmt: skip


def measure_each(
    sizes: Iterable[int], batches: int = BATCHES, window: bool = False
) -> list[dict[str, Any]]:
    """``measure`` of each size, in a process of its own."""
    results = []
    for size in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results.append(pool.apply(measure, (size, batches, window)))
    return results


def main() -> None:
    """Measure each size and print a table; ``--json`` prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="keys remembered")
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--repeats", choices=("recent", "window"), default="recent")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure_each(arguments.sizes, arguments.batches, arguments.repeats == "window")
    print(json.dumps(results, indent=2) if arguments.json else _table(results))


def _fold(scene: Scene, hi: Words, lo: Words, watch: Watch) -> None:
    bucket = DEDUPE_BUCKETS_PER_WINDOW
    name = _next_name()
    write = partial(scene.keys.write, name, 2, hi, lo, bucket, bucket, bucket, in_order=True)
    file = _named(watch.time("write", write))
    watch.time("add", partial(scene.keys.add, file))
    scene.files.append(file)


def _merge(scene: Scene) -> None:
    """Merge while there is something to merge."""
    while (files := merges.plan(scene.files)) is not None:
        level = max(file.level for file in files) + 1
        *_, draft = merges.merge(scene.folder, files, _next_name(), 1, level)
        assert draft is not None
        file = _named(draft)
        scene.keys.replace(files, file)
        scene.files[:] = [old for old in scene.files if old not in files] + [file]


def _hash(watch: Watch, batches: int) -> None:
    """The hash of as many keys in DuckDB, on one thread as in the fold."""
    columns = ("environment", "customer", "event_name", "key")
    connection = duckdb.connect(config={"threads": 1})
    connection.execute(
        "CREATE TABLE sent AS SELECT 'default' AS environment, 'customer-' || (i % 10000) AS "
        "customer, 'api.call' AS event_name, md5(i::VARCHAR) AS key FROM range(?) AS r(i)",
        [BATCH_KEYS],
    )
    hi, lo = key_hash_sql(columns)
    query = f"SELECT {hi} AS hi, {lo} AS lo FROM sent"
    for _ in range(batches):
        watch.time("hash", lambda: connection.execute(query).fetchnumpy())


def _next_name() -> str:
    return f"keys/keys-{1:08d}-{next(_numbers):010d}.run"


def _named(draft: FileDraft) -> ManifestFile:
    values = {field.name: getattr(draft, field.name) for field in fields(draft)}
    return ManifestFile(**values, id=next(_numbers))


def _first(keys: tuple[Words, Words], count: int) -> tuple[Words, Words]:
    return keys[0][:count], keys[1][:count]


def _random_words(random: np.random.Generator, count: int) -> Words:
    return random.integers(0, 2**64, count, dtype=np.uint64)


def _resident_mib() -> dict[str, int]:
    """Resident memory of this process: its own, and mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) >> 10 for line in lines if "Rss" in line}
    return {"anonymous": values["RssAnon"], "files": values["RssFile"]}


def _table(results: list[dict[str, Any]]) -> str:
    parts = (*HOT, *BESIDE, "hot")
    heads = ("keys", "runs", "clock", *parts, "ratio", "but hash")
    lines = ["".join(f"{head:>10}" for head in heads)]
    for result in results:
        for clock, costs in result["ns_per_key"].items():
            first = results[0]["ns_per_key"][clock]
            ratio = costs["hot"] / first["hot"]
            but_hash = (costs["hot"] - costs["hash"]) / (first["hot"] - first["hash"])
            cells = [result["keys"], result["runs"], clock, *(costs[part] for part in parts)]
            lines.append(
                "".join(f"{cell:>10}" for cell in (*cells, f"{ratio:.2f}", f"{but_hash:.2f}"))
            )
        lines.append(
            f"{'':>10}opened in {result['open_seconds']} s, filters {result['filter_mib']} MiB, "
            f"resident MiB {result['resident_mib_before']}, later {result['resident_mib']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
