"""``python -m demo``: start, set up, send, wait, show; then serve until Ctrl-C, unless ONCE=1."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from stigg import Stigg

from demo import catalog, traffic
from demo.server import Server, running
from tallystick.errors import TallystickError

CHECKS = [
    ("acme", catalog.CALLS, 1),
    ("acme", catalog.TOKENS, 1),
    ("acme", catalog.USERS, 1),
    ("acme", catalog.SSO, None),
    ("globex", catalog.SEATS, 10),
    ("globex", catalog.EXPORTS, 1),
    ("initech", catalog.CALLS, 1),
    ("initech", catalog.EXPORTS, 2),
    ("initech", catalog.SSO, None),
]


def main() -> int:
    """Returns the exit code: 0 when every total is what was sent."""
    once = os.environ.get("ONCE", "") not in ("", "0")
    with running(keep=not once) as server:
        print(f"server       {server.url}, data in {server.folder}")
        stigg = Stigg(api_key=server.key, base_url=server.url)
        catalog.set_up(stigg)
        plans = ", ".join(f"{customer} ({plan})" for customer, plan in catalog.CUSTOMERS.items())
        print(f"customers    {plans}")
        sent = traffic.send(stigg)
        server.get("/tally/v1/sync")
        proved = _show_counts(server, sent)
        right = _show_totals(stigg, sent)
        _show_split(stigg)
        _show_checks(stigg)
        if once:
            print("\nwithout ONCE=1 the server stays, to look further")
        else:
            _show_next(server)
            _wait(server)
    return 0 if proved and right else 1


def _show_counts(server: Server, sent: traffic.Sent) -> bool:
    rows = [(way, items, again) for way, (items, again) in sent.ways.items()]
    _table("Sent, about a tenth of it twice", ("way in", "items", "of these resent"), rows)
    equal, told = server.verify()
    names = ("accepted", "counted", "duplicates", "waiting", "quarantined")
    verdict = "equal" if equal else "NOT EQUAL"
    _table(f"Counted, as `tallystick verify` proves: {verdict}", names,
           [[told[name] for name in names]])  # fmt: skip
    return equal


def _show_totals(stigg: Stigg, sent: traffic.Sent) -> bool:
    rows = []
    for (customer, feature), expected in sorted(sent.expected.items()):
        current = _check(stigg, customer, feature, None).current_usage
        rows.append(
            (customer, feature, f"{expected:,}", f"{current:,.0f}", _mark(current == expected))
        )
    _table("Totals", ("customer", "feature", "sent", "counted", ""), rows)
    return all(row[-1] == _mark(True) for row in rows)


def _show_split(stigg: Stigg) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    history = stigg.v1.usage.history(
        catalog.TOKENS, customer_id="acme", start_date=since, group_by="model,region"
    )
    rows = [
        (*(tag.value for tag in series.tags), f"{series.points[-1].value:,.0f}")
        for series in history.data.series
    ]
    _table("acme's tokens by model and region", ("model", "region", "tokens"), sorted(rows))


def _show_checks(stigg: Stigg) -> None:
    rows = []
    for customer, feature, wanted in CHECKS:
        answer = _check(stigg, customer, feature, wanted)
        limit = "unlimited" if answer.has_unlimited_usage else _number(answer.usage_limit)
        decision = _decision(answer, wanted)
        used = _number(answer.current_usage)
        rows.append((customer, feature, wanted or "", used, limit, decision))
    header = ("customer", "feature", "asks for", "used", "limit", "decision")
    _table("May they? (GET …/entitlements/check)", header, rows)


def _decision(answer: Any, wanted: int | None) -> str:
    if not answer.is_granted:
        return f"DENIED: {answer.access_denied_reason}"
    limit = answer.usage_limit
    is_beyond = limit is not None and answer.current_usage + (wanted or 0) > limit
    return "granted (soft limit)" if is_beyond else "granted"


def _show_next(server: Server) -> None:
    path = "/api/v1/customers/initech/entitlements/check?featureId=api-calls&requestedUsage=1"
    print("\nLook further")
    print(f"  the API      {server.url}/docs")
    print(f"  ask it       curl -H 'X-API-KEY: {server.key}' '{server.url}{path}'")
    print(f"  prove it     {sys.executable} -m tallystick verify --data-dir {server.folder}")


def _wait(server: Server) -> None:
    print("\nserving until Ctrl-C")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.process.wait()
    except KeyboardInterrupt:
        print()


def _check(stigg: Stigg, customer: str, feature: str, wanted: int | None) -> Any:
    asked: dict[str, Any] = {} if wanted is None else {"requested_usage": wanted}
    return stigg.v1.customers.check_entitlement(customer, feature_id=feature, **asked).data


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _mark(right: bool) -> str:
    return "as sent" if right else "WRONG"


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    print(f"\n{title}")
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  " + "   ".join(padded).rstrip())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TallystickError as error:
        sys.exit(f"demo: {error.message}")
