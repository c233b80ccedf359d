"""JSON as callers write it, mostly well, in one of the many ways there are."""

from __future__ import annotations

import json

from hypothesis import strategies as st

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
