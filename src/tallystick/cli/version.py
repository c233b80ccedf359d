"""``tallystick version``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tallystick import __version__
from tallystick.cli.common import add_command, print_json

if TYPE_CHECKING:
    from tallystick.cli.common import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "version", "Print the version.", _run)
    parser.add_argument("--json", action="store_true", help="Print JSON for programs.")


def _run(parsed: argparse.Namespace) -> int:
    if parsed.json:
        print_json({"version": __version__})
    else:
        print(__version__)
    return 0
