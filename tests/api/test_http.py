"""Reading query strings and bodies."""

from __future__ import annotations

import msgspec
import pytest

from tallystick.api.http import QueryString, decode_body
from tallystick.api.pagination import read_created_at, read_window
from tallystick.catalog.pages import Cursor, cursor_text
from tallystick.errors import BadInput
from tests.api.door import at


@pytest.mark.parametrize(
    ("values", "raw"),
    [
        ((), b""),
        ((), b"other=x"),
        ((), b"status="),
        (("a",), b"status=a"),
        (("a", "b"), b"status=a,b"),
        (("a", "b"), b"status=a%2Cb"),
        (("a", "b"), b"status=a&status=b"),
        (("a", "b", "c"), b"status=a,b&x=1&status=c"),
        (("a b", "c+d"), b"status=a+b,c%2Bd"),
        (("é",), b"status=%C3%A9"),
        (("é",), "status=é".encode()),
    ],
)
def test_a_list_is_joined_by_commas_or_repeated(values: tuple[str, ...], raw: bytes) -> None:
    assert values == QueryString(raw).list("status")


@pytest.mark.parametrize(
    "raw", [b"x=%", b"x=%f", b"x=%zz", b"x=%ff", b"x=%00", b"x=\xff", b"%00=x", b"a=b&x=%e9"]
)
def test_what_is_no_text_is_refused_even_where_nobody_asks(raw: bytes) -> None:
    with pytest.raises(BadInput):
        QueryString(raw)


def test_one_value_is_one_value() -> None:
    query = QueryString(b"a=1&b=2&b=3&c=&d=x%20y&" + b"e=" + b"x" * 256)
    assert query.get("a") == "1"
    assert query.get("none") is None
    assert query.get("d") == "x y"
    for name in ("b", "c"):
        with pytest.raises(BadInput, match=name):
            query.get(name)
    with pytest.raises(BadInput, match="e: must have at most 255"):
        query.id("e")


@pytest.mark.parametrize(
    ("expected", "text"), [(0, "0"), (7, "7"), (-3, "-3"), (10, "10"), (5, "005")]
)
def test_integers(expected: int, text: str) -> None:
    assert expected == QueryString(f"n={text}".encode()).integer("n", -3, 10)


@pytest.mark.parametrize(
    "text", ["11", "-4", "1.0", "1e0", "x", "--1", "0x1", "%D9%A1", "1_0", "+1", "9" * 5000]
)
def test_what_is_no_integer_in_range_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="n: "):
        QueryString(f"n={text}".encode()).integer("n", -3, 10)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "61", "x", "1e9"])
def test_what_is_no_duration_in_range_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="t: "):
        QueryString(f"t={text}".encode()).seconds("t", 60)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-01-02T04:04:05%2B01:00",
        "2026-01-02T04:04:05+01:00",
        "2026-01-02T03:04:05.0000009Z",
        "2026-01-02t03:04:05z",
    ],
)
def test_instants(text: str) -> None:
    assert at("2026-01-02T03:04:05Z") == QueryString(f"t={text}".encode()).instant("t")


@pytest.mark.parametrize(
    "text", ["2026-01-02", "x", "1767323045", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00%2B01:00"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="t: must be an RFC 3339 time"):
        QueryString(f"t={text}".encode()).instant("t")


def test_bounds_on_the_time_of_creation() -> None:
    bounds = read_created_at(
        QueryString(
            b"createdAt%5Bgte%5D=2026-01-02T00:00:00%2B00:00&createdAt[lt]=2026-01-03T00:00:00Z"
        )
    )
    assert at("2026-01-02T00:00:00Z") == bounds.gte
    assert at("2026-01-03T00:00:00Z") == bounds.lt
    assert bounds.gt is None
    with pytest.raises(BadInput, match=r"createdAt\[eq\]"):
        read_created_at(QueryString(b"createdAt[eq]=2026-01-02T00:00:00Z"))


def test_which_page() -> None:
    place = Cursor(1, "a|é")
    text = cursor_text(place)
    assert read_window(QueryString(b"")).limit == 20
    assert read_window(QueryString(b"limit=100")).limit == 100
    assert place == read_window(QueryString(f"after={text}".encode())).after
    assert place == read_window(QueryString(f"before={text}".encode())).before


@pytest.mark.parametrize(
    "raw",
    ["limit=0", "limit=101", "limit=x", "limit=", "after=x", "after=%20", "after=", "before=Ma"],
)
def test_what_is_no_page_is_refused(raw: str) -> None:
    with pytest.raises(BadInput):
        read_window(QueryString(raw.encode()))


def test_a_page_is_after_or_before() -> None:
    text = cursor_text(Cursor(1, "a"))
    with pytest.raises(BadInput):
        read_window(QueryString(f"after={text}&before={text}".encode()))


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    size: int = 0


def test_a_body_is_decoded_strictly() -> None:
    assert Thing("a", 1) == decode_body(Thing, b'{"name":"a","size":1}')


@pytest.mark.parametrize(
    ("place", "body"),
    [
        ("name", b""),
        ("name", b"{}"),
        ("nme", b'{"nme":"a"}'),
        ("size", b'{"name":"a","size":"1"}'),
        ("body", b"{"),
        ("body", b"\xff"),
        ("body", b"null"),
        ("name", b'{"name":"\\u0000"}'),
        ("name", b'{"name":"a","name":"b"}'),
        ("name", b'{"name":"\\ud800"}'),
        ("body", b"[" * 100_000),
    ],
)
def test_a_bad_body_is_refused_where_it_is_bad(place: str, body: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        decode_body(Thing, body)
    assert caught.value.message.startswith(place)
