"""A progress bar on stderr: bytes, events a second, time left. Silent where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

_WIDTH: Final = 24
_PAUSE_SECONDS: Final = 0.2
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class ProgressBar:
    """Shown on a terminal, and only there."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown_at = 0.0
        self._is_shown = False
        self._terminal = sys.stderr.isatty()

    def show(self, progress: Mapping[str, Any], events: int) -> None:
        """How far it is; ``progress`` as a run tells it."""
        now = time.monotonic()
        if not self._terminal or now - self._shown_at < _PAUSE_SECONDS:
            return
        self._shown_at, self._is_shown = now, True
        sys.stderr.write("\r" + line(progress, events, now - self._began) + "\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._is_shown:
            sys.stderr.write("\n")
            self._is_shown = False


def line(progress: Mapping[str, Any], events: int, seconds: float) -> str:
    """One line of the bar."""
    done, total = progress["bytes"], progress["bytesTotal"]
    share = min(1.0, done / total) if total else 0.0
    bar = "#" * round(_WIDTH * share)
    rate = events / seconds if seconds > 0 else 0.0
    left = "" if not progress["listed"] or share <= 0 else _left(seconds * (1 - share) / share)
    objects = f"{progress['objects']}/{progress['objectsTotal']} objects"
    return (
        f"[{bar:<{_WIDTH}}] {share:4.0%}  {_size(done)} of {_size(total)}  {objects}  "
        f"{events:,} events, {rate:,.0f}/s{left}"
    )


def _left(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"  {hours}:{minutes:02}:{rest:02} left" if hours else f"  {minutes}:{rest:02} left"


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"
