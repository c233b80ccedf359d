"""The listening socket: bound once, by the supervisor, and inherited by every API process.

So a crashed API process leaves no gap: connections wait in the socket's queue for its successor.
"""

from __future__ import annotations

import socket

from tallystick import limits
from tallystick.errors import OperatorError


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises ``OperatorError`` when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(limits.CONNECTIONS_WAITING_MAX)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OperatorError(f"cannot listen on --host {host} --port {port}: {reason}") from None
    return listener


def url_of(host: str, listener: socket.socket) -> str:
    """``http://HOST:PORT`` as it was asked for, with the port that was got."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"
