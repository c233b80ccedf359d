"""One filter in memory over many runs.

Owns: a Bloom filter of every key of the runs it covers, so that a new key costs one look at memory
however many runs there are (asking the filters of nine large runs costs nine cache misses, 120 ns a
key at 100 million keys). Promises: a key of a covered run always passes. Leaves to others: when one
is built anew (``key_set.py``). Keys cannot be taken out; those of dropped runs only take room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from tallystick.keys.filters import BLOCK_BITS, WORDS_PER_BLOCK, Probe, blocks_for
from tallystick.keys.order import Indexes, Words

KEYS_MIN: Final = 500_000
"""Room of the smallest summary, in keys (750 kB)."""
_BITS_PER_KEY_MIN: Final = 8
"""Where memory is short a summary is filled up to this; about 3 % of new keys pass it then."""


class Summary:
    """Which keys may be in the covered runs."""

    def __init__(self, room: int, memory_bytes: int) -> None:
        """An empty summary for ``room`` keys, less sharp where the memory does not suffice."""
        blocks = min(blocks_for(room), max(1, memory_bytes * 8 // BLOCK_BITS))
        self._words = np.zeros(blocks * WORDS_PER_BLOCK, dtype=np.uint64)
        self.room = room
        self.keys = 0
        self.covered: frozenset[str] = frozenset()

    @staticmethod
    def room_max(memory_bytes: int) -> int:
        """The most keys for which so much memory makes a summary worth asking."""
        return memory_bytes * 8 // _BITS_PER_KEY_MIN

    @property
    def bytes(self) -> int:
        """Memory it occupies."""
        return self._words.nbytes

    def passing(self, probe: Probe) -> Indexes:
        """Indexes of the keys that may be in a covered run; all others are in none."""
        return probe.passing(self._words)

    def put(self, hi: Words, lo: Words) -> None:
        """Take keys in; ``cover`` says afterwards whose they were."""
        Probe(hi, lo).put_into(self._words, len(self._words))
        self.keys += len(hi)

    def cover(self, name: str) -> None:
        """All keys of this run are in."""
        self.covered |= {name}

    def replace(self, old: Sequence[str], new: str) -> None:
        """A run took the place of others and has their keys: covered if they all were."""
        if self.covered.issuperset(old):
            self.covered |= {new}
        self.covered -= frozenset(old)

    def drop(self, names: Iterable[str]) -> None:
        """These runs are gone."""
        self.covered -= frozenset(names)
