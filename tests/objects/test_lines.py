"""Refused records name the line they begin at, whatever lies before it; and what a mapping says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.errors import BadInput
from tallystick.objects.errors import DamagedObject
from tallystick.objects.job import job_of
from tests.objects.judging import Bench, Judged

GOOD = b'{"customerId":"acme","eventName":"call","idempotencyKey":"k%d"}'
HEAD = b"customerId,eventName,idempotencyKey\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.connection.close()


def told(judged: Judged) -> dict[int, str]:
    """The first problem of each refused line."""
    return {line: f"{first.field}: {first.reason}" if first.field else first.reason
            for line, (first, *_) in sorted(judged.rejected.items())}  # fmt: skip


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_of_json_are_numbered_as_an_editor_does(
    bench: Bench, ending: bytes, mark: bytes
) -> None:
    large = b'{"customerId":"' + b"x" * limits.EVENT_BYTES_MAX + b'"}'
    lines = [GOOD % 1, b"", b"nope", GOOD % 4, b'{"customerId":"\xff"}', large, b"", GOOD % 8,
             GOOD[:-1] % 9 + b',"more":1}', b'{"customerId":"a\x00b"}', GOOD % 11,
             b'{"customerId":"","eventName":"$x"}', GOOD % 13]  # fmt: skip
    judged = bench.lines(mark + ending.join(lines))
    assert [line for line, _ in judged.rows] == [1, 4, 8, 11, 13]
    assert told(judged) == {
        3: "is not valid JSON: Expecting value: line 1 column 1 (char 0)",
        5: "is not valid UTF-8 at byte 15",
        6: "too large",
        9: "more: is not a known field",
        10: "is not valid JSON: Invalid control character at: line 1 column 17 (char 16)",
        12: "customerId: must not be empty",
    }


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_records_of_csv_are_numbered_by_the_line_they_begin_at(
    bench: Bench, ending: bytes, mark: bytes
) -> None:
    large = b"a,call," + b"x" * limits.EVENT_BYTES_MAX
    records = [b"customerId,eventName,idempotencyKey", b"acme,call,1", b"", b"acme,call",
               b'acme,call,"two\nlines"', b"acme,call,3,more", b"acme,call,\xff", large,
               b",call,8", b"acme,call,\0", b"acme,$x,10", b"acme,call,11"]  # fmt: skip
    judged = bench.csv(mark + ending.join(records))
    assert [(line, row[3]) for line, row in judged.rows] == [
        (2, "1"),
        (5, "two\nlines"),
        (13, "11"),
    ]
    assert told(judged) == {
        4: "has 2 columns, the header has 3",
        7: "has 4 columns, the header has 3",
        8: "is not valid UTF-8 at byte 10",
        9: "too large",
        10: "customerId: is required",
        11: "idempotencyKey: contains a NUL character",
        12: "eventName: must not start with $: such names are reserved",
    }


def test_an_early_quote_takes_the_next_record_along_and_nothing_is_lost_silently(
    bench: Bench,
) -> None:
    judged = bench.csv(HEAD + b'acme,call,"5\nacme,call,6\nacme,call,7\n')
    assert judged.rows == []
    assert list(judged.rejected) == [2]


def test_a_carriage_return_alone_ends_no_record_and_hides_none(bench: Bench) -> None:
    judged = bench.csv(HEAD + b"acme,call,1\racme,call,2\nacme,call,3\n")
    assert [row[3] for row in judged.kept] == ["3"]
    assert told(judged) == {2: "has a carriage return outside of quotes and not at its end"}


def test_a_cell_may_be_as_large_as_an_event(bench: Bench) -> None:
    wide = b"x" * 200_000
    judged = bench.csv(HEAD.strip() + b",dimensions.x\nacme,call,1,%s\n,call,2,%s\n" % (wide, wide))
    assert len(judged.kept) == 1
    assert told(judged) == {3: "customerId: is required"}


# ---------------------------------------------------------------------------------- the mapping

RENAMED = {"customerId": "account", "idempotencyKey": "customerId", "dimensions.region": "where",
           "timestamp": "dimensions.at"}  # fmt: skip


def test_a_mapping_may_name_any_column(bench: Bench) -> None:
    lines = (b'{"account":"acme","eventName":"call","customerId":"k1","where":"eu",'
             b'"dimensions.at":"2025-12-01T00:00:00Z"}\n')  # fmt: skip
    rows = (
        b"account,eventName,customerId,where,dimensions.at\nacme,call,k1,eu,2025-12-01T00:00:00Z\n"
    )
    select = ("SELECT 'acme' AS account, 'call' AS \"eventName\", 'k1' AS \"customerId\", "
              "'eu' AS \"where\", TIMESTAMP '2025-12-01' AS \"dimensions.at\"")  # fmt: skip
    kept = ("acme", None, "call", "k1", 1_764_547_200_000_000, '{"region":"eu"}')
    assert bench.lines(lines, RENAMED).kept == [kept]
    assert bench.csv(rows, RENAMED).kept == [kept]
    assert bench.parquet(select, RENAMED).kept == [kept]


def test_what_is_wrong_is_told_by_the_columns_own_name(bench: Bench) -> None:
    lines = b'{"account":"","eventName":"call","customerId":"k1"}\n'
    assert told(bench.lines(lines, RENAMED)) == {1: "account: must not be empty"}
    rows = b"account,eventName,customerId,where\n,call,k1,eu\n"
    assert told(bench.csv(rows, RENAMED)) == {2: "account: is required"}


def test_a_field_by_its_own_name_is_refused_where_another_column_holds_it(bench: Bench) -> None:
    line = b'{"customerId":"k1","account":"acme","eventName":"call","timestamp":"2025-12-01"}\n'
    assert told(bench.lines(line, RENAMED)) == {
        1: "timestamp: is not read: the mapping says that timestamp is in dimensions.at"
    }


def test_a_header_without_a_column_names_it_and_what_there_is(bench: Bench) -> None:
    with pytest.raises(DamagedObject, match="the column account is missing; the header has a, b"):
        bench.csv(b"a,b\n1,2\n", {"customerId": "account", "eventName": "a", "idempotencyKey": "b"})
    with pytest.raises(DamagedObject, match="the header has eventName twice"):
        bench.csv(HEAD.strip() + b",eventName\na,b,c,d\n")


def test_a_mapping_that_cannot_be_meant_is_refused() -> None:
    for columns in ({"customer": "x"}, {"customerId": ""}, {"customerId": "x", "eventName": "x"}):
        with pytest.raises(BadInput, match="columns"):
            job_of({"url": "/x", "columns": columns})
