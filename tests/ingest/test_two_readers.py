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


ODD_TEXT = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["a", "$x", "x$", "a:b", "\\", '"', "\0", "\ud800", "\U0001f600", "null", "{}"]
    ),
)
NUMBER = st.one_of(
    st.sampled_from(
        ["0", "-0", "-0.0", "1.0", "1e5", "1E+5", "0.0001", "0.00009", "1e-5", "123456789012345.6",
         "1e400", "1e999999999999999999999", "1" * 41, "1" * 42, "1" * 255, "1" * 256,
         "-" + "9" * 41, "NaN", "-Infinity", "0.1" + "0" * 20,
         "1" + "0" * 60, "100000000000000000000.5"]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
)  # fmt: skip
TIMESTAMP = st.one_of(
    st.sampled_from(
        ["2023-11-16T18:17:03Z"] * 20
        + ["2023-11-16T18:17:03.123456+00:00"] * 10
        + ["2023-11-16 18:17:03", "2023-11-16t18:17:03.5z", "2023-11-16",
         "2023-11-16T18:17:03.1234567Z", "2023-11-16T18:17:03.99999999", "2023-11-16T18:17:60Z",
         "2023-11-16T18:17:03+05:30", "2023-11-16T18:17:03-00:00", "2023-11-16T18:17:03+0530",
         "2023-11-16T18:17:03+00:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00",
         "2026-01-02T00:00:00Z", "2026-01-02T00:00:00.000001Z", "2026-01-02T00:00:00.0000009Z",
         "2026-01-02T01:00:00+00:30", "2026-01-02T01:00:00+01:00", "", "0000-01-01T00:00:00Z",
         "2023-02-29T00:00:00Z", "1969-12-31T23:59:59.9999999Z"]
    ),
    st.datetimes().map(str),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
)  # fmt: skip


@st.composite
def json_text(draw: st.DrawFn, text: str) -> str:
    """One of the ways to write a string."""
    written = json.dumps(text, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0 and text:
        code = format(ord(text[0]), "04x")
        if len(code) == 4:
            written = f'"\\u{code}' + json.dumps(text[1:])[1:]
    return written


@st.composite
def dimensions(draw: st.DrawFn) -> str:
    """An object of dimensions, seldom a bad one."""
    members = []
    for name in draw(st.lists(ODD_TEXT, max_size=4)):
        kind = draw(st.integers(0, 39))
        if kind == 0:
            value = draw(st.sampled_from(["{}", "[]", '{"a":1}', "[1]"]))
        elif kind < 8:
            value = draw(st.sampled_from(["null", "true", "false"]))
        elif kind < 24:
            value = draw(NUMBER)
        else:
            value = draw(json_text(draw(ODD_TEXT)))
        members.append(f"{draw(json_text(name))}:{value}")
    return "{" + ",".join(members) + "}"


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
