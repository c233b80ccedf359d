"""The owner in a key, and sets of owners."""

from __future__ import annotations

import numpy as np
import pytest

from tallystick.keys.filters import WORDS_PER_BLOCK, Probe, blocks_for
from tallystick.keys.hashing import key_hash
from tallystick.keys.order import Words, order_of_batch
from tallystick.keys.owners import Owners, owned, owner_of, owners_of
from tallystick.keys.summary import Summary
from tests.keys.building import MEMORY_BYTES, random_keys

KEYS = 20_000


def names(count: int, first: int = 0) -> list[str]:
    return [key_hash(f"counter-{number}").hex() for number in range(first, first + count)]


def keys_of(name: str, count: int, seed: int = 1) -> tuple[Words, Words]:
    """Keys of one counter."""
    hi, lo = random_keys(count, seed)
    return hi, owned(hi, lo, np.full(count, owner_of(name), dtype=np.uint64))


def test_a_key_names_the_owner_it_was_given() -> None:
    hi, lo = random_keys(1_000)
    owners = np.random.default_rng(2).integers(0, 2**32, 1_000, dtype=np.uint64)
    marked = owned(hi, lo, owners)
    assert owners_of(hi, marked).tolist() == owners.tolist()
    assert ((marked ^ lo) & np.uint64(0xFFFF_FFFF)).sum() == 0, "the rest of the hash stays"


def test_the_owner_is_the_beginning_of_the_name() -> None:
    assert owner_of("00000001" + "f" * 24) == 1
    assert owner_of("ffffffff" + "0" * 24) == 2**32 - 1


def test_a_set_denies_no_owner_that_was_added() -> None:
    owners = Owners()
    added = names(3_000)
    owners.add(added[:2_000])
    owners.add(added[2_000:])
    for name in added[::100]:
        assert owners.hold(*keys_of(name, 10)).all()


def test_a_set_denies_nearly_all_others() -> None:
    owners = Owners()
    owners.add(names(10_000))
    passed = sum(bool(owners.hold(*keys_of(name, 1)).any()) for name in names(2_000, 10_000))
    assert passed < 10


def test_an_empty_set_holds_nothing_and_takes_any_number() -> None:
    owners = Owners()
    owners.add([])
    assert not owners.hold(*random_keys(100)).any()
    assert len(owners.hold(*random_keys(0))) == 0


@pytest.mark.parametrize("which", ["filter", "summary"])
def test_keys_of_one_owner_are_as_good_as_random_to_the_filters(which: str) -> None:
    hi, lo = keys_of("cafe0123" * 4, KEYS)
    others = Probe(*keys_of("cafe0123" * 4, 100_000, seed=2))
    if which == "filter":
        words = np.zeros(blocks_for(KEYS) * WORDS_PER_BLOCK, dtype=np.uint64)
        Probe(hi, lo).put_into(words, len(words))
        passed = others.passing(words)
    else:
        summary = Summary(KEYS, MEMORY_BYTES)
        order = order_of_batch(hi, lo)
        summary.put(hi.take(order), lo.take(order), 1)
        passed, groups = summary.passing(others)
        passed = passed[groups[:, 1]]
    assert len(passed) < 1_000
