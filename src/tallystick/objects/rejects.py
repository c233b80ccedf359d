"""What could not be counted, for people: a file of reasons for each piece that had any.

Owns: the folder ``rejects/RUN`` (or the same below a bucket's prefix). A file is named after its
object and place, so that a part which is read again after a crash writes the same file again. It
is written before the transaction that counts its records as refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tallystick.archive.files import sync_file
from tallystick.objects.buckets import Bucket
from tallystick.objects.ledger import Run, StoredObject
from tallystick.objects.sent import Rejected

_ENCODER: Final = msgspec.json.Encoder()


class Rejects:
    """Where rejects go to."""

    def __init__(self, folder: Path, bucket: Bucket | None = None) -> None:
        """``folder`` is of the data folder; ``bucket`` takes them instead, if there is one."""
        self._folder = folder
        self._bucket = bucket

    def write(self, run: Run, found: StoredObject, rejected: Sequence[Rejected]) -> None:
        """Keep the reasons of a part, in place of those that an attempt at a larger one left;
        durable when it returns."""
        name = f"{run.id}/{found.id:08d}-{found.byte:016d}-{found.skip:08d}.jsonl"
        data = _ENCODER.encode_lines([
            {"object": found.key, "line": each.line, "field": problem.field,
             "reason": problem.reason}
            for each in rejected for problem in each.problems
        ])  # fmt: skip
        if self._bucket is not None:
            self._bucket.write(name, data)
            return
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sync_file(path)


def reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    """How many records were refused for what."""
    counts: dict[str, int] = {}
    for each in rejected:
        first = each.problems[0]
        name = f"{first.field}: {first.reason}" if first.field else first.reason
        counts[name] = counts.get(name, 0) + 1
    return counts
