"""When Python looks for garbage: seldom, where much is kept and few cycles are left behind."""

from __future__ import annotations

import gc
from typing import Final

_NEW_OBJECTS_UNTIL_COLLECTED: Final = 20_000
"""The objects of the requests in flight, or of a step, alone are more than Python's usual 700: it
would look through all that is kept again and again, and hardly ever find anything to free."""


def collect_seldom() -> None:
    """From now on; what lives already is taken to live to the end, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_UNTIL_COLLECTED, *gc.get_threshold()[1:])


def collect_as_usual() -> None:
    """Before the process ends: DuckDB complains on stderr about what it finds alive then."""
    gc.unfreeze()
