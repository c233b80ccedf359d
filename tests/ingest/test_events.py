"""Event requests at the door: what is refused, why, and what is kept of the rest."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tallystick import limits
from tallystick.clock import DAY, Instant
from tallystick.errors import BadInput, PayloadTooLarge
from tallystick.ingest.events import accept_events

NOW = Instant(1_767_225_600_000_000)  # 2026-01-01T00:00:00Z


def an_event(**changes: Any) -> dict[str, Any]:
    """A good event; None takes a field out."""
    event = {"customerId": "c", "eventName": "e", "idempotencyKey": "k", **changes}
    return {name: value for name, value in event.items() if value is not ...}


def a_body(*events: Any) -> bytes:
    return json.dumps({"events": list(events)}).encode()


def with_member(member: str) -> bytes:
    """A body whose second event has one more member, written as given."""
    first = '{"customerId":"c","eventName":"e","idempotencyKey":"k"}'
    second = f'{{"customerId":"c","eventName":"e","idempotencyKey":"k2",{member}}}'
    return f'{{"events":[{first},{second}]}}'.encode(errors="surrogatepass")


def refused(body: bytes) -> str:
    """Why a body is refused."""
    with pytest.raises(BadInput) as caught:
        accept_events(body, NOW, DAY)
    assert caught.value.code == "BadUserInput"
    return caught.value.message


def lines(body: bytes) -> list[Any]:
    """What is kept of a body."""
    accepted = accept_events(body, NOW, DAY)
    kept = [msgspec.json.decode(line) for line in accepted.lines.splitlines()]
    assert len(kept) == accepted.events
    return kept


BODIES = [
    (b"", "body: is not valid JSON"),
    (b"{", "body: is not valid JSON"),
    (b"nonsense", "body: is not valid JSON"),
    (b'{"events":[]} {}', "body: is not valid JSON"),
    (b'\xef\xbb\xbf{"events":[]}', "body: is not valid JSON"),
    (b'{"events":["\xff"]}', "body: is not valid UTF-8 at byte 12"),
    (b'{"events":["\xed\xa0\x80"]}', "body: is not valid UTF-8"),
    (b'{"events":["\x00"]}', "body: is not valid JSON"),
    (b"[" * 100_000, "body: is nested too deeply"),
    (b'{"events":' * 50_000, "body: is nested too deeply"),
    (b"null", "body: expected object, got null"),
    (b"[]", "body: expected object, got array"),
    (b"{}", "events: is required"),
    (b'{"events":null}', "events: expected array, got null"),
    (b'{"events":{}}', "events: expected array, got object"),
    (b'{"events":[]}', "events: expected 1 to 1000 items, got 0"),
    (a_body(*[an_event()] * 1001), "events: expected 1 to 1000 items, got 1001"),
    (b'{"events":[1],"events":[2]}', "events: is given more than once"),
    (b'{"events":[1],"more":[2]}', "more: is not a known field"),
    (a_body(5, "x", None, [], True), "events[0]: expected object, got number; events[1]: "
     "expected object, got string; events[2]: expected object, got null; events[3]: expected "
     "object, got array; events[4]: expected object, got boolean"),
]  # fmt: skip

MEMBERS = [
    ('"customerId":"again"', "events[1].customerId: is given more than once"),
    ('"customerI\\u0064":"again"', "events[1].customerId: is given more than once"),
    ('"dimensions":{"a":1,"a":2}', "events[1].dimensions.a: is given more than once"),
    ('"dimensions":{"a":1,"\\u0061":2}', "events[1].dimensions.a: is given more than once"),
    ('"dimensions":{"a":{"b":1,"b":2}}', "events[1].dimensions.a: expected string, number or"),
    ('"foo":1', "events[1].foo: is not a known field"),
    ('"f o\\u0000":1', 'events[1]["f o\\u0000"]: is not a known field'),
    ('"\\ud800":1', 'events[1]["\\\\ud800"]: is not a known field'),
    ('"resourceId":""', "events[1].resourceId: must not be empty"),
    ('"resourceId":7', "events[1].resourceId: expected string, got number"),
    ('"resourceId":"%s"' % ("r" * 256), "events[1].resourceId: is longer than 255 characters"),
    ('"resourceId":"a\\u0000"', "events[1].resourceId: contains a NUL character"),
    ('"resourceId":"\\ud800x"', "events[1].resourceId: contains a lone surrogate"),
    ('"resourceId":"\\udc00\\ud800"', "events[1].resourceId: contains a lone surrogate"),
    ('"timestamp":null', "events[1].timestamp: expected string, got null"),
    ('"timestamp":1700000000', "events[1].timestamp: expected string, got number"),
    ('"timestamp":"yesterday"', "events[1].timestamp: expected an RFC 3339 date-time"),
    ('"timestamp":""', "events[1].timestamp: expected an RFC 3339 date-time"),
    ('"timestamp":"2025-02-29T00:00:00Z"', "events[1].timestamp: expected an RFC 3339 date-time"),
    ('"timestamp":"2025-01-01"', "events[1].timestamp: expected an RFC 3339 date-time"),
    ('"timestamp":"2025-01-01T23:59:60Z"', "events[1].timestamp: expected an RFC 3339 date-time"),
    ('"timestamp":"2025-01-01T24:00:00Z"', "events[1].timestamp: expected an RFC 3339 date-time"),
    ('"timestamp":"0001-01-01T00:00:00+01:00"', "events[1].timestamp: expected an RFC 3339"),
    ('"timestamp":"2026-01-02T00:00:00.000001Z"',
     "events[1].timestamp: is more than 24 h ahead of the clock, which reads 2026-01-01T00:00:00"),
    ('"timestamp":"2026-01-02T05:30:00.000001+05:30"', "events[1].timestamp: is more than 24 h"),
    ('"dimensions":[]', "events[1].dimensions: expected object, got array"),
    ('"dimensions":"x"', "events[1].dimensions: expected object, got string"),
    ('"dimensions":{"a":{}}', "events[1].dimensions.a: expected string, number or boolean, got ob"),
    ('"dimensions":{"a":[1]}', "events[1].dimensions.a: expected string, number or boolean, got a"),
    ('"dimensions":{"a":NaN}', "events[1].dimensions.a: NaN is not JSON"),
    ('"dimensions":{"a":-Infinity}', "events[1].dimensions.a: -Infinity is not JSON"),
    ('"dimensions":{"a":"x\\u0000"}', "events[1].dimensions.a: contains a NUL character"),
    ('"dimensions":{"x\\u0000":1}', 'events[1].dimensions["x\\u0000"]: the name contains a NUL'),
    ('"dimensions":{"x\\udfff":1}', 'events[1].dimensions["x\\\\udfff"]: the name contains a lone'),
    ('"dimensions":{"a":"\\ud800"}', "events[1].dimensions.a: contains a lone surrogate"),
    ('"dimensions":{"a":%s}' % ("1" * 256), "events[1].dimensions.a: is a number of more than 255"),
    ('"dimensions":{"a":%s}' % ("1" * 5000), "events[1].dimensions.a: is a number of more than"),
    ('"dimensions":{"a":0.%s}' % ("1" * 5000), "events[1].dimensions.a: is a number of more than"),
    ('"dimensions":{"a":1e999999999999999999999}', "events[1].dimensions.a: is a number with an"),
    ('"dimensions":{"a":01}', "body: is not valid JSON"),
    ('"dimensions":{"a":+1}', "body: is not valid JSON"),
    ('"dimensions":{"a":"\n"}', "body: is not valid JSON"),
]  # fmt: skip

EVENTS = [
    (an_event(customerId=...), "events[0].customerId: is required"),
    (an_event(customerId=None), "events[0].customerId: expected string, got null"),
    (an_event(customerId=""), "events[0].customerId: must not be empty"),
    (an_event(customerId="c" * 256), "events[0].customerId: is longer than 255 characters"),
    (an_event(eventName=...), "events[0].eventName: is required"),
    (an_event(eventName="$usage.reported"), "events[0].eventName: must not start with $"),
    (an_event(eventName=["e"]), "events[0].eventName: expected string, got array"),
    (an_event(idempotencyKey=...), "events[0].idempotencyKey: is required"),
    (an_event(idempotencyKey=5), "events[0].idempotencyKey: expected string, got number"),
    (an_event(idempotencyKey="k" * 256), "events[0].idempotencyKey: is longer than 255"),
]


@pytest.mark.parametrize(("body", "message"), BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_refused(body: bytes, message: str) -> None:
    assert message in refused(body)


@pytest.mark.parametrize(("member", "message"), MEMBERS, ids=range(len(MEMBERS)))
def test_members_that_are_refused(member: str, message: str) -> None:
    assert message in refused(with_member(member))


@pytest.mark.parametrize(("event", "message"), EVENTS)
def test_events_that_are_refused(event: Any, message: str) -> None:
    assert message in refused(a_body(event))


def test_every_bad_event_is_named_with_each_bad_field() -> None:
    message = refused(
        a_body(an_event(), an_event(idempotencyKey=..., timestamp="x"), an_event(), an_event(a=1))
    )
    assert message == (
        "events[1].timestamp: expected an RFC 3339 date-time like 2026-01-31T12:00:00Z; "
        "events[1].idempotencyKey: is required; events[3].a: is not a known field"
    )


def test_twenty_bad_events_are_named_and_the_others_counted() -> None:
    message = refused(a_body(*[an_event(eventName="")] * 25))
    assert message.count("events[") == 20
    assert message.endswith("events[19].eventName: must not be empty; and 5 more bad events")


def test_a_message_stays_small_however_bad_a_body_is() -> None:
    message = refused(a_body(*[an_event(**{f"field {i} " * 500: i for i in range(20)})] * 100))
    assert len(message) < 20_000


def test_an_event_of_more_than_one_mebibyte_is_refused() -> None:
    spare = limits.EVENT_BYTES_MAX - len(json.dumps(an_event(dimensions={"a": ""})))
    largest = an_event(dimensions={"a": "x" * spare})
    too_large = an_event(dimensions={"a": "x" * (spare + 1)})
    assert len(lines(a_body(an_event(), largest))) == 2
    assert "events[1]: is larger than 1048576 bytes" in refused(a_body(an_event(), too_large))
    spaced = a_body(an_event()).replace(b'"e"', b'"e"' + b" " * limits.EVENT_BYTES_MAX)
    assert "events[0]: is larger than 1048576 bytes" in refused(spaced)


def test_a_body_of_more_than_sixteen_mebibytes_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge):
        accept_events(b" " * (limits.BODY_BYTES_MAX + 1), NOW, DAY)


def test_a_body_of_more_than_a_million_values_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match="more than 1000000 values"):
        accept_events(b'{"events":[' + b"1," * 1_000_001 + b"1]}", NOW, DAY)


def test_each_bad_event_of_a_large_body_is_named() -> None:
    large = {"a": "x" * (limits.EVENT_BYTES_MAX // 2)}
    too_large = {"a": "x" * limits.EVENT_BYTES_MAX}
    body = a_body(
        an_event(dimensions=large),
        an_event(dimensions=too_large),
        an_event(eventName=""),
        an_event(dimensions={"a": {"b": [{}]}}),
        5,
    )
    assert refused(body) == (
        "events[1]: is larger than 1048576 bytes; events[2].eventName: must not be empty; "
        "events[3].dimensions.a: expected string, number or boolean, got object; "
        "events[4]: expected object, got number"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "body: expected an object with an array of events"),
        (b"{}", "body: expected an object with an array of events"),
        (b'{"events":{}}', "body: expected an object with an array of events"),
        (b'{"events":[1],"events":[2]}', "events: is given more than once"),
        (b'{"events":[1],"more":[2]}', "body: expected an object with an array of events"),
        (b'{"events":[]}', "events: expected 1 to 1000 items, got 0"),
        (b'{"events":[' + b"1," * 1000 + b"1]}", "events: expected 1 to 1000 items, got 1001"),
        (b'{"events":[NaN]}', "body: is not valid JSON"),
        (b'{"events":["\xff"]}', "events[0]: is not valid UTF-8"),
        (b'{"events":[1]', "body: is not valid JSON"),
        (b'{"events":[' + b"[" * 100_000, "body: is not valid JSON"),
    ],
)
def test_large_bodies_that_are_refused(body: bytes, message: str) -> None:
    large = b" " * limits.EVENT_BYTES_MAX + body + b"\n"
    assert message in refused(large)


def test_a_large_body_of_ordinary_events_is_accepted() -> None:
    body = a_body(*[an_event(dimensions={"a": "x" * 10_000})] * 1000)
    assert accept_events(body, NOW, DAY).events == 1000


def test_ids_of_255_characters_are_accepted_whatever_their_bytes() -> None:
    (line,) = lines(a_body(an_event(customerId="😀" * 255, resourceId="é" * 255)))
    assert line["customerId"] == "😀" * 255


@pytest.mark.parametrize(
    "dimensions",
    [
        {},
        {"": "empty name"},
        {f"dimension {i}": i for i in range(200)},
        {'"quoted"': 1, "a.b": 2, "a/b~c": 3, "'; DROP TABLE events; --": 4, "😀": 5, "\\": 6},
        {"t": True, "f": False, "n": None, "s": "", "tab": "\t", "line": "\n\u2028", "del": "\x7f"},
        {"events": "x", "customerId": "y", "$x": "$y", "colon:": ":"},
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_odd_dimensions_are_kept(dimensions: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps({"events": [an_event(dimensions=dimensions)]}, ensure_ascii=ascii_only)
    (line,) = lines(body.encode())
    assert line["dimensions"] == dimensions


def test_null_dimensions_and_resource_are_none() -> None:
    assert lines(a_body(an_event(dimensions=None, resourceId=None))) == [an_event()]
    assert lines(with_member('"dimensions":null,"resourceId":null'))[1] == an_event(
        idempotencyKey="k2"
    )


def test_the_future_ends_where_the_setting_says() -> None:
    body = a_body(an_event(timestamp="2026-01-01T00:00:01Z"))
    assert accept_events(body, NOW, 1_000_000).events == 1
    with pytest.raises(BadInput, match="more than 0 h ahead"):
        accept_events(body, NOW, 0)
    with pytest.raises(BadInput, match="more than 999999 µs ahead"):
        accept_events(body, NOW, 999_999)
