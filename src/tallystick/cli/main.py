"""``tallystick COMMAND``: parsing, and what a command's end means for the shell.

Exit codes: 0 good, 1 found something, 2 wrong use or a state that an operator must change. The
last are told in one line on stderr, never as a stack trace.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, cast

from tallystick.cli import imports, keys, quarantine, servers, sources, verify, version
from tallystick.cli.common import EXIT_WRONG_USE, Run
from tallystick.errors import TallystickError


class _Parser(argparse.ArgumentParser):
    """Wrong use is one line, not a page."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_WRONG_USE, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parsed = _parser().parse_args(arguments)
    run = cast("Run", parsed.run)
    try:
        return run(parsed)
    except TallystickError as error:
        print(f"tallystick: {error.message}", file=sys.stderr)
        return EXIT_WRONG_USE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from saying so once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tallystick",
        description="Self-hosted usage metering and entitlement enforcement.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command"
    )
    for module in (servers, keys, imports, sources, quarantine, verify, version):
        module.add(commands)
    return parser
