"""One system call per answer.

Uvicorn writes the head of a response and its body one after the other, and uvloop sends each at
once: two system calls, two packets, and two wake-ups of the caller. Here they are gathered and sent
when the event loop comes around, which is before anything else happens on the connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class GatheringTransport:
    """A transport that sends what was written in one step of the event loop together."""

    __slots__ = ("_call_soon", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send ``data`` with whatever else is written before the loop comes around."""
        if not self._parts:
            self._call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():  # the caller may have left meanwhile
            self._transport.write(b"".join(parts))


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on a ``GatheringTransport``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has connected."""
        super().connection_made(cast("asyncio.Transport", GatheringTransport(transport, self.loop)))
