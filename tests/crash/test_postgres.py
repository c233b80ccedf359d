"""State and inbox in PostgreSQL: whatever dies, every acknowledged event is counted once."""

from __future__ import annotations

import os
import signal
import threading
import urllib.error
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.postgres import make_server
from tests.serving import Server, command, wait_until

EVENTS = 50
SENDERS = 4


class Sender:
    """Sends requests of new events, each until it is answered 2xx."""

    def __init__(self, server: Server, number: int, stop: threading.Event) -> None:
        self.acknowledged = 0
        self.refused = 0
        self._server, self._number, self._stop = server, number, stop
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        """Wait until its last request is answered."""
        self._thread.join()

    def _run(self) -> None:
        request = 0
        while not self._stop.is_set():
            request += 1
            body = {"events": [self._event(f"{request}-{place}") for place in range(EVENTS)]}
            while not self._sent(body):
                self.refused += 1
                self._stop.wait(0.02)
            self.acknowledged += EVENTS

    def _event(self, name: str) -> dict[str, Any]:
        key = f"{self._number}-{name}"
        return {"customerId": "acme", "eventName": "call", "idempotencyKey": key}

    def _sent(self, body: Any) -> bool:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return self._server.ask("/api/v1/events", body)[0] < 300
        return False


def test_every_acknowledged_event_is_counted_once_whatever_dies(tmp_path: Path) -> None:
    with make_server() as postgres:
        variables = {"TALLYSTICK_DATABASE_URL": postgres.url()}
        with Server(tmp_path / "data", "--workers", "2", **variables) as server:
            stop = threading.Event()
            senders = [Sender(server, number, stop) for number in range(SENDERS)]

            def more(requests: int = 40) -> None:
                wanted = sum(each.acknowledged for each in senders) + requests * EVENTS
                wait_until(
                    lambda: sum(each.acknowledged for each in senders) >= wanted, "more events"
                )

            more()
            os.kill(server.pid_of("worker-0"), signal.SIGKILL)
            more()
            for ending in (signal.SIGQUIT, signal.SIGINT, signal.SIGQUIT):
                postgres.stop(ending)
                postgres.start()
                more()
            os.kill(server.pid_of("api-0"), signal.SIGKILL)
            more()
            stop.set()
            for each in senders:
                each.join()
            wait_until(lambda: server.ask("/tally/v1/sync?timeout_s=5")[0] == 200, "all counted")
            told = command("verify", "--data-dir", str(tmp_path / "data"), "--json", **variables)
    assert told.returncode == 0, told.stdout + told.stderr
    acknowledged = sum(each.acknowledged for each in senders)
    assert f'"counted": {acknowledged},' in told.stdout
    assert '"equal": true' in told.stdout
    assert sum(each.refused for each in senders) > 0, "the server was gone for a moment"
