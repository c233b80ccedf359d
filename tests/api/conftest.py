"""What the tests of the HTTP door share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.door import Door


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """The application over an empty data folder, its clock standing at ``door.NOW``."""
    with Door(tmp_path / "data") as found:
        yield found
