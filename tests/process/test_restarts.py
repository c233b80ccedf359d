"""When a child that ended is started again."""

from __future__ import annotations

import time
from pathlib import Path

from tallystick import limits
from tallystick.backoff import backoff_seconds
from tallystick.fold.attempts import Attempts, Isolation
from tallystick.folder import DataFolder
from tallystick.process.children import Child
from tests.serving import wait_until


def end_of(child: Child) -> tuple[float, float]:
    """Run it to its end; the least and the most that it can wait for its next start."""
    link = child.start()
    assert link is not None
    times: list[float] = []

    def has_ended() -> bool:
        times[:] = [time.monotonic()]
        return child.take_exit_code() is not None

    wait_until(has_ended, "the end of a child")
    link.close()
    return child.start_at - time.monotonic(), child.start_at - times[0]


def waits_of(child: Child, *expected: float) -> None:
    """It ends so often, and waits so many seconds each time."""
    for seconds in expected:
        least, most = end_of(child)
        assert least <= seconds <= most


def test_a_child_that_ends_at_once_waits_longer_each_time(tmp_path: Path) -> None:
    child = Child("nonsense", 0, DataFolder(tmp_path), {}, {})
    waits_of(child, backoff_seconds(0), backoff_seconds(1), backoff_seconds(2))
    assert backoff_seconds(1) > backoff_seconds(0)


def test_deaths_that_come_closer_to_their_cause_do_not_make_the_next_start_wait_longer(
    tmp_path: Path,
) -> None:
    closer = [False, True, True, True, False, True, False]
    child = Child("nonsense", 0, DataFolder(tmp_path), {}, {}, lambda: closer.pop(0))
    waits = [0, 0, 0, 0, 1, 1, 2]
    waits_of(child, *(backoff_seconds(failures) for failures in waits))


def death(path: Path, first: int, last: int) -> None:
    """A worker begins to fold these positions and does not return."""
    Attempts(path).begin(first, last)


def test_a_death_comes_closer_when_it_narrows_down_what_the_one_before_died_of(
    tmp_path: Path,
) -> None:
    path = tmp_path / "attempt"
    isolation = Isolation(path)
    assert not isolation.came_closer()
    for first, last, closer in [
        (1, 100, False), (13, 18, True), (15, 15, True), (15, 15, True), (15, 15, True),
        (16, 100, False), (1, 100, False), (40, 45, True),
    ]:  # fmt: skip
        death(path, first, last)
        assert isolation.came_closer() is closer


def test_a_death_for_another_reason_comes_no_closer(tmp_path: Path) -> None:
    path = tmp_path / "attempt"
    isolation = Isolation(path)
    for first, last in [(1, 100), (13, 18)]:
        death(path, first, last)
        isolation.came_closer()
    assert not isolation.came_closer(), "it ended before it folded anything"
    Attempts(path).begin(13, 18)
    Attempts(path).end()
    assert not isolation.came_closer(), "it ended between two steps"


def test_a_death_that_should_have_set_the_request_aside_comes_no_closer(tmp_path: Path) -> None:
    path = tmp_path / "attempt"
    isolation = Isolation(path)
    for attempt in range(1, limits.STEP_ATTEMPTS_MAX + 3):
        death(path, 7, 7)
        assert isolation.came_closer() is (1 < attempt <= limits.STEP_ATTEMPTS_MAX)
