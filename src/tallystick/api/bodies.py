"""Reading request bodies within bounds: of one request, and of all that are in flight.

Promises: nothing beyond a limit is kept, or even awaited when ``Content-Length`` tells it
beforehand; what arrives after a refusal is discarded by the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tallystick import limits
from tallystick.errors import PayloadTooLarge, TooManyRequests

Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class ClientGone(Exception):
    """The caller left before its request was whole; nobody waits for an answer."""


class Bodies:
    """The bodies of all requests in flight in this process."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, receive: Receive, declared: bytes | None) -> bytes:
        """The whole body; ``release`` it when the request has ended.

        Raises ``PayloadTooLarge``, ``TooManyRequests`` when too much is in flight, or
        ``ClientGone``.
        """
        if declared is not None and int(declared) > limits.BODY_BYTES_MAX:
            raise _too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGone
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                self._take(len(chunk))
                if size > limits.BODY_BYTES_MAX:
                    raise _too_large()
                if not message.get("more_body", False):
                    return b"".join((*chunks, chunk)) if chunks else chunk
                chunks.append(chunk)
        except BaseException:
            self.release(size)
            raise

    def release(self, size: int) -> None:
        """A request whose body had ``size`` bytes has ended."""
        self._held -= size

    def _take(self, size: int) -> None:
        self._held += size
        if self._held > limits.BODIES_BYTES_MAX:
            raise TooManyRequests("too many request bodies are in flight; send fewer at once")


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the body is over {limits.BODY_BYTES_MAX} bytes; send it in several requests"
    )
