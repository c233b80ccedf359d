"""Every route there is, and the application that answers them.

``python -m tallystick.api.routes`` prints the OpenAPI document (``docs/openapi.json``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tallystick.api import (
    catalog,
    docs_page,
    entitlements,
    events,
    health,
    history,
    sources,
    tally,
    usage,
)
from tallystick.api.asgi import Api
from tallystick.api.http import Route
from tallystick.api.metrics import SharedCounts
from tallystick.api.openapi import openapi
from tallystick.api.queries import DistantQueries, OwnQueries

if TYPE_CHECKING:
    from tallystick.app import Services


def build_app(services: Services, process: str, *, shares_queries: bool = False) -> Api:
    """The application of one API process; ``process`` names it among those of its server.

    ``shares_queries``: a process of the server runs its queries (``process/queries``).
    """
    shared = SharedCounts(services.folder.run, process)
    queries = DistantQueries(services.folder.queries) if shares_queries else OwnQueries(services)
    return Api(services, all_routes(shared), shared, queries)


def all_routes(shared: SharedCounts) -> tuple[Route, ...]:
    """Every route; ``/metrics`` tells the numbers of ``shared``."""
    routes: tuple[Route, ...] = (
        *events.ROUTES,
        *usage.ROUTES,
        *history.ROUTES,
        *entitlements.ROUTES,
        *catalog.ROUTES,
        *health.routes(shared),
        *sources.ROUTES,
        *tally.ROUTES,
        *docs_page.routes(lambda: openapi(routes)),
    )
    return routes


def openapi_text() -> str:
    """The document as it is kept in the repository."""
    routes = all_routes(SharedCounts(Path(), ""))
    text = msgspec.json.encode(openapi(routes))
    return msgspec.json.format(text, indent=2).decode() + "\n"


if __name__ == "__main__":
    print(openapi_text(), end="")
