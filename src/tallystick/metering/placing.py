"""Which usage periods the matches of a key may fall into.

Owns: listing no more periods than there can be matches. Two events five years apart have 43,800
hours between them; listing those for each of a thousand customers takes minutes and gigabytes. So
where the range of a key has many periods, its matches are looked at first (``CELLS``), and only the
periods that hold some are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from tallystick.clock import DAY, HOUR
from tallystick.core.periods import Period, Segment, periods_between

LISTED_MAX: Final = 8
"""So many periods are listed without looking."""

SHORTEST_PERIOD: Final = {
    "HOUR": HOUR,
    "DAY": DAY,
    "WEEK": 7 * DAY,
    "MONTH": 28 * DAY,
    "YEAR": 365 * DAY,
}
"""About how short a period may be that no change of rules cuts off."""

# For each (key_no) of ``scattered``, the first and last of its matches in each hour that has some,
# in order of time.
CELLS: Final = f"""
SELECT key_no, min(time_us) AS first_us, max(time_us) AS last_us
FROM (
    SELECT touched.key_no, epoch_us(measured.event_time) AS time_us
    FROM measured JOIN touched USING (meter_no, customer, resource)
    WHERE touched.key_no IN (SELECT key_no FROM scattered)
)
GROUP BY key_no, time_us // {HOUR} ORDER BY key_no, first_us
"""


class Range(NamedTuple):
    """The matches of a key: by what rules they are placed, when the first and the last happened,
    and how many there are."""

    segments: tuple[Segment, ...]
    first: int
    last: int
    matches: int


Look: TypeAlias = Callable[[list[int]], Iterable[tuple[int, ...]]]
"""Keys → (key, first, last) of each hour that has matches of it, in order of key and time."""


def periods_of_keys(
    ranges: Mapping[int, Range], look: Look
) -> Iterator[tuple[int, Iterable[Period]]]:
    """Each key with every period that holds a match of it, and few that hold none."""
    scattered = []
    for key, (segments, first, last, matches) in ranges.items():
        if is_scattered(segments, first, last, matches):
            scattered.append(key)
        else:
            yield key, periods_between(segments, first, last)
    if scattered:
        for key, cells in groupby(look(scattered), key=itemgetter(0)):
            yield key, periods_of_cells(ranges[key].segments, (cell[1:] for cell in cells))


def is_scattered(segments: Sequence[Segment], first: int, last: int, matches: int) -> bool:
    """Whether [first, last] may have more periods than are worth listing for so many matches."""
    return periods_at_most(segments, first, last) > max(LISTED_MAX, matches)


def periods_at_most(segments: Sequence[Segment], first: int, last: int) -> int:
    """About how many periods [first, last] may touch; it costs nothing."""
    count = 0
    for segment in segments:
        overlap = min(segment.stop - 1, last) - max(segment.start, first)
        if overlap >= 0:
            unit = segment.rule.unit
            count += 1 if unit is None else overlap // SHORTEST_PERIOD[unit] + 2
    return count


def periods_of_cells(
    segments: tuple[Segment, ...], cells: Iterable[tuple[int, ...]]
) -> Iterator[Period]:
    """Every period that holds an instant of a cell, each once; cells are (first, last), short, and
    in order of time."""
    latest: int | None = None
    for first, last in cells:
        for period in periods_between(segments, first, last):
            if period.counted_from != latest:
                latest = period.counted_from
                yield period
