"""From events to what they add to each counter.

Owns: running every meter over the relation ``events`` in one statement, placing each match in its
usage period, and dropping UNIQUE values that were counted before. The fold runs this over a
micro-batch and a recount over a piece of the archive; the SQL is the same text (``metering``).

Rules are asked per touched (meter, customer, resource), never per event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, cast

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick.archive.manifest import FileDraft
from tallystick.clock import Instant
from tallystick.core.parts import Part
from tallystick.core.periods import periods_between
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.fold.batch import Batch
from tallystick.fold.owner import Owner
from tallystick.keys.hashing import key_hash, key_hash_sql
from tallystick.keys.key_set import KeySet
from tallystick.metering.aggregate import DISTINCT_SQL, GROUPED_SQL
from tallystick.metering.compile import CompiledMeter, compile_meter, union_of
from tallystick.store import Transaction
from tallystick.usage.counters import CounterKey

UNIQUE_TAG = "tallystick-unique-1"

# Every (meter, customer, resource) that has a match, numbered, with the range of its event times.
CREATE_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched AS
SELECT CAST(row_number() OVER () - 1 AS INTEGER) AS key_no, *
FROM (
    SELECT meter_no, customer, resource,
           min(epoch_us(event_time)) AS first_us, max(epoch_us(event_time)) AS last_us
    FROM measured GROUP BY meter_no, customer, resource
)
"""

TOUCHED = "SELECT meter_no, customer, resource, first_us, last_us FROM touched ORDER BY key_no"

CREATE_MATCHED = """
CREATE OR REPLACE TEMP TABLE matched AS
SELECT touched.key_no, measured.event_time, measured.number, measured.text
FROM measured JOIN touched USING (meter_no, customer, resource)
"""

CREATE_PERIODS = """
CREATE OR REPLACE TEMP TABLE periods AS
SELECT key_no, make_timestamp(start_us) AS period_start, make_timestamp(stop_us) AS period_stop
FROM period_rows
"""

GROUPED = f"""
SELECT key_no, epoch_us(period_start), count, sum, minimum, maximum FROM ({GROUPED_SQL})
"""

# UNIQUE values of this relation, each once, hashed together with what their counter is.
_HI, _LO = key_hash_sql(("tag", "counter", "value"))
DISTINCT = f"""
SELECT counter_no, {_HI} AS hi, {_LO} AS lo
FROM (
    SELECT counters_of.counter_no, '{UNIQUE_TAG}' AS tag, counters_of.counter, found.text AS value
    FROM ({DISTINCT_SQL}) AS found
    JOIN counters_of ON counters_of.key_no = found.key_no
     AND counters_of.start_us = epoch_us(found.period_start)
)
"""


CHANGES_SINCE = "SELECT environment, customer FROM changes WHERE seq > ?"


class Target(NamedTuple):
    """A meter, the feature it feeds, and the relation it runs over."""

    environment: str
    feature: FeatureRules
    relation: str


class Touched(NamedTuple):
    """A (target, customer, resource) with matches, and which counters they may go to."""

    target: Target
    customer: str
    resource: str
    generation: int

    def counter(self, start: int) -> CounterKey:
        """The counter of the period in which counting began at ``start``."""
        return CounterKey(
            self.target.environment,
            self.customer,
            self.resource,
            self.target.feature.id,
            self.generation,
            start,
        )


@dataclass(slots=True)
class Measured:
    """What a relation of events adds up to under the rules known at ``seq``."""

    seq: int
    asked: set[tuple[str, str]] = field(default_factory=set)
    """(environment, customer) whose rules were asked, and (environment, '') of each environment: a
    meter that appears meanwhile must not miss these events."""
    parts: dict[CounterKey, Part] = field(default_factory=dict)
    unique_hi: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    unique_lo: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))


class Meterer:
    """Runs meters over temp tables of one connection."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        rules: Rules,
        uniques: KeySet,
        owner: Owner,
    ) -> None:
        self.uniques = uniques
        self._connection = connection
        self._rules = rules
        self._owner = owner

    def measure_batch(self, transaction: Transaction, batch: Batch) -> Measured:
        """What the batch in ``events`` adds to the counters that stand.

        Counters under an open recount are left out: the recount reads the same events from the
        archive (DESIGN 2, Recount).
        """
        seq = self._rules.refresh(transaction)
        targets = self._targets_of(transaction, batch)

        def generation(target: Target, customer: str) -> int | None:
            feature = target.feature.id
            if self._rules.pending(transaction, target.environment, customer, feature) is not None:
                return None
            return self._rules.generation(transaction, target.environment, customer, feature)

        return self.measure(transaction, seq, batch.environments, targets, generation)

    def measure(
        self,
        transaction: Transaction,
        seq: int,
        environments: Sequence[str],
        targets: Sequence[Target],
        generation: Callable[[Target, str], int | None],
    ) -> Measured:
        """Run the targets' meters; ``generation`` says whose counters (None: count nothing)."""
        measured = Measured(seq, {(environment, "") for environment in environments})
        if not targets:
            return measured
        self._match(targets)
        touched = self._touched(targets, generation)
        measured.asked.update((key.target.environment, key.customer) for key in touched.values())
        periods = self._periods(transaction, touched)
        if not len(periods["key_no"]):
            return measured
        self._connection.execute(CREATE_MATCHED)
        self._connection.register("period_rows", periods)
        self._connection.execute(CREATE_PERIODS)
        self._group(touched, measured)
        if any(_is_unique(target) for target in targets):
            self._count_uniques(touched, periods, measured)
        return measured

    def changed_since(self, transaction: Transaction, measured: Measured) -> bool:
        """Whether a rule that ``measured`` used changed after it was asked."""
        environments = {environment for environment, _ in measured.asked}
        return any(
            change in measured.asked or (change[1] == "" and change[0] in environments)
            for change in transaction.all(CHANGES_SINCE, measured.seq)
        )

    def write_uniques(self, measured: Measured) -> FileDraft | None:
        """The UNIQUE values that are new as a durable key run; None when there are none."""
        if not len(measured.unique_hi):
            return None
        return self.uniques.write(
            self._owner.file_name("keys", "uniques", "run"), self._owner.epoch,
            measured.unique_hi, measured.unique_lo, bucket=0, time_first=0, time_last=0,
        )  # fmt: skip

    def _targets_of(self, transaction: Transaction, batch: Batch) -> list[Target]:
        """Every meter whose environment and event name occur in the batch."""
        rows = self._connection.execute("SELECT DISTINCT env_no, event_name FROM events").fetchall()
        names: dict[int, set[str]] = {}
        for env_no, name in rows:
            names.setdefault(env_no, set()).add(name)
        single = len(batch.environments) == 1
        targets = []
        for env_no, present in sorted(names.items()):
            environment = batch.environments[env_no]
            relation = "events" if single else f"(SELECT * FROM events WHERE env_no = {env_no})"
            for feature in self._rules.metered(transaction, environment):
                if takes_part(feature, present):
                    targets.append(Target(environment, feature, relation))
        return targets

    def _match(self, targets: Sequence[Target]) -> None:
        """Make ``measured``: the matches of all targets, in one statement."""
        by_relation: dict[str, list[tuple[int, CompiledMeter]]] = {}
        for number, target in enumerate(targets):
            assert target.feature.meter is not None
            compiled = compile_meter(target.feature.meter)
            by_relation.setdefault(target.relation, []).append((number, compiled))
        texts: list[str] = []
        values: list[Any] = []
        for relation, meters in by_relation.items():
            sql, params = union_of(meters, relation)
            texts.append(sql)
            values.extend(params)
        union = " UNION ALL ".join(texts)
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE measured AS {union}", values)
        self._connection.execute(CREATE_TOUCHED)

    def _touched(
        self, targets: Sequence[Target], generation: Callable[[Target, str], int | None]
    ) -> dict[int, Touched]:
        """The touched counters by key number, with the range of their times, that may count."""
        touched = {}
        self._ranges: dict[int, tuple[int, int]] = {}
        for key_no, row in enumerate(self._connection.execute(TOUCHED).fetchall()):
            meter_no, customer, resource, first, last = row
            wanted = generation(targets[meter_no], customer)
            if wanted is not None:
                touched[key_no] = Touched(targets[meter_no], customer, resource, wanted)
                self._ranges[key_no] = (first, last)
        return touched

    def _periods(
        self, transaction: Transaction, touched: Mapping[int, Touched]
    ) -> dict[str, NDArray[Any]]:
        """Where counting begins and ends in each period that may hold a match."""
        rows: list[tuple[int, int, int]] = []
        for key_no, key in touched.items():
            segments = self._rules.segments(
                transaction, key.target.environment, key.customer, key.resource,
                key.target.feature.id,
            )  # fmt: skip
            if segments:
                first, last = self._ranges[key_no]
                rows.extend(
                    (key_no, period.counted_from, period.counted_until)
                    for period in periods_between(segments, Instant(first), Instant(last))
                )
        columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
        return {
            "key_no": columns[:, 0].astype(np.int32),
            "start_us": np.ascontiguousarray(columns[:, 1]),
            "stop_us": np.ascontiguousarray(columns[:, 2]),
        }

    def _group(self, touched: Mapping[int, Touched], measured: Measured) -> None:
        for row in self._connection.execute(GROUPED).fetchall():
            key_no, start, count, total, minimum, maximum = row
            key = touched[key_no]
            if not _is_unique(key.target):
                part = Part(count, total if total is not None else Decimal(0), minimum, maximum)
                measured.parts[key.counter(start)] = part

    def _count_uniques(
        self,
        touched: Mapping[int, Touched],
        periods: Mapping[str, NDArray[Any]],
        measured: Measured,
    ) -> None:
        """Count the values that no earlier event of their counter had."""
        counters = _unique_counters(touched, periods)
        if not counters:
            return
        _fill_counters_of(self._connection, counters)
        found = self._connection.execute(DISTINCT).fetchnumpy()
        hi, lo = _plain(found["hi"]), _plain(found["lo"])
        new = ~self.uniques.contains(hi, lo)
        numbers = np.ma.getdata(found["counter_no"])[new]
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            key = counters[int(number)][2]
            measured.parts[key] = Part(count=int(count))
        measured.unique_hi, measured.unique_lo = hi[new], lo[new]


def takes_part(feature: FeatureRules, present: Iterable[str]) -> bool:
    """Whether a feature's meter may match an event of one of these names."""
    assert feature.meter is not None
    names = compile_meter(feature.meter).event_names
    return names is None or not names.isdisjoint(present)


def _is_unique(target: Target) -> bool:
    return target.feature.meter is not None and (
        target.feature.meter.aggregation.function == "UNIQUE"
    )


def _unique_counters(
    touched: Mapping[int, Touched], periods: Mapping[str, NDArray[Any]]
) -> list[tuple[int, int, CounterKey]]:
    """(key number, period start, counter) of each UNIQUE counter that may grow."""

    def each() -> Iterator[tuple[int, int, CounterKey]]:
        for key_no, start in zip(
            periods["key_no"].tolist(), periods["start_us"].tolist(), strict=True
        ):
            if _is_unique(touched[key_no].target):
                yield key_no, start, touched[key_no].counter(start)

    return list(each())


def _fill_counters_of(
    connection: duckdb.DuckDBPyConnection, counters: Sequence[tuple[int, int, CounterKey]]
) -> None:
    """Make ``counters_of``: what a UNIQUE value is hashed together with."""
    names = [key_hash(*map(str, key)).hex() for _, _, key in counters]
    columns = {
        "counter_no": np.arange(len(counters), dtype=np.int64),
        "key_no": np.array([row[0] for row in counters], dtype=np.int32),
        "start_us": np.array([row[1] for row in counters], dtype=np.int64),
        "counter": np.array(names, dtype=object),
    }
    connection.register("counter_rows", columns)
    connection.execute("CREATE OR REPLACE TEMP TABLE counters_of AS SELECT * FROM counter_rows")


def _plain(column: Any) -> NDArray[np.uint64]:
    return cast("NDArray[np.uint64]", np.ascontiguousarray(np.ma.getdata(column), dtype=np.uint64))
