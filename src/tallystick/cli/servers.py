"""``tallystick serve``, ``api`` and ``worker``; and ``queries``, which ``serve`` alone starts.

The process modules are imported when they run: each of them needs other engines, and the
commands beside a server need none.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from tallystick import failpoints
from tallystick.cli.common import add_command, add_settings, read_settings
from tallystick.errors import OperatorError
from tallystick.folder import DataFolder
from tallystick.process.link import Link
from tallystick.process.logs import start_logging
from tallystick.process.pids import remove_pid, write_pid
from tallystick.settings import Settings

if TYPE_CHECKING:
    from tallystick.cli.common import Commands


def add(commands: Commands) -> None:
    """Add the commands."""
    serve = add_command(commands, "serve", "Serve the API and count events: everything.", _serve)
    add_settings(serve)
    api = add_command(commands, "api", "One API process alone.", _api)
    worker = add_command(commands, "worker", "The counting process alone.", _worker)
    queries = add_command(commands, "queries", "What serve starts to read histories.", _queries)
    for parser in (api, worker, queries):
        add_settings(parser)
        _add_inherited(parser)


def _add_inherited(parser: argparse.ArgumentParser) -> None:
    """What the supervisor tells its children; not for people."""
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    for flag in ("--link-fd", "--socket-fd", "--owner-fd", "--queries-fd"):
        parser.add_argument(flag, type=int, help=argparse.SUPPRESS)


def _serve(parsed: argparse.Namespace) -> int:
    from tallystick.process.serve import serve

    settings = read_settings(parsed)
    start_logging(settings.log_level, "supervisor")
    return serve(settings)


def _api(parsed: argparse.Namespace) -> int:
    link, settings = _begin(parsed, "api")
    from tallystick.process.api import run_api

    # Alone, it shares the folder with a server's api-0, api-1…: its own id is a free number.
    number = os.getpid() if parsed.number is None else parsed.number
    pid_file = write_pid(DataFolder(settings.data_dir), "api", number)
    try:
        return run_api(settings, link, parsed.socket_fd, pid_file.stem)
    finally:
        remove_pid(pid_file)


def _worker(parsed: argparse.Namespace) -> int:
    link, settings = _begin(parsed, "worker")
    from tallystick.process.worker import run_worker

    return run_worker(settings, link, parsed.owner_fd)


def _queries(parsed: argparse.Namespace) -> int:
    if parsed.queries_fd is None:
        raise OperatorError("queries: started by serve alone; use serve")
    link, settings = _begin(parsed, "queries")
    from tallystick.process.queries import run_queries

    pid_file = write_pid(DataFolder(settings.data_dir), "queries", parsed.number)
    try:
        return run_queries(settings, link, parsed.queries_fd, pid_file.stem)
    finally:
        remove_pid(pid_file)


def _begin(parsed: argparse.Namespace, role: str) -> tuple[Link | None, Settings]:
    """The link comes first: whatever happens next, this process ends with its supervisor."""
    link = None if parsed.link_fd is None else Link(parsed.link_fd)
    settings = read_settings(parsed)
    start_logging(settings.log_level, f"{role}-{parsed.number or 0}")
    failpoints.arm_from_environment(role)
    DataFolder(settings.data_dir).prepare()
    return link, settings
