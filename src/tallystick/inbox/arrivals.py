"""Accepted requests on their way into the inbox, gathered while a commit is under way.

Owns: the door to ``Inbox.add_all``. Promises what ``store.gathering`` does: a position is told only
after the commit that holds it, and a request without room is refused alone.
"""

from __future__ import annotations

from concurrent.futures import Future

from tallystick.inbox.inbox import Arrival, Inbox
from tallystick.store.gathering import Gathering
from tallystick.store.writer import GroupWriter


class Arrivals:
    """The way into one inbox, for any number of threads."""

    def __init__(self, inbox: Inbox, writer: GroupWriter) -> None:
        """``writer`` writes the inbox's store."""
        self._gathering: Gathering[Arrival, int] = Gathering(writer, inbox.add_all)

    def accept(self, arrival: Arrival) -> Future[int]:
        """Queue a request; its position, or ``TooManyRequests``, arrives after the commit.

        Raises ``Unavailable`` once the writer is closed.
        """
        return self._gathering.submit(arrival)
