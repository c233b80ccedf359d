"""``tallystick serve``: what happens before the first request and around the supervisor."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack

from tallystick import access, local_socket
from tallystick.app import isolation_of, open_clock, open_state
from tallystick.clock import Clock
from tallystick.folder import DataFolder
from tallystick.process.children import Child
from tallystick.process.listener import bind, url_of
from tallystick.process.owner import OwnerLock
from tallystick.process.pids import remove_pid, remove_stale_pids, write_pid
from tallystick.process.supervisor import Supervisor
from tallystick.settings import Settings
from tallystick.store import Store

log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Own the data folder and serve it; returns the exit code.

    Raises ``OperatorError`` when the folder or the address cannot be had.
    """
    folder = DataFolder(settings.data_dir)
    folder.prepare()
    with ExitStack() as stack:
        lock = OwnerLock.take(folder)
        stack.callback(lock.release)
        listener = stack.enter_context(bind(settings.host, settings.port))
        remove_stale_pids(folder)
        stack.callback(remove_pid, write_pid(folder, "supervisor", 0))
        state = open_state(settings)
        stack.callback(state.close)
        clock = open_clock(settings, folder)
        _prepare_access(state, clock, settings)
        queries = stack.enter_context(local_socket.listen(folder.queries))
        children = _children(settings, folder, listener, queries, lock)
        url = url_of(settings.host, listener)
        return Supervisor(children, _announcement(url, state, clock), listener.close).run()


def _prepare_access(state: Store, clock: Clock, settings: Settings) -> None:
    """The environment ``default``, and the key that the operator chose for it."""
    with state.writing() as tx:
        access.add_environment(tx, access.DEFAULT_ENVIRONMENT, clock.now())
        chosen = settings.api_key
        if chosen is not None and not access.ensure_server_key(tx, chosen, clock.now()):
            log.warning("TALLYSTICK_API_KEY was revoked and stays so; set another one")


def _children(
    settings: Settings,
    folder: DataFolder,
    listener: socket.socket,
    queries: socket.socket,
    lock: OwnerLock,
) -> list[Child]:
    variables = settings.to_environment()
    owner = {"--owner-fd": lock.descriptor}
    doors = {**owner, "--socket-fd": listener.fileno()}
    apis = [Child("api", n, folder, variables, doors) for n in range(settings.workers)]
    came_closer = isolation_of(folder).came_closer
    worker = Child("worker", 0, folder, variables, owner, came_closer)
    asked = {**owner, "--queries-fd": queries.fileno()}
    return [*apis, worker, Child("queries", 0, folder, variables, asked)]


def _announcement(url: str, state: Store, clock: Clock) -> Callable[[], None]:
    def announce() -> None:
        _tell(f"listening on {url}")
        key = _first_key(state, clock)
        if key is not None:
            _tell(f"server key of environment default, shown only now: {key}")

    return announce


def _tell(line: str) -> None:
    # Whoever started the server may have read enough and closed the pipe; that is no error.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _first_key(state: Store, clock: Clock) -> str | None:
    """A new server key when the default environment never had one.

    Made only now, when it can be shown at once, so that no start that failed has swallowed it.
    """
    with state.writing() as tx:
        if access.has_server_key(tx, access.DEFAULT_ENVIRONMENT):
            return None
        return access.create_key(tx, access.DEFAULT_ENVIRONMENT, "server", clock.now())
