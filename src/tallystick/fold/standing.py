"""The standing counters: those that are written often, kept beside the events in DuckDB.

Owns: the tables ``standing`` and ``held`` of one connection: for a (feature, customer, resource),
the counter of its present period, the number of its row, and what it holds by the last commit.
Most matches of a step belong to such a counter; adding them up is then one join, and what goes to
the store is ready text. A counter costs a few microseconds so, a tenth of what it costs to look up
its rules.

The fold is the only writer of event-fed counters, so what is standing is what is stored. What a
step settles some other way, or what a rule change touches, is forgotten here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import duckdb
import numpy as np

from tallystick.core.parts import Part
from tallystick.store import Transaction, Value
from tallystick.usage.counters import rewrite_rows

STANDING_MAX: Final = 200_000
"""Counters kept; beyond it all are forgotten and come back as they are needed."""


# Which counters stand. What they hold is apart, in ``held``, because every step replaces that.
CREATE_STANDING = """
CREATE OR REPLACE TEMP TABLE standing (
    environment VARCHAR, feature_no INTEGER, customer VARCHAR, resource VARCHAR,
    start_us BIGINT, stop_us BIGINT, id BIGINT
)
"""

CREATE_HELD = """
CREATE OR REPLACE TEMP TABLE held (
    id BIGINT, count BIGINT, sum DECIMAL(38, 9), minimum DECIMAL(38, 9), maximum DECIMAL(38, 9)
)
"""

# What standing counters hold with the matches of this step. feature_nos are by meter number.
CREATE_SETTLED = """
CREATE OR REPLACE TEMP TABLE settled AS
SELECT touched.key_no, standing.id, held.count + touched.count AS count,
       held.sum + coalesce(touched.sum, 0) AS sum,
       least(held.minimum, touched.minimum) AS minimum,
       greatest(held.maximum, touched.maximum) AS maximum
FROM touched
JOIN standing
  ON standing.feature_no = (?::INTEGER[])[touched.meter_no + 1]
 AND standing.customer = touched.customer AND standing.resource = touched.resource
JOIN held ON held.id = standing.id
WHERE touched.first_us >= standing.start_us AND touched.last_us < standing.stop_us
"""

CREATE_NONE_SETTLED = """
CREATE OR REPLACE TEMP TABLE settled (
    key_no INTEGER, id BIGINT, count BIGINT, sum DECIMAL(38, 9), minimum DECIMAL(38, 9),
    maximum DECIMAL(38, 9)
)
"""

# Without the zeros that each of them ends with: a quarter of the pages that a step writes.
SETTLED = """
SELECT count, {sum}, {minimum}, {maximum}, id FROM settled ORDER BY id
""".format(
    **{name: f"rtrim(rtrim(CAST({name} AS VARCHAR), '0'), '.')"
       for name in ("sum", "minimum", "maximum")}
)  # fmt: skip

# A new table rather than an UPDATE, which took up to 60 times as long once in a while (DuckDB 2.0).
HOLD_SETTLED = """
CREATE OR REPLACE TEMP TABLE held AS
SELECT id, count, sum, minimum, maximum FROM settled
UNION ALL
SELECT id, count, sum, minimum, maximum FROM held WHERE id NOT IN (SELECT id FROM settled)
"""

FORGET_SEEN = """
DELETE FROM standing USING seen
WHERE standing.feature_no = seen.feature_no AND standing.customer = seen.customer
  AND standing.resource = seen.resource
"""

STAND_SEEN = """
INSERT INTO standing
SELECT environment, feature_no, customer, resource, start_us, stop_us, id
FROM seen WHERE id IS NOT NULL AND id >= 0
"""

# Of what no longer stands only what is seen again is dropped; the rest goes with ``forget_all``.
LET_GO_SEEN = "DELETE FROM held WHERE id IN (SELECT id FROM seen)"

HOLD_SEEN = """
INSERT INTO held
SELECT id, count, CAST(sum AS DECIMAL(38, 9)), CAST(minimum AS DECIMAL(38, 9)),
       CAST(maximum AS DECIMAL(38, 9))
FROM seen WHERE id IS NOT NULL AND id >= 0
"""

# One statement for all customers: each alone costs DuckDB a look at the whole table.
FORGET_CUSTOMERS = """
DELETE FROM standing USING changed
WHERE standing.environment = changed.environment AND standing.customer = changed.customer
"""
FORGET_ENVIRONMENTS = "DELETE FROM standing WHERE list_contains(?, environment)"


class Seen(NamedTuple):
    """A counter that was settled by its rules: what stands from now on. ``id`` -1: nothing does."""

    environment: str
    feature: str
    customer: str
    resource: str
    start: int
    stop: int
    id: int
    part: Part


class Standing:
    """The standing counters of one connection. Used by the thread that folds."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._feature_nos: dict[tuple[str, str], int] = {}
        self._count = 0
        self._rows: list[tuple[Value, ...]] = []
        """What ``settled`` holds, as it is written: made before the transaction, which is short."""
        self.forget_all()

    def settle(self, features: Sequence[tuple[str, str]]) -> None:
        """Make ``settled`` of ``touched``; ``features`` are (environment, feature) by meter
        number."""
        if self._count == 0:
            self.settle_none()
            return
        numbers = [self._feature_nos.get(feature, -1) for feature in features]
        self._connection.execute(CREATE_SETTLED, [numbers])
        self._rows = cast("list[tuple[Value, ...]]", self._connection.execute(SETTLED).fetchall())

    def settle_none(self) -> None:
        """Make an empty ``settled``."""
        self._connection.execute(CREATE_NONE_SETTLED)
        self._rows = []

    @property
    def settled(self) -> int:
        """How many counters ``write`` would write."""
        return len(self._rows)

    def write(self, transaction: Transaction) -> int:
        """Write what ``settled`` holds to the store; returns how many counters that were."""
        rewrite_rows(transaction, self._rows)
        return len(self._rows)

    def keep(self, seen: Sequence[Seen]) -> None:
        """After the commit: what was settled stands, and so does what was ``seen``."""
        execute = self._connection.execute
        execute(HOLD_SETTLED)
        if not seen:
            return
        self._connection.register("seen_columns", self._columns(seen))
        execute("CREATE OR REPLACE TEMP TABLE seen AS SELECT * FROM seen_columns")
        self._connection.unregister("seen_columns")
        for change in (FORGET_SEEN, LET_GO_SEEN) if self._count else ():
            execute(change)
        execute(STAND_SEEN)
        execute(HOLD_SEEN)
        (row,) = execute("SELECT count(*) FROM held").fetchall()
        self._count = row[0]
        if self._count > STANDING_MAX:
            self.forget_all()

    def forget(self, changes: Iterable[tuple[str, str]]) -> None:
        """Rules of these (environment, customer) changed; customer '' is everyone."""
        if self._count == 0:
            return
        distinct = set(changes)
        whole = [environment for environment, customer in distinct if not customer]
        if whole:
            self._connection.execute(FORGET_ENVIRONMENTS, [whole])
        single = [change for change in distinct if change[1]]
        if single:
            columns = np.array(single, dtype=object).T
            changed = {"environment": columns[0], "customer": columns[1]}
            self._connection.register("changed", changed)
            self._connection.execute(FORGET_CUSTOMERS)
            self._connection.unregister("changed")

    def forget_all(self) -> None:
        """Let nothing stand."""
        self._connection.execute(CREATE_STANDING)
        self._connection.execute(CREATE_HELD)
        self._count = 0

    def _columns(self, seen: Sequence[Seen]) -> Mapping[str, Any]:
        def text(values: Iterable[object]) -> Any:
            return np.array([None if v is None else str(v) for v in values], dtype=object)

        def whole(values: Iterable[int], kind: type[np.integer[Any]] = np.int64) -> Any:
            return np.array(list(values), dtype=kind)

        return {
            "environment": text(one.environment for one in seen),
            "feature_no": whole((self._number(one) for one in seen), np.int32),
            "customer": text(one.customer for one in seen),
            "resource": text(one.resource for one in seen),
            "start_us": whole(one.start for one in seen),
            "stop_us": whole(one.stop for one in seen),
            "id": whole(one.id for one in seen),
            "count": whole(one.part.count for one in seen),
            "sum": text(one.part.sum for one in seen),
            "minimum": text(one.part.minimum for one in seen),
            "maximum": text(one.part.maximum for one in seen),
        }

    def _number(self, seen: Seen) -> int:
        feature = (seen.environment, seen.feature)
        return self._feature_nos.setdefault(feature, len(self._feature_nos))
