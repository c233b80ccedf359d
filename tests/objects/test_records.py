"""One meaning of a record, however it is written and whoever reads it.

The reader that tells good records in SQL against the one that looks at each; both against the API;
and one table of values through every format.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tallystick.errors import BadInput
from tallystick.objects.csv_rows import RowReader
from tallystick.objects.ndjson import LineReader
from tests.ingest.test_two_readers import event
from tests.ingest.writing import NUMBER, ODD_TEXT, TIMESTAMP, json_text
from tests.metering.cases import ABSENT, COMPARED, NO_DIMENSIONS, NUMBERS, TEXTS
from tests.objects.judging import Bench, Row, careful

RELAXED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.connection.close()


# -------------------------------------------------------------------------------- lines of JSON


@st.composite
def line(draw: st.DrawFn) -> bytes:
    """A line: an event as a request may hold it, or one with flattened dimensions."""
    if draw(st.integers(0, 30)) == 0:
        return draw(st.sampled_from([b"nope", b"[]", b"null", b"{}", b"1", b'"x"', b"\xff\xfe",
                                     b"{}{}", b'{"a":1}', b"[{}]", b"{,}"]))  # fmt: skip
    text = draw(event())
    if draw(st.booleans()) and text.endswith("}"):
        names = draw(st.lists(ODD_TEXT, max_size=3))
        for name in names:
            value = draw(st.one_of(NUMBER, ODD_TEXT.flatmap(json_text), st.just("null")))
            text = f"{text[:-1]},{draw(json_text('dimensions.' + name))}:{value}}}"
    return text.replace("\n", " ").encode(errors="surrogatepass")


@RELAXED
@given(st.lists(line(), min_size=1, max_size=80))
@example([b'{"customerId":"a","eventName":"b","idempotencyKey":"c","dimensions":{"a":1,"a":2}}'])
@example([b'{"customerId":"a","eventName":"b","idempotencyKey":"c","dimensions.x":1,'
          b'"dimensions":{"x":2}}'])  # fmt: skip
@example([b'{"dimensions.\\ud800":0}', b'{"dimensions.\\u0000":0}', b'{"dimensions.x":1}'])
@example([b'{"customerId":"a:b","eventName":"b","idempotencyKey":"c","more":null}'])
def test_lines_told_in_sql_are_those_that_are_accepted_one_by_one(
    bench: Bench, lines: list[bytes]
) -> None:
    data = b"".join(each + b"\n" for each in lines)
    told = bench.lines(data)
    with careful(LineReader):
        assert told == bench.lines(data)


@RELAXED
@given(st.lists(event(), min_size=1, max_size=8))
def test_what_a_request_may_hold_is_kept_the_same_from_a_line(
    bench: Bench, events: list[str]
) -> None:
    for text in events:
        one = text.replace("\n", " ").encode(errors="surrogatepass")
        try:
            expected = bench.request(one)
        except BadInput:
            continue
        judged = bench.lines(one + b"\n")
        assert (judged.kept, judged.rejected) == (expected, {})


# ------------------------------------------------------------------------------------------ CSV


@st.composite
def table(draw: st.DrawFn) -> bytes:
    """A CSV file with a header, mostly well-formed."""
    columns = ["customerId", "eventName", "idempotencyKey"]
    optional = ["resourceId", "timestamp", "dimensions.x", "dimensions.a b", "other", "dimensions"]
    columns += draw(st.lists(st.sampled_from(optional), unique=True))
    draw(st.randoms()).shuffle(columns)
    cell = {
        "timestamp": TIMESTAMP,
        "dimensions.x": st.one_of(NUMBER, ODD_TEXT),
        "dimensions": st.sampled_from(["{}", "", '{"k":1}', '{"x": 1}', "[]", "nope"]),
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(columns)
    for _ in range(draw(st.integers(0, 70))):
        usual = st.sampled_from(["a", "b c", "é", 'say "x"', "1,5"])
        row = [draw(cell.get(name, st.one_of(usual, usual, usual, ODD_TEXT))) for name in columns]
        if draw(st.integers(0, 40)) == 0:
            row = row[1:] if draw(st.booleans()) else [*row, "more"]
        writer.writerow(row)
    data = text.getvalue().encode(errors="surrogatepass")
    if draw(st.integers(0, 15)) == 0:
        place = draw(st.integers(len(",".join(columns)) + 2, max(len(data), 200)))
        noise = draw(st.sampled_from([b'"', b"\xff", b"\0", b"\r", b"\n", b'x"', b'""']))
        data = data[:place] + noise + data[place:]
    return data


@RELAXED
@given(table())
@example(b'customerId,eventName,idempotencyKey,resourceId\na",a,a,a\n')
@example(b'customerId,eventName,idempotencyKey,resourceId\na,a,b,a\na,"a,a,a\n')
@example(b"customerId,eventName,idempotencyKey,other\na,a,a,\xed\xa0\x80\n")
@example(b'customerId,eventName,idempotencyKey,dimensions,dimensions.x\n'
         b'a,a,a,[],\na,a,a,[],0\na,a,a,nope,\na,a,a,{},\n')  # fmt: skip
def test_rows_told_in_sql_are_those_that_are_accepted_one_by_one(bench: Bench, data: bytes) -> None:
    told = bench.csv(data)
    with careful(RowReader):
        assert told == bench.csv(data)


@RELAXED
@given(st.lists(st.tuples(ODD_TEXT, st.one_of(ODD_TEXT, NUMBER)), min_size=1, max_size=5))
def test_a_cell_is_what_a_string_is(bench: Bench, given_: list[tuple[str, str]]) -> None:
    for customer, value in given_:
        if not customer or not value:
            continue  # an empty cell is missing
        members = {"customerId": customer, "eventName": "call", "idempotencyKey": "k",
                   "dimensions": {"x": value}}  # fmt: skip
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerow([customer, "call", "k", value])
        head = b"customerId,eventName,idempotencyKey,dimensions.x\n"
        row = bench.csv(head + text.getvalue().encode(errors="surrogatepass"))
        try:
            expected = bench.request(json.dumps(members).encode())
        except BadInput:
            assert row.kept == []
        else:
            assert row.kept == expected


# ------------------------------------------------------------------------- one table, every format

EVENT = b'{"customerId":"acme","eventName":"call","idempotencyKey":"k-%d","dimensions":{"x":%s}}'
_TABLES: list[list[Any]] = [NUMBERS, TEXTS, COMPARED]
VALUES: list[str] = [
    row[0] for table in _TABLES for row in table if row[0] not in (ABSENT, NO_DIMENSIONS)
]


def events_of(values: list[str]) -> list[bytes]:
    return [EVENT % (number, value.encode()) for number, value in enumerate(values)]


def test_values_of_the_table_are_kept_from_lines_as_from_requests(bench: Bench) -> None:
    events = events_of(VALUES)
    expected = bench.request(*events)
    assert bench.lines(b"\n".join(events)).kept == expected
    for wide in (b'"dimensions.x":', b'"dimensions.x" : '):
        flat = b"\n".join(each.replace(b'"dimensions":{"x":', wide)[:-1] for each in events)
        kept = [row[:5] for row in expected]
        found = bench.lines(flat)
        assert [row[:5] for row in found.kept] == kept
        for row, other in zip(found.kept, expected, strict=True):
            # a null that is nested is kept as it was sent, a flattened one is missing
            assert row[5] == (None if other[5] == '{"x":null}' else other[5])


def test_strings_of_the_table_are_kept_from_csv_as_from_requests(bench: Bench) -> None:
    values = [value for value in VALUES if value.startswith('"') and value != '""']
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["customerId", "eventName", "idempotencyKey", "dimensions.x"])
    writer.writerows(["acme", "call", f"k-{number}", json.loads(value)]
                     for number, value in enumerate(values))  # fmt: skip
    assert bench.csv(text.getvalue().encode()).kept == bench.request(*events_of(values))


COLUMNS = "'acme' AS \"customerId\", 'call' AS \"eventName\", 'k-0' AS \"idempotencyKey\""
# A value as Parquet has it, and as a request writes the same one.
STORED = [
    ("1", "1"), ("-7::TINYINT", "-7"), ("18446744073709551615::UBIGINT", "18446744073709551615"),
    ("9007199254740993::BIGINT", "9007199254740993"), ("1.0::DOUBLE", "1"), ("1e0::FLOAT", "1"),
    ("0.1::DOUBLE", "0.1"), ("1.5::FLOAT", "1.5"), ("1e20::DOUBLE", "1e20"),
    ("1e-7::DOUBLE", "1e-7"), ("1.50::DECIMAL(9, 2)", "1.5"), ("2.00::DECIMAL(9, 2)", "2"),
    ("12345678901234567890::DECIMAL(38, 0)", "12345678901234567890"),
    ("0.123456789::DECIMAL(18, 9)", "0.123456789"), ("-0.0::DOUBLE", "0"), ("true", "true"),
    ("'1.0'", '"1.0"'), ("'12345678901234567890'", '"12345678901234567890"'),
    ("'eu'", '"eu"'), ("'a\"b\\c'", r'"a\"b\\c"'), ("''", '""'), ("DATE '2026-01-31'",
     '"2026-01-31"'),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "written"), STORED)
@pytest.mark.parametrize("shape", ["flattened", "struct", "map", "text"])
def test_values_of_parquet_mean_what_a_request_means(
    bench: Bench, shape: str, stored: str, written: str
) -> None:
    column = {
        "flattened": f'{stored} AS "dimensions.x"',
        "struct": f"{{'x': {stored}}} AS dimensions",
        "map": f"MAP {{'x': {stored}}} AS dimensions",
        "text": f"'{{\"x\": {written}}}' AS dimensions",
    }[shape]
    judged = bench.parquet(f"SELECT {COLUMNS}, {column}")
    assert judged.rejected == {}
    (kept,) = judged.kept
    (expected,) = bench.request(*events_of([written]))
    assert meaning(kept) == meaning(expected)


def meaning(row: Row) -> list[object]:
    """What meters see: the text of a number, whether it is kept as one or as a string."""
    *fields, dimensions = row
    return [*fields, str(json.loads(dimensions, parse_int=str, parse_float=str)["x"])]


# ------------------------------------------------------------------- names that say something


@pytest.mark.parametrize("name", ["{table}", "{select}", "{stamp}", "{is_plain}", "sent_0", "a:b"])
def test_a_dimension_keeps_its_name_whatever_that_says(bench: Bench, name: str) -> None:
    flat = f"dimensions.{name}"
    required = {"customerId": "acme", "eventName": "call", "idempotencyKey": "k"}
    text = io.StringIO()
    csv.writer(text).writerows([[*required, flat], [*required.values(), "x"]])
    select = ", ".join(f"'{value}' AS \"{field}\"" for field, value in required.items())
    found = [
        bench.csv(text.getvalue().encode()),
        bench.lines(json.dumps(required | {flat: "x"}).encode() + b"\n"),
        bench.parquet(f"SELECT {select}, 'x' AS \"{flat}\""),
    ]
    for judged in found:
        ((_, row),) = judged.rows
        assert json.loads(row[-1]) == {name: "x"}


def test_an_unknown_field_is_found_beside_a_dimension_with_another_name(bench: Bench) -> None:
    """Our name of it has a colon more than theirs, which would make up for the field's own."""
    good = {"customerId": "acme", "eventName": "call", "foo": 1, "dimensions.q": 1}
    lines = [
        json.dumps(good | {"idempotencyKey": f"{number}"} | more).encode() + b"\n"
        for number in range(200)
        for more in [{"extra": number} if number % 2 else {}]
    ]
    judged = bench.lines(b"".join(lines), {"dimensions.a:b": "foo"})
    assert sorted(judged.rejected) == list(range(2, 201, 2))
    assert {json.loads(row[-1])["a:b"] for _, row in judged.rows} == {1}
