"""The endless loop: how it waits, what it survives, how it ends."""

from __future__ import annotations

import threading

import pytest

from tallystick import limits
from tallystick.backoff import backoff_seconds
from tallystick.errors import Unavailable
from tallystick.process.loops import run_steps


class Waits(threading.Event):
    """An event that notes how long it was waited for instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        return self.is_set()


def run(outcomes: list[bool | Exception]) -> list[float]:
    """Steps with these outcomes, then the order to stop; returns the waits between them."""
    stop = Waits()
    left = list(outcomes)

    def step() -> bool:
        outcome = left.pop(0)
        if not left:
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    run_steps(step, stop)
    return stop.seconds


def test_it_waits_for_nothing_while_there_is_work() -> None:
    assert run([True, True, True]) == []


def test_idle_waits_double_up_to_their_bound_and_start_anew_after_work() -> None:
    least, most = limits.IDLE_SECONDS_MIN, limits.IDLE_SECONDS_MAX
    assert run([False] * 5) == [least, 2 * least, most, most, most]
    assert run([False, False, True, False]) == [least, 2 * least, least]


def test_a_store_that_cannot_take_it_is_tried_again_after_growing_waits() -> None:
    full = Unavailable("disk full")
    waits = run([full, full, True, full])
    assert waits == [backoff_seconds(0), backoff_seconds(1), backoff_seconds(0)]
    assert backoff_seconds(1_000_000) == limits.RESTART_SECONDS_MAX


def test_any_other_error_ends_the_loop() -> None:
    with pytest.raises(ZeroDivisionError):
        run([ZeroDivisionError(), True])
