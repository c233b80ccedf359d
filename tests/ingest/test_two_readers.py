"""The quick reader of events against the one that explains: one meaning."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tallystick import limits
from tallystick.clock import DAY, Instant, parse_instant
from tallystick.errors import BadInput
from tallystick.ingest import events as events_module
from tallystick.ingest.events import accept_events
from tallystick.ingest.explain import accept_explained
from tests.ingest.writing import ODD_TEXT, TIMESTAMP, dimensions, json_text

NOW = Instant(1_767_225_600_000_000)  # 2026-01-01


def at_once(body: bytes) -> list[Any] | None:
    """What the quick reader makes of a body."""
    accepted = events_module._accept_at_once(body, NOW, DAY)
    return None if accepted is None else meaning(accepted.lines)


def explained(body: bytes) -> list[Any] | None:
    """What the explaining reader makes of a body."""
    try:
        lines = accept_explained(body, NOW, DAY)
    except BadInput:
        return None
    return meaning(msgspec.json.Encoder(decimal_format="number").encode_lines(lines))


def meaning(lines: bytes) -> list[Any]:
    """Lines as values: numbers exact, timestamps as instants."""
    assert lines.endswith(b"\n")
    events = [json.loads(line, parse_float=Decimal) for line in lines.splitlines()]
    for event in events:
        if "timestamp" in event:
            event["timestamp"] = parse_instant(event["timestamp"])
            assert event["timestamp"] is not None
        for name, value in event.get("dimensions", {}).items():
            # 1 and True are equal to Python
            event["dimensions"][name] = (type(value).__name__, str(value))
    return events


@st.composite
def event(draw: st.DrawFn) -> str:
    """An event, mostly a good one."""
    members = []
    for name in ("customerId", "eventName", "idempotencyKey"):
        odd = draw(st.integers(0, 15)) == 0
        members.append((name, draw(json_text(draw(ODD_TEXT) if odd else "a:b é"))))
    if draw(st.booleans()):
        members.append(("resourceId", draw(st.sampled_from(["null", '"r"'] * 8 + ['""', "1"]))))
    if draw(st.booleans()):
        stamp = draw(TIMESTAMP)
        members.append(("timestamp", draw(st.sampled_from([f'"{stamp}"'] * 9 + ["null", "5"]))))
    if draw(st.integers(0, 3)):
        members.append(("dimensions", draw(st.one_of(dimensions(), dimensions(), st.just("null")))))
    change = draw(st.integers(0, 24))
    if change == 0:
        members.append(draw(st.sampled_from(members)))
    elif change == 1:
        members.append(("more", "1"))
    elif change == 2:
        members.pop(0)
    draw(st.randoms()).shuffle(members)
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    return (
        "{" + ",".join(f"{draw(json_text(name))}{space}:{value}" for name, value in members) + "}"
    )


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A request body."""
    inside = ",".join(draw(st.lists(event(), min_size=1, max_size=3)))
    body = draw(
        st.sampled_from(
            [f'{{"events":[{inside}]}}'] * 12 + [f'{{"events":[],"events":[{inside}]}}']
        )
    )
    return body.encode(errors="surrogatepass")


@settings(max_examples=250, deadline=None)
@given(bodies())
@example(
    b'{"events":[{"customerId":"a","eventName":"b","idempotencyKey":"\\u003a","customerId":"c"}]}'
)
@example(b'{"events":[{"customerId":"a","eventName":"b","idempotencyKey":"c","dimensions":'
         b'{"dimensions":{}}}]}')  # fmt: skip
@example(b'{"events":[{"customerId":"a","eventName":"b","idempotencyKey":"c","timestamp":'
         b'"2023-11-16T18:17:03+0530","eventName":"d"}]}')  # fmt: skip
def test_what_is_accepted_at_once_is_accepted_when_explained(body: bytes) -> None:
    quickly = at_once(body)
    if quickly is not None:
        assert explained(body) == quickly


@settings(max_examples=50, deadline=None)
@given(bodies())
def test_a_large_body_means_what_a_small_one_means(body: bytes) -> None:
    large = body.replace(b"[", b"[" + b" " * limits.EVENT_BYTES_MAX, 1)
    assert explained(large) == explained(body)
    quickly = at_once(large)
    assert quickly is None or quickly == explained(body)


@settings(max_examples=100, deadline=None)
@given(bodies())
def test_any_body_is_accepted_or_refused_with_a_reason(body: bytes) -> None:
    try:
        accepted = accept_events(body, NOW, DAY)
    except BadInput as error:
        path, _, reason = error.message.partition(": ")
        told = bool(path and reason and error.message.encode())
    else:
        told = accepted.lines.count(b"\n") == accepted.events
    assert told


@pytest.mark.parametrize(
    "member",
    [
        '"timestamp":"2023-11-16T18:17:03.123456+00:00"',
        '"timestamp":"2023-11-16T18:17:03.1234567+05:30"',
        '"dimensions":{"a \\"quoted\\" name":"caf\\u00e9 \\ud83d\\ude00","n":1.5,"k":null}',
        '"resourceId":null,"dimensions":null',
    ],
)
def test_ordinary_bodies_are_accepted_at_once(member: str) -> None:
    body = f'{{"events":[{{"customerId":"c","eventName":"e","idempotencyKey":"k",{member}}}]}}'
    assert at_once(body.encode()) is not None
    assert at_once(body.encode()) == explained(body.encode())
