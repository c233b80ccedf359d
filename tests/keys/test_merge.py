"""Merges change no answer; the window remembers as long as it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import limits
from tallystick.archive.manifest import ManifestFile
from tallystick.clock import DAY
from tallystick.errors import DamagedData
from tallystick.keys import merge
from tallystick.keys.merge import bucket_of, expired, live_from, live_until, plan
from tallystick.keys.runs import Run
from tallystick.limits import DEDUPE_BUCKETS_PER_WINDOW, KEY_MERGE_FANOUT
from tests.keys.building import Home, a_file, halves_of, random_keys

WINDOW = 35 * DAY
EIGHTH = WINDOW // DEDUPE_BUCKETS_PER_WINDOW
NOW = 1_000 * WINDOW


def run_of(received_at: int) -> ManifestFile:
    """A run of keys that all came at one instant."""
    bucket = bucket_of(received_at, WINDOW)
    return a_file(bucket=bucket, time_first=received_at, time_last=received_at)


class TestWindow:
    @given(st.integers(0, 4 * WINDOW), st.integers(0, 3 * WINDOW))
    def test_a_key_is_remembered_the_window_and_at_most_an_eighth_longer(
        self, received_at: int, age: int
    ) -> None:
        live = received_at >= live_from(received_at + age, WINDOW)
        if age <= WINDOW:
            assert live
        if age >= WINDOW + EIGHTH:
            assert not live

    @given(st.integers(0, 4 * WINDOW), st.integers(0, 3 * WINDOW))
    def test_who_is_folded_late_meets_the_keys_that_came_within_the_window_after(
        self, received_at: int, later: int
    ) -> None:
        met = received_at + later < live_until(received_at, WINDOW)
        if later <= WINDOW:
            assert met
        if later >= WINDOW + EIGHTH:
            assert not met

    @pytest.mark.parametrize("within", [0, 1, EIGHTH - 1])
    def test_a_bucket_leaves_when_its_last_key_is_older_than_the_window(self, within: int) -> None:
        file = run_of(100 * EIGHTH + within)
        last_instant = 101 * EIGHTH - 1 + WINDOW
        assert expired([file], last_instant, (), WINDOW) == []
        assert [file] == expired([file], last_instant + 1, (), WINDOW)

    def test_buckets_are_an_eighth_of_the_window(self) -> None:
        assert [
            bucket_of(instant, WINDOW) for instant in (0, EIGHTH - 1, EIGHTH, WINDOW - 1, WINDOW)
        ] == [0, 0, 1, 7, 8]

    @pytest.mark.parametrize("other", [7 * DAY, 350 * DAY])
    def test_buckets_of_another_window_leave_by_the_present_one(self, other: int) -> None:
        file = a_file(bucket=bucket_of(NOW, other), time_first=NOW, time_last=NOW)
        assert expired([file], NOW + WINDOW, (), WINDOW) == []
        assert [file] == expired([file], NOW + WINDOW + EIGHTH, (), WINDOW)

    def test_what_is_set_aside_keeps_the_keys_around_it_and_no_others(self) -> None:
        ages = (-2 * WINDOW, -WINDOW, 0, WINDOW, 2 * WINDOW, 9 * WINDOW)
        files = [run_of(NOW + age) for age in ages]
        gone = expired(files, NOW + 9 * WINDOW, [NOW], WINDOW)
        assert [files[0], files[4]] == gone


class TestPlan:
    def test_nothing_is_due_without_files(self) -> None:
        assert plan([]) is None

    def test_a_level_of_the_latest_bucket_waits_until_it_is_full(self) -> None:
        files = [a_file(id=number) for number in range(KEY_MERGE_FANOUT)]
        assert plan(files[:-1]) is None
        assert files == plan(files)

    def test_the_earliest_files_of_a_level_go_first(self) -> None:
        files = [a_file(id=number) for number in range(KEY_MERGE_FANOUT + 3)]
        assert files[:KEY_MERGE_FANOUT] == plan(files[::-1])

    def test_levels_are_not_mixed(self) -> None:
        files = [a_file(id=number, level=number % 2) for number in range(KEY_MERGE_FANOUT)]
        assert plan(files) is None

    def test_an_earlier_bucket_becomes_one_file(self) -> None:
        old = [a_file(id=1, bucket=4, level=2), a_file(id=2, bucket=4)]
        latest = a_file(id=3, bucket=5, time_last=9)
        assert old == plan([*old, latest])
        assert plan([old[0], latest]) is None

    def test_the_growing_bucket_is_the_one_received_last_whatever_its_number(self) -> None:
        old = [a_file(id=number, bucket=500) for number in range(2)]
        growing = [a_file(id=10 + number, bucket=100, time_last=9) for number in range(2)]
        assert old == plan([*old, *growing])
        assert plan([old[0], *growing]) is None

    def test_the_growing_bucket_goes_before_earlier_ones(self) -> None:
        old = [a_file(id=number, bucket=4) for number in range(2)]
        growing = [
            a_file(id=10 + number, bucket=5, time_last=9) for number in range(KEY_MERGE_FANOUT)
        ]
        assert growing == plan([*old, *growing])


class TestMerge:
    def test_keys_of_several_files_are_kept_once(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        first = home.add(*halves_of([(1, 1), (2, 2), (5, 5)]))
        second = home.add(*halves_of([(2, 2), (2, 3), (9, 9)]))
        *_, draft = merge.merge(tmp_path, [first, second], "keys/m.run", 2, 1)
        assert draft is not None
        assert (draft.row_count, draft.level, draft.epoch, draft.kind) == (5, 1, 2, "keys")
        assert draft.bytes == (tmp_path / "keys/m.run").stat().st_size
        expected = halves_of([(1, 1), (2, 2), (2, 3), (5, 5), (9, 9)])
        with Run(tmp_path / draft.name).reader() as reader:
            assert [half.tolist() for half in expected] == [
                half.tolist() for half in reader.read(10)
            ]

    def test_it_spans_the_times_of_its_files(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        files = [
            home.named(home.keys.write(f"keys/{first}.run", 1, *random_keys(5), 7, first, last))
            for first, last in ((30, 40), (10, 20))
        ]
        *_, draft = merge.merge(tmp_path, files, "keys/m.run", 1, 1)
        assert draft is not None
        assert (draft.bucket, draft.time_first, draft.time_last) == (7, 10, 40)

    @pytest.mark.parametrize("skew", [False, True])
    def test_a_step_takes_a_bounded_number_of_keys(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: bool
    ) -> None:
        monkeypatch.setattr(limits, "KEY_STEP_KEYS", 1_000)
        home = Home(tmp_path)
        for seed in range(4):
            hi, lo = random_keys(5_000, seed)
            home.add(hi >> np.uint64(50) if skew else hi, lo)
        sizes = [len(hi) for hi, _ in merge._merged_pieces(_runs(home))]
        assert sum(sizes) == 20_000
        assert max(sizes) <= 1_000 + 4
        assert len(sizes) < 80

    def test_files_without_keys_merge(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        files = [home.add(*random_keys(0)) for _ in range(2)]
        *_, draft = merge.merge(tmp_path, files, "keys/m.run", 1, 1)
        assert draft is not None
        assert draft.row_count == 0

    def test_buckets_are_never_mixed(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        files = [home.add(*random_keys(5, bucket), bucket) for bucket in (1, 2)]
        with pytest.raises(ValueError, match="one kind and bucket"):
            next(merge.merge(tmp_path, files, "keys/m.run", 1, 1))

    def test_an_abandoned_merge_leaves_the_set_as_it_was(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        hi, lo = random_keys(KEY_MERGE_FANOUT * 100)
        for begin in range(0, len(hi), 100):
            home.add(hi[begin : begin + 100], lo[begin : begin + 100])
        begun = home.begin_merge()
        assert begun is not None
        assert next(begun[1]) is None
        begun[1].close()  # type: ignore[attr-defined]
        assert home.keys.contains(hi, lo).all()
        assert home.merge_all() == 1
        assert len(home.files) == 1
        assert home.keys.contains(hi, lo).all()

    def test_a_damaged_file_is_not_merged(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        files = [home.add(*random_keys(100, seed)) for seed in range(2)]
        path = tmp_path / files[0].name
        data = bytearray(path.read_bytes())
        data[64 + 16 * 50] ^= 1
        path.write_bytes(data)
        with pytest.raises(DamagedData, match="not what was written"):
            list(merge.merge(tmp_path, files, "keys/m.run", 1, 1))
        assert not (tmp_path / "keys/m.run").exists()


def _runs(home: Home) -> list[Run]:
    return [Run(home.folder / file.name) for file in home.files]
