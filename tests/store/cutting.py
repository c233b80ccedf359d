"""A line to PostgreSQL that can be cut: at a statement, before or after the server has it.

What is sent over it is read as the protocol's messages; a rule looks at each and says what becomes
of the line.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

Fate: TypeAlias = Literal["pass", "cut before", "cut after", "strand"]
Rule: TypeAlias = Callable[[bytes], Fate]
"""What becomes of the line at a message: it goes on, is cut before the server has the message, or
after it, before its answer comes back; or the client loses it before, and the server does not
notice."""

_NAME = ".s.PGSQL.5432"


def at_statement(text: bytes, fate: Fate) -> Rule:
    """Of the first message with this text."""
    left = [fate]

    def rule(message: bytes) -> Fate:
        return left.pop() if left and text in message else "pass"

    return rule


class Line:
    """Takes connections in a folder and passes them on to those of a server's folder."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.rule: Rule = lambda _: "pass"
        self.open = True
        """Whether new connections are passed on."""
        self._server = str(server / _NAME)
        self._stranded: list[socket.socket] = []
        self._unanswered: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _NAME))
        self._listener.listen()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self.open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        _cut(*self._stranded)

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.open:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server)
                except OSError:  # it is not there now
                    _cut(client, server)
                    continue
                for passing in (self._up, self._down):
                    threading.Thread(target=passing, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """What the client sends."""
        with suppress(OSError):
            while message := client.recv(1 << 20):
                fate = self.rule(message)
                if fate == "strand":
                    client.shutdown(socket.SHUT_RDWR)
                    self._stranded.append(server)
                    return
                if fate == "cut before":
                    break
                if fate == "cut after":
                    self._unanswered.append(client)
                    server.sendall(message)
                    return  # ``_down`` cuts the line, when the server has done it and answers
                server.sendall(message)
        _cut(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        """What the server answers."""
        with suppress(OSError):
            while (answer := server.recv(1 << 20)) and client not in self._unanswered:
                client.sendall(answer)
        if server not in self._stranded:
            _cut(client, server)


def _cut(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextmanager
def line_to(url: str) -> Iterator[tuple[Line, str]]:
    """A line to the server of a URL, and the URL of the same database through it."""
    before, _, server = url.partition("?host=")
    with tempfile.TemporaryDirectory(prefix="line-") as folder:
        line = Line(Path(folder), Path(server))
        try:
            yield line, f"{before}?host={folder}"
        finally:
            line.close()
