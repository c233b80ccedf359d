"""Which recounts are read together, and when: the queue, and the runs that work it off.

A *recount* asks that one feature's counters, of one customer or of everyone, be built anew. A *run*
is one reading of the archive for all recounts that began with it; its number is the generation of
the counters it writes.

**The rule: whatever is under way touches each counter once.** So

1. An environment has at most one run of everyone's recounts and one of single customers' at a time.
   What is queued meanwhile begins together when that one has ended: 5,000 customers that change
   are one reading or a few, not 5,000.
2. A recount of everyone begins when no run of customers builds its feature, and takes the queued
   ones of single customers with it; one of a customer begins when none of everyone is open for its
   feature. So two runs that touch the same counter follow each other, and the later has the
   larger generation.
3. A change of rules queues a recount of what it moves in its own transaction, and what that covers
   leaves its run and begins again with it (``catalog/changes.py``). What a run still holds at its
   end it read under one set of rules, or an open recount covers the difference.
4. While a recount is open the fold leaves its counters alone, and a run ends in the transaction
   that finds nothing left to read.

Hence, for a counter that no open recount covers: the last run that touched it has the largest
generation of all that did, which is the valid one for readers (the larger of the feature's and the
customer's); it read all that was folded before it ended, by the rules as they are; all that was
folded since, the fold has added.

A run that fails for another reason than the store is tried ``RECOUNT_ATTEMPTS_MAX`` times; attempts
are recorded before each, so that one that ends the process counts too. Then its recounts begin
again in runs of a sixteenth as many, down to one, which is *set aside*: it stays open, so that its
old value stands and says so, and holds up nobody. It begins again when its rules change, or with
the next worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from tallystick import limits
from tallystick.catalog.changes import EVERYONE, record_change
from tallystick.clock import Instant
from tallystick.store import Transaction, Value

PARTS: Final = 16
"""Into how many runs the recounts of one that failed are divided."""

OPEN_RUNS = """
SELECT generation, environment, everyone, position, file, row_next, attempts
FROM recount_runs WHERE ended IS NULL ORDER BY generation
"""

SCOPE = "SELECT feature, customer FROM recounts WHERE run = ? AND finished_at IS NULL"

QUEUED_ENVIRONMENTS = """
SELECT DISTINCT environment FROM recounts
WHERE finished_at IS NULL AND run IS NULL AND failure IS NULL ORDER BY environment
"""

# The queued features of everyone that no run builds for anyone, and how many may go together.
FEATURES_READY = """
SELECT feature, together FROM recounts AS queued
WHERE environment = ? AND customer = '' AND finished_at IS NULL AND run IS NULL
  AND failure IS NULL AND NOT EXISTS (
    SELECT 1 FROM recounts AS other
    WHERE other.finished_at IS NULL AND other.environment = queued.environment
      AND other.feature = queued.feature AND other.run IS NOT NULL)
ORDER BY id LIMIT ?
"""

# The queued recounts of customers whose feature no recount of everyone is to build.
CUSTOMERS_READY = """
SELECT id, together FROM recounts AS queued
WHERE environment = ? AND customer <> '' AND finished_at IS NULL AND run IS NULL
  AND failure IS NULL AND NOT EXISTS (
    SELECT 1 FROM recounts AS other
    WHERE other.finished_at IS NULL AND other.environment = queued.environment
      AND other.feature = queued.feature AND other.customer = '' AND other.failure IS NULL)
ORDER BY id LIMIT ?
"""

BEGIN = """
INSERT INTO recount_runs (environment, everyone, position, file, row_next, attempts)
VALUES (?, ?, 0, NULL, 0, 0)
"""
TAKE_FEATURE = """
UPDATE recounts SET run = ?, failure = NULL
WHERE environment = ? AND feature = ? AND finished_at IS NULL AND run IS NULL
"""
TAKE_ONE = "UPDATE recounts SET run = ? WHERE id = ?"

MOVE = """
UPDATE recount_runs SET position = ?, file = ?, row_next = ?, attempts = 0 WHERE generation = ?
"""
ATTEMPT = "UPDATE recount_runs SET attempts = ? WHERE generation = ?"
END = """
UPDATE recount_runs SET ended = (SELECT 1 + coalesce(max(ended), 0) FROM recount_runs)
WHERE generation = ?
"""
FINISH = "UPDATE recounts SET finished_at = ? WHERE run = ? AND finished_at IS NULL"
SET_ASIDE = "UPDATE recounts SET run = NULL, failure = ? WHERE run = ? AND finished_at IS NULL"
DIVIDE = "UPDATE recounts SET run = NULL, together = ? WHERE run = ? AND finished_at IS NULL"

# After a worker that died in a step of a recount, what is set aside stays so: or a few that end the
# process would end it without end.
TRY_AGAIN = """
UPDATE recounts SET failure = NULL
WHERE failure IS NOT NULL AND finished_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM recount_runs WHERE ended IS NULL AND attempts > 0)
"""

FORGET_FINISHED = """
DELETE FROM recounts WHERE finished_at IS NOT NULL AND id < (SELECT max(id) FROM recounts) - 1000
"""
# The newest say which generation comes next.
FORGET_ENDED = """
DELETE FROM recount_runs
WHERE ended < (SELECT max(ended) FROM recount_runs) - 1000
  AND generation < (SELECT max(generation) FROM recount_runs)
"""

FLIP_FEATURE = """
UPDATE features SET generation = ? WHERE environment = ? AND id = ?
"""
FLIP_CUSTOMER = """
INSERT INTO customer_generations (generation, environment, feature, customer) VALUES (?, ?, ?, ?)
ON CONFLICT (environment, customer, feature) DO UPDATE SET generation = excluded.generation
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run under way: events up to ``position`` are in, and inside ``file`` the rows before
    ``row_next``. ``everyone``: of everyone's recounts."""

    generation: int
    environment: str
    everyone: bool
    position: int
    file: int | None
    row_next: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Scope:
    """The counters that a run builds: of whom, by feature; ``EVERYONE`` among them is all."""

    customers: Mapping[str, frozenset[str]]

    def holds(self, feature: str, customer: str) -> bool:
        """Whether a customer's counters of a feature are built."""
        of_feature = self.customers.get(feature, frozenset())
        return EVERYONE in of_feature or customer in of_feature

    def single(self) -> list[str] | None:
        """The customers whose events are asked for, in order; None when they are everyone's."""
        everyone = frozenset[str]().union(*self.customers.values())
        return None if EVERYONE in everyone else sorted(everyone)


class _Batch(NamedTuple):
    """What may begin together in an environment: features of everyone, or ids of recounts."""

    environment: str
    everyone: bool
    keys: list[Value]


def open_runs(transaction: Transaction) -> list[Run]:
    """The runs under way, oldest first."""
    return [_run(*row) for row in transaction.all(OPEN_RUNS)]  # type: ignore[arg-type]


def _run(
    generation: int, environment: str, everyone: int, position: int, file: int | None,
    row_next: int, attempts: int,
) -> Run:  # fmt: skip
    return Run(generation, environment, bool(everyone), position, file, row_next, attempts)


def scope_of(transaction: Transaction, run: Run) -> Scope:
    """What a run still builds."""
    customers: dict[str, set[str]] = {}
    rows = cast("list[tuple[str, str]]", transaction.all(SCOPE, run.generation))
    for feature, customer in rows:
        customers.setdefault(feature, set()).add(customer)
    return Scope({feature: frozenset(of_it) for feature, of_it in customers.items()})


def may_begin(transaction: Transaction) -> bool:
    """Whether ``begin`` would begin something."""
    busy = _busy(transaction)
    return any(_ready(transaction, *lane) for lane in _free_lanes(transaction, busy))


def begin(transaction: Transaction) -> None:
    """Begin a run of all that may begin now, in each environment."""
    busy = _busy(transaction)
    for environment, everyone in _free_lanes(transaction, busy):
        batch = _ready(transaction, environment, everyone)
        if batch is None:
            continue
        generation = transaction.insert(BEGIN, environment, int(everyone))
        if everyone:
            rows = [(generation, environment, feature) for feature in batch.keys]
            transaction.run_many(TAKE_FEATURE, rows)
        else:
            transaction.run_many(TAKE_ONE, [(generation, recount) for recount in batch.keys])


def _busy(transaction: Transaction) -> set[tuple[str, bool]]:
    return {(run.environment, run.everyone) for run in open_runs(transaction)}


def _free_lanes(
    transaction: Transaction, busy: set[tuple[str, bool]]
) -> Iterable[tuple[str, bool]]:
    for (environment,) in cast("list[tuple[str]]", transaction.all(QUEUED_ENVIRONMENTS)):
        for everyone in (True, False):
            if (environment, everyone) not in busy:
                yield environment, everyone


def _ready(transaction: Transaction, environment: str, everyone: bool) -> _Batch | None:
    """The first that are queued, no more than each of them bears; None when none may begin."""
    sql = FEATURES_READY if everyone else CUSTOMERS_READY
    rows = transaction.all(sql, environment, limits.RECOUNTS_TOGETHER_MAX)
    keys: list[Value] = []
    bound = limits.RECOUNTS_TOGETHER_MAX
    for key, together in cast("list[tuple[Value, int]]", rows):
        bound = min(bound, together)
        if len(keys) >= bound:
            break
        keys.append(key)
    return _Batch(environment, everyone, keys) if keys else None


def move(
    transaction: Transaction, run: Run, position: int, file: int | None, row_next: int
) -> None:
    """The run stands there now; its next step is a new one."""
    transaction.run(MOVE, position, file, row_next, run.generation)


def flip(transaction: Transaction, run: Run, now: Instant) -> None:
    """Nothing is left to read: what the run built is valid from here on."""
    scope = scope_of(transaction, run)
    singles: set[str] = set()
    for feature, customers in sorted(scope.customers.items()):
        if EVERYONE in customers:
            transaction.run(FLIP_FEATURE, run.generation, run.environment, feature)
            record_change(transaction, run.environment, EVERYONE, now, f"feature:{feature}")
            continue
        rows = [(run.generation, run.environment, feature, each) for each in sorted(customers)]
        transaction.run_many(FLIP_CUSTOMER, rows)
        singles |= customers
    _tell(transaction, run.environment, singles, now)
    transaction.run(FINISH, now, run.generation)
    transaction.run(END, run.generation)
    transaction.run(FORGET_FINISHED)
    transaction.run(FORGET_ENDED)


def _tell(transaction: Transaction, environment: str, customers: set[str], now: Instant) -> None:
    named = sorted(customers) if len(customers) <= limits.RECOUNT_CHANGES_MAX else [EVERYONE]
    for customer in named:
        record_change(transaction, environment, customer, now)


def record_attempt(transaction: Transaction, run: Run, attempts: int) -> None:
    """Remember, before a step, that it was begun so many times."""
    transaction.run(ATTEMPT, attempts, run.generation)


def give_up(transaction: Transaction, run: Run, reason: str) -> bool:
    """End a run that cannot go on. Several recounts are divided, a single one is set aside; whether
    it was."""
    scope = scope_of(transaction, run)
    parts: Sequence[object] = list(scope.customers)
    if not run.everyone:
        parts = [one for of_feature in scope.customers.values() for one in of_feature]
    if len(parts) > 1:
        transaction.run(DIVIDE, max(1, len(parts) // PARTS), run.generation)
    else:
        transaction.run(SET_ASIDE, reason, run.generation)
    transaction.run(END, run.generation)
    return len(parts) == 1


def try_again(transaction: Transaction) -> None:
    """Queue what was set aside, unless the worker before this one died in a recount."""
    transaction.run(TRY_AGAIN)
