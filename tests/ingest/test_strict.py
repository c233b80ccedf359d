"""JSON read strictly: the path and the reason of each refusal."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
import pytest

from tallystick.errors import BadInput
from tallystick.ingest.strict import decode_strict


class Item(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    item_id: Annotated[str, msgspec.Meta(min_length=1, max_length=3)]
    kind: Literal["A", "B"] = "A"
    amount: Decimal | None = None
    tags: dict[str, str] = {}


class Request(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    items: list[Item]


def test_a_good_body_is_decoded() -> None:
    request = decode_strict(b' {"items":[{"itemId":"\\ud83d\\ude00","tags":{"a":"b"}}]} ', Request)
    assert request == Request([Item("😀", tags={"a": "b"})])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body: is not valid JSON"),
        (b'{"items":[]} x', "body: is not valid JSON"),
        (b'{"items":["\xff"]}', "body: is not valid UTF-8 at byte 11"),
        (b"[" * 100_000, "body: is nested too deeply"),
        (b"[]", "body: expected object, got array"),
        (b"{}", "items: is required"),
        (b'{"items":[],"items":[]}', "items: is given more than once"),
        (b'{"items":[{"itemId":"a"},{}]}', "items[1].itemId: is required"),
        (b'{"items":[{"itemId":5}]}', "items[0].itemId: expected string, got number"),
        (b'{"items":[{"itemId":""}]}', "items[0].itemId: must have 1 character or more"),
        (b'{"items":[{"itemId":"abcd"}]}', "items[0].itemId: must have 3 characters or fewer"),
        (b'{"items":[{"itemId":"a","x y":1}]}', 'items[0]["x y"]: is not a known field'),
        (b'{"items":[{"itemId":"a","kind":"C"}]}', "items[0].kind: 'C' is not one of its values"),
        (b'{"items":[{"itemId":"a","amount":true}]}', "items[0].amount: expected "),
        (b'{"items":[{"itemId":"a","amount":NaN}]}', "items[0].amount: NaN is not JSON"),
        (b'{"items":[{"itemId":"a\\u0000"}]}', "items[0].itemId: contains a NUL character"),
        (b'{"items":[{"itemId":"a","tags":{"k\\u0000":"v"}}]}',
         'items[0].tags["k\\u0000"]: the name contains a NUL character'),
        (b'{"items":[{"itemId":"\\uDc00"}]}', "items[0].itemId: contains a lone surrogate"),
        (b'{"items":[{"itemId":"a","tags":{"k":"v","\\u006b":"w"}}]}',
         "items[0].tags.k: is given more than once"),
        (b'{"items":[{"itemId":"a","tags":{"k":5}}]}',
         "items[0].tags[...]: expected string, got number"),
        (b'"\\u0000"', "body: contains a NUL character"),
    ],
)  # fmt: skip
def test_bad_bodies(body: bytes, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode_strict(body, Request)
    assert caught.value.message.startswith(message)
    assert caught.value.code == "BadUserInput"
