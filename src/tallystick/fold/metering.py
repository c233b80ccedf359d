"""From events to what they add to each counter.

Owns: running every meter over the relation ``events`` in one statement, placing each match in its
usage period, and dropping UNIQUE values that were counted before. The fold runs this over a
micro-batch and a recount over a piece of the archive; the SQL is the same text (``metering``).

Rules are asked per touched (meter, customer, resource), never per event, and mostly not even then
(``slots``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple, cast

import duckdb
import numpy as np
from numpy.typing import NDArray

from tallystick import limits
from tallystick.archive.manifest import FileDraft
from tallystick.core.parts import ZERO, Part
from tallystick.entitlements.loading import FeatureRules
from tallystick.entitlements.rules import Rules
from tallystick.fold.batch import Batch, unmasked
from tallystick.fold.owner import Owner
from tallystick.fold.slots import CHANGES_SINCE, Slot, Slots, counts_values
from tallystick.fold.standing import Seen, Standing
from tallystick.keys.hashing import key_hash_sql
from tallystick.keys.key_set import KeySet
from tallystick.keys.owners import OWNED, owned, owner_of
from tallystick.metering.aggregate import DISTINCT_SQL, GROUPED_SQL
from tallystick.metering.compile import Numbered, compile_meter, sums_of, union_of
from tallystick.metering.placing import CELLS, Range, periods_of_keys
from tallystick.store import Transaction
from tallystick.usage.counters import (
    CounterKey,
    StoredCounter,
    insert_counter,
    rewrite_counters,
)

UNIQUE_TAG = "tallystick-unique-1"

NONE_ADDED = """
SELECT CAST(0 AS INTEGER) AS meter_no, '' AS customer, '' AS resource,
       0::BIGINT AS first_us, 0::BIGINT AS last_us, 0::BIGINT AS count,
       NULL::DECIMAL(38, 9) AS sum, NULL::DECIMAL(38, 9) AS minimum, NULL::DECIMAL(38, 9) AS maximum
WHERE false
"""

# What the matches of each (meter, customer, resource) add up to, and the range of their times.
CREATE_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched AS
SELECT CAST(row_number() OVER () - 1 AS INTEGER) AS key_no, * FROM ({added})
"""

# What the standing counters did not settle.
UNSETTLED = """
SELECT key_no, meter_no, customer, resource, first_us, last_us, count, sum, minimum, maximum
FROM touched WHERE key_no NOT IN (SELECT key_no FROM settled)
"""

# Of customers whose rules changed, those with matches; the parameter is environments by meter.
TOUCHED_CUSTOMERS = """
SELECT count(*) FROM touched JOIN changed
  ON changed.customer = touched.customer
 AND changed.environment = (?::VARCHAR[])[touched.meter_no + 1]
"""

# The matches of the meters that the sums of ``touched`` do not settle, and of those keys alone,
# with the periods they may fall into. Mostly there are none, and matches need not be kept.
CREATE_MEASURED = "CREATE OR REPLACE TEMP TABLE measured AS {measured}"
CREATE_PERIODS = """
CREATE OR REPLACE TEMP TABLE periods AS
SELECT key_no, make_timestamp(start_us) AS period_start, make_timestamp(stop_us) AS period_stop
FROM period_rows
"""
CREATE_MATCHED = """
CREATE OR REPLACE TEMP TABLE matched AS
SELECT touched.key_no, measured.event_time, measured.number, measured.text
FROM measured JOIN touched USING (meter_no, customer, resource)
WHERE touched.key_no IN (SELECT key_no FROM periods)
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


class Target(NamedTuple):
    """A meter, the feature it feeds, and the relation it runs over."""

    environment: str
    feature: FeatureRules
    relation: str

    @property
    def unique(self) -> bool:
        """Whether values are counted once each, rather than added up."""
        return counts_values(self.feature)


Finder = Callable[[Target, str, str], Slot | None]
"""(target, customer, resource) → the slot its matches go to; None to count nothing."""


class Split(NamedTuple):
    """A key whose matches need placing one by one: they span periods, or are UNIQUE values."""

    slot: Slot
    meter_no: int
    unique: bool
    first: int
    last: int
    matches: int

    @property
    def is_present(self) -> bool:
        """Whether all of them fall into the period that the slot stands ready for."""
        return self.slot.start <= self.first and self.last < self.slot.stop

    @property
    def range(self) -> Range:
        """What says which periods they may fall into."""
        return Range(self.slot.segments, self.first, self.last, self.matches)


@dataclass(slots=True)
class Measured:
    """What a relation of events adds up to under the rules known at ``seq``.

    ``parts`` is what was settled by rules, one counter at a time; what belongs to standing counters
    is in the table ``settled``.
    """

    seq: int
    environments: frozenset[str]
    """Also those without a meter: one that appears meanwhile must not miss these events."""
    meters: tuple[str, ...] = ()
    """The environment of each meter."""
    idle: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Environments without a meter for these events, and the names that these have."""
    parts: dict[CounterKey, tuple[Slot, Part]] = field(default_factory=dict)
    unique_hi: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    unique_lo: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    stored: dict[CounterKey, StoredCounter | None] = field(default_factory=dict)
    """The rows of ``parts``, as far as they were looked up before the transaction."""
    written: list[tuple[CounterKey, Slot, StoredCounter]] = field(default_factory=list)
    """The counters of ``parts`` as the transaction leaves them."""

    def look_up(self, transaction: Transaction) -> None:
        """Read the rows of ``parts`` ahead of the transaction that writes them: nobody else writes
        them, and what makes them stale is a change of rules."""
        self.stored = {key: slot.counter(transaction, key) for key, (slot, _) in self.parts.items()}

    def add_to_counters(self, transaction: Transaction) -> int:
        """Write the parts into their counters; returns how many."""
        known: list[StoredCounter] = []
        self.written = []
        for key, (slot, part) in self.parts.items():
            looked_up = key in self.stored
            found = self.stored[key] if looked_up else slot.counter(transaction, key)
            if found is None:
                stored = StoredCounter(insert_counter(transaction, key, part), part)
            else:
                stored = StoredCounter(found.id, found.part.merge(part))
                known.append(stored)
            self.written.append((key, slot, stored))
        rewrite_counters(transaction, sorted(known, key=_first))
        return len(self.written)

    def remember(self) -> list[Seen]:
        """After the commit: UNIQUE slots know their counters; what else stands from now on."""
        seen = []
        for key, slot, stored in self.written:
            is_present = key == slot.key
            if not slot.unique:
                seen.append(_seen(key, slot, stored, stands=is_present))
            elif is_present:
                slot.stored = stored
        return seen


def _seen(key: CounterKey, slot: Slot, stored: StoredCounter, *, stands: bool) -> Seen:
    return Seen(
        key.environment, key.feature, key.customer, key.resource, slot.start, slot.stop,
        stored.id if stands else -1, stored.part,
    )  # fmt: skip


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
        self._slots = Slots(rules)
        self._standing = Standing(connection)
        self._owner = owner

    def measure_batch(self, transaction: Transaction, batch: Batch) -> Measured:
        """What the batch in ``events`` adds to the counters that stand."""
        seq = self._slots.follow(transaction, self._standing)
        names = self._names_of(batch)
        targets = self._targets_of(transaction, names)

        def find(target: Target, customer: str, resource: str) -> Slot | None:
            return self._slots.find(
                transaction, target.environment, customer, resource, target.feature
            )

        measured = _begun(seq, targets, names)
        self._match(targets)
        self._standing.settle([(target.environment, target.feature.id) for target in targets])
        self._add_up(targets, find, measured)
        measured.look_up(transaction)
        return measured

    def measure(
        self, seq: int, environment: str, targets: Sequence[Target], find: Finder
    ) -> Measured:
        """What ``events``, a piece of the archive, add to the counters that ``find`` names."""
        meters = tuple(environment for _ in targets)
        measured = Measured(seq, frozenset((environment,)), meters)
        self._match(targets)
        self._standing.settle_none()
        self._add_up(targets, find, measured)
        return measured

    def write(self, transaction: Transaction, measured: Measured) -> int:
        """Write all counters of the last ``measure_batch`` or ``measure``; returns how many."""
        return self._standing.write(transaction) + measured.add_to_counters(transaction)

    def weight(self, measured: Measured) -> int:
        """What ``write`` costs the store, in standing counters."""
        known = sum(slot.knows(key) for key, (slot, _) in measured.parts.items())
        return (
            self._standing.settled
            + limits.STEP_KNOWN_COUNTER_WEIGHT * known
            + limits.STEP_NEW_COUNTER_WEIGHT * (len(measured.parts) - known)
        )

    def keep(self, measured: Measured) -> None:
        """After the commit of a batch: memory follows what is durable."""
        self._standing.keep(measured.remember())

    def changed_since(self, transaction: Transaction, measured: Measured) -> bool:
        """Whether a rule that ``measured`` used changed after it was asked."""
        changes = cast("set[tuple[str, str]]", set(transaction.all(CHANGES_SINCE, measured.seq)))
        whole = {environment for environment, customer in changes if not customer}
        return any(
            self._concerned(transaction, environment, measured)
            for environment in whole & measured.environments
        ) or self._touched([change for change in changes if change[1]], measured.meters)

    def _concerned(self, transaction: Transaction, environment: str, measured: Measured) -> bool:
        """Whether a change of a whole environment may concern what was measured of it. Where
        nothing was, only a new meter does, for these events."""
        if environment not in measured.idle:
            return True
        self._rules.refresh(transaction)
        return any(
            takes_part(feature, measured.idle[environment])
            for feature in self._rules.metered(transaction, environment)
        )

    def _touched(self, customers: Sequence[tuple[str, str]], meters: Sequence[str]) -> bool:
        """Whether one of these (environment, customer) has matches."""
        if not customers or not meters:
            return False
        columns = np.array(customers, dtype=object).T
        self._connection.register("changed", {"environment": columns[0], "customer": columns[1]})
        (row,) = self._connection.execute(TOUCHED_CUSTOMERS, [list(meters)]).fetchall()
        self._connection.unregister("changed")
        return bool(row[0])

    def write_uniques(self, measured: Measured) -> FileDraft | None:
        """The UNIQUE values that are new as a durable key run; None when there are none."""
        if not len(measured.unique_hi):
            return None
        return self.uniques.write(
            self._owner.file_name("keys", "uniques", "run"), self._owner.epoch,
            measured.unique_hi, measured.unique_lo, bucket=OWNED, time_first=0, time_last=0,
        )  # fmt: skip

    def _names_of(self, batch: Batch) -> dict[str, set[str]]:
        """The event names in the batch, by environment, in the order of their numbers."""
        rows = self._connection.execute("SELECT DISTINCT env_no, event_name FROM events").fetchall()
        names: dict[str, set[str]] = {environment: set() for environment in batch.environments}
        for env_no, name in rows:
            names[batch.environments[env_no]].add(name)
        return names

    def _targets_of(
        self, transaction: Transaction, names: Mapping[str, Collection[str]]
    ) -> list[Target]:
        """Every meter whose environment and event name occur in the batch."""
        single = len(names) == 1
        targets = []
        for env_no, (environment, present) in enumerate(names.items()):
            relation = "events" if single else f"(SELECT * FROM events WHERE env_no = {env_no})"
            for feature in self._rules.metered(transaction, environment):
                if present and takes_part(feature, present):
                    targets.append(Target(environment, feature, relation))
        return targets

    def _match(self, targets: Sequence[Target]) -> None:
        """Make ``touched`` of the matches of all targets, in one statement."""
        added, values = _over_relations(sums_of, dict(enumerate(targets)))
        self._connection.execute(CREATE_TOUCHED.replace("{added}", added or NONE_ADDED), values)

    def _add_up(self, targets: Sequence[Target], find: Finder, measured: Measured) -> None:
        splits = self._settle(targets, find, measured)
        if splits:
            numbers = {split.meter_no for split in splits.values()}
            placed = {number: targets[number] for number in sorted(numbers)}
            union, values = _over_relations(union_of, placed)
            self._connection.execute(CREATE_MEASURED.replace("{measured}", union), values)
            self._place(splits)
            self._group(splits, measured)
            self._count_uniques(splits, measured)

    def _settle(
        self, targets: Sequence[Target], find: Finder, measured: Measured
    ) -> dict[int, Split]:
        """Take over the sums of keys within one period; returns the others by key number."""
        splits = {}
        for row in self._connection.execute(UNSETTLED).fetchall():
            key_no, meter_no, customer, resource, first, last, count, total, minimum, maximum = row
            target = targets[meter_no]
            slot = find(target, customer, resource)
            if slot is None:
                continue
            ready = slot.start <= last < slot.stop or slot.turn_to(last)
            if ready and slot.start <= first and not target.unique:
                part = Part(count, total if total is not None else ZERO, minimum, maximum)
                measured.parts[slot.key] = (slot, part)
            else:
                splits[key_no] = Split(slot, meter_no, target.unique, first, last, count)
        return splits

    def _place(self, splits: Mapping[int, Split]) -> None:
        """Make ``matched`` and ``periods`` of the keys that need placing one by one."""
        rows = [
            (key_no, split.slot.start, split.slot.stop)
            for key_no, split in splits.items()
            if split.is_present
        ]
        others = {key_no: split.range for key_no, split in splits.items() if not split.is_present}
        rows += [
            (key_no, period.counted_from, period.counted_until)
            for key_no, periods in periods_of_keys(others, self._cells)
            for period in periods
        ]
        columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
        self._starts = columns[:, :2]
        self._connection.register(
            "period_rows",
            {
                "key_no": columns[:, 0].astype(np.int32),
                "start_us": np.ascontiguousarray(columns[:, 1]),
                "stop_us": np.ascontiguousarray(columns[:, 2]),
            },
        )
        self._connection.execute(CREATE_PERIODS)
        self._connection.execute(CREATE_MATCHED)

    def _cells(self, keys: list[int]) -> list[tuple[int, int, int]]:
        """In which hours the matches of keys happened."""
        self._connection.register("scattered", {"key_no": np.array(keys, dtype=np.int32)})
        return self._connection.execute(CELLS).fetchall()

    def _group(self, splits: Mapping[int, Split], measured: Measured) -> None:
        for row in self._connection.execute(GROUPED).fetchall():
            key_no, start, count, total, minimum, maximum = row
            slot = splits[key_no].slot
            if not splits[key_no].unique:
                part = Part(count, total if total is not None else ZERO, minimum, maximum)
                measured.parts[slot.key_at(start)] = (slot, part)

    def _count_uniques(self, splits: Mapping[int, Split], measured: Measured) -> None:
        """Count the values that no earlier event of their counter had."""
        counters = [
            (key_no, start, splits[key_no].slot)
            for key_no, start in self._starts.tolist()
            if splits[key_no].unique
        ]
        if not counters:
            return
        owners = self._fill_counters_of(counters)
        found = self._connection.execute(DISTINCT).fetchnumpy()
        numbers = np.ma.getdata(found["counter_no"])
        hi = unmasked(found["hi"])
        lo = owned(hi, unmasked(found["lo"]), owners.take(numbers))
        new = ~self.uniques.contains(hi, lo)
        for number, count in zip(*np.unique(numbers[new], return_counts=True), strict=True):
            _, start, slot = counters[int(number)]
            measured.parts[slot.key_at(start)] = (slot, Part(count=int(count)))
        measured.unique_hi, measured.unique_lo = hi[new], lo[new]

    def _fill_counters_of(self, counters: Sequence[tuple[int, int, Slot]]) -> NDArray[np.uint64]:
        """Make ``counters_of``: what a UNIQUE value is hashed together with. Returns whose the
        keys of each counter are."""
        names = [slot.name_at(start) for _, start, slot in counters]
        columns = {
            "counter_no": np.arange(len(counters), dtype=np.int64),
            "key_no": np.array([row[0] for row in counters], dtype=np.int32),
            "start_us": np.array([row[1] for row in counters], dtype=np.int64),
            "counter": np.array(names, dtype=object),
        }
        self._connection.register("counter_rows", columns)
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE counters_of AS SELECT * FROM counter_rows"
        )
        return np.fromiter(map(owner_of, names), dtype=np.uint64, count=len(names))


_first = itemgetter(0)


def _begun(seq: int, targets: Sequence[Target], names: Mapping[str, Collection[str]]) -> Measured:
    meters = tuple(target.environment for target in targets)
    idle = {name: present for name, present in names.items() if name not in meters}
    return Measured(seq, frozenset(names), meters, idle)


def takes_part(feature: FeatureRules, present: Iterable[str]) -> bool:
    """Whether a feature's meter may match an event of one of these names."""
    assert feature.meter is not None
    names = compile_meter(feature.meter).event_names
    return names is None or not names.isdisjoint(present)


def _over_relations(
    select: Callable[[Sequence[Numbered], str], tuple[str, list[Any]]],
    targets: Mapping[int, Target],
) -> tuple[str, list[Any]]:
    """``union_of`` or ``sums_of`` the meters by their numbers, each over its relation, and its
    parameters."""
    by_relation: dict[str, list[Numbered]] = {}
    for number, target in targets.items():
        assert target.feature.meter is not None
        compiled = compile_meter(target.feature.meter)
        by_relation.setdefault(target.relation, []).append((number, compiled))
    texts, values = [], []
    for relation, meters in by_relation.items():
        sql, params = select(meters, relation)
        texts.append(sql)
        values += params
    return " UNION ALL ".join(texts), values
