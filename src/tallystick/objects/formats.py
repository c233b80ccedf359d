"""What an object's name says about what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["lines", "csv", "parquet"]
Compression: TypeAlias = Literal["gz", "zst"]

_KINDS: Final[dict[str, Kind]] = {
    "jsonl": "lines",
    "ndjson": "lines",
    "csv": "csv",
    "parquet": "parquet",
}
_COMPRESSIONS: Final[dict[str, Compression]] = {"gz": "gz", "zst": "zst"}


@dataclass(frozen=True, slots=True)
class Format:
    """How records are written, and how they are compressed, if they are."""

    kind: Kind
    compression: Compression | None = None


def format_of(key: str) -> Format | None:
    """The format that a name promises, whatever its case; None for what is left alone.

    ``.jsonl``, ``.ndjson`` and ``.csv`` may be followed by ``.gz`` or ``.zst``; Parquet compresses
    within itself.
    """
    name = key.rpartition("/")[2].lower()
    stem, _, last = name.rpartition(".")
    compression = _COMPRESSIONS.get(last)
    if compression is not None:
        stem, _, last = stem.rpartition(".")
    kind = _KINDS.get(last)
    if not stem or kind is None or (kind == "parquet" and compression is not None):
        return None
    return Format(kind, compression)
