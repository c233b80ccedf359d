"""The quick reader of usage reports against the one that explains: one meaning."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tallystick.clock import DAY, Instant
from tallystick.errors import BadInput
from tallystick.ingest import usage as usage_module
from tallystick.ingest.usage import UsageItem, decode_explained, decode_usages
from tests.ingest.writing import NUMBER, ODD_TEXT, TIMESTAMP, dimensions, json_text

NOW = Instant(1_767_225_600_000_000)  # 2026-01-01


def at_once(body: bytes) -> list[UsageItem] | None:
    """What the quick reader makes of a body."""
    return usage_module._decode_at_once(body, NOW, DAY)


def explained(body: bytes) -> list[UsageItem] | None:
    """What the explaining reader makes of a body."""
    try:
        return decode_explained(body, NOW, DAY)
    except BadInput:
        return None


def shown(items: list[UsageItem] | None) -> list[tuple[str, ...]] | None:
    """Items so that 1, 1.0 and True differ."""
    return None if items is None else [tuple(map(repr, item)) for item in items]


VALUE = st.one_of(
    NUMBER,
    st.sampled_from(["0.000005", "-0.000005", "1.000015", "9007199254740991", "9007199254740992",
                     "-9007199254740991.0", "34359738367.99999", "34359738368.5", "999999999999999",
                     "1e3", "1e16", "007", "null", "true", '"1"', "{}", "[1]", '{"a":1}']),
    st.decimals(-(2**36), 2**36, allow_nan=False, places=7).map(str),
)  # fmt: skip


@st.composite
def report(draw: st.DrawFn) -> str:
    """A report, mostly a good one."""
    members = [("value", draw(VALUE))]
    for name in ("customerId", "featureId", "idempotencyKey"):
        odd = draw(st.integers(0, 15)) == 0
        members.append((name, draw(json_text(draw(ODD_TEXT) if odd else "a:b é"))))
    if draw(st.booleans()):
        members.append(("resourceId", draw(st.sampled_from(["null", '"r"'] * 8 + ['""', "1"]))))
    if draw(st.booleans()):
        stamp = draw(TIMESTAMP)
        members.append(("createdAt", draw(st.sampled_from([f'"{stamp}"'] * 9 + ["null", "5"]))))
    if draw(st.booleans()):
        behaviors = ['"DELTA"', '"SET"'] * 8 + ['"ADD"', "null", '"S\\u0045T"']
        members.append(("updateBehavior", draw(st.sampled_from(behaviors))))
    if draw(st.booleans()):
        members.append(("dimensions", draw(st.one_of(dimensions(), st.just("null")))))
    change = draw(st.integers(0, 24))
    if change == 0:
        members.append(draw(st.sampled_from(members)))
    elif change == 1:
        members.append(("more", "1"))
    elif change == 2:
        members.pop(draw(st.integers(0, len(members) - 1)))
    draw(st.randoms()).shuffle(members)
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    return (
        "{" + ",".join(f"{draw(json_text(name))}{space}:{value}" for name, value in members) + "}"
    )


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A request body."""
    inside = ",".join(draw(st.lists(report(), min_size=1, max_size=3)))
    body = draw(
        st.sampled_from(
            [f'{{"usages":[{inside}]}}'] * 12 + [f'{{"usages":[],"usages":[{inside}]}}']
        )
    )
    return body.encode(errors="surrogatepass")


@settings(max_examples=250, deadline=None)
@given(bodies())
@example(
    b'{"usages":[{"customerId":"a","featureId":"b","value":1,"idempotencyKey":"\\u003a",'
    b'"customerId":"c"}]}'
)
@example(b'{"usages":[{"customerId":"a","featureId":"b","value":1,"value":{"a":1}}]}')
@example(b'{"usages":[{"customerId":"a","featureId":"b","value":{"a":1},"value":1}]}')
def test_what_is_accepted_at_once_is_accepted_when_explained(body: bytes) -> None:
    quickly = at_once(body)
    if quickly is not None:
        assert shown(explained(body)) == shown(quickly)


@settings(max_examples=100, deadline=None)
@given(bodies())
def test_any_body_is_accepted_or_refused_with_a_reason(body: bytes) -> None:
    try:
        told = bool(decode_usages(body, NOW, DAY))
    except BadInput as error:
        path, _, reason = error.message.partition(": ")
        told = bool(path and reason and error.message.encode())
    assert told


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"value": -2.5, "updateBehavior": "SET"},
        {"createdAt": "2025-12-31T23:59:59.9999999+05:30", "idempotencyKey": "k:1"},
        {"resourceId": None, "dimensions": None},
        {"resourceId": "r", "dimensions": {"n": 1.0, "s": "x", "b": True, "z": None}},
        {"dimensions": {}},
    ],
)
def test_ordinary_bodies_are_accepted_at_once(members: dict[str, object]) -> None:
    report = {"customerId": "c", "featureId": "f", "value": 3} | members
    body = json.dumps({"usages": [report]}).encode()
    assert at_once(body) is not None
    assert shown(at_once(body)) == shown(explained(body))
