"""Whose value a key of UNIQUE stands for, readable from the key.

Owns: the owner in a key, and sets of owners. An owner is a counter, as 32 bits of the hash of its
name. A key is 96 bits of hash and these 32, in the upper half of ``lo``, combined with bits of
``hi`` so that every bit is still as good as random for the filters.

Promises: a set never denies an owner that was added. It may hold others too: two counters can share
the 32 bits, and a set looks at 27 of them, so that it takes 16 MiB however many counters there are.
Whoever drops keys by a set keeps a few too many (7 % at ten million counters) and loses none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from tallystick.keys.order import Mask, Words

OWNED: Final = 1
"""The bucket of runs whose keys name their owner. Keys in bucket 0 would be plain hashes."""

_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFF_FFFF)
_OWNER_BITS: Final = 32
_SET_BITS: Final = 27
_PLACE: Final = np.uint64(_OWNER_BITS - _SET_BITS)
_BYTE: Final = np.uint64(3)
_BIT: Final = np.uint64(7)
_ONE: Final = np.uint64(1)


def owner_of(name: str) -> int:
    """The owner that a counter is, by its name, a hash in hexadecimal."""
    return int(name[: _OWNER_BITS // 4], 16)


def owned(hi: Words, lo: Words, owners: Words) -> Words:
    """``lo`` of keys that name these owners."""
    return (lo & _LOW) | ((owners ^ hi) << _HALF)


def owners_of(hi: Words, lo: Words) -> Words:
    """The owners that keys name."""
    return ((lo >> _HALF) ^ hi) & _LOW


class Owners:
    """A set of owners."""

    def __init__(self) -> None:
        self._bits = np.zeros(1 << (_SET_BITS - 3), dtype=np.uint8)

    def add(self, names: Iterable[str]) -> None:
        """Put counters in, by their names."""
        owners = np.fromiter(map(owner_of, names), dtype=np.uint64)
        byte, bit = _places(owners)
        np.bitwise_or.at(self._bits, byte, bit)

    def hold(self, hi: Words, lo: Words) -> Mask:
        """True for keys whose owner may be in."""
        byte, bit = _places(owners_of(hi, lo))
        found: Mask = (self._bits.take(byte) & bit) != 0
        return found


def _places(owners: Words) -> tuple[Words, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    place = owners >> _PLACE
    return place >> _BYTE, (_ONE << (place & _BIT)).astype(np.uint8)
