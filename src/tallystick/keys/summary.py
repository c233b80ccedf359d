"""One filter in memory over many runs.

Owns: a Bloom filter of every key of the runs it covers, so that a new key costs one look at memory
however many runs there are (asking the filters of nine large runs costs nine cache misses, 120 ns a
key at 100 million keys). It also tells where a key may be: runs belong to one of eight groups, and
of a key's two words the second is chosen by its group, in the same cache line. Promises: a key of a
covered run always passes, for the group of that run. Leaves to others: when one is built anew
(``key_set.py``). Keys cannot be taken out; those of dropped runs only take room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from tallystick.keys.filters import (
    BLOCK_BITS,
    KEYS_AT_ONCE,
    WORDS_PER_BLOCK,
    Probe,
    bits_of,
    blocks_for,
    set_bits,
    words_of,
)
from tallystick.keys.order import Indexes, Mask, Words

GROUPS: Final = WORDS_PER_BLOCK
KEYS_MIN: Final = 500_000
"""Room of the smallest summary, in keys (750 kB)."""
_BITS_PER_KEY_MIN: Final = 8
"""Where memory is short a summary is filled up to this; some 10 % of new keys pass it then."""
_GROUP = np.uint64(GROUPS - 1)
_GROUPS = np.arange(GROUPS, dtype=np.uint64)
_WORD_IN_BLOCK: Final = WORDS_PER_BLOCK - 1


class Summary:
    """Which keys may be in the covered runs, and in which group of them."""

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

    def passing(self, probe: Probe) -> tuple[Indexes, Mask]:
        """Indexes of the keys that may be in covered runs, all others are in none; and for each of
        them (row) the groups (columns) of those runs."""
        passed, at = probe.at_first(self._words)
        lo = probe.lo.take(passed)
        wanted = bits_of(lo, 18, 4)[:, np.newaxis]
        blocks = at.take(passed) // WORDS_PER_BLOCK
        found = self._words.reshape(-1, WORDS_PER_BLOCK).take(blocks, axis=0, mode="clip")
        places = _places(lo[:, np.newaxis], _GROUPS).view(np.int64)
        groups = np.take_along_axis((found & wanted) == wanted, places, axis=1)
        some = np.flatnonzero(groups.any(axis=1))
        return passed.take(some), groups.take(some, axis=0)

    def put(self, hi: Words, lo: Words, group: int) -> None:
        """Take sorted keys of a group in; ``cover`` says afterwards whose they were."""
        for begin in range(0, len(hi), KEYS_AT_ONCE):
            part = slice(begin, begin + KEYS_AT_ONCE)
            self._put(hi[part], lo[part], np.uint64(group))
        self.keys += len(hi)

    def cover(self, name: str) -> None:
        """All keys of this run are in."""
        self.covered |= {name}

    def replace(self, old: Sequence[str], new: str) -> None:
        """A run took the place of others of its group: it is covered if they all were."""
        if self.covered.issuperset(old):
            self.covered |= {new}
        self.covered -= frozenset(old)

    def drop(self, names: Iterable[str]) -> None:
        """These runs are gone."""
        self.covered -= frozenset(names)

    def _put(self, hi: Words, lo: Words, group: np.uint64) -> None:
        at = words_of(hi, len(self._words))
        set_bits(self._words, at, bits_of(lo, 0, 3))
        at &= ~_WORD_IN_BLOCK
        at += _places(lo, group).view(np.int64)
        set_bits(self._words, at, bits_of(lo, 18, 4))


def _places(lo: Words, groups: Words | np.uint64) -> Words:
    """Which word of its block a key has for a group: the groups in turn, from one lo chooses."""
    return ((lo >> np.uint64(60)) + groups) & _GROUP
