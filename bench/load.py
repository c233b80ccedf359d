"""The load generator, the same for every server under test.

Owns: pre-encoded HTTP/1.1 requests over raw sockets, in a process of its own, so that it takes as
little of the machine as it can. A body is a template with a mark where its unique key goes, and one
``bytes.replace`` makes a request of it. Promises: no request is sent twice, every answer is
awaited, and with a fixed rate a latency counts from when the request was *due*, not from when a
connection was free.

    python -m bench.load --target tallystick --port 8080 --key server-… \
        --work events --per-request 100 --connections 16 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

Work = Literal["events", "usage", "check"]
TargetName = Literal["tallystick", "home-made"]
Spread = Literal["zipf", "distinct"]

CUSTOMERS = 10_000
EVENT_NAME = "api_call"
EVENT_FEATURE = "feature-ev-count"
REPORT_FEATURE = "feature-api-calls"
MARK = b"@@@@@@@@@@@@@@@@"
"""Replaced by sixteen hexadecimal digits that occur once in a run."""
TEMPLATE_EVENTS = 40_000
"""Events in all templates together: what repeats is only who sent what, never a key."""

TEMPLATE_CHECKS = 20_000
"""Checks that are asked in turn; as many as there are customers where all are to be asked."""


@dataclass(frozen=True)
class Plan:
    """What to send, for ``seconds`` or until ``requests`` are sent, whichever comes first. ``rate``
    is requests per second over all connections; None: as fast as goes."""

    target: TargetName
    port: int
    work: Work
    key: str = ""
    per_request: int = 1
    connections: int = 16
    seconds: float = 10.0
    rate: float | None = None
    requests: int | None = None
    spread: Spread = "zipf"
    customers: int = CUSTOMERS
    seed: int = 1
    run: int = 0


@dataclass
class Outcome:
    """What happened. Latencies are of answered requests, in milliseconds."""

    requests: int = 0
    items: int = 0
    seconds: float = 0.0
    requests_per_second: float = 0.0
    items_per_second: float = 0.0
    latency_ms_p50: float = 0.0
    latency_ms_p99: float = 0.0
    latency_ms_max: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    lost_connections: int = 0
    first_failure: str = ""


def customer_name(number: int) -> str:
    """The id of the ``number``-th customer, the same in set-up and load."""
    return f"customer-{number:05d}"


# ------------------------------------------------------------------------------------- requests


def requests_of(plan: Plan) -> Callable[[], bytes]:
    """A function that returns the next request, complete and never used before."""
    if plan.work == "check":
        return itertools.cycle(_checks(plan)).__next__
    templates = itertools.cycle(_posts(plan))
    # The run number keeps the keys of two runs against one server apart.
    numbers = itertools.count(plan.run << 40)

    def next_request() -> bytes:
        return next(templates).replace(MARK, b"%016x" % next(numbers))

    return next_request


def _customers(plan: Plan) -> Iterator[str]:
    """Whose turn it is: Zipf with exponent 1, or everyone in turn."""
    if plan.spread == "distinct":
        for number in itertools.count():
            yield customer_name(number % plan.customers)
    weights = 1.0 / np.arange(1, plan.customers + 1)
    rng = np.random.default_rng(plan.seed)
    while True:
        for number in rng.choice(plan.customers, size=4096, p=weights / weights.sum()):
            yield customer_name(int(number))


def _posts(plan: Plan) -> list[bytes]:
    path, body_of = _POSTS[plan.target, plan.work]
    customers = _customers(plan)
    count = max(16, TEMPLATE_EVENTS // plan.per_request)
    return [
        _post(plan, path, body_of([next(customers) for _ in range(plan.per_request)], number))
        for number in range(count)
    ]


def _post(plan: Plan, path: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body, separators=(",", ":")).encode()
    head = f"POST {path} HTTP/1.1\r\n{_headers(plan)}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def _headers(plan: Plan) -> str:
    key = f"X-API-KEY: {plan.key}\r\n" if plan.key else ""
    return f"Host: 127.0.0.1:{plan.port}\r\n{key}"


def _events(customers: list[str], number: int) -> dict[str, object]:
    return {"events": [_event(name, number + i, i) for i, name in enumerate(customers)]}


def _event(customer: str, number: int, index: int) -> dict[str, object]:
    return {
        "customerId": customer,
        "eventName": EVENT_NAME,
        "idempotencyKey": f"{MARK.decode()}-{index}",
        "dimensions": {
            "tokens": number * 37 % 4096,
            "latency": number * 17 % 900,
            "model": f"model-{number % 7}",
            "region": ("eu", "us", "ap")[number % 3],
        },
    }


def _usages(customers: list[str], number: int) -> dict[str, object]:
    return {
        "usages": [
            {
                "customerId": name,
                "featureId": REPORT_FEATURE,
                "value": 1 + (number + index) % 5,
                "idempotencyKey": f"{MARK.decode()}-{index}",
            }
            for index, name in enumerate(customers)
        ]
    }


def _one_usage(customers: list[str], number: int) -> dict[str, object]:
    (customer,) = customers  # the home-made server takes one report a request
    return {
        "customerId": customer,
        "featureId": REPORT_FEATURE,
        "value": 1 + number % 5,
        "idempotencyKey": MARK.decode(),
    }


_POSTS: dict[tuple[str, str], tuple[str, Callable[[list[str], int], dict[str, object]]]] = {
    ("tallystick", "events"): ("/api/v1/events", _events),
    ("tallystick", "usage"): ("/api/v2/usage", _usages),
    ("home-made", "events"): ("/events", _events),
    ("home-made", "usage"): ("/usage", _one_usage),
}

_CHECKS = {
    "tallystick": "/api/v1/customers/{customer}/entitlements/check?featureId={feature}"
    "&requestedUsage=1",
    "home-made": f"/check?customer={{customer}}&event={EVENT_NAME}&requested=1",
}


def check_request(plan: Plan, customer: str, feature: str = EVENT_FEATURE) -> bytes:
    """One entitlement check of one customer."""
    path = _CHECKS[plan.target].format(customer=customer, feature=feature)
    return f"GET {path} HTTP/1.1\r\n{_headers(plan)}\r\n".encode()


def _checks(plan: Plan) -> list[bytes]:
    customers = _customers(plan)
    count = plan.customers if plan.spread == "distinct" else TEMPLATE_CHECKS
    return [check_request(plan, next(customers)) for _ in range(count)]


# ------------------------------------------------------------------------------------- the wire


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, answered: Callable[[Connection, int, bytes], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.sent_at = 0.0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._answered(self, 0, str(exc or "closed").encode())

    def send(self, request: bytes, due: float) -> None:
        """Send; its latency counts from ``due``."""
        assert self.transport is not None
        self.sent_at = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or len(buffer) < end + 4 + _content_length(buffer, end):
            self._buffer = buffer
            return
        self._buffer = b""
        self._answered(self, int(buffer[9:12]), buffer[end + 4 :])


def _content_length(head: bytes, end: int) -> int:
    lowered = head[:end].lower()
    at = lowered.find(b"content-length:")
    if at < 0:
        return 0
    stop = lowered.find(b"\r\n", at)
    return int(lowered[at + 15 : stop if stop > 0 else end])


class Runner:
    """Keeps connections busy until the time is over, then waits for what is in flight."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._next = requests_of(plan)
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._latencies = array("d")
        self._statuses: Counter[int] = Counter()
        self._in_flight = 0
        self._sent = 0
        self._stop_at = float("inf")
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        """The whole run."""
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            _, connection = await loop.create_connection(
                lambda: Connection(self._answered), "127.0.0.1", self._plan.port
            )
            self._idle.append(connection)
        started = time.perf_counter()
        self._stop_at = started + self._plan.seconds
        if self._plan.rate is None:
            while self._idle and time.perf_counter() < self._stop_at:
                self._send(self._idle.popleft(), time.perf_counter())
        else:
            await self._pace(started, self._plan.rate)
        await self._finished
        return self._summary(time.perf_counter() - started)

    async def _pace(self, started: float, rate: float) -> None:
        """Make requests due at an even rate, whether or not a connection is free."""
        sent = 0
        while (now := time.perf_counter()) < self._stop_at:
            while sent <= (now - started) * rate:
                self._due.append(started + sent / rate)
                sent += 1
            while self._due and self._idle:
                self._send(self._idle.popleft(), self._due.popleft())
            await asyncio.sleep(0.001)
        self._due.clear()
        self._maybe_finish()

    def _send(self, connection: Connection, due: float) -> None:
        self._in_flight += 1
        self._sent += 1
        if self._sent == self._plan.requests:
            self._stop_at = 0.0
        connection.send(self._next(), due)

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter()
        if connection.lost:
            self._outcome.lost_connections += connection.sent_at > 0
            self._in_flight -= connection.sent_at > 0
            self._maybe_finish()
            return
        self._in_flight -= 1
        self._statuses[status] += 1
        self._latencies.append(now - connection.sent_at)
        if status >= 300 and not self._outcome.first_failure:
            self._outcome.first_failure = body[:300].decode(errors="replace")
        connection.sent_at = 0.0
        if now >= self._stop_at:
            self._maybe_finish()
        elif self._plan.rate is None:
            self._send(connection, now)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def _maybe_finish(self) -> None:
        over = time.perf_counter() >= self._stop_at or self._outcome.lost_connections > 0
        if over and self._in_flight == 0 and not self._finished.done():
            self._finished.set_result(None)

    def _summary(self, seconds: float) -> Outcome:
        outcome, good = self._outcome, sum(n for s, n in self._statuses.items() if s < 300)
        outcome.requests = good
        outcome.items = good * (1 if self._plan.work == "check" else self._plan.per_request)
        outcome.seconds = round(seconds, 3)
        outcome.requests_per_second = round(outcome.requests / seconds, 1)
        outcome.items_per_second = round(outcome.items / seconds, 1)
        outcome.statuses = {str(status): n for status, n in sorted(self._statuses.items())}
        if self._latencies:
            p50, p99, top = np.percentile(np.frombuffer(self._latencies) * 1000, [50, 99, 100])
            outcome.latency_ms_p50 = round(float(p50), 3)
            outcome.latency_ms_p99 = round(float(p99), 3)
            outcome.latency_ms_max = round(float(top), 3)
        return outcome


def run(plan: Plan) -> Outcome:
    """Run a plan in this process, on uvloop."""
    import uvloop

    async def go() -> Outcome:
        return await Runner(plan).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(go())


def main() -> None:
    """Print the outcome as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--target", choices=["tallystick", "home-made"], required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--work", choices=["events", "usage", "check"], required=True)
    parser.add_argument("--key", default="", help="the API key")
    parser.add_argument("--per-request", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=None, help="requests per second")
    parser.add_argument("--requests", type=int, default=None, help="stop after so many")
    parser.add_argument("--spread", choices=["zipf", "distinct"], default="zipf")
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", type=int, default=0, help="another number, other keys")
    plan = Plan(**vars(parser.parse_args()))
    print(json.dumps(asdict(run(plan))))


if __name__ == "__main__":
    main()
