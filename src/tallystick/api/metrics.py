"""What an API process counts about itself, and the Prometheus text of it.

Owns: requests and their latency by route, and the text format. The API processes of one server
share a port, so whoever is asked answers for all: each leaves its numbers in the run folder, at
most a second old, in a file of its own (``SharedCounts``). Losing the files loses a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of the latency histogram, in seconds."""

_SHARE_SECONDS: Final = 1.0

Labels = Mapping[str, str]
Number = int | float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; ``samples`` are (suffix of the name, labels, value)."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[str, Labels, Number]]


def single(name: str, kind: str, help_: str, value: Number) -> Family:
    """A metric of one sample."""
    return Family(name, kind, help_, [("", {}, value)])


def render(families: Iterable[Family]) -> bytes:
    """The Prometheus text format, version 0.0.4."""
    return "".join(line for family in families for line in _lines(family)).encode()


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    for suffix, labels, value in family.samples:
        shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield (
            f"{family.name}{suffix}{{{shown}}} {value}\n"
            if shown
            else (f"{family.name}{suffix} {value}\n")
        )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class RouteCounts(msgspec.Struct):
    """What one route was asked. ``buckets`` has one more entry than ``BUCKETS``: the slower."""

    method: str
    route: str
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    seconds: float = 0.0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def observe(self, status: int, seconds: float) -> None:
        """Count one answer."""
        shown = str(status)
        self.statuses[shown] = self.statuses.get(shown, 0) + 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1


class ProcessCounts(msgspec.Struct):
    """What one API process counted since it started."""

    process: str
    routes: list[RouteCounts] = msgspec.field(default_factory=list)
    resident_bytes: int | None = None


def request_families(processes: list[ProcessCounts]) -> list[Family]:
    """The metrics that every API process has of its own."""
    return [
        Family(
            "tallystick_requests_total",
            "counter",
            "Requests answered, by route and HTTP status.",
            _request_samples(processes),
        ),
        Family(
            "tallystick_request_seconds",
            "histogram",
            "Seconds from the request's headers to its answer, by route.",
            _latency_samples(processes),
        ),
        Family(
            "tallystick_process_resident_bytes",
            "gauge",
            "Resident memory of an API process.",
            [
                ("", {"process": each.process}, each.resident_bytes)
                for each in processes
                if each.resident_bytes is not None
            ],
        ),
    ]


def _request_samples(processes: list[ProcessCounts]) -> Iterator[tuple[str, Labels, Number]]:
    for labels, counts in _routes(processes):
        for status, count in sorted(counts.statuses.items()):
            yield "", {**labels, "status": status}, count


def _latency_samples(processes: list[ProcessCounts]) -> Iterator[tuple[str, Labels, Number]]:
    for labels, counts in _routes(processes):
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts.buckets, strict=True):
            total += count
            yield "_bucket", {**labels, "le": bound}, total
        yield "_sum", labels, counts.seconds
        yield "_count", labels, total


def _routes(processes: list[ProcessCounts]) -> Iterator[tuple[Labels, RouteCounts]]:
    for each in processes:
        for counts in each.routes:
            if not counts.statuses:
                continue  # never asked
            labels = {"process": each.process, "method": counts.method, "route": counts.route}
            yield labels, counts


class SharedCounts:
    """The numbers of all API processes of one server, in ``FOLDER/PROCESS.metrics``.

    A file counts while the process's pid file stands beside it. ``own`` is this process's.
    """

    def __init__(self, folder: Path, process: str) -> None:
        self.own = ProcessCounts(process)
        self._folder = folder
        self._write_is_planned = False

    def changed(self) -> None:
        """Leave this process's numbers for the others within a second. Needs an event loop."""
        if not self._write_is_planned:
            self._write_is_planned = True
            asyncio.get_running_loop().call_later(_SHARE_SECONDS, self.write)

    def write(self) -> None:
        """Leave this process's numbers for the others; a full disk costs only them."""
        self._write_is_planned = False
        self.own.resident_bytes = resident_bytes()
        path = self._folder / f"{self.own.process}.metrics"
        draft = path.with_suffix(".metrics.new")
        with contextlib.suppress(OSError):
            draft.write_bytes(msgspec.json.encode(self.own))
            draft.rename(path)

    def read(self) -> list[ProcessCounts]:
        """The numbers of every process, this one's as they are now."""
        self.own.resident_bytes = resident_bytes()
        found = {self.own.process: self.own}
        for path in self._folder.glob("*.metrics"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                if path.stem not in found and path.with_suffix(".pid").exists():
                    found[path.stem] = msgspec.json.decode(path.read_bytes(), type=ProcessCounts)
        return [found[name] for name in sorted(found)]


def resident_bytes() -> int | None:
    """Resident memory of this process; None where the system has no /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
