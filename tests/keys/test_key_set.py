"""A set finds every key it was given, whatever happens to its runs."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tallystick.errors import DamagedData
from tallystick.keys import key_set, runs
from tallystick.limits import KIB
from tests.keys.building import Home, Key, halves_of, random_keys

FEW = range(3)
"""Values for half a key, so few that halves coincide often."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


class Model:
    """What a set must answer: a Python set of keys, by bucket."""

    def __init__(self) -> None:
        self.buckets: dict[int, set[Key]] = {}

    def fold(self, keys: list[Key], bucket: int) -> list[bool]:
        fresh = []
        for key in keys:
            fresh.append(not any(key in known for known in self.buckets.values()))
            if fresh[-1]:
                self.buckets.setdefault(bucket, set()).add(key)
        return fresh

    def all(self) -> list[Key]:
        return sorted(set().union(*self.buckets.values()))


class Life:
    """A home that lives through random events beside its model."""

    def __init__(self, folder: Path, seed: int, memory_bytes: int) -> None:
        self.random = random.Random(seed)
        self.home = Home(folder, memory_bytes=memory_bytes)
        self.model = Model()
        self.bucket = 0
        self.merging = self.home.begin_merge()

    def some_keys(self) -> list[Key]:
        known = self.model.all()
        count = self.random.choice([0, 1, 5, 400])
        choices = [
            lambda: (self.random.getrandbits(64), self.random.getrandbits(64)),
            lambda: (self.random.choice(FEW), self.random.choice(range(200))),
            lambda: self.random.choice(known or [(0, 0)]),
        ]
        return [self.random.choice(choices)() for _ in range(count)]

    def fold(self) -> None:
        keys = self.some_keys()
        expected = self.model.fold(keys, self.bucket)
        assert expected == self.home.fold(*halves_of(keys), self.bucket)

    def merge_step(self) -> None:
        if self.merging is None:
            self.merging = self.home.begin_merge()
            return
        files, steps = self.merging
        draft = next(steps)
        if draft is not None:
            self.home.commit_merge(files, draft)
            self.merging = None

    def tend(self) -> None:
        self.home.tend()

    def next_bucket(self) -> None:
        self.bucket += 1
        first = self.bucket - 8
        self.model.buckets = {b: keys for b, keys in self.model.buckets.items() if b >= first}
        self.home.keys.look_within(first, self.bucket + 8)

    def expire(self) -> None:
        if self.merging is None:
            gone = [file for file in self.home.files if file.bucket < self.bucket - 8]
            self.home.files = [file for file in self.home.files if file not in gone]
            self.home.keys.drop(gone)

    def restart(self) -> None:
        self.merging = None
        self.home.keys = self.home.reopened()
        self.home.keys.look_within(self.bucket - 8, self.bucket + 8)

    def live(self) -> None:
        weighted = [self.fold] * 6 + [self.merge_step] * 8 + [self.tend, self.next_bucket]
        self.random.choice([*weighted, self.expire, self.restart])()

    def check(self) -> None:
        hi, lo = halves_of(self.model.all())
        assert self.home.keys.contains(hi, lo).all()
        assert not self.home.keys.contains(hi, lo ^ np.uint64(2**63)).any()
        assert self.home.keys.memory_bytes() <= self.home.memory_bytes


@pytest.mark.parametrize("memory_bytes", [8 * 1024 * KIB, 4 * KIB], ids=["covered", "crowded"])
@pytest.mark.parametrize("seed", range(4))
def test_it_answers_as_a_python_set_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, memory_bytes: int
) -> None:
    monkeypatch.setattr(runs, "SMALL_RUN_BYTES", 5_000)
    life = Life(tmp_path, seed, memory_bytes)
    for _ in range(250):
        life.live()
    life.check()


def test_an_empty_set_contains_nothing(home: Home) -> None:
    assert not home.keys.contains(*random_keys(100)).any()
    assert home.fold(*random_keys(0)) == []


def test_the_first_in_the_order_of_the_batch_wins(home: Home) -> None:
    keys = [(9, 9), (1, 2), (1, 1), (9, 9), (1, 1), (1, 2)]
    assert home.fold(*halves_of(keys)) == [True, True, True, False, False, False]


def test_a_written_run_is_not_found_before_it_is_added(home: Home) -> None:
    hi, lo = random_keys(100)
    draft = home.keys.write("keys/a.run", 1, hi, lo, bucket=3, time_first=5, time_last=6)
    assert not home.keys.contains(hi, lo).any()
    assert (draft.kind, draft.row_count, draft.level, draft.bucket) == ("keys", 100, 0, 3)
    assert (draft.time_first, draft.time_last) == (5, 6)
    assert draft.bytes == (home.folder / "keys/a.run").stat().st_size
    home.keys.add(home.named(draft))
    assert home.keys.contains(hi, lo).all()


def test_a_run_that_another_write_followed_is_found(home: Home) -> None:
    first, second = random_keys(100, seed=1), random_keys(100, seed=2)
    drafts = [
        home.keys.write(f"keys/{number}.run", 1, *keys, 0, 0, 0)
        for number, keys in enumerate((first, second))
    ]
    home.keys.add(home.named(drafts[0]))
    assert home.keys.contains(*first).all()
    assert not home.keys.contains(*second).any()


def test_keys_received_outside_of_what_is_looked_at_are_not_found_and_may_come_again(
    home: Home,
) -> None:
    hi, lo = random_keys(100)
    home.add(hi, lo, bucket=1)
    for start, stop, found in ((1, 2, True), (0, 9, True), (2, 9, False), (0, 1, False)):
        home.keys.look_within(start, stop)
        assert found == home.keys.contains(hi, lo).all() == home.keys.contains(hi, lo).any()
    home.keys.look_within(2, 10)
    assert all(home.fold(hi, lo, bucket=9))
    assert home.keys.contains(hi, lo).all()


def test_buckets_that_share_a_group_are_both_asked(home: Home) -> None:
    first, second = random_keys(100, seed=1), random_keys(100, seed=2)
    home.add(*first, bucket=1)
    home.add(*second, bucket=9)
    assert home.keys.contains(*first).all()
    assert home.keys.contains(*second).all()


def test_dropped_runs_are_not_found(home: Home) -> None:
    kept, gone = random_keys(100, seed=1), random_keys(100, seed=2)
    home.add(*kept)
    home.keys.drop([home.add(*gone)])
    assert home.keys.contains(*kept).all()
    assert not home.keys.contains(*gone).any()


class TestSummary:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(key_set, "KEYS_MIN", 1_000)

    def test_a_new_one_is_built_when_the_present_one_is_full(self, home: Home) -> None:
        assert home.tend() == 0
        hi, lo = random_keys(5_000)
        for begin in range(0, 5_000, 250):
            home.add(hi[begin : begin + 250], lo[begin : begin + 250])
        small = home.keys.memory_bytes()
        assert home.tend() > 0
        assert small < home.keys.memory_bytes() <= home.memory_bytes
        assert home.tend() == 0
        assert home.keys.contains(hi, lo).all()

    def test_runs_that_join_or_merge_while_it_is_built_are_in_it(self, home: Home) -> None:
        hi, lo = random_keys(2_000)
        for begin in range(0, 1_750, 250):
            home.add(hi[begin : begin + 250], lo[begin : begin + 250])
        steps = home.keys.tend()
        next(steps)
        home.add(hi[1_750:], lo[1_750:])
        next(steps)
        assert home.merge_all() == 1
        for _ in steps:
            pass
        summary = home.keys._view.summary
        assert summary is not None
        assert {home.files[0].name} == summary.covered
        assert home.keys.contains(hi, lo).all()

    def test_an_abandoned_one_is_begun_again(self, home: Home) -> None:
        hi, lo = random_keys(2_000)
        home.add(hi, lo)
        steps = home.keys.tend()
        next(steps)
        steps.close()  # type: ignore[attr-defined]
        assert home.keys.contains(hi, lo).all()
        assert home.tend() == 1
        assert home.tend() == 0

    def test_short_memory_covers_the_latest_runs_and_finds_all(self, tmp_path: Path) -> None:
        home = Home(tmp_path, memory_bytes=4 * KIB)
        hi, lo = random_keys(8_000)
        for begin in range(0, 8_000, 1_000):
            home.add(hi[begin : begin + 1_000], lo[begin : begin + 1_000], bucket=begin // 1_000)
        home.tend()
        summary = home.keys._view.summary
        assert summary is not None
        assert {file.name for file in home.files[-3:]} == summary.covered
        assert home.keys.memory_bytes() <= 4 * KIB
        assert home.keys.contains(hi, lo).all()
        assert not home.keys.contains(*random_keys(1_000, seed=2)).any()

    def test_two_never_exceed_the_memory_while_one_is_built(self, tmp_path: Path) -> None:
        home = Home(tmp_path, memory_bytes=6 * KIB)
        hi, lo = random_keys(3_000)
        for begin in range(0, 3_000, 500):
            home.add(hi[begin : begin + 500], lo[begin : begin + 500])
        for _ in home.keys.tend():
            assert home.keys.memory_bytes() <= 6 * KIB
            assert home.keys.contains(hi, lo).all()


class TestDamage:
    def test_a_missing_run(self, home: Home) -> None:
        file = home.add(*random_keys(100))
        (home.folder / file.name).unlink()
        with pytest.raises(DamagedData, match=Path(file.name).name):
            home.reopened()

    def test_a_run_of_other_length_than_its_row_says(self, home: Home) -> None:
        home.files = [replace(home.add(*random_keys(100)), row_count=99)]
        with pytest.raises(DamagedData, match="holds 100 keys, its row says 99"):
            home.reopened()

    @pytest.mark.parametrize("at", [64 + 16 * 50, -1], ids=["keys", "filter"])
    def test_changed_bytes_are_found_at_the_next_start(self, home: Home, at: int) -> None:
        path = home.folder / home.add(*random_keys(100)).name
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(DamagedData, match="not what was written"):
            home.reopened()


def test_who_asks_finds_every_key_while_another_thread_merges(home: Home) -> None:
    hi, lo = random_keys(2_000)
    home.add(hi, lo)
    done = threading.Event()
    failures: list[BaseException] = []

    def upkeep() -> None:
        try:
            for seed in range(2, 40):
                home.add(*random_keys(500, seed))
                home.merge_all()
                home.tend()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=upkeep)
    thread.start()
    while not done.is_set():
        assert home.keys.contains(hi, lo).all()
    thread.join()
    assert failures == []
