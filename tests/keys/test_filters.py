"""Filters forget no key, and let few others pass."""

from __future__ import annotations

import numpy as np
import pytest

from tallystick.keys.filters import WORDS_PER_BLOCK, Probe, blocks_for
from tallystick.keys.summary import GROUPS, KEYS_MIN, Summary
from tests.keys.building import MEMORY_BYTES, halves_of, random_keys, sorted_keys

KEYS = 20_000


def filled(keys: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    filter_words = np.zeros(blocks_for(keys) * WORDS_PER_BLOCK, dtype=np.uint64)
    Probe(*random_keys(keys)).put_into(filter_words, len(filter_words))
    return filter_words


@pytest.mark.parametrize("keys", [1, 42, 43, 1000, KEYS])
def test_every_key_put_in_passes(keys: int) -> None:
    assert list(range(keys)) == Probe(*random_keys(keys)).passing(filled(keys)).tolist()


def test_under_one_percent_of_other_keys_pass() -> None:
    others = Probe(*random_keys(100_000, seed=2))
    assert len(others.passing(filled(KEYS))) < 1_000


def test_the_ends_of_the_range_stay_inside() -> None:
    ends = Probe(*halves_of([(0, 0), (2**64 - 1, 2**64 - 1)]))
    filter_words = np.zeros(3 * WORDS_PER_BLOCK, dtype=np.uint64)
    ends.put_into(filter_words, len(filter_words))
    assert ends.passing(filter_words).tolist() == [0, 1]


def test_a_filter_written_in_parts_is_the_same() -> None:
    whole = filled(KEYS)
    hi, lo = sorted_keys(KEYS)
    half = len(whole) // (2 * WORDS_PER_BLOCK) * WORDS_PER_BLOCK
    cut = int(np.searchsorted(hi, np.uint64(half * 2**64 // len(whole) + 2**32)))
    parts = np.zeros_like(whole)
    Probe(hi[:cut], lo[:cut]).put_into(parts[: half + WORDS_PER_BLOCK], len(whole))
    Probe(hi[cut:], lo[cut:]).put_into(parts[half:], len(whole), half)
    assert (parts == whole).all()


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_summary_names_the_group_of_each_key(group: int) -> None:
    summary = Summary(KEYS_MIN, MEMORY_BYTES)
    hi, lo = sorted_keys(KEYS)
    summary.put(hi, lo, group)
    indexes, groups = summary.passing(Probe(hi, lo))
    assert list(range(KEYS)) == indexes.tolist()
    assert groups[:, group].all()
    assert np.delete(groups, group, axis=1).mean() < 0.001


def test_a_full_summary_lets_few_new_keys_pass() -> None:
    summary = Summary(KEYS_MIN, MEMORY_BYTES)
    for group in range(GROUPS):
        summary.put(*sorted_keys(KEYS_MIN // GROUPS, seed=group), group)
    assert summary.room == summary.keys
    assert len(summary.passing(Probe(*random_keys(100_000, seed=99)))[0]) < 3_500


def test_a_summary_without_keys_lets_none_pass() -> None:
    indexes, groups = Summary(KEYS_MIN, MEMORY_BYTES).passing(Probe(*random_keys(KEYS)))
    assert (len(indexes), groups.shape) == (0, (0, GROUPS))
