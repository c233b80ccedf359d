"""A run holds what was written, exactly, or says that it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tallystick.errors import DamagedData
from tallystick.keys import runs
from tallystick.keys.filters import Probe
from tallystick.keys.runs import Run, RunWriter, write_run
from tests.keys.building import Key, halves_of, random_keys, sorted_keys

TOP = 2**64 - 1


@pytest.fixture(params=["small", "large"], autouse=True)
def _size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small runs are mapped, large ones read: each test runs with either."""
    if request.param == "large":
        monkeypatch.setattr(runs, "SMALL_RUN_BYTES", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.run"


def found(run: Run, keys: list[Key]) -> list[bool]:
    held: list[bool] = run.holds(*halves_of(keys)).tolist()
    return held


@pytest.mark.parametrize("count", [0, 1, 2, 17, 1_000, 50_000])
def test_it_holds_its_keys_and_no_others(path: Path, count: int) -> None:
    hi, lo = sorted_keys(count)
    size = write_run(path, hi, lo)
    run = Run(path)
    assert (size, count) == (path.stat().st_size, run.count)
    assert run.holds(hi, lo).all()
    assert list(range(count)) == run.sift(Probe(hi, lo)).tolist()
    assert not run.holds(*random_keys(1_000, seed=2)).any()
    assert not run.holds(hi, lo ^ np.uint64(1)).any()


@pytest.mark.parametrize("same", [2, 15, 16, 17, 100, 1_000])
def test_keys_that_share_one_hi_are_told_apart(path: Path, same: int) -> None:
    keys = [(5, 5), *((7, 2 * number) for number in range(same)), (9, 9), (TOP, TOP)]
    write_run(path, *halves_of(keys))
    run = Run(path)
    assert all(found(run, keys))
    assert not any(found(run, [(7, 2 * number + 1) for number in range(same)]))
    assert found(run, [(TOP, TOP - 1), (0, 0), (8, 0)]) == [False, False, False]


def test_the_last_keys_of_a_run_may_share_one_hi(path: Path) -> None:
    keys = [(TOP, number) for number in range(100)]
    write_run(path, *halves_of(keys))
    assert all(found(Run(path), keys))
    assert found(Run(path), [(TOP, 100)]) == [False]


def test_the_end_of_a_run_is_not_read_as_a_key(path: Path) -> None:
    write_run(path, *halves_of([(4, 4), (6, 9)]))
    assert found(Run(path), [(9, 9), (9, 0)]) == [False, False]


def test_a_run_may_have_room_left(path: Path) -> None:
    hi, lo = sorted_keys(1_000)
    writer = RunWriter(path, 3_000)
    for begin in range(0, 1_000, 70):
        writer.append(hi[begin : begin + 70], lo[begin : begin + 70])
    writer.finish()
    run = Run(path)
    assert run.count == 1_000
    assert run.holds(hi, lo).all()
    assert list(range(1_000)) == run.sift(Probe(hi, lo)).tolist()


def test_it_is_read_through_in_pieces(path: Path) -> None:
    hi, lo = sorted_keys(1_000)
    write_run(path, hi, lo)
    pieces = list(Run(path).reader().pieces(300))
    assert [len(piece[0]) for piece in pieces] == [300, 300, 300, 100]
    assert hi.tolist() == np.concatenate([piece[0] for piece in pieces]).tolist()
    assert lo.tolist() == np.concatenate([piece[1] for piece in pieces]).tolist()


def test_edges_count_the_keys_below(path: Path) -> None:
    write_run(path, *halves_of([(2, 0), (2, 1), (5, 0)]))
    cuts = halves_of([(0, 0), (2, 0), (3, 0), (5, 0), (TOP, 0)])[0]
    assert Run(path).edges(cuts).tolist() == [0, 0, 2, 2, 3]


def test_it_outlives_its_file(path: Path) -> None:
    hi, lo = sorted_keys(1_000)
    write_run(path, hi, lo)
    run = Run(path)
    path.unlink()
    assert run.holds(hi, lo).all()


def test_a_name_is_never_written_twice(path: Path) -> None:
    hi, lo = sorted_keys(10)
    write_run(path, hi, lo)
    with pytest.raises(FileExistsError):
        write_run(path, hi, lo)
    assert Run(path).holds(hi, lo).all()


def test_an_abandoned_run_leaves_no_file(path: Path) -> None:
    writer = RunWriter(path, 10)
    writer.append(*sorted_keys(10))
    writer.abandon()
    assert not path.exists()


class TestDamage:
    @pytest.fixture
    def whole(self, path: Path) -> bytes:
        write_run(path, *sorted_keys(1_000))
        return path.read_bytes()

    def test_a_missing_file(self, path: Path) -> None:
        with pytest.raises(DamagedData, match=r"a\.run cannot be opened"):
            Run(path)

    @pytest.mark.parametrize("size", [0, 1, 63, 64, 1_000, -1])
    def test_a_truncated_file(self, path: Path, whole: bytes, size: int) -> None:
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedData, match=r"a\.run"):
            Run(path)

    def test_a_file_that_grew(self, path: Path, whole: bytes) -> None:
        path.write_bytes(whole + b"\0")
        with pytest.raises(DamagedData, match="bytes, not"):
            Run(path)

    @pytest.mark.parametrize("at", range(0, 56, 4))
    def test_a_changed_header(self, path: Path, whole: bytes, at: int) -> None:
        path.write_bytes(_flipped(whole, at))
        with pytest.raises(DamagedData, match="header is not what was written"):
            Run(path)

    @pytest.mark.parametrize("at", [64, 64 + 16 * 500 + 8, 64 + 16 * 1_000 - 1])
    def test_changed_keys_are_found_when_they_are_read(
        self, path: Path, whole: bytes, at: int
    ) -> None:
        path.write_bytes(_flipped(whole, at))
        with pytest.raises(DamagedData, match="keys are not what was written"):
            list(Run(path).reader().pieces(300))

    @pytest.mark.parametrize("at", [64 + 16 * 1_000, -1])
    def test_a_changed_filter_is_found_when_it_is_checked(
        self, path: Path, whole: bytes, at: int
    ) -> None:
        path.write_bytes(_flipped(whole, at))
        with pytest.raises(DamagedData, match="filter is not what was written"):
            Run(path).check_filter()

    def test_a_whole_file_passes_every_check(self, path: Path, whole: bytes) -> None:
        Run(path).check_filter()
        assert sum(len(hi) for hi, _ in Run(path).reader().pieces(300)) == 1_000
        assert whole == path.read_bytes()


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)
