"""Blocked Bloom filters over key hashes.

Owns: which bits a key sets, and asking many keys at once. A filter is an array of 64-bit words,
eight to a block, which is one cache line. The upper half of ``hi`` chooses the word in proportion,
so that sorted keys walk through memory in order and the keys of a block are neighbours in a sorted
run. ``lo`` chooses three bits in that word, another word of the same block, and three bits in it.
Promises: a key that was put in always passes.

Six bits a key in two words; at 12 bits of filter a key about 0.6 % of others pass (a test holds it
under 1 %). Most keys fail at the first word, and the second is in the same cache line.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tallystick.keys.order import Indexes, Words

BITS_PER_KEY: Final = 12
WORDS_PER_BLOCK: Final = 8
BLOCK_BITS: Final = 512

_ONE = np.uint64(1)
_BIT = np.uint64(63)
_HALF = np.uint64(32)


def blocks_for(keys: int, bits_per_key: int = BITS_PER_KEY) -> int:
    """Blocks of a filter for so many keys; at least one."""
    return max(1, -(-keys * bits_per_key // BLOCK_BITS))


class Probe:
    """Keys prepared for asking filters: what every filter needs of them is computed once."""

    __slots__ = ("_first", "_high", "hi", "lo")

    def __init__(self, hi: Words, lo: Words) -> None:
        self.hi = hi
        self.lo = lo
        self._high = hi >> _HALF
        self._first = _three_bits(lo, 0)

    def __len__(self) -> int:
        return len(self.hi)

    def take(self, indexes: Indexes) -> Probe:
        """The keys at these indexes."""
        part = Probe.__new__(Probe)
        part.hi = self.hi.take(indexes)
        part.lo = self.lo.take(indexes)
        part._high = self._high.take(indexes)
        part._first = self._first.take(indexes)
        return part

    def words_of(self, filter_words: int) -> Indexes:
        """The first word of each key in a filter of so many words; its block is an eighth of it."""
        at = self._high * np.uint64(filter_words)
        at >>= _HALF
        return at.view(np.int64)

    def passing(self, words: Words) -> Indexes:
        """Indexes of the keys that may be in the filter; all others are not."""
        at = self.words_of(len(words))
        # mode="clip" saves a pass over the indexes, which cannot be out of range.
        found = words.take(at, mode="clip")
        found &= self._first
        passed = np.flatnonzero(found == self._first)
        if len(passed):
            lo = self.lo.take(passed)
            wanted = _three_bits(lo, 18)
            found = words.take(at.take(passed) ^ _step(lo), mode="clip")
            passed = passed[(found & wanted) == wanted]
        return passed

    def put_into(self, words: Words, filter_words: int, first_word: int = 0) -> None:
        """Add the keys to ``words``, the part of a filter that begins at ``first_word``.

        ``first_word`` begins a block. Other threads may ask the filter meanwhile.
        """
        at = self.words_of(filter_words)
        at -= first_word
        np.bitwise_or.at(words, at, self._first)
        np.bitwise_or.at(words, at ^ _step(self.lo), _three_bits(self.lo, 18))


def _three_bits(lo: Words, shift: int) -> Words:
    """Words with the (up to) three bits set that 18 bits of ``lo`` from ``shift`` on name."""
    bits = _ONE << ((lo >> np.uint64(shift)) & _BIT)
    bits |= _ONE << ((lo >> np.uint64(shift + 6)) & _BIT)
    bits |= _ONE << ((lo >> np.uint64(shift + 12)) & _BIT)
    return bits


def _step(lo: Words) -> Indexes:
    """1 to 7: which other word of the block, as a number to combine by exclusive or."""
    step = (lo >> np.uint64(36)) & np.uint64(0xFFFF)
    step *= np.uint64(7)
    step >>= np.uint64(16)
    step += _ONE
    return step.view(np.int64)
