"""One API process: uvicorn on a socket that it inherits, or binds itself when it runs alone."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

import uvicorn

from tallystick import limits
from tallystick.api.asgi import Api
from tallystick.api.routes import build_app
from tallystick.app import open_services
from tallystick.process.collecting import collect_as_usual, collect_seldom
from tallystick.process.link import Link
from tallystick.process.listener import bind, url_of
from tallystick.process.wire import Protocol
from tallystick.settings import Settings

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Uvicorn, telling when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def run_api(settings: Settings, link: Link | None, socket_descriptor: int | None, name: str) -> int:
    """Serve until SIGTERM or SIGINT, finish what is in flight, and return the exit code.

    ``name`` tells this process from the others that share its data folder.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # Before uvicorn serves; once it has drained, it raises the signal that ended it again.
        signal.signal(number, lambda *_: sys.exit(0))
    listener = _listener(settings, socket_descriptor)
    services = open_services(settings)
    # The writers' threads hand Python's lock back and forth with the event loop at each statement;
    # at the usual 5 ms they would wait longer for it than for the disk.
    sys.setswitchinterval(0.0005)
    api = build_app(services, name, shares_queries=link is not None)

    def ready() -> None:
        collect_seldom()
        if link is None:
            print(f"listening on {url_of(settings.host, listener)}", flush=True)
        else:
            link.ready()

    try:
        _Server(_config(api), ready).run([listener])
    finally:
        api.close()
        services.close()
        collect_as_usual()
    return 0


def _listener(settings: Settings, descriptor: int | None) -> socket.socket:
    if descriptor is None:
        return bind(settings.host, settings.port)
    return socket.socket(fileno=descriptor)


def _config(api: Api) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", api),  # uvicorn's own types for scopes are narrower than what it sends
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=limits.CONNECTIONS_WAITING_MAX,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=limits.DRAIN_REQUEST_SECONDS_MAX,
    )
