"""Which records are plain: told in SQL, by the thousand, without looking at each in Python.

A plain record is one that ``records`` would accept, whose text is already what the archive keeps.
Whatever is not plain is read again by ``records``, which accepts or refuses it; so this page may be
too strict and never too lax. A test holds the two against each other.

That no dimension has a name twice is looked at by ``sent``, over all records at once.

Owns: what plain is, and the columns that a reader of a format makes of a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick import limits

SENT_COLUMNS: Final = "customer, resource, event_name, key, stamp, dimensions"
"""What a reader gives of each record, as text; missing is NULL. ``stamp`` is a timestamp as it was
written, ``dimensions`` a JSON object."""

_STRING: Final = r'"[^"\\\x00-\x1f]*"'
_INTEGER: Final = "-?(?:0|[1-9][0-9]{0,14})"
# Fractions that a double prints as they stand, at most 16 characters (``ingest.literals``).
_FRACTION: Final = "-?(?:[1-9][0-9]{0,6}[.](?:[0-9]{0,6}[1-9])|0[.]0{0,3}[1-9](?:[0-9]{0,7}[1-9])?)"
_SCALAR: Final = f"(?:{_STRING}|{_INTEGER}|{_FRACTION}|true|false|null)"
_MEMBER: Final = f"{_STRING}:{_SCALAR}"
_DIMENSIONS: Final = f"[{{](?:{_MEMBER}(?:,{_MEMBER})*)?[}}]"

_DATE: Final = "[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{1,6})?"
_STAMP: Final = f"{_DATE}T{_TIME}(?:Z|[+]00:00)?"


def gathered(nested: str, members: Sequence[str]) -> str:
    """SQL of one JSON object out of a nested one and of members (``"name":value`` each).

    What is NULL stays away; without members it is what is nested, whatever that is. With them, what
    is nested and no object spoils the result, so that it is refused.
    """
    is_object = f"starts_with({nested}, '{{') AND ends_with({nested}, '}}')"
    inner = f"CASE WHEN {is_object} THEN nullif({nested}[2:-2], '') ELSE {nested} END"
    others = ", ".join(members)
    return (
        f"CASE WHEN concat_ws(',', {others}) = '' THEN {nested} "
        f"ELSE '{{' || concat_ws(',', {inner}, {others}) || '}}' END"
    )


def _id(column: str) -> str:
    """An id, a name or a key that needs no care."""
    return f"{column} IS NOT NULL AND length({column}) BETWEEN 1 AND {limits.ID_CHARS_MAX}"


_FINE_STAMP: Final = f"regexp_full_match(stamp, '{_STAMP}')"
# What a timestamp that never was text must be for its text to be one.
_FINE_TIME: Final = "event_time >= TIMESTAMP '1000-01-01' AND event_time < TIMESTAMP '3000-01-01'"

_FINE_DIMENSIONS: Final = f"regexp_full_match(dimensions, '{_DIMENSIONS}')"
# Of an object that was made by ``to_json``: what needs care in a text is escaped there.
_FINE_MADE: Final = "NOT contains(dimensions, '\\')"

FINE_NUMBER: Final = f"{_INTEGER}|{_FRACTION}"
"""The numbers of a plain record, as a pattern."""


def is_plain(*, timed: bool = False, made: bool = False) -> str:
    """Whether a row of (SENT_COLUMNS) is plain, whose ``event_time`` is its stamp as a TIMESTAMP.
    One parameter: the latest timestamp, in microseconds.

    ``timed``: stamps were TIMESTAMPs, never text. ``made``: dimensions were columns, of which the
    reader made an object with plain numbers and each name once.
    """
    time, text = ("event_time", _FINE_TIME) if timed else ("stamp", _FINE_STAMP)
    return f"""
{_id("customer")} AND {_id("event_name")} AND {_id("key")} AND NOT starts_with(event_name, '$')
AND (resource IS NULL OR length(resource) BETWEEN 1 AND {limits.ID_CHARS_MAX})
AND ({time} IS NULL OR ({text} AND coalesce(event_time <= make_timestamp(?), false)))
AND (dimensions IS NULL OR {_FINE_MADE if made else _FINE_DIMENSIONS})
"""
