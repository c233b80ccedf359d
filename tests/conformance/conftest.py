"""The server that tests share, and an environment for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.driving import Clients, Site
from tests.conformance.selling import Shop
from tests.postgres import new_database

PROFILES = ("embedded", "postgres")
START = "2026-01-20T12:00:00Z"
_numbers = itertools.count(1)


@pytest.fixture(scope="package", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    """Where the server keeps state and inbox: ``embedded`` in SQLite, or in ``postgres``."""
    found: str = request.param
    return found


@pytest.fixture(scope="package")
def site(profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with two API processes, which most modules share. Its clock moves forward by no more
    than seconds, and a test begins where those before it left it; where more time passes, a module
    takes ``site_of_its_own`` instead, or a test has a site to itself."""
    with _started(profile, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def site_of_its_own(profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The same for one module."""
    with _started(profile, tmp_path_factory) as made:
        yield made


def _started(profile: str, folders: pytest.TempPathFactory) -> Site:
    database_url = new_database() if profile == "postgres" else None
    folder = folders.mktemp("site") / "data"
    return Site(folder, START, "--workers", "2", database_url=database_url)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Both clients meet the embedded profile; on the other, where nothing differs that a client can
    see, one of them is enough."""
    items[:] = [item for item in items if not _is_twofold(item)]


def _is_twofold(item: pytest.Item) -> bool:
    found = getattr(item, "callspec", None)
    return (
        found is not None
        and found.params.get("profile") == "postgres"
        and (found.params.get("clients") == "async")
    )


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
