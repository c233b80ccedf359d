"""``tallystick keys create | list | revoke``, beside a live server or before the first one.

A server sees the change at its next request: it asks the store, not a cache of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tallystick import access
from tallystick.cli.common import (
    add_command,
    add_folder_flags,
    made_folder,
    print_json,
    print_table,
    read_settings,
    used_folder,
)
from tallystick.clock import Clock, format_instant
from tallystick.folder import DataFolder
from tallystick.settings import Settings
from tallystick.store import Store

if TYPE_CHECKING:
    from tallystick.cli.common import Commands


def add(commands: Commands) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("keys", help="Create, list and revoke API keys.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    create = add_command(verbs, "create", "Create a key, and its environment if new.", _create)
    create.add_argument("--environment", required=True, metavar="NAME")
    create.add_argument("--kind", choices=access.KINDS, default="server")
    listing = add_command(verbs, "list", "List all keys; the keys themselves are not kept.", _list)
    revoke = add_command(verbs, "revoke", "Revoke a key at once.", _revoke)
    revoke.add_argument("key", metavar="KEY-OR-ID", help="The key, or its id from `keys list`.")
    for each in (create, listing, revoke):
        add_folder_flags(each)


def _create(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    made_folder(settings)
    with _opened(settings) as (state, clock), state.writing() as tx:
        key = access.create_key(tx, parsed.environment, parsed.kind, clock.now())
    if parsed.json:
        print_json({"key": key, "environment": parsed.environment, "kind": parsed.kind})
    else:
        print(f"{parsed.kind} key of environment {parsed.environment}, shown only now:")
        print(key)
    return 0


def _list(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    used_folder(settings)
    with _opened(settings) as (state, _), state.reading() as tx:
        found = access.list_keys(tx)
    if parsed.json:
        print_json([_as_json(each) for each in found])
    else:
        header = ("ID", "ENVIRONMENT", "KIND", "ENDS WITH", "CREATED", "REVOKED")
        print_table(header, [[cell or "" for cell in _as_json(each).values()] for each in found])
    return 0


def _revoke(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    used_folder(settings)
    with _opened(settings) as (state, clock), state.writing() as tx:
        revoked = access.revoke_key(tx, parsed.key, clock.now())
    if parsed.json:
        print_json(_as_json(revoked))
    else:
        print(f"revoked {revoked.kind} key {revoked.id} of environment {revoked.environment}")
    return 0


def _as_json(key: access.KeyInfo) -> dict[str, str | None]:
    return {
        "id": key.id,
        "environment": key.environment,
        "kind": key.kind,
        "endsWith": key.hint,
        "createdAt": format_instant(key.created_at),
        "revokedAt": None if key.revoked_at is None else format_instant(key.revoked_at),
    }


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, Clock]]:
    from tallystick.app import open_folder_clock, open_state

    state = open_state(settings)
    try:
        yield state, open_folder_clock(DataFolder(settings.data_dir))
    finally:
        state.close()
