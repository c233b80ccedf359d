"""``tallystick quarantine list | retry | discard``: requests that could not be counted.

The worker does the retry; this command asks for it and returns. Discarding is done on return.
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
    print_table,
    read_settings,
    used_folder,
)
from tallystick.clock import format_instant
from tallystick.errors import OperatorError

if TYPE_CHECKING:
    from tallystick.cli.common import Commands
    from tallystick.fold.quarantine import Quarantined


def add(commands: Commands) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("quarantine", help="Show requests set aside; try or discard them.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = add_command(verbs, "list", "List what is set aside; exit code 1 if any is.", _list)
    retry = add_command(verbs, "retry", "Ask the worker to count a request again.", _retry)
    retry.add_argument(
        "id", type=int, nargs="?", metavar="ID", help="From `quarantine list`; without it, all."
    )
    discard = add_command(verbs, "discard", "Remove a request for good, uncounted.", _discard)
    discard.add_argument("id", type=int, metavar="ID", help="From `quarantine list`.")
    for each in (listing, retry, discard):
        add_folder_flags(each)


def _list(parsed: argparse.Namespace) -> int:
    from tallystick.app import open_state
    from tallystick.fold.quarantine import list_quarantined

    settings = read_settings(parsed)
    used_folder(settings)
    with closing(open_state(settings)) as state, state.reading() as tx:
        found = list_quarantined(tx)
    if parsed.json:
        print_json([_as_json(each) for each in found])
    elif found:
        header = ("ID", "ENVIRONMENT", "POSITION", "EVENTS", "RECEIVED", "SET ASIDE", "REASON")
        print_table(header, [tuple(_as_json(each).values()) for each in found])
    else:
        print("nothing is quarantined")
    return EXIT_FOUND_SOMETHING if found else 0


def _retry(parsed: argparse.Namespace) -> int:
    from tallystick.app import open_inbox, open_state
    from tallystick.fold.quarantine import ask_retry
    from tallystick.inbox.inbox import Inbox

    settings = read_settings(parsed)
    used_folder(settings)
    with closing(open_state(settings)) as state, closing(open_inbox(settings)) as inbox_store:
        asked = ask_retry(state, Inbox(inbox_store), inbox_store, parsed.id)
    if not asked and parsed.id is not None:
        raise _unknown(parsed.id)
    if parsed.json:
        print_json({"asked": asked})
    else:
        print(f"asked the worker to try {asked} again")
    return 0


def _discard(parsed: argparse.Namespace) -> int:
    from tallystick.app import open_state
    from tallystick.fold.quarantine import discard

    settings = read_settings(parsed)
    used_folder(settings)
    with closing(open_state(settings)) as state:
        found = discard(state, parsed.id)
    if found is None:
        raise _unknown(parsed.id)
    if parsed.json:
        print_json({"discarded": _as_json(found)})
    else:
        print(f"discarded {found.events} events of environment {found.environment}")
    return 0


def _unknown(quarantine_id: int) -> OperatorError:
    return OperatorError(f"{quarantine_id} is not quarantined; see `tallystick quarantine list`")


def _as_json(each: Quarantined) -> dict[str, object]:
    return {
        "id": each.id,
        "environment": each.environment,
        "position": each.position,
        "events": each.events,
        "receivedAt": format_instant(each.received_at),
        "quarantinedAt": format_instant(each.quarantined_at),
        "reason": each.reason,
    }
