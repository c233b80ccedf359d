"""Grouping what meters matched into usage periods.

Owns: the SQL that fold, recount and history share. It reads two relations of the connection:

- ``matched (key_no INTEGER, event_time TIMESTAMP, number, text)``: what counts, for which key;
- ``periods (key_no INTEGER, period_start TIMESTAMP, period_stop TIMESTAMP)``: the periods of each
  key, which do not overlap. A match outside of them counts nowhere.

Sums are exact: of values below 10**18 with nine decimals, DECIMAL(38, 9) holds 10**11.
"""

from __future__ import annotations

from typing import Final

_RANGES_PER_KEY_MAX: Final = 8
"""Keys with at most so many periods are placed by a hash join and a range check, which is several
times faster than an ASOF join as long as a key has few periods; more of them make it slower."""

# Every match with the start of its period.
_PLACED = f"""
    period_counts AS (
        SELECT key_no, count(*) > {_RANGES_PER_KEY_MAX} AS many FROM periods GROUP BY key_no
    ),
    few AS (SELECT periods.* FROM periods JOIN period_counts USING (key_no) WHERE NOT many),
    many AS (SELECT periods.* FROM periods JOIN period_counts USING (key_no) WHERE many),
    placed AS (
        SELECT matched.key_no, few.period_start, matched.number, matched.text
        FROM matched JOIN few
          ON matched.key_no = few.key_no
         AND matched.event_time >= few.period_start AND matched.event_time < few.period_stop
        UNION ALL
        SELECT sought.key_no, many.period_start, sought.number, sought.text
        FROM (SELECT * FROM matched WHERE key_no IN (SELECT key_no FROM many)) AS sought
        ASOF JOIN many
          ON sought.key_no = many.key_no AND sought.event_time >= many.period_start
        WHERE sought.event_time < many.period_stop
    )
"""

GROUPED_SQL: Final = f"""
WITH {_PLACED}
SELECT key_no, period_start, count(*) AS count, sum(number) AS sum,
       min(number) AS minimum, max(number) AS maximum
FROM placed WHERE text IS NULL GROUP BY key_no, period_start
"""
"""(key_no, period_start, count, sum, minimum, maximum) of all functions but UNIQUE."""

DISTINCT_SQL: Final = f"""
WITH {_PLACED}
SELECT DISTINCT key_no, period_start, text FROM placed WHERE text IS NOT NULL
"""
"""The values of UNIQUE: each (key_no, period_start, text) once."""
