"""Where the folders of tests lie: most of them in memory, where there is enough.

A test that makes a data folder syncs it dozens of times before it begins. What a sync does for us
is shown by ``crash/``; that and the other folders of ``ON_DISK`` run on a disk.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ON_DISK: Final = {"crash", "process", "proof", "store"}
MEMORY: Final = Path("/dev/shm")
FREE_BYTES_MIN: Final = 2 << 30
_TESTS: Final = Path(__file__).parent


@pytest.fixture
def tmp_path(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder; one in memory is gone when its test ends."""
    if request.path.relative_to(_TESTS).parts[0] in ON_DISK or not has_memory():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix=f"{tmp_path.name}-", dir=MEMORY))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def has_memory() -> bool:
    """Whether folders may lie in memory."""
    return MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= FREE_BYTES_MIN
