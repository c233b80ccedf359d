"""Order of keys: by ``hi``, then ``lo``.

Owns: sorting pairs of 64-bit arrays without NumPy's slow two-key sort, and telling repetitions in
sorted arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Indexes = NDArray[np.int64]
Mask = NDArray[np.bool_]


def order_of_batch(hi: Words, lo: Words) -> Indexes:
    """The stable order of a batch, at most some 100,000 keys.

    The index rides in the low bits of ``hi``, so that one fast sort of plain numbers does (10 ns a
    key; an ``argsort`` takes 26, a ``lexsort`` 125). The low bits of ``hi`` that gave way decide
    about once in 100,000 batches; then the slow sort does it over.
    """
    mask = (1 << max(len(hi) - 1, 1).bit_length()) - 1
    packed = hi & np.uint64(~mask & 0xFFFF_FFFF_FFFF_FFFF)
    packed |= np.arange(len(hi), dtype=np.uint64)
    packed.sort()
    packed &= np.uint64(mask)
    return _checked(packed.view(np.int64), hi, lo)


def order_of_runs(hi: Words, lo: Words) -> Indexes:
    """The stable order of arrays made of sorted stretches, on which a merge sort thrives."""
    return _checked(np.argsort(hi, kind="stable"), hi, lo)


def first_of_sorted(hi: Words, lo: Words) -> Mask:
    """True for the first of each group of equal keys in sorted arrays."""
    first = np.ones(len(hi), dtype=np.bool_)
    np.not_equal(hi[1:], hi[:-1], out=first[1:])
    first[1:] |= lo[1:] != lo[:-1]
    return first


def _checked(order: Indexes, hi: Words, lo: Words) -> Indexes:
    """``order`` if it sorts the keys; else one that does."""
    sorted_hi = hi.take(order)
    before, after = sorted_hi[:-1], sorted_hi[1:]
    if (after < before).any():
        return np.lexsort((lo, hi))
    ties = np.flatnonzero(after == before)
    if len(ties) and (lo[order[ties + 1]] < lo[order[ties]]).any():
        return np.lexsort((lo, hi))
    return order
