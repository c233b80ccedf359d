"""What tests and operators need beyond Stigg: waiting until all is counted, and the test clock."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import msgspec

from tallystick import limits
from tallystick.api.http import QueryParam, Reply, Request, Route, Time
from tallystick.clock import TestClock, format_instant, parse_instant
from tallystick.errors import BadInput, NotFound, TimedOut
from tallystick.store import Store, Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

_POLL_SECONDS: Final = 0.01

NEWEST_RECOUNT: Final = "SELECT max(id) FROM recounts WHERE finished_at IS NULL"
FOLDED: Final = "SELECT min(position) FROM partitions"
IS_RECOUNTING: Final = "SELECT 1 FROM recounts WHERE finished_at IS NULL AND id <= ? LIMIT 1"


class Synced(msgspec.Struct, frozen=True, rename="camel"):
    """How far counting is."""

    position: int
    as_of: Time


class TestClockStand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the test clock stands, RFC 3339; in a request, where it shall stand."""

    __test__ = False

    now: Time


async def sync(services: Services, request: Request) -> Reply:
    """Wait until everything up to a position is counted and recounts queued before are done."""
    wanted = request.query.integer("position", 0, 2**63 - 1)
    seconds = request.query.seconds("timeout_s", limits.SYNC_SECONDS_MAX)
    deadline = time.monotonic() + (limits.SYNC_SECONDS_DEFAULT if seconds is None else seconds)
    read, state = services.readers.run, services.state
    if wanted is None:
        wanted = await read(services.inbox.head)
    recount = await read(partial(_number, state, NEWEST_RECOUNT))
    while not await read(partial(_is_done, state, wanted, recount)):
        if time.monotonic() >= deadline:
            raise TimedOut(f"position {wanted} was not counted in time; it will be")
        await asyncio.sleep(_POLL_SECONDS)
    as_of = services.freshness.read().as_of
    folded = await read(partial(_number, state, FOLDED))
    return Reply(Synced(folded, format_instant(as_of)))


def _is_done(state: Store, position: int, recount: int) -> bool:
    with state.reading() as transaction:
        folded = cast("tuple[int]", transaction.one(FOLDED))[0]
        return folded >= position and transaction.one(IS_RECOUNTING, recount) is None


def _number(store: Store, sql: str) -> int:
    """The one number that ``sql`` returns, 0 for none."""
    with store.reading() as transaction:
        return cast("tuple[int | None]", transaction.one(sql))[0] or 0


def read_test_clock(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Where the test clock stands."""
    return _stand(_test_clock(services))


def move_test_clock(services: Services, transaction: Transaction, request: Request) -> Reply:
    """Move the test clock forward; when this returns, every process obeys."""
    clock = _test_clock(services)
    text = request.read(TestClockStand).now
    now = parse_instant(text)
    if now is None:
        raise BadInput("now: must be an RFC 3339 time like 2026-01-31T12:00:00Z")
    clock.move(now)
    return _stand(clock)


def _test_clock(services: Services) -> TestClock:
    if not isinstance(services.clock, TestClock):
        raise NotFound("there is no test clock; start the server with --test-clock")
    return services.clock


def _stand(clock: TestClock) -> Reply:
    return Reply(TestClockStand(format_instant(clock.now())))


_CLOCK_NOTE: Final = " 404 unless the server was started with `--test-clock`."

ROUTES: Final = (
    Route(
        method="GET",
        path="/tally/v1/sync",
        handler=sync,
        runs="async",
        summary="Wait until everything is counted",
        description="Answers once every event up to `position` is counted and the recounts queued "
        "before the call are done; 504 when that takes longer than `timeout_s`.",
        tag="Operations",
        query=(
            QueryParam(
                "position",
                "A `Tally-Position` of `POST /api/v1/events`; without it, everything accepted "
                "so far.",
                schema={"type": "integer", "minimum": 0},
            ),
            QueryParam(
                "timeout_s",
                "How many seconds to wait.",
                schema={
                    "type": "number",
                    "minimum": 0,
                    "maximum": limits.SYNC_SECONDS_MAX,
                    "default": limits.SYNC_SECONDS_DEFAULT,
                },
            ),
        ),
        reply=Synced,
    ),
    Route(
        method="GET",
        path="/tally/v1/test-clock",
        handler=read_test_clock,
        summary="Read the test clock",
        description="Where the test clock stands." + _CLOCK_NOTE,
        tag="Operations",
        reply=TestClockStand,
    ),
    Route(
        method="POST",
        path="/tally/v1/test-clock",
        handler=move_test_clock,
        runs="write",
        summary="Move the test clock",
        description="Moves the test clock forward, never back. When the answer arrives, every "
        "process of the server obeys." + _CLOCK_NOTE,
        tag="Operations",
        body=TestClockStand,
        reply=TestClockStand,
    ),
)
