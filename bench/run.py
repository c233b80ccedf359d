"""The budgets of the design, measured: Tallystick beside the baseline, on this machine.

Owns: which scenarios there are, their order, and the table and files that come out. Every number
includes the load generator's own share of the machine. A scenario that accepts events lasts until
they are counted, not until they are accepted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench import dedupe, imports, large_catalog, scene, servers
from bench.load import CUSTOMERS, EVENT_FEATURE, EVENT_NAME, Outcome, Plan, customer_name
from bench.servers import Server

RESULTS = Path(__file__).parent / "results"
BACKGROUND_EVENTS_PER_SECOND = 20_000
PROBES = 40
COUNTED_SECONDS_MAX = 600
MEMORY_PORTION = 5_000_000
QUIET_SECONDS_MAX = 60
DEDUPE_KEYS = 1_000_000
"""Remembered keys that the cost at more of them is compared with."""


@dataclass
class Result:
    """One line of the table."""

    work: str
    floor: str
    aim: str
    tallystick: str = "not measured"
    home_made: str = "not measured"
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """One budget: how it is measured on a server, and how the outcome reads."""

    work: str
    floor: str
    aim: str
    measure: Callable[[Server, float], dict[str, Any]]
    read: Callable[[dict[str, Any]], str]
    home_made_too: bool = True


# ------------------------------------------------------------------------------------- measuring


def load(plan: Plan) -> Outcome:
    """Run a plan in a process of its own."""
    return _outcome(_start_load(plan))


_run_numbers = iter(range(1, 1 << 20))


def _start_load(plan: Plan) -> subprocess.Popen[bytes]:
    plan = replace(plan, run=next(_run_numbers))
    arguments = [
        part
        for name, value in asdict(plan).items()
        if value is not None and value != ""
        for part in ("--" + name.replace("_", "-"), str(value))
    ]
    command = [sys.executable, "-m", "bench.load", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _outcome(process: subprocess.Popen[bytes]) -> Outcome:
    text, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit("the load generator failed")
    outcome = Outcome(**json.loads(text))
    if outcome.first_failure or outcome.lost_connections:
        print(f"  ! {outcome.statuses}: {outcome.first_failure}", file=sys.stderr)
    return outcome


def plan_of(server: Server, **what: Any) -> Plan:
    """A plan against a server."""
    return Plan(target=server.target, port=server.port, key=server.key, **what)


def await_counted(server: Server) -> None:
    """Return once everything accepted is counted; the baseline counts before it answers."""
    deadline = time.monotonic() + COUNTED_SECONDS_MAX
    while server.target == "tallystick" and time.monotonic() < deadline:
        try:
            scene.call(server, "GET", "/tally/v1/sync?timeout_s=30")
        except SystemExit as failure:
            if " 504 " not in str(failure):
                raise
        else:
            return


def await_quiet(server: Server) -> None:
    """Return once the server has nothing left to tidy, or after a while: what a scenario before
    this one left to be merged is not what this one measures."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while server.busy_share(over_seconds=1.0) > 0.1 and time.monotonic() < deadline:
        pass


def events(per_request: int, spread: str = "zipf") -> Callable[[Server, float], dict[str, Any]]:
    """Events at the highest rate, until they are all counted."""

    def measure(server: Server, seconds: float) -> dict[str, Any]:
        started = time.monotonic()
        outcome = load(
            plan_of(server, work="events", per_request=per_request, seconds=seconds, spread=spread)
        )
        await_counted(server)
        counted = outcome.items / (time.monotonic() - started)
        return asdict(outcome) | {"counted_per_second": counted}

    return measure


@contextmanager
def background_events(
    server: Server, seconds: float, events_per_second: int = BACKGROUND_EVENTS_PER_SECOND
) -> Iterator[None]:
    """Events at a fixed rate beside what is measured."""
    rate = events_per_second / 100
    process = _start_load(
        plan_of(server, work="events", per_request=100, seconds=seconds, rate=rate, connections=4)
    )
    time.sleep(1.0)  # the generator encodes its bodies first
    try:
        yield
    finally:
        _outcome(process)


def visible(server: Server, seconds: float) -> dict[str, Any]:
    """From an accepted event to the check that shows it, beside 20,000 events a second."""
    delays: list[float] = []
    with background_events(server, max(seconds, 10.0) + 4):
        for _ in range(PROBES):
            delays.append(_one_probe(server))
            time.sleep(max(seconds, 10.0) / PROBES / 2)
    p50, p99 = np.percentile(np.array(delays) * 1000, [50, 99])
    return {"visible_ms_p50": float(p50), "visible_ms_p99": float(p99), "probes": PROBES}


def _one_probe(server: Server) -> float:
    before = _used_by_probe(server)
    event = {"customerId": scene.PROBE, "eventName": EVENT_NAME,
             "idempotencyKey": f"probe-{time.monotonic_ns()}"}  # fmt: skip
    path = "/api/v1/events" if server.target == "tallystick" else "/events"
    scene.call(server, "POST", path, {"events": [event]})
    accepted = time.monotonic()
    while _used_by_probe(server) == before:
        time.sleep(0.002)
    return time.monotonic() - accepted


def _used_by_probe(server: Server) -> float:
    if server.target == "home-made":
        path = f"/check?customer={scene.PROBE}&event={EVENT_NAME}"
    else:
        path = f"/api/v1/customers/{scene.PROBE}/entitlements/check?featureId={EVENT_FEATURE}"
    used: float = scene.call(server, "GET", path)["data"]["currentUsage"]
    return used


def usage_beside(events_per_second: int) -> Callable[[Server, float], dict[str, Any]]:
    """One report a request on 16 connections, while events are folded; every customer has reported
    before."""

    def measure(server: Server, seconds: float) -> dict[str, Any]:
        load(_each_customer_reports_once(server))
        await_quiet(server)
        with background_events(server, seconds + 2, events_per_second):
            return asdict(load(plan_of(server, work="usage", seconds=seconds)))

    return measure


def first_usage(server: Server, _: float) -> dict[str, Any]:
    """One report of each customer, the machine otherwise idle: it loads what holds for the
    customer and opens a counter."""
    return asdict(load(_each_customer_reports_once(server)))


def _each_customer_reports_once(server: Server) -> Plan:
    return plan_of(server, work="usage", spread="distinct", seconds=60, requests=CUSTOMERS)


def check(server: Server, seconds: float) -> dict[str, Any]:
    """Checks on 16 connections, the machine otherwise idle."""
    return asdict(load(plan_of(server, work="check", seconds=seconds)))


def memory_after(events_sent: int) -> Callable[[Server, float], dict[str, Any]]:
    """What the server weighs once so many events are counted; the biggest it was meanwhile too."""

    def measure(server: Server, _: float) -> dict[str, Any]:
        started, most, events = time.monotonic(), 0.0, 0
        while events < events_sent:
            # In portions, so that what is accepted faster than counted does not fill the inbox.
            requests = -(-min(MEMORY_PORTION, events_sent - events) // 1000)
            process = _start_load(
                plan_of(server, work="events", per_request=1000, seconds=1e6, requests=requests)
            )
            while process.poll() is None:
                most = max(most, server.resident_mib())
                time.sleep(1.0)
            events += _outcome(process).items
            await_counted(server)
        return {
            "events": events,
            "counted_per_second": events / (time.monotonic() - started),
            "after_mib": server.resident_mib(),
            "most_mib": most,
        }

    return measure


def check_beside_history(server: Server, seconds: float) -> dict[str, Any]:
    """The same while four readers ask for history as fast as it comes."""
    idle = load(plan_of(server, work="check", seconds=seconds, rate=2_000))
    stop = threading.Event()
    readers = [threading.Thread(target=_read_history, args=(server, stop, n)) for n in range(4)]
    for reader in readers:
        reader.start()
    try:
        busy = load(plan_of(server, work="check", seconds=seconds, rate=2_000))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    return {"idle": asdict(idle), "busy": asdict(busy)}


def _read_history(server: Server, stop: threading.Event, number: int) -> None:
    while not stop.is_set():
        customer = customer_name(number)
        scene.call(
            server, "GET",
            f"/api/v1/usage/{customer}/history/{EVENT_FEATURE}?startDate={_days_ago(6)}&groupBy=region",
        )  # fmt: skip
        number = (number + 4) % 100


def _days_ago(days: int) -> str:
    moment = datetime.fromtimestamp(time.time() - days * 86400, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_large_catalog(server: Server, seconds: float) -> dict[str, Any]:
    """Checks in an environment that is large in every direction: as they come, and in turn."""
    large = large_catalog.set_up(server)
    await_quiet(large)
    plan = plan_of(large, work="check", seconds=seconds, customers=large_catalog.CUSTOMERS)
    return {spread: asdict(load(replace(plan, spread=spread))) for spread in ("zipf", "distinct")}


def dedupe_result(most: int) -> Result:
    """What finding duplicates costs with many keys remembered, against a million; it needs no
    server. Not measured yet."""
    named = " and ".join(_short_whole(keys) for keys in dedupe_sizes(most)[1:])
    work = f"dedupe cost at {named} keys against {_short_whole(DEDUPE_KEYS)} keys"
    return Result(work, "1.5×", "1.1×")


def dedupe_sizes(most: int) -> list[int]:
    """How many keys are remembered in each measurement: a million, and tens of that up to
    ``most``."""
    between = [DEDUPE_KEYS * 10**n for n in range(1, 6) if DEDUPE_KEYS * 10**n < most]
    return [DEDUPE_KEYS, *between, most]


def measure_dedupe(result: Result, most: int) -> None:
    """Fill the result in."""
    print(f"  tallystick: {result.work}", file=sys.stderr)
    found = dedupe.measure_each(dedupe_sizes(most))
    first, *others = (each["ns_per_key"]["wall"]["hot"] for each in found)
    ratios = ", ".join(f"{other / first:.2f}×" for other in others)
    costs = ", ".join(f"{cost:.0f} ns" for cost in (first, *others))
    result.tallystick = f"{ratios}: {costs} a key"
    result.details["tallystick"] = {"sizes": found}
    print(f"    {result.tallystick}", file=sys.stderr)


def check_beside_import(server: Server, seconds: float) -> dict[str, Any]:
    """The same while the server's worker imports a file, as fast as its share allows."""
    idle = load(plan_of(server, work="check", seconds=seconds, rate=2_000))
    with imports.under_way(server, seconds) as still_importing:
        busy = load(plan_of(server, work="check", seconds=seconds, rate=2_000))
        lasted = still_importing()
    return {"idle": asdict(idle), "busy": asdict(busy), "import_lasted": lasted}


API_PATH = "events counted, 1,000 a request"


def import_results() -> list[Result]:
    """What an import counts; it starts a server only to set the scene. Not measured yet."""
    return [
        Result("import NDJSON", "300k/s", "1M/s"),
        Result("import Parquet", "600k/s", "2M/s"),
    ]


def measure_imports(results: list[Result], events_sent: int, api: Result | None) -> None:
    """Fill the results in; ``api`` is what the same events make by requests, if it was measured."""
    with imports.scene_of_files(events_sent) as files:
        for result, kind in zip(results, imports.KINDS, strict=True):
            print(f"  tallystick: {result.work}", file=sys.stderr)
            found = files.measure(kind)
            if api is not None and "tallystick" in api.details:
                found["api_per_second"] = api.details["tallystick"]["counted_per_second"]
            result.details["tallystick"] = found
            result.tallystick = told_import(found)
            print(f"    {result.tallystick}", file=sys.stderr)


def told_import(found: dict[str, Any]) -> str:
    """How an import reads in the table, beside what reads the same file and does nothing."""
    beside = [
        f"{name} {_short(found[key])}/s"
        for name, key in (("wc -l", "wc_per_second"), ("DuckDB only parsing", "duckdb_per_second"),
                          ("by requests", "api_per_second"))
        if key in found
    ]  # fmt: skip
    return f"{_short(found['counted_per_second'])}/s; {', '.join(beside)}"


# ------------------------------------------------------------------------------------- scenarios


def _per_second(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda found: f"{_short(found[name])}/s"


def _rate_and_p99(found: dict[str, Any]) -> str:
    return f"{_short(found['requests_per_second'])}/s, p99 {found['latency_ms_p99']:.1f} ms"


def _visible(found: dict[str, Any]) -> str:
    return f"p99 {found['visible_ms_p99']:.0f} ms, median {found['visible_ms_p50']:.0f} ms"


def _beside(found: dict[str, Any]) -> str:
    idle, busy = (found[name]["latency_ms_p99"] for name in ("idle", "busy"))
    return f"p99 {busy:.1f} ms; idle {idle:.1f} ms"


def _two_spreads(found: dict[str, Any]) -> str:
    return f"{_rate_and_p99(found['zipf'])}; all in turn {_rate_and_p99(found['distinct'])}"


def _memory(found: dict[str, Any]) -> str:
    after, most = found["after_mib"], found["most_mib"]
    return f"{after:.0f} MiB, at most {most:.0f} MiB; {_short(found['counted_per_second'])}/s"


def _short(number: float) -> str:
    if number >= 1_000_000:
        return f"{number / 1_000_000:.1f}M"
    return f"{number / 1000:.1f}k" if number >= 1000 else f"{number:.0f}"


def _short_whole(number: int) -> str:
    return f"{number // 1_000_000}M" if number % 1_000_000 == 0 else f"{number:,}"


def scenarios(events_sent: int) -> tuple[Scenario, ...]:
    """All, in their order; ``events_sent`` are archived before history is read."""
    return (
        Scenario("check", "6k/s, p99 10 ms", "15k/s, p99 3 ms", check, _rate_and_p99),
        Scenario("events counted, 1 a request", "5k/s", "12k/s", events(1),
                 _per_second("counted_per_second")),
        Scenario("events counted, 100 a request", "100k/s", "300k/s", events(100),
                 _per_second("counted_per_second")),
        Scenario("events counted, 1,000 a request", "100k/s", "300k/s", events(1000),
                 _per_second("counted_per_second")),
        Scenario("events counted, 1,000 a request, all customers in turn", "100k/s", "300k/s",
                 events(1000, "distinct"), _per_second("counted_per_second")),
        Scenario("accepted → visible in a check, at 20k/s", "p99 1 s", "250 ms", visible, _visible),
        Scenario("report usage, 16 connections, every customer for the first time", "shown beside",
                 "shown beside", first_usage, _rate_and_p99),
        Scenario("report usage, 16 connections, at 5k events/s", "3k/s, p99 30 ms", "10k/s",
                 usage_beside(5_000), _rate_and_p99),
        Scenario("report usage, 16 connections, at 20k events/s", "3k/s, p99 30 ms", "10k/s",
                 usage_beside(BACKGROUND_EVENTS_PER_SECOND), _rate_and_p99),
        Scenario(f"memory after {_short(events_sent)} more events", "1 GiB", "600 MiB",
                 memory_after(events_sent), _memory, home_made_too=False),
        Scenario("check at 2k/s beside 4 history readers", "p99 twice idle", "p99 idle",
                 check_beside_history, _beside, home_made_too=False),
        Scenario("check at 2k/s beside an import", "p99 twice idle", "p99 idle",
                 check_beside_import, _beside, home_made_too=False),
        Scenario("check, 100,000 customers, 1,000 plans of 20 features", "6k/s, p99 10 ms",
                 "15k/s, p99 3 ms", check_large_catalog, _two_spreads, home_made_too=False),
    )  # fmt: skip


def run(
    seconds: float, only: str, targets: tuple[str, ...], events_sent: int, workers: int
) -> list[Result]:
    """Measure every scenario on the servers asked for."""
    chosen = [scenario for scenario in scenarios(events_sent) if only in scenario.work]
    results = {s.work: Result(s.work, s.floor, s.aim) for s in chosen}
    for target, start in (("tallystick", servers.tallystick), ("home_made", servers.home_made)):
        if target not in targets or not chosen:
            continue
        with start(workers) as server:
            print(f"setting up {target}", file=sys.stderr)
            scene.set_up(server)
            for scenario in chosen:
                if target == "home_made" and not scenario.home_made_too:
                    continue
                print(f"  {target}: {scenario.work}", file=sys.stderr)
                await_quiet(server)
                found = scenario.measure(server, seconds)
                found["resident_mib"] = server.resident_mib()
                result, told = results[scenario.work], scenario.read(found)
                setattr(result, target, told)
                result.details[target] = found
                print(f"    {told}; {found['resident_mib']:.0f} MiB", file=sys.stderr)
    return list(results.values())


# ------------------------------------------------------------------------------------- reporting


def table(results: list[Result]) -> str:
    """The results as Markdown."""
    lines = [
        "| work | floor | aim | Tallystick | home-made |",
        "|---|---|---|---|---|",
        *(f"| {r.work} | {r.floor} | {r.aim} | {r.tallystick} | {r.home_made} |" for r in results),
    ]
    return "\n".join(lines)


def write(results: list[Result], seconds: float) -> None:
    """Keep the results beside the bench, as JSON with every detail and as Markdown."""
    RESULTS.mkdir(exist_ok=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    about = {"machine": machine, "when": when, "seconds_per_scenario": seconds}
    (RESULTS / "latest.json").write_text(
        json.dumps({"about": about, "results": [asdict(result) for result in results]}, indent=1)
    )
    heading = f"# Measured {when}\n\n{machine}; load generator included; {seconds:g} s each.\n\n"
    (RESULTS / "latest.md").write_text(heading + table(results) + "\n")


def main() -> None:
    """Measure, print the table, write ``bench/results/``."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each scenario")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--target", choices=["tallystick", "home_made"], action="append")
    parser.add_argument("--workers", type=int, default=1, help="HTTP processes of each server")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the memory scenario")
    parser.add_argument(
        "--dedupe-keys", type=int, default=10_000_000, metavar="KEYS",
        help="in the dedupe scenario; the budget is for 100,000,000: minutes, and 3 GB of disk",
    )  # fmt: skip
    parser.add_argument(
        "--import-events", type=int, default=3_000_000, metavar="EVENTS",
        help="in the files of the import scenarios; some 210 bytes each as NDJSON",
    )  # fmt: skip
    arguments = parser.parse_args()
    targets = tuple(arguments.target or ("tallystick", "home_made"))
    results = run(arguments.seconds, arguments.only, targets, arguments.events, arguments.workers)
    imported = import_results()
    if any(arguments.only in each.work for each in imported) and "tallystick" in targets:
        api = next((each for each in results if each.work == API_PATH), None)
        measure_imports(imported, arguments.import_events, api)
        results += imported
    deduped = dedupe_result(arguments.dedupe_keys)
    if arguments.only in deduped.work and "tallystick" in targets:
        measure_dedupe(deduped, arguments.dedupe_keys)
        results.append(deduped)
    if not arguments.only:
        write(results, arguments.seconds)
    print(table(results))
