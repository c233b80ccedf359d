"""The process that runs queries for the API processes of its server.

It reads, and nothing else: what it was asked when it ended is asked again.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

from tallystick.api.metrics import SharedCounts
from tallystick.api.queries import OwnQueries, QueryHost
from tallystick.api.routes import all_routes
from tallystick.app import open_services
from tallystick.process.link import Link
from tallystick.threads import yield_to_others

if TYPE_CHECKING:
    from tallystick.settings import Settings


def run_queries(settings: Settings, link: Link | None, descriptor: int, name: str) -> int:
    """Answer on the inherited socket until SIGTERM or SIGINT; returns the exit code."""
    yield_to_others()
    services = open_services(settings)
    shared = SharedCounts(services.folder.run, name)
    queries = OwnQueries(services)
    try:
        host = QueryHost(queries, all_routes(shared), shared.changed)
        asyncio.run(_serve(host, socket.socket(fileno=descriptor), link, shared))
    finally:
        queries.close()
        services.close()
    return 0


async def _serve(
    host: QueryHost, listener: socket.socket, link: Link | None, shared: SharedCounts
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = await asyncio.start_unix_server(host.serve, sock=listener)
    if link is not None:
        link.ready()
    shared.write()
    await ended.wait()
    server.close()
