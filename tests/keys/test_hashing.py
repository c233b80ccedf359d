"""The hash of a key is one function, whoever computes it and whenever."""

from __future__ import annotations

import hashlib

import duckdb
import pytest

from tallystick.keys.hashing import key_hash, key_hash_sql

GOLDEN = {
    ("default", "customer-1", "api.call", "key-1"): "6bc49f4d4b186ed3928542e6aeccb967",
    ("default", "Zoë", "événement", "鍵🔑"): "9d7fc9a171019d0d9d1444f24a2f0c33",
    ("", "", "", ""): "5987f91d3f8222d2269d54faf4e65f16",
    (): "0a68423eed8f4e5a59b7a5248649ae8a",
}

TEXTS = [
    "",
    "a",
    "ab",
    "1:a",
    "0:",
    ":",
    "é",
    "日本語",
    "🔑" * 100,
    "x" * 255,
    "a\nb",
    "'\"",
    "\x01",
]


@pytest.mark.parametrize(("fields", "digest"), GOLDEN.items())
def test_golden_values_never_change(fields: tuple[str, ...], digest: str) -> None:
    assert digest == key_hash(*fields).hex()


def test_it_is_md5_over_netstrings_with_its_own_name_first() -> None:
    expected = hashlib.md5(b"16:tallystick-key-13:cus0:2:\xc3\xa9").digest()
    assert expected == key_hash("cus", "", "é")


def test_a_delimiter_inside_a_field_confuses_nothing() -> None:
    fields = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        ("abc", ""),
        ("", "abc"),
        ("2:ab1:c",),
        ("2:ab", "c"),
    ]
    assert len(fields) == len({key_hash(*each) for each in fields})


def test_sql_says_what_the_reference_says() -> None:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE sent (a VARCHAR, b VARCHAR, c VARCHAR)")
    rows = [(a, b, c) for a in TEXTS for b in TEXTS for c in TEXTS[:3]]
    connection.executemany("INSERT INTO sent VALUES (?, ?, ?)", rows)
    hi, lo = key_hash_sql(("a", "b", "c"))
    found = connection.execute(f"SELECT {hi} AS hi, {lo} AS lo FROM sent").fetchnumpy()
    expected = [int.from_bytes(key_hash(*row), "little") for row in rows]
    halves = zip(found["hi"].tolist(), found["lo"].tolist(), strict=True)
    assert expected == [hi << 64 | lo for hi, lo in halves]
    assert found["hi"].dtype == found["lo"].dtype == "uint64"
