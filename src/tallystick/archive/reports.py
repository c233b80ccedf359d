"""Usage reports, archived or still waiting to be: each exactly once.

Owns: the relation ``usage``, which joins the archive's files of reports with the rows of
``reports_waiting`` as one snapshot of the state names them. A report moves from one to the other
in one transaction of the fold, so a snapshot sees it once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import cast

from tallystick.archive.query import Session
from tallystick.archive.relation import (
    CREATE_EVENTS_TABLE,
    EVENT_COLUMNS,
    USAGE_REPORTED,
    events_sql,
)
from tallystick.store import Row, Transaction

_WAITING_COLUMNS = """
SELECT environment, seq, customer, resource, key, created_at, received_at, dimensions, feature,
       value
FROM reports_waiting
"""
_SEQ, _FEATURE = 1, 8

# A page of everyone's, after a seq.
WAITING_PAGE = f"{_WAITING_COLUMNS} WHERE seq > ? ORDER BY seq LIMIT ?"

# A page of a customer's, after a seq. It reads all that wait, which is a bounded number.
WAITING_PAGE_OF = f"""
{_WAITING_COLUMNS} WHERE seq > ? AND environment = ? AND customer = ? ORDER BY seq LIMIT ?
"""

CREATE_WAITING = CREATE_EVENTS_TABLE.replace(" events ", " waiting ")

# Rows of reports_waiting, column by column, in the form of the relation.
FILL_WAITING = f"""
INSERT INTO waiting
SELECT environment, position, 0, 'usage', NULL, NULL, customer, nullif(resource, ''),
       '{USAGE_REPORTED}', key, make_timestamp(created_at), make_timestamp(received_at),
       nullif(dimensions, '{{}}'), feature, CAST(value AS DECIMAL(38, 9))
FROM (
    SELECT unnest(?::VARCHAR[]) AS environment, unnest(?::BIGINT[]) AS position,
           unnest(?::VARCHAR[]) AS customer, unnest(?::VARCHAR[]) AS resource,
           unnest(?::VARCHAR[]) AS key, unnest(?::BIGINT[]) AS created_at,
           unnest(?::BIGINT[]) AS received_at, unnest(?::VARCHAR[]) AS dimensions,
           unnest(?::VARCHAR[]) AS feature, unnest(?::VARCHAR[]) AS value
)
"""

PAGE_ROWS = 10_000


def usage_sql(paths: Sequence[Path]) -> str:
    """A SELECT of the relation over files of reports and the temp table ``waiting``."""
    return with_waiting(events_sql(paths))


def with_waiting(archived: str) -> str:
    """A SELECT of archived reports and those in the temp table ``waiting``."""
    return f"{archived} UNION ALL SELECT {EVENT_COLUMNS} FROM waiting"


def load_waiting_of(
    session: Session,
    transaction: Transaction,
    environment: str,
    customer: str,
    features: Collection[str],
) -> None:
    """Make ``waiting``: a customer's reports on some features that wait to be archived."""
    session.run(CREATE_WAITING)
    for rows in _pages(transaction, WAITING_PAGE_OF, environment, customer):
        _fill(session, [row for row in rows if row[_FEATURE] in features])


def load_waiting(session: Session, transaction: Transaction) -> None:
    """Make ``waiting``: everyone's reports that wait to be archived."""
    session.run(CREATE_WAITING)
    for rows in _pages(transaction, WAITING_PAGE):
        _fill(session, rows)


def _pages(transaction: Transaction, sql: str, *of: str) -> Iterator[list[Row]]:
    """The rows that wait in the order of seq, a bounded number at a time."""
    after = 0
    while rows := transaction.all(sql, after, *of, PAGE_ROWS):
        yield rows
        after = cast("int", rows[-1][_SEQ])


def _fill(session: Session, rows: Sequence[Row]) -> None:
    if rows:
        session.run(FILL_WAITING, [list(column) for column in zip(*rows, strict=True)])
