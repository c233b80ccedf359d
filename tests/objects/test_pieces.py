"""The law of pieces: wherever a stream is cut or resumed, records and line numbers are the same."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import limits
from tallystick.objects.reading import START, Piece, Place, pieces

Kind: TypeAlias = Literal["lines", "csv"]

SMALL_MAX = 20
"""Bytes that a record may have in the properties, so that small texts have oversized ones."""


class Read(NamedTuple):
    """What came of a stream: records with their lines, and the lines of those left out."""

    records: list[tuple[int, bytes]]
    oversized: list[int]


def read(found: list[Piece], kind: Kind) -> Read:
    records = [each for piece in found for each in records_of(piece, kind)]
    return Read(records, [line for piece in found for line in piece.oversized])


def records_of(piece: Piece, kind: Kind) -> list[tuple[int, bytes]]:
    texts = split_at_feeds(piece.data) if kind == "lines" else csv_texts(piece.data)
    assert len(texts) == len(piece.line_numbers)
    return list(zip(piece.line_numbers.tolist(), texts, strict=True))


def split_at_feeds(data: bytes) -> list[bytes]:
    assert data.endswith(b"\n") or not data
    return [text + b"\n" for text in data.split(b"\n")[:-1]]


def csv_texts(data: bytes) -> list[bytes]:
    """The text of each record, as Python's own reader sees them."""
    lines = split_at_feeds(data)
    reader = csv.reader(line.decode("latin-1") for line in lines)
    texts, begin = [], 0
    for _ in reader:
        texts.append(b"".join(lines[begin : reader.line_num]))
        begin = reader.line_num
    return texts


def expected(data: bytes, kind: Kind) -> Read:
    """By a loop over records, with Python's own means."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data and not data.endswith(b"\n"):
        data += b"\n"
    texts = split_at_feeds(data) if kind == "lines" else csv_texts(data)
    line, records, oversized = 1, [], []
    for text in texts:
        content = text.removesuffix(b"\n").removesuffix(b"\r")
        if len(content) > limits.EVENT_BYTES_MAX:
            oversized.append(line)
        elif content:
            records.append((line, text))
        line += text.count(b"\n")
    return Read(records, oversized)


def chunked(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in chunks of those sizes, over and over."""
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at, turn = at + size, turn + 1


LINES = st.lists(
    st.one_of(
        st.binary(max_size=2 * SMALL_MAX).map(lambda line: line.replace(b"\n", b" ")),
        st.sampled_from([b"", b"\r", b"{}", b'{"a": "\\""}\r']),
    )
).map(b"\n".join)

FIELD = st.text('ab,"\n\r é', max_size=8)


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """What a writer of RFC 4180 makes, with blank lines in between."""
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    out = io.StringIO(newline="")
    for row in draw(st.lists(st.lists(FIELD, max_size=3))):
        if row:
            # Before Python 3.13 a writer leaves a lone carriage return unquoted.
            if "\r" in "".join(row):
                csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL).writerow(row)
            else:
                csv.writer(out, lineterminator=ending).writerow(row)
        else:
            out.write(ending)
    return out.getvalue().encode()


FILES = st.one_of(st.tuples(st.just("lines"), LINES), st.tuples(st.just("csv"), csv_files()))
BEGINNINGS = st.sampled_from([b"", b"\xef\xbb\xbf"])
SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=4)


@pytest.fixture(autouse=True, scope="module")
def _small_records() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "EVENT_BYTES_MAX", SMALL_MAX)
        yield


@given(FILES, BEGINNINGS, st.booleans(), SIZES, st.integers(1, 100))
def test_however_a_stream_is_cut_the_records_are_the_same(
    file: tuple[Kind, bytes], beginning: bytes, ended: bool, sizes: list[int], bytes_max: int
) -> None:
    kind, content = file
    data = beginning + content + (b"\n" if ended else b"")
    found = list(pieces(chunked(data, sizes), START, kind, bytes_max))
    assert read(found, kind) == expected(data, kind)


@given(FILES, BEGINNINGS, SIZES, st.integers(1, 60), st.integers(1, 60))
def test_wherever_reading_is_resumed_the_records_are_the_same(
    file: tuple[Kind, bytes], beginning: bytes, sizes: list[int], before: int, after: int
) -> None:
    kind, content = file
    data = beginning + content
    first = list(pieces(chunked(data, sizes), START, kind, before))
    for kept in range(len(first) + 1):
        place = first[kept - 1].place if kept else START
        rest = list(pieces(chunked(data[place.offset :], sizes), place, kind, after))
        assert read(first[:kept] + rest, kind) == expected(data, kind)


@given(FILES, BEGINNINGS, SIZES, st.integers(1, 60))
def test_places_follow_one_another_to_the_end(
    file: tuple[Kind, bytes], beginning: bytes, sizes: list[int], bytes_max: int
) -> None:
    kind, content = file
    data = beginning + content
    found = list(pieces(chunked(data, sizes), START, kind, bytes_max))
    offsets = [0, *(piece.place.offset for piece in found)]
    assert [piece.consumed for piece in found] == [
        after - before for before, after in pairwise(offsets)
    ]
    assert offsets[-1] == len(data)
    for piece in found:
        assert piece.place.line == 1 + data[: piece.place.offset].count(b"\n") + (
            piece.place.offset == len(data) and bool(data) and not data.endswith(b"\n")
        )


@given(FILES, st.integers(3 * SMALL_MAX, 10 * SMALL_MAX))
def test_a_piece_keeps_its_bound_where_it_is_not_smaller_than_records(
    file: tuple[Kind, bytes], bytes_max: int
) -> None:
    kind, data = file
    for piece in pieces([data], START, kind, bytes_max):
        assert len(piece.data) <= bytes_max + 1, "and the line feed that the last record lacks"


def test_an_unclosed_quote_takes_what_follows_and_no_more_is_lost() -> None:
    data = b'a,b\n1,"2\n3,4\n'
    assert read(list(pieces([data], START, "csv", 100)), "csv") == Read(
        [(1, b"a,b\n"), (2, b'1,"2\n3,4\n\n')], []
    )


def test_a_record_of_exactly_the_largest_size_is_kept() -> None:
    fits, too_large = b"x" * SMALL_MAX, b"x" * (SMALL_MAX + 1)
    data = b"\xef\xbb\xbf" + fits + b"\r\n" + too_large + b"\n" + fits
    for size in (1, 7, 1000):
        assert read(list(pieces(chunked(data, [size]), START, "lines", size)), "lines") == Read(
            [(1, fits + b"\r\n"), (3, fits + b"\n")], [2]
        )


def test_nothing_gives_nothing() -> None:
    assert list(pieces([], START, "lines", 100)) == []
    assert list(pieces([b"", b""], START, "csv", 100)) == []


@pytest.mark.parametrize("kind", ["lines", "csv"])
def test_a_line_of_a_gigabyte_takes_a_bounded_amount_of_memory(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENT_BYTES_MAX", 1 << 20)
    bytes_max, chunk = 4 << 20, b"x" * (1 << 20)

    def stream() -> Iterator[bytes]:
        yield b"first\n"
        for _ in range(1024):
            yield chunk
        yield b"\nlast"

    tracemalloc.start()
    try:
        found = list(pieces(stream(), START, kind, bytes_max))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read(found, kind) == Read([(1, b"first\n"), (3, b"last\n")], [2])
    assert found[-1].place == Place(6 + (1 << 30) + 5, 4)
    assert peak < 8 * (bytes_max + (1 << 20))
