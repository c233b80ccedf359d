"""``tallystick verify``: proof that nothing was lost or counted twice, beside a live server or not.

Exit code 1 when something differs.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING

from tallystick.cli.common import (
    EXIT_FOUND_SOMETHING,
    add_command,
    add_folder_flags,
    print_json,
    read_settings,
    used_folder,
)
from tallystick.clock import DAY

if TYPE_CHECKING:
    from tallystick.cli.common import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "verify", "Compare what was accepted, archived and counted.", _run
    )
    add_folder_flags(parser)


def _run(parsed: argparse.Namespace) -> int:
    from tallystick.app import open_inbox, open_state
    from tallystick.inbox.inbox import Inbox
    from tallystick.verify.verify import verify

    settings = read_settings(parsed)
    folder = used_folder(settings)
    window_us = folder.shortest_window_days(settings.dedupe_window_days) * DAY
    with closing(open_state(settings)) as state, closing(open_inbox(settings)) as inbox_store:
        report = verify(state, inbox_store, Inbox(inbox_store), folder.path, window_us)
    if parsed.json:
        print_json(report.as_json())
    else:
        for line in report.lines():
            print(line)
    return 0 if report.equal else EXIT_FOUND_SOMETHING
