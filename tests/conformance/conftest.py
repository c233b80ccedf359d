"""The server that the tests of a module share, and an environment for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.driving import Clients, Site
from tests.conformance.selling import Shop

START = "2026-01-20T12:00:00Z"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with two API processes. Its clock only moves forward: a test that needs another
    time than the tests before it begins where they left it, or has a site of its own."""
    with Site(tmp_path_factory.mktemp("site") / "data", START, "--workers", "2") as made:
        yield made


@pytest.fixture(params=["sync", "async"])
def clients(site: Site, request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Clients of one kind; every test runs with both."""
    with Clients(site.url, request.param) as made:
        yield made


@pytest.fixture
def environment() -> str:
    """The name of an environment that no other test has."""
    return f"environment-{next(_numbers)}"


@pytest.fixture
def key(site: Site, environment: str) -> str:
    """A server key of the environment."""
    return site.key(environment)


@pytest.fixture
def stigg(clients: Clients, key: str) -> Any:
    """A strict client of an empty environment."""
    return clients.of(key)


@pytest.fixture
def shop(stigg: Any) -> Shop:
    """The empty environment, ready to be sold in."""
    return Shop(stigg)
