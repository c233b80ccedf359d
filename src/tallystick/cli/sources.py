"""``tallystick sources add | list | show | check | change | pause | resume | remove | run | retry``

Beside a live server or not: the rows are what the server's worker goes by.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tallystick import limits
from tallystick.access import DEFAULT_ENVIRONMENT, add_environment
from tallystick.cli.common import (
    EXIT_FOUND_SOMETHING,
    add_command,
    add_folder_flags,
    made_folder,
    print_json,
    print_table,
    read_settings,
    used_folder,
)
from tallystick.cli.imports import add_reading_flags, given_of, source_url, tell, worked_off
from tallystick.clock import Clock
from tallystick.errors import BadInput
from tallystick.folder import DataFolder
from tallystick.store import Store

if TYPE_CHECKING:
    from tallystick.cli.common import Commands
    from tallystick.objects.sources import Source
    from tallystick.store import Transaction


def add(commands: Commands) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("sources", help="Buckets and folders that are read on a schedule.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    adding = add_command(verbs, "add", "Add a source.", _add)
    adding.add_argument("url", metavar="URL", help="s3://bucket/prefix, gs://… or file:///folder.")
    _add_schedule_flags(adding)
    add_reading_flags(adding)
    listing = add_command(verbs, "list", "List the sources of an environment.", _list)
    each = [adding, listing]
    for name, words, run in (
        ("show", "Show a source and its newest runs.", _show),
        ("check", "Tell whether a source can be listed and read, and what is missing.", _check),
        ("change", "Change credentials, names of columns, the schedule…", _change),
        ("pause", "Look at a source no more until it is resumed.", _pause),
        ("resume", "Look at a source again.", _resume),
        ("remove", "Forget a source; what came of it stays counted.", _remove),
        ("run", "Look at a source now.", _run),
        ("retry", "Read an object again that waits for a person.", _retry),
    ):
        verb = add_command(verbs, name, words, run)
        verb.add_argument("source", metavar="SOURCE", help="From `sources list`.")
        if name == "change":
            _add_schedule_flags(verb)
            add_reading_flags(verb)
        if name == "retry":
            verb.add_argument("object", type=int, metavar="OBJECT", help="Its id, from a run.")
        if name in ("run", "retry"):
            verb.add_argument("--wait", action="store_true", help="Until it has ended; print it.")
        each.append(verb)
    for one in each:
        one.add_argument("--environment", default=DEFAULT_ENVIRONMENT, metavar="NAME")
        add_folder_flags(one)


def _add_schedule_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--every", metavar="INTERVAL", help="As 15m, 1h or 1d; hourly without it.")
    parser.add_argument("--cron", metavar="EXPRESSION", help="Instead of an interval: '0 * * * *'.")
    parser.add_argument("--time-zone", metavar="ZONE", help="Of the cron expression; UTC without.")


@contextmanager
def _opened(
    parsed: argparse.Namespace, *, may_be_new: bool = False
) -> Iterator[tuple[Store, Clock, DataFolder]]:
    from tallystick.app import open_folder_clock, open_state

    settings = read_settings(parsed)
    if not may_be_new:
        used_folder(settings)
    folder = made_folder(settings)
    state = open_state(settings)
    try:
        yield state, open_folder_clock(folder), folder
    finally:
        state.close()


def _add(parsed: argparse.Namespace) -> int:
    from tallystick.objects import sources
    from tallystick.objects.told import source_told

    given = {"url": source_url(parsed.url)} | given_of(parsed) | _schedule(parsed)
    with (
        _opened(parsed, may_be_new=True) as (state, clock, _),
        state.writing() as transaction,
    ):
        add_environment(transaction, parsed.environment, clock.now())
        made = sources.add(transaction, parsed.environment, given, clock.now())
    told = source_told(made)
    if parsed.json:
        print_json(told)
    else:
        print(f"source {made.id} will read {told['url']}, next at {told['nextRunAt']}")
        where = f" --data-dir {parsed.data_dir}" if parsed.data_dir else ""
        print(f"see whether it can: tallystick sources check {made.id}{where}")
    return 0


def _schedule(parsed: argparse.Namespace) -> dict[str, Any]:
    stated = {"every": parsed.every, "cron": parsed.cron, "timeZone": parsed.time_zone}
    given = {name: value for name, value in stated.items() if value is not None}
    return {"schedule": given} if given else {}


def _change(parsed: argparse.Namespace) -> int:
    from tallystick.objects import sources
    from tallystick.objects.told import source_told

    given = given_of(parsed) | _schedule(parsed)
    if not given:
        raise BadInput("nothing to change: give a flag with what is to be another")
    with _opened(parsed) as (state, clock, _), state.writing() as transaction:
        found = _found(transaction, parsed)
        told = source_told(sources.change(transaction, found, given, clock.now()))
    return _said(parsed, told, "changed")


def _list(parsed: argparse.Namespace) -> int:
    from tallystick.objects import ledger, sources
    from tallystick.objects.told import source_told

    with _opened(parsed) as (state, _, _folder), state.reading() as transaction:
        found = sources.listed(transaction, parsed.environment)
        told = [
            source_told(each) | {"lastRun": next(
                (run.state for run in ledger.runs_of(transaction, each.id, 2**62, 1)), None
            )}
            for each in found
        ]  # fmt: skip
    if parsed.json:
        print_json(told)
    else:
        rows = [
            (each["id"], each["url"], "paused" if each["paused"] else each["nextRunAt"],
             each["lastRun"] or "")
            for each in told
        ]  # fmt: skip
        print_table(("SOURCE", "URL", "NEXT RUN", "LAST RUN"), rows)
    return 0


def _show(parsed: argparse.Namespace) -> int:
    from tallystick.objects import ledger
    from tallystick.objects.told import object_told, run_told, source_told

    with _opened(parsed) as (state, _, folder), state.reading() as transaction:
        found = _found(transaction, parsed)
        runs = [
            run_told(transaction, run, folder.rejects, with_objects=False)
            for run in ledger.runs_of(transaction, found.id, 2**62, 10)
        ]
        refused = [
            object_told(each)
            for each in ledger.refused_of(transaction, found.id, limits.RUN_OBJECTS_SHOWN_MAX)
        ]
        told = source_told(found) | {"runs": runs, "refused": refused}
    if parsed.json:
        print_json(told)
        return 0
    for name, value in source_told(found).items():
        print(f"{name:>16}  {_shown(value)}")
    rows = [
        (run["id"], run["state"], run["counted"], run["duplicates"], run["rejected"],
         run["endedAt"] or "", run["reason"] or "")
        for run in runs
    ]  # fmt: skip
    print_table(("RUN", "STATE", "COUNTED", "DUPLICATES", "REJECTED", "ENDED", "REASON"), rows)
    _show_refused(refused)
    return 0


def _show_refused(refused: list[dict[str, Any]]) -> None:
    """What waits for a person, with the numbers that `retry` takes."""
    if refused:
        print("\nwhat is not read before you mend it and `retry` it by its id:")
        rows = [(each["id"], each["key"], each["state"], each["reason"] or "") for each in refused]
        print_table(("ID", "OBJECT", "STATE", "REASON"), rows)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "-"
    return "-" if value is None else str(value)


def _check(parsed: argparse.Namespace) -> int:
    from tallystick.objects.checking import check
    from tallystick.objects.told import check_told

    with _opened(parsed) as (state, _, _folder), state.reading() as transaction:
        job = _found(transaction, parsed).job
    findings = check(job)
    if parsed.json:
        print_json(check_told(findings))
    else:
        for each in findings:
            print(f"{'good' if each.good else 'BAD '}  {each.step}: {each.message}")
    return 0 if all(each.good for each in findings) else EXIT_FOUND_SOMETHING


def _pause(parsed: argparse.Namespace) -> int:
    return _paused(parsed, paused=True)


def _resume(parsed: argparse.Namespace) -> int:
    return _paused(parsed, paused=False)


def _paused(parsed: argparse.Namespace, *, paused: bool) -> int:
    from tallystick.objects import sources
    from tallystick.objects.told import source_told

    with _opened(parsed) as (state, clock, _), state.writing() as transaction:
        found = _found(transaction, parsed)
        told = source_told(sources.pause(transaction, found, paused=paused, now=clock.now()))
    return _said(parsed, told, "paused" if paused else f"resumed; next at {told['nextRunAt']}")


def _remove(parsed: argparse.Namespace) -> int:
    from tallystick.objects import sources
    from tallystick.objects.told import source_told

    with _opened(parsed) as (state, clock, _), state.writing() as transaction:
        found = _found(transaction, parsed)
        sources.remove(transaction, found, clock.now())
    return _said(parsed, source_told(found), "removed; what came of it stays counted")


def _run(parsed: argparse.Namespace) -> int:
    from tallystick.objects.requests import ask_run

    with _opened(parsed) as (state, clock, folder):
        with state.writing() as transaction:
            run = ask_run(transaction, _found(transaction, parsed), clock.now())
        return _asked(parsed, state, folder, run)


def _retry(parsed: argparse.Namespace) -> int:
    from tallystick.objects.requests import ask_retry

    with _opened(parsed) as (state, clock, folder):
        with state.writing() as transaction:
            found = _found(transaction, parsed)
            run = ask_retry(transaction, found, parsed.object, clock.now())
        return _asked(parsed, state, folder, run)


def _asked(parsed: argparse.Namespace, state: Store, folder: DataFolder, run: str) -> int:
    if parsed.wait:
        return tell(worked_off(read_settings(parsed), folder, state, run), as_json=parsed.json)
    if parsed.json:
        print_json({"runId": run})
    else:
        print(f"run {run} is queued; `sources show {parsed.source}` tells how far it is")
    return 0


def _said(parsed: argparse.Namespace, told: dict[str, Any], words: str) -> int:
    if parsed.json:
        print_json(told)
    else:
        print(f"source {told['id']} is {words}")
    return 0


def _found(transaction: Transaction, parsed: argparse.Namespace) -> Source:
    from tallystick.objects import sources

    return sources.find(transaction, parsed.environment, parsed.source)
