"""A progress bar on stderr: bytes, events a second, time left. Silent where nobody looks."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

_WIDTH: Final = 10
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
        width = shutil.get_terminal_size().columns - 1  # a line that wraps is not written over
        shown = line(progress, events, now - self._began)[:width]
        sys.stderr.write(f"\r{shown}\x1b[K")
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
        f"[{bar:<{_WIDTH}}] {share:4.0%}  {_sizes(done, total)}  {objects}  "
        f"{rate:,.0f} events/s{left}"
    )


def _left(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"  {hours}:{minutes:02}:{rest:02} left" if hours else f"  {minutes}:{rest:02} left"


def _sizes(done: int, total: int) -> str:
    """Both in the unit that suits the total."""
    power = 0
    while power < len(_UNITS) - 1 and total >= 1024 ** (power + 1):
        power += 1
    shown = (f"{each / 1024**power:.{int(power > 0)}f}" for each in (done, total))
    return f"{' of '.join(shown)} {_UNITS[power]}"
