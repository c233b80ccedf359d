"""Numbers and timestamps as lines hold them, read back by DuckDB."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.clock import DAY, Instant, parse_instant, to_datetime
from tallystick.core.numbers import canonical_text
from tallystick.ingest.events import accept_events
from tallystick.ingest.literals import line_number

NOW = Instant(1_767_225_600_000_000)

LITERALS = st.one_of(
    st.integers().map(str),
    st.integers(-(10**60), 10**60).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=9).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,16})\.[0-9]{1,16}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
).filter(lambda text: len(text) <= 255)


def as_duckdb_reads(numbers: list[object], folder: Path) -> list[str]:
    """The text of each number when lines are read as the fold reads them."""
    path = folder / "lines.ndjson"
    encoder = msgspec.json.Encoder(decimal_format="number")
    path.write_bytes(encoder.encode_lines([{"d": {"x": number}} for number in numbers]))
    rows = duckdb.execute(
        "SELECT json_extract_string(CAST(d AS VARCHAR), '/x') "
        f"FROM read_ndjson('{path}', columns = {{d: 'JSON'}})"
    ).fetchall()
    return [row[0] for row in rows]


def test_duckdb_reads_each_number_as_its_canonical_text(tmp_path: Path) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(LITERALS, min_size=1, max_size=50))
    def check(literals: list[str]) -> None:
        expected = [canonical_text(Decimal(literal)) for literal in literals]
        assert expected == as_duckdb_reads([line_number(text) for text in literals], tmp_path)

    check()


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("1", "1"),
        ("1", "1.0"),
        ("1", "1e0"),
        ("0", "-0.0"),
        ("0", "0e-17"),
        ("100000", "1e5"),
        ("0.1", "0.10"),
        ("0.0001", "0.0001"),
        ("0.00001", "0.00001"),
        ("0.00001", "1e-5"),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("12345678901234567890", "12345678901234567890"),
        ("9007199254740993", "9007199254740993"),
        ("9" * 41, "9" * 41),
        ("9." + "9" * 41 + "E+41", "9" * 42),
        ("1E+400", "1e400"),
        ("1E-400", "1e-400"),
        ("1E+99999999999999999", "1e99999999999999999"),
    ],
)
def test_numbers(text: str, literal: str, tmp_path: Path) -> None:
    assert [text] == as_duckdb_reads([line_number(literal)], tmp_path)
    body = (
        '{"events":[{"customerId":"c","eventName":"e","idempotencyKey":"k",'
        f'"dimensions":{{"x":{literal}}}}}]}}'
    ).encode()
    decoder = msgspec.json.Decoder(float_hook=Decimal)
    dimensions = decoder.decode(accept_events(body, NOW, DAY).lines)
    assert [text] == as_duckdb_reads([dimensions["dimensions"]["x"]], tmp_path)


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ("1" * 256, "more than 255 characters"),
        ("0." + "1" * 254, "more than 255 characters"),
        ("1e999999999999999999999", "exponent out of range"),
        ("1e-999999999999999999999", "exponent out of range"),
    ],
)
def test_numbers_that_are_refused(literal: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        line_number(literal)


@pytest.mark.parametrize(
    "sent",
    [
        "2023-11-16T18:17:03Z",
        "2023-11-16 18:17:03",
        "2023-11-16t18:17:03.25z",
        "2023-11-16T18:17:03.123456+00:00",
        "2023-11-16T18:17:03.1234569Z",
        "2023-11-16T18:17:03.999999999",
        "2023-11-16T18:17:03+05:30",
        "2023-11-16T18:17:03-08:00",
        "2023-11-16T18:17:03-00:00",
        "1969-12-31T23:59:59.9999999Z",
        "0001-01-01T00:00:00Z",
    ],
)
@pytest.mark.parametrize("beside", ["", ',"dimensions":{"odd":1e60}', ',"resourceId":"\\u0024"'])
def test_duckdb_casts_each_timestamp_to_the_instant_sent(sent: str, beside: str) -> None:
    body = (
        '{"events":[{"customerId":"c","eventName":"e","idempotencyKey":"k"},'
        '{"customerId":"c","eventName":"e","idempotencyKey":"k2","timestamp":"2020-01-01T00:00:00Z"},'
        f'{{"customerId":"c","eventName":"e","idempotencyKey":"k3","timestamp":"{sent}"{beside}}}]}}'
    )
    line = accept_events(body.encode(), NOW, DAY).lines.splitlines()[2]
    kept = msgspec.json.decode(line)["timestamp"]
    row = duckdb.execute("SELECT CAST(? AS TIMESTAMP)", [kept]).fetchone()
    expected = parse_instant(sent)
    assert expected is not None
    assert row == (to_datetime(expected).replace(tzinfo=None),)
