"""Fixtures of the catalog's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.catalog.building import Desk, meter, monthly


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An empty catalog."""
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shop(desk: Desk) -> Desk:
    """A product, a feature fed by reports and one by events, a plan with both, a customer."""
    desk.add_product()
    desk.add_feature("calls")
    desk.add_feature("events", meter=meter())
    desk.add_plan("basic", monthly("calls", 100), monthly("events", 1000))
    desk.add_customer()
    return desk
