"""Fewer, larger runs, and the window.

Owns: which bucket a key belongs to, which runs to merge, merging them in bounded memory, and which
runs have left the window. Promises: a merge changes no answer; one that is abandoned leaves at most
a file that no row names. Leaves to others: naming the result in the manifest.

The window rule: a bucket is an eighth of the window. At an instant the buckets from that of
(instant - window) on are live, so a key is remembered at least the window and at most an eighth
longer. Runs never mix buckets; a bucket leaves as a whole. The window is a setting, and buckets of
another window have other numbers: whether a run is live, or later, is told by its received times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from tallystick import limits
from tallystick.archive.manifest import FileDraft, ManifestFile
from tallystick.keys.order import Mask, Words, first_of_sorted, order_of_runs
from tallystick.keys.runs import Run, RunWriter

Keep = Callable[[Words, Words], Mask]
"""True for the keys to keep."""


def bucket_of(received_at: int, window_us: int) -> int:
    """The bucket of a key received at this instant; the window is in microseconds."""
    return received_at // _bucket_us(window_us)


def live_from(now: int, window_us: int) -> int:
    """Where the first bucket begins that may hold a key not older than the window at ``now``."""
    return bucket_of(now - window_us, window_us) * _bucket_us(window_us)


def live_until(now: int, window_us: int) -> int:
    """Where the last bucket ends that may hold a key not younger than the window at ``now``.

    Keys younger than ``now`` there are when what came then is folded late: tried again.
    """
    return (bucket_of(now + window_us, window_us) + 1) * _bucket_us(window_us)


def expired(
    files: Sequence[ManifestFile], now: int, late: Iterable[int], window_us: int
) -> list[ManifestFile]:
    """The files with no key that may still be met by what is received from ``now`` on, nor by what
    was received at the instants ``late`` and is folded later."""
    first = live_from(now, window_us)
    spans = {(live_from(at, window_us), live_until(at, window_us)) for at in late}
    return [
        file
        for file in files
        if file.time_last < first
        and not any(start <= file.time_last and file.time_first < stop for start, stop in spans)
    ]


def _bucket_us(window_us: int) -> int:
    return window_us // limits.DEDUPE_BUCKETS_PER_WINDOW


def plan(files: Sequence[ManifestFile]) -> list[ManifestFile] | None:
    """The next files to merge, all of one kind and bucket; None when there is nothing to gain.

    In the latest bucket, which still grows, ``KEY_MERGE_FANOUT`` files of one level make one of the
    next, so that a key is written once a level. The files of an earlier bucket become one.
    """
    buckets: dict[int, list[ManifestFile]] = defaultdict(list)
    for file in files:
        buckets[file.bucket].append(file)
    if not buckets:
        return None
    growing = buckets.pop(max(files, key=lambda file: (file.time_last, file.id)).bucket)
    return _full_level(growing) or next(
        (bucket for _, bucket in sorted(buckets.items()) if len(bucket) > 1), None
    )


def merge(
    data_folder: Path, files: Sequence[ManifestFile], name: str, epoch: int, level: int
) -> Iterator[FileDraft | None]:
    """Merge files of one bucket into the new file ``name``, step by step.

    Yields None after each step and at last the draft of the durable file. A key in several files
    is kept once. Raises ``DamagedData`` when a file is not what was written.
    """
    if len({(file.kind, file.bucket) for file in files}) != 1:
        raise ValueError("files of one kind and bucket are merged, and at least one")
    runs = [Run(data_folder / file.name) for file in files]
    writer = RunWriter(data_folder / name, sum(run.count for run in runs))
    draft = FileDraft(
        kind=files[0].kind, name=name, epoch=epoch, row_count=0, bytes=0, level=level,
        time_first=min(file.time_first for file in files),
        time_last=max(file.time_last for file in files), bucket=files[0].bucket,
    )  # fmt: skip
    yield from _written(writer, _merged_pieces(runs), draft)


def copy_kept(
    data_folder: Path, file: ManifestFile, name: str, epoch: int, keep: Keep, kept: int
) -> Iterator[FileDraft | None]:
    """Write the ``kept`` keys of a file that ``keep`` says to keep into the new file ``name``.

    Yields as ``merge`` does, and raises what it raises.
    """
    pieces = Run(data_folder / file.name).reader().pieces(limits.KEY_STEP_KEYS)
    writer = RunWriter(data_folder / name, kept)
    draft = FileDraft(
        kind=file.kind, name=name, epoch=epoch, row_count=0, bytes=0, level=file.level,
        time_first=file.time_first, time_last=file.time_last, bucket=file.bucket,
    )  # fmt: skip
    yield from _written(writer, _kept_pieces(pieces, keep), draft)


def _written(
    writer: RunWriter, pieces: Iterable[tuple[Words, Words]], draft: FileDraft
) -> Iterator[FileDraft | None]:
    """Write the pieces: None after each, at last the draft with what was written."""
    try:
        for hi, lo in pieces:
            writer.append(hi, lo)
            yield None
        size = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    yield replace(draft, row_count=writer.count, bytes=size)


def _kept_pieces(
    pieces: Iterable[tuple[Words, Words]], keep: Keep
) -> Iterator[tuple[Words, Words]]:
    for hi, lo in pieces:
        kept = keep(hi, lo)
        yield hi[kept], lo[kept]


def _full_level(files: Sequence[ManifestFile]) -> list[ManifestFile] | None:
    """The files of the lowest level that has enough of them, the earliest first."""
    levels: dict[int, list[ManifestFile]] = defaultdict(list)
    for file in files:
        levels[file.level].append(file)
    for _, level in sorted(levels.items()):
        if len(level) >= limits.KEY_MERGE_FANOUT:
            return sorted(level, key=lambda file: file.id)[: limits.KEY_MERGE_FANOUT]
    return None


def _merged_pieces(runs: Sequence[Run]) -> Iterator[tuple[Words, Words]]:
    """The keys of all runs in order, each once, in pieces that follow each other."""
    edges = _edges(runs)
    with ExitStack() as stack:
        readers = [stack.enter_context(run.reader()) for run in runs]
        for counts in np.diff(edges, axis=1).T:
            parts = [reader.read(int(n)) for reader, n in zip(readers, counts, strict=True)]
            hi = np.concatenate([part[0] for part in parts])
            lo = np.concatenate([part[1] for part in parts])
            order = order_of_runs(hi, lo)
            hi, lo = hi.take(order), lo.take(order)
            first = first_of_sorted(hi, lo)
            yield (hi, lo) if first.all() else (hi[first], lo[first])
        for reader in readers:
            reader.check()


def _edges(runs: Sequence[Run]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """For each run (row), the ranks at which the pieces begin, and its count at the end.

    Pieces end between different ``hi``, at every n-th of evenly spaced samples of all n runs, so
    that a piece has at most twice n times the distance of samples, however the keys lie.
    """
    step = max(1, limits.KEY_STEP_KEYS // (2 * len(runs)))
    samples = np.sort(np.concatenate([run.samples(step) for run in runs]))
    cuts = np.unique(samples[len(runs) :: len(runs)])
    rows = [np.concatenate(([0], run.edges(cuts), [run.count])) for run in runs]
    return np.stack(rows)
