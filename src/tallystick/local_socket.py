"""A socket with a name in a folder, for processes of one machine.

Only who may write to the socket can connect, and it is made writable for its owner alone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tallystick import limits

# What every system takes as the name of a local socket (macOS: 104 bytes with the final zero).
_NAME_BYTES_MAX: Final = 100


def listen(address: Path) -> socket.socket:
    """A listening socket in place of a former one. Raises ``OSError``."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            address.unlink()
        with _name(address) as name:
            listener.bind(name)
        address.chmod(0o600)
        listener.listen(limits.CONNECTIONS_WAITING_MAX)
    except OSError:
        listener.close()
        raise
    return listener


def connect(address: Path) -> socket.socket:
    """A connection that does not block, to whoever listens. Raises ``OSError``."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)
        with _name(address) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _name(address: Path) -> Iterator[str]:
    """The socket's name, which systems want short; a long one goes by way of its folder."""
    if len(os.fsencode(address)) <= _NAME_BYTES_MAX:
        yield str(address)
        return
    folder = os.open(address.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{address.name}"
    finally:
        os.close(folder)
