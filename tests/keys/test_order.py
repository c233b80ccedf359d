"""Keys are ordered by both halves, equal ones as they came."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.keys.order import (
    Indexes,
    Words,
    first_of_sorted,
    order_of_batch,
    order_of_runs,
)
from tests.keys.building import Key, halves_of

TOP = 2**64 - 1
HALF = st.sampled_from([0, 1, 2, 3, 2**32, 2**63, TOP - 1, TOP])
KEYS = st.lists(st.tuples(HALF, HALF), max_size=40)

both_orders = pytest.mark.parametrize("order_of", [order_of_batch, order_of_runs])


@both_orders
@given(keys=KEYS)
def test_the_order_is_that_of_pairs_and_stable(
    order_of: Callable[[Words, Words], Indexes], keys: list[Key]
) -> None:
    expected = sorted(range(len(keys)), key=lambda index: keys[index])
    assert expected == order_of(*halves_of(keys)).tolist()


@given(keys=KEYS)
def test_the_first_of_equal_keys_is_told(keys: list[Key]) -> None:
    expected = [
        index == 0 or key != sorted(keys)[index - 1] for index, key in enumerate(sorted(keys))
    ]
    assert expected == first_of_sorted(*halves_of(sorted(keys))).tolist()


@both_orders
def test_keys_that_differ_in_the_last_bits_of_hi_only(
    order_of: Callable[[Words, Words], Indexes],
) -> None:
    hi = np.arange(1000, 0, -1, dtype=np.uint64)
    assert np.argsort(hi).tolist() == order_of(hi, hi).tolist()
