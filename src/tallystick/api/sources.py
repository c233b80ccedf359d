"""Object storage over HTTP: sources, their runs, and what became of each object.

Promises: what is secret of a source goes in and never out; a check waits for a bucket on a thread,
and only so many at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tallystick import limits
from tallystick.api.http import Reply, Request, Route, Time
from tallystick.api.pagination import PAGE_PARAMS, read_window
from tallystick.catalog.pages import Cursor, Listed, of_rows, page_of
from tallystick.errors import BadInput, TooManyRequests
from tallystick.objects import ledger, requests, sources, told
from tallystick.objects.checking import check
from tallystick.objects.job import Job
from tallystick.store import Row, Transaction

if TYPE_CHECKING:
    from tallystick.app import Services


class SourceBody(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A place with objects, and how they are read."""

    url: str
    schedule: dict[str, str] | None = None
    pattern: str | None = None
    columns: dict[str, str] | None = None
    access: dict[str, str] | str | None = None
    reject_share_max: float | None = None
    rejects_url: str | None = None


class SourceChanges(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Other settings of a source: what is left out stays, null is the default again."""

    schedule: dict[str, str] | msgspec.UnsetType | None = msgspec.UNSET
    pattern: str | msgspec.UnsetType | None = msgspec.UNSET
    columns: dict[str, str] | msgspec.UnsetType | None = msgspec.UNSET
    access: dict[str, str] | str | msgspec.UnsetType | None = msgspec.UNSET
    reject_share_max: float | msgspec.UnsetType | None = msgspec.UNSET
    rejects_url: str | msgspec.UnsetType | None = msgspec.UNSET


class SourceReply(msgspec.Struct, frozen=True, rename="camel"):
    """A source."""

    id: str
    environment: str
    url: str
    schedule: dict[str, str]
    pattern: str | None
    columns: dict[str, str]
    access: dict[str, str] | str
    reject_share_max: float
    rejects_url: str | None
    paused: bool
    created_at: Time
    updated_at: Time
    next_run_at: Time | None


class ProgressReply(msgspec.Struct, frozen=True, rename="camel"):
    """How far a run is; bytes are of objects as they are stored."""

    bytes: int
    bytes_total: int
    objects: int
    objects_total: int
    listed: bool


class ObjectReply(msgspec.Struct, frozen=True, rename="camel"):
    """One version of a file, and what became of it."""

    id: int
    url: str
    key: str
    version: str
    size: int
    state: str
    counted: int
    duplicates: int
    rejected: int
    reason: str | None


class RunReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A run of a source."""

    id: str
    run_id: str
    source: str | None
    environment: str
    cause: str
    state: str
    reason: str | None
    counted: int
    duplicates: int
    rejected: int
    ignored: int
    reasons: dict[str, int]
    bytes: int
    queued_at: Time
    started_at: Time | None
    ended_at: Time | None
    progress: ProgressReply
    rejects: str | None
    objects: list[ObjectReply] = []


class RunAsked(msgspec.Struct, frozen=True, rename="camel"):
    """A run that is queued."""

    run_id: str


class FindingReply(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that was tried."""

    step: str
    good: bool
    message: str
    permission: str | None


class CheckedReply(msgspec.Struct, frozen=True, rename="camel"):
    """Whether a source can be listed and read."""

    good: bool
    findings: list[FindingReply]


def add(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A new source."""
    given = _given(request.read(SourceBody))
    made = sources.add(transaction, request.environment, given, services.clock.now())
    return Reply(told.source_told(made))


def listing(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A page of the sources of the key's environment."""

    def listed(row: Row) -> Listed:
        source = sources.source_of(row)
        return Listed(Cursor(source.created_at, source.id), told.source_told(source))

    rows = of_rows(transaction, sources.LISTED, (request.environment,), listed)
    return Reply(page_of(rows, read_window(request.query)))


def show(services: Services, transaction: Transaction, request: Request) -> Reply:
    """One source."""
    return Reply(told.source_told(_found(transaction, request)))


def change(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A source with other settings."""
    given = _urls_checked(msgspec.to_builtins(request.read(SourceChanges)))
    found = _found(transaction, request)
    changed = sources.change(transaction, found, given, services.clock.now())
    return Reply(told.source_told(changed))


def remove(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A source that is looked at no more."""
    found = _found(transaction, request)
    sources.remove(transaction, found, services.clock.now())
    return Reply(told.source_told(found))


def pause(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A source that is not looked at until it is resumed."""
    found = _found(transaction, request)
    now = services.clock.now()
    return Reply(told.source_told(sources.pause(transaction, found, paused=True, now=now)))


def resume(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A source that is looked at again."""
    found = _found(transaction, request)
    now = services.clock.now()
    return Reply(told.source_told(sources.pause(transaction, found, paused=False, now=now)))


def _job(services: Services, request: Request) -> Job:
    with services.state.reading() as transaction:
        return _found(transaction, request).job


class Checker:
    """The handler of checks, of which so many wait for buckets at a time."""

    def __init__(self) -> None:
        self._under_way = 0

    async def __call__(self, services: Services, request: Request) -> Reply:
        """Whether a source can be listed and read, and what is missing."""
        job = await services.readers.run(partial(_job, services, request))
        if self._under_way >= limits.CHECKS_TOGETHER_MAX:
            raise TooManyRequests("too many sources are being checked; try it again in a moment")
        self._under_way += 1
        try:
            findings = await asyncio.to_thread(check, job)
        finally:
            self._under_way -= 1
        return Reply(told.check_told(findings))


def run(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A run of a source, as soon as it is its turn."""
    found = _found(transaction, request)
    return Reply(RunAsked(requests.ask_run(transaction, found, services.clock.now())))


def runs(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A page of the runs of a source, the newest first, without their objects."""
    found, window = _found(transaction, request), read_window(request.query)
    rejects = services.folder.rejects

    def source(start: Cursor | None, forward: bool) -> Iterator[Listed]:
        if forward:
            before = _AFTER_ALL if start is None else start.created_at
            some = ledger.runs_of(transaction, found.id, before, window.limit + 1)
        else:
            after = 0 if start is None else start.created_at
            some = ledger.runs_since(transaction, found.id, after, window.limit + 1)
        for run in some:
            shown = told.run_told(transaction, run, rejects, with_objects=False)
            yield Listed(Cursor(run.seq, run.id), shown)

    return Reply(page_of(source, window))


def show_run(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A run and its objects."""
    found = requests.run_of(transaction, _found(transaction, request), request.args["runId"])
    return Reply(told.run_told(transaction, found, services.folder.rejects))


def retry(services: Services, transaction: Transaction, request: Request) -> Reply:
    """A run that reads an object again."""
    found, number = _found(transaction, request), request.args["objectId"]
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1
    asked = requests.ask_retry(transaction, found, wanted, services.clock.now())
    return Reply(RunAsked(asked))


def _found(transaction: Transaction, request: Request) -> sources.Source:
    return sources.find(transaction, request.environment, request.args["id"])


def _given(body: SourceBody) -> dict[str, Any]:
    """What a person gave, without what was left out."""
    stated = _urls_checked(msgspec.to_builtins(body))
    return {name: value for name, value in stated.items() if value is not None}


def _urls_checked(given: dict[str, Any]) -> dict[str, Any]:
    """Raise ``BadInput`` for a path: a caller does not know from where the server would go."""
    for name in ("url", "rejectsUrl"):
        if given.get(name) is not None and "://" not in given[name]:
            raise BadInput(f"{name}: must begin with s3://, gs:// or file://")
    return given


_AFTER_ALL: Final = 2**62

_PATH: Final = "/tally/v1/sources"
_TAG: Final = "Object storage"

ROUTES: Final = (
    Route(
        method="POST", path=_PATH, handler=add, runs="write", status=201, tag=_TAG,
        summary="Add a source", body=SourceBody, reply=SourceReply,
        description="Objects below the URL are read on the schedule, each version once. "
        "`schedule` is `{\"every\": \"15m\"}` or `{\"cron\": \"0 * * * *\", \"timeZone\": "
        "\"Europe/Berlin\"}`, hourly without it. `check` tells whether it can be read.",
    ),
    Route(
        method="GET", path=_PATH, handler=listing, tag=_TAG, summary="List sources", page=True,
        description="Those of the key's environment, the oldest first.", reply=SourceReply,
        query=PAGE_PARAMS,
    ),
    Route(
        method="GET", path=_PATH + "/{id}", handler=show, tag=_TAG, summary="One source",
        description="What is secret of its access is not told.", reply=SourceReply,
    ),
    Route(
        method="PATCH", path=_PATH + "/{id}", handler=change, runs="write", tag=_TAG,
        summary="Change a source", body=SourceChanges, reply=SourceReply,
        description="Other credentials, names of columns or a schedule from the next run on; what "
        "is left out stays, null is the default again. The URL stays: another place is another "
        "source.",
    ),
    Route(
        method="DELETE", path=_PATH + "/{id}", handler=remove, runs="write", tag=_TAG,
        summary="Remove a source", reply=SourceReply,
        description="It is looked at no more; what came of it stays counted.",
    ),
    Route(
        method="POST", path=_PATH + "/{id}/check", handler=Checker(), runs="async", tag=_TAG,
        summary="Check a source", reply=CheckedReply,
        description="Tries to list and to read, and tells what is missing. Nothing is counted.",
    ),
    Route(
        method="POST", path=_PATH + "/{id}/pause", handler=pause, runs="write", tag=_TAG,
        summary="Pause a source", reply=SourceReply,
        description="A run that is under way stops; it goes on where it was once resumed.",
    ),
    Route(
        method="POST", path=_PATH + "/{id}/resume", handler=resume, runs="write", tag=_TAG,
        summary="Resume a source", reply=SourceReply,
        description="It is looked at again when its schedule says.",
    ),
    Route(
        method="POST", path=_PATH + "/{id}/run", handler=run, runs="write", status=202, tag=_TAG,
        summary="Look at a source now", reply=RunAsked,
        description="Queues a run and answers its id, that of the one that waits already if one "
        "does. A paused source is 409.",
    ),
    Route(
        method="GET", path=_PATH + "/{id}/runs", handler=runs, tag=_TAG, summary="Runs of a source",
        description="The newest first, without their objects.", reply=RunReply, page=True,
        query=PAGE_PARAMS,
    ),
    Route(
        method="GET", path=_PATH + "/{id}/runs/{runId}", handler=show_run, tag=_TAG,
        summary="One run", reply=RunReply,
        description="How far it is and what became of each object. What a run with a final state "
        "counted is in every check.",
    ),
    Route(
        method="POST", path=_PATH + "/{id}/objects/{objectId}/retry", handler=retry, runs="write",
        status=202, tag=_TAG, summary="Read an object again", reply=RunAsked,
        description="One that failed, was stopped or is to be reviewed, from its beginning; what "
        "of it was counted already is known by its keys.",
    ),
)  # fmt: skip
