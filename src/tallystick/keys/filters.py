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

_PUT_KEYS: Final = 2_048
"""Keys put in at a time: their cache lines, 128 KiB, stay near."""
KEYS_AT_ONCE: Final = 16_384
"""Sorted keys worked on at a time where there are many: they and what they touch stay in a cache,
which makes it twice as fast."""
_ONE = np.uint64(1)
_BIT = np.uint64(63)
_HALF = np.uint64(32)


def blocks_for(keys: int, bits_per_key: int = BITS_PER_KEY) -> int:
    """Blocks of a filter for so many keys; at least one."""
    return max(1, -(-keys * bits_per_key // BLOCK_BITS))


class Probe:
    """Keys prepared for asking filters: what every filter needs of them is computed once."""

    __slots__ = ("first", "hi", "lo")

    def __init__(self, hi: Words, lo: Words) -> None:
        self.hi = hi
        self.lo = lo
        self.first = bits_of(lo, 0, 3)

    def __len__(self) -> int:
        return len(self.hi)

    def at_first(self, words: Words) -> tuple[Indexes, Indexes]:
        """Indexes of the keys whose first word has their first bits; all first words."""
        at = words_of(self.hi, len(words))
        # mode="clip" saves a pass over the indexes, which cannot be out of range.
        found = words.take(at, mode="clip")
        found &= self.first
        return np.flatnonzero(found == self.first), at

    def passing(self, words: Words) -> Indexes:
        """Indexes of the keys that may be in the filter; all others are not."""
        passed, at = self.at_first(words)
        if not len(passed):
            return passed
        lo = self.lo.take(passed)
        wanted = bits_of(lo, 18, 3)
        found = words.take(at.take(passed) ^ _step(lo), mode="clip")
        return passed.take(np.flatnonzero((found & wanted) == wanted))

    def put_into(self, words: Words, filter_words: int, first_word: int = 0) -> None:
        """Add the keys to ``words``, the part of a filter that begins with the block at
        ``first_word``; one thread at a time."""
        at = words_of(self.hi, filter_words)
        at -= first_word
        np.bitwise_or.at(words, at, self.first)
        np.bitwise_or.at(words, at ^ _step(self.lo), bits_of(self.lo, 18, 3))


def words_of(hi: Words, filter_words: int) -> Indexes:
    """The first word of each key in a filter of so many words."""
    at = hi >> _HALF
    at *= np.uint64(filter_words)
    at >>= _HALF
    return at.view(np.int64)


def set_bits(words: Words, at: Indexes, bits: Words) -> None:
    """Set each of ``bits`` in the word ``at`` its index, for words that are mostly far apart.

    Gathering, combining and scattering is three times as fast there as ``bitwise_or.at``, whose
    updates wait for memory one by one. But of two updates of one word it keeps one; what did not
    come to stay is done again. One thread at a time.
    """
    while len(at):
        words[at] = words.take(at, mode="clip") | bits
        lost = np.flatnonzero((words.take(at, mode="clip") & bits) != bits)
        at, bits = at.take(lost), bits.take(lost)


def bits_of(lo: Words, shift: int, count: int) -> Words:
    """Words with the (up to) ``count`` bits set that ``lo`` names, six bits each from ``shift``."""
    bits = _ONE << ((lo >> np.uint64(shift)) & _BIT)
    for number in range(1, count):
        bits |= _ONE << ((lo >> np.uint64(shift + 6 * number)) & _BIT)
    return bits


def _step(lo: Words) -> Indexes:
    """1 to 7: which other word of the block, as a number to combine by exclusive or."""
    step = (lo >> np.uint64(36)) & np.uint64(0xFFFF)
    step *= np.uint64(7)
    step >>= np.uint64(16)
    step += _ONE
    return step.view(np.int64)
