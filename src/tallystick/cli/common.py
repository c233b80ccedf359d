"""What several commands share: flags made from settings, and printing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from tallystick.folder import DataFolder
from tallystick.settings import SETTINGS, Settings

EXIT_FOUND_SOMETHING: Final = 1
EXIT_WRONG_USE: Final = 2

Run: TypeAlias = Callable[[argparse.Namespace], int]

if TYPE_CHECKING:
    # argparse keeps the class private, and only stubs say that it is generic.
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(commands: Commands, name: str, help_text: str, run: Run) -> argparse.ArgumentParser:
    """A parser for one command."""
    parser = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """A flag for each setting, or for those named."""
    wanted = None if names is None else set(names)
    for setting in SETTINGS:
        if setting.secret or (wanted is not None and setting.name not in wanted):
            continue
        metavar = setting.name.upper()
        help_text = f"{setting.meaning} Default: {setting.default}. [{setting.variable}]"
        help_text = help_text.replace("%", "%%")
        if setting.bare is None:
            parser.add_argument(setting.flag, metavar=metavar, help=help_text)
        else:
            parser.add_argument(
                setting.flag, metavar=metavar, help=help_text, nargs="?", const=setting.bare
            )


def add_folder_flags(parser: argparse.ArgumentParser) -> None:
    """``--data-dir`` and ``--json``, which every command beside a server takes."""
    add_settings(parser, ["data_dir"])
    parser.add_argument("--json", action="store_true", help="Print JSON for programs.")


def read_settings(parsed: argparse.Namespace) -> Settings:
    """The settings of this command: its flags, then the environment, then the defaults."""
    return Settings.read(vars(parsed), os.environ)


def made_folder(settings: Settings) -> DataFolder:
    """The data folder, made where it is missing."""
    folder = DataFolder(settings.data_dir)
    folder.prepare()
    return folder


def used_folder(settings: Settings) -> DataFolder:
    """The data folder; raises ``OperatorError`` where a server ought to have been before and none
    was. What is in a database server may be of other folders."""
    folder = DataFolder(settings.data_dir)
    if settings.database_url is None:
        folder.require()
    return folder


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    text = msgspec.json.format(msgspec.json.encode(data), indent=2)
    sys.stdout.write(text.decode() + "\n")
    sys.stdout.flush()


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Left-aligned columns on stdout."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")
    sys.stdout.flush()
