"""Work on a thread of its own, and where there is none to be had."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from tallystick.threads import begin


def test_what_it_returns_and_raises_is_told() -> None:
    def fail() -> None:
        raise ValueError("this")

    names: Future[str] = begin(lambda: threading.current_thread().name, "apart", yielding=True)
    assert names.result(10) == "apart"
    with pytest.raises(ValueError, match="this"):
        begin(fail, "apart").result(10)


def test_where_the_system_gives_no_thread_it_is_done_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = begin(lambda: threading.current_thread(), "apart", yielding=True)
    assert done.done()
    assert done.result() is threading.current_thread()
