"""What an import takes of the machine while others want it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick import limits
from tallystick.api.metrics import RouteCounts, SharedCounts
from tallystick.objects.share import Share


class Api:
    """An API process that answers, and a clock that only the test moves."""

    def __init__(self, run_folder: Path) -> None:
        self._route = RouteCounts("GET", "/check")
        self._counts = SharedCounts(run_folder, "api-0")
        self._counts.own.routes.append(self._route)
        self.now = 0.0
        self.answer(100)

    def answer(self, requests: int) -> None:
        for _ in range(requests):
            self._route.observe(200, 0.001)
        self._counts.write()


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def share_of(api: Api, folder: Path, cores: int = 1) -> Share:
    return Share(folder, cores, lambda: api.now)


def test_an_idle_api_leaves_a_second_core(api: Api, tmp_path: Path) -> None:
    share = share_of(api, tmp_path)
    api.now += 1
    api.answer(limits.API_BUSY_REQUESTS_PER_SECOND)  # monitors
    assert share.has_second_core
    assert share.rows_max == limits.STEP_ALONE_EVENTS_MAX


def test_a_busy_api_gets_it_until_it_is_idle_again(api: Api, tmp_path: Path) -> None:
    share = share_of(api, tmp_path)
    api.now += 1
    api.answer(limits.API_BUSY_REQUESTS_PER_SECOND + 1)
    assert not share.has_second_core
    assert share.rows_max == limits.OBJECT_BUSY_EVENTS_MAX
    api.now += 0.5
    assert not share.has_second_core  # looked at once a second
    api.now += 0.5
    assert share.has_second_core


def test_a_setting_keeps_the_second_core_and_small_parts(api: Api, tmp_path: Path) -> None:
    share = share_of(api, tmp_path, cores=2)
    api.now += 1
    api.answer(1_000)
    assert share.has_second_core
    assert share.rows_max == limits.OBJECT_BUSY_EVENTS_MAX


def test_what_was_counted_by_processes_before_is_not_busy(api: Api, tmp_path: Path) -> None:
    share = share_of(api, tmp_path)
    api.now += 1
    (tmp_path / "api-0.metrics").unlink()
    assert share.has_second_core
    (tmp_path / "api-1.metrics").write_text("torn {")
    api.now += 1
    assert share.has_second_core
