"""``tallystick import URL-or-path…``: files counted at once, whether a server runs or not.

Without a server on the data folder this process is its owner until the run has ended; beside one,
the server's worker does it, and this process shows how far it is. Exit code 1 when any record or
object was refused. Secrets are named by the environment variables that hold them, so that none is
on a command line.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from tallystick.access import DEFAULT_ENVIRONMENT, add_environment
from tallystick.cli.common import (
    EXIT_FOUND_SOMETHING,
    add_command,
    add_folder_flags,
    print_json,
    print_table,
    read_settings,
)
from tallystick.cli.progress import ProgressBar
from tallystick.errors import BadInput, OperatorError
from tallystick.folder import DataFolder
from tallystick.settings import ClockStart, Settings

if TYPE_CHECKING:
    from tallystick.cli.common import Commands
    from tallystick.store import Store

_POLL_SECONDS: Final = 0.1
_OWNER_ASKED_SECONDS: Final = 2.0
"""How often it is looked whether the owner has gone."""
_NEW_ENVIRONMENT: Final = (
    "{0} is a new environment; `tallystick keys create --environment {0}` makes a key of it"
)
ENDED: Final = ("succeeded", "partial", "failed", "stopped")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "import", "Count the events of files: folders, files, s3:// and gs:// URLs.", _run
    )
    parser.add_argument("urls", nargs="+", metavar="URL-or-path", help="What to read, each once.")
    parser.add_argument("--environment", default=DEFAULT_ENVIRONMENT, metavar="NAME")
    parser.add_argument(
        "--dry-run", action="store_true", help="Read and judge every record; count nothing."
    )
    add_reading_flags(parser)
    add_folder_flags(parser)


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """How objects are read, for imports and sources alike."""
    parser.add_argument("--pattern", metavar="GLOB", help="Read only keys that match, as *.jsonl.")
    parser.add_argument(
        "--column", action="append", default=[], metavar="FIELD=COLUMN",
        help="What a field is called in the files, as customerId=account_id; may be repeated.",
    )  # fmt: skip
    parser.add_argument(
        "--reject-share-max", type=float, metavar="SHARE",
        help="Stop an object when more of its records are bad, from 0 to 1.",
    )  # fmt: skip
    parser.add_argument("--rejects-url", metavar="URL", help="Write refused records there.")
    for flag, words in (
        ("--endpoint", "Address of an S3-compatible store, or of an emulator."),
        ("--region", "Region of the bucket."),
        ("--key-id-variable", "Environment variable that holds the access key id."),
        ("--secret-variable", "Environment variable that holds the secret access key."),
        ("--session-token-variable", "Environment variable that holds a session token."),
        ("--service-account-file", "Key file of a GCS service account."),
    ):
        parser.add_argument(flag, metavar=flag[2:].upper().replace("-", "_"), help=words)


def given_of(parsed: argparse.Namespace) -> dict[str, Any]:
    """The settings that the flags say, in the words of the API."""
    columns = {}
    for pair in parsed.column:
        field, separator, column = pair.partition("=")
        if not separator or not field or not column:
            raise BadInput(f"--column {pair}: must be FIELD=COLUMN")
        columns[field] = column
    access = {
        "endpoint": parsed.endpoint,
        "region": parsed.region,
        "keyId": _variable("--key-id-variable", parsed.key_id_variable),
        "secret": _variable("--secret-variable", parsed.secret_variable),
        "sessionToken": _variable("--session-token-variable", parsed.session_token_variable),
        "serviceAccountFile": _absolute(parsed.service_account_file),
    }
    given = {
        "pattern": parsed.pattern,
        "columns": columns or None,
        "access": {name: value for name, value in access.items() if value is not None} or None,
        "rejectShareMax": parsed.reject_share_max,
        "rejectsUrl": None if parsed.rejects_url is None else source_url(parsed.rejects_url),
    }
    return {name: value for name, value in given.items() if value is not None}


def source_url(url: str) -> str:
    """A path as a URL, which the owner of the folder finds wherever it was started."""
    return url if "://" in url else f"file://{quote(str(Path(url).absolute()))}"


def _named(url: str) -> str:
    """What a person names to be read now: of a folder or file the path, which need not settle.

    Raises ``BadInput`` for one that is not there.
    """
    if "://" in url and not url.startswith("file:///"):
        return url
    path = Path(unquote(url.removeprefix("file://")) if "://" in url else url).absolute()
    if not path.exists():
        raise BadInput(f"{url}: there is no such file or folder")
    return str(path)


def follow(
    state: Store,
    run: str,
    folder: DataFolder,
    bar: ProgressBar,
    step: Callable[[], None],
    until: float = math.inf,
) -> dict[str, Any] | None:
    """Show a run until it has ended; returns it, as it is told. ``step`` waits, or works.

    None when it has not ended at ``until``, of the monotonic clock.
    """
    from tallystick.objects import ledger
    from tallystick.objects.told import progress_told, run_told

    while time.monotonic() < until:
        with state.reading() as transaction:
            found = ledger.find_run(transaction, run)
            assert found is not None
            progress = progress_told(transaction, found)
            bar.show(progress, found.counted + found.duplicates + found.rejected)
            if found.state in ENDED:
                bar.end()
                return run_told(transaction, found, folder.rejects)
        step()
    return None


def tell(told: dict[str, Any], *, as_json: bool) -> int:
    """Print a run that has ended; returns the exit code."""
    if as_json:
        print_json(told)
    else:
        rows = [
            (each["id"], each["key"], each["state"], each["counted"], each["duplicates"],
             each["rejected"], each["reason"] or "")
            for each in told["objects"]
        ]  # fmt: skip
        header = ("ID", "OBJECT", "STATE", "COUNTED", "DUPLICATES", "REJECTED", "REASON")
        if rows:
            print_table(header, rows)
        elif told["state"] == "succeeded":
            print("there was nothing to read that was not read before")
        _print_reasons(told["reasons"])
        reason = f" ({told['reason']})" if told["reason"] else ""
        print(
            f"{told['state']}{reason}: {told['counted']:,} counted, "
            f"{told['duplicates']:,} duplicates, {told['rejected']:,} rejected"
        )
        if told.get("rejects"):
            print(f"what was rejected, and why: {told['rejects']}")
    return 0 if told["state"] == "succeeded" else EXIT_FOUND_SOMETHING


def _run(parsed: argparse.Namespace) -> int:
    from tallystick.app import open_folder_clock, open_state
    from tallystick.objects.requests import ask_import

    settings = read_settings(parsed)
    given = given_of(parsed) | {"urls": [_named(url) for url in parsed.urls]}
    if parsed.dry_run:
        return _try_out(settings, given, as_json=parsed.json)
    folder = DataFolder(settings.data_dir)
    new = [] if folder.archive.exists() else [f"{folder.path} is a new data folder"]
    folder.prepare()
    with closing(open_state(settings)) as state:
        now = open_folder_clock(folder).now()
        with state.writing() as transaction:
            is_new = add_environment(transaction, parsed.environment, now)
            if is_new and parsed.environment != DEFAULT_ENVIRONMENT:
                new.append(_NEW_ENVIRONMENT.format(parsed.environment))
            run = ask_import(transaction, parsed.environment, given, now)
        print(*new, sep="\n", end="\n" if new else "", file=sys.stderr)
        told = worked_off(settings, folder, state, run)
    return tell(told, as_json=parsed.json)


def worked_off(settings: Settings, folder: DataFolder, state: Store, run: str) -> dict[str, Any]:
    """The run at its end, done by whoever owns the folder: a server, or else this process."""
    from tallystick.process.owner import OwnerLock

    bar = ProgressBar()
    told = None
    try:
        while told is None:
            try:
                lock = OwnerLock.take(folder, wait_seconds=0)
            except OperatorError:  # a server, or another import, which may end before this run
                until = time.monotonic() + _OWNER_ASKED_SECONDS
                told = follow(
                    state, run, folder, bar, lambda: time.sleep(_POLL_SECONDS), until=until
                )
                continue
            try:
                told = _worked_off_here(settings, folder, state, run, bar)
            finally:
                lock.release()
    except KeyboardInterrupt:
        bar.end()
        print(f"run {run} has not ended; a server or an import goes on with it", file=sys.stderr)
        raise
    return told


def _worked_off_here(
    settings: Settings, folder: DataFolder, state: Store, run: str, bar: ProgressBar
) -> dict[str, Any] | None:
    from tallystick.process.worker import working

    clock: ClockStart = "now" if folder.test_clock.exists() else None
    threads = max(1, (os.cpu_count() or 1) - 1)  # one more thread reads ahead
    own = replace(settings, test_clock=clock, worker_threads=threads)
    with working(own) as step:
        return follow(state, run, folder, bar, step)


def _try_out(settings: Settings, given: dict[str, Any], *, as_json: bool) -> int:
    from tallystick.app import open_folder_clock
    from tallystick.clock import HOUR
    from tallystick.objects.trial import try_out

    clock = open_folder_clock(DataFolder(settings.data_dir))
    told = try_out(given, clock.now(), settings.event_future_hours * HOUR, ProgressBar())
    if as_json:
        print_json(told)
    else:
        rows = [
            (each["key"], each["state"], each["records"], each["rejected"], each["reason"] or "")
            for each in told["objects"]
        ]
        print_table(("OBJECT", "STATE", "RECORDS", "REJECTED", "REASON"), rows)
        _print_reasons(told["reasons"])
        print(
            f"{told['good']:,} good records, {told['rejected']:,} rejected; which of them are "
            "duplicates was not looked at"
        )
    return 0 if told["state"] == "succeeded" else EXIT_FOUND_SOMETHING


def _print_reasons(reasons: dict[str, int]) -> None:
    for reason, count in reasons.items():
        print(f"{count:>12,}  {reason}")


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _variable(flag: str, name: str | None) -> str | None:
    if name is None:
        return None
    value = os.environ.get(name)
    if not value:
        raise BadInput(f"{flag} {name}: there is no such environment variable")
    return value
