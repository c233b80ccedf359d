"""Telling everyone else what a change of the configuration touched.

Owns: the rows of ``changes``, by which caches of rules drop just what is stale, and the queue of
recounts. Both are written in the transaction of the change itself.
"""

from __future__ import annotations

from tallystick import ids, limits
from tallystick.clock import Instant
from tallystick.store import Transaction

EVERYONE = ""
"""In the place of a customer: all of the environment."""

INSERT_CHANGE = """
INSERT INTO changes (environment, customer, made_at, token, what) VALUES (?, ?, ?, ?, ?)
"""

ARCHIVED_ANYONE = "SELECT 1 FROM archived_customers WHERE environment = ? LIMIT 1"

ARCHIVED_CUSTOMER = "SELECT 1 FROM archived_customers WHERE environment = ? AND customer = ?"

# What is open and covered by a new recount starts anew, what failed too: rules are others now.
REQUEUE = """
UPDATE recounts SET run = NULL, failure = NULL, as_of = CASE WHEN as_of < ? THEN as_of ELSE ? END
WHERE environment = ? AND feature = ? AND (customer = ? OR ? = '') AND finished_at IS NULL
"""

# Whether a queued recount will do what a new one would.
IS_QUEUED = """
SELECT 1 FROM recounts
WHERE environment = ? AND feature = ? AND customer IN ('', ?)
  AND finished_at IS NULL AND run IS NULL AND failure IS NULL
"""

INSERT_RECOUNT = """
INSERT INTO recounts (environment, feature, customer, reason, together, as_of, queued_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""


def record_change(
    transaction: Transaction, environment: str, customer: str, now: Instant, what: str = ""
) -> None:
    """Say that rules of ``customer`` (``EVERYONE``: of the whole environment) changed.

    ``what`` tells what of everyone's: ``feature:ID`` (its body, meter or generation),
    ``plan:ID`` or ``addon:ID`` (its published versions); '' is anything. What no rule is made of,
    as the draft of a plan, needs no change recorded.
    """
    transaction.insert(INSERT_CHANGE, environment, customer, now, ids.new_token(), what)


def queue_recount(
    transaction: Transaction,
    environment: str,
    feature: str,
    customer: str,
    reason: str,
    as_of: Instant,
    now: Instant,
) -> bool:
    """Ask for a recount of one event-fed feature of one customer, or of ``EVERYONE``.

    Call it after ``record_change``, in the transaction of the change. ``as_of`` is how fresh the
    standing values are. False when nothing of its scope is archived: then there is nothing to
    count anew. One that is queued already obeys this change too, and so does one that is under
    way, because it begins again (``fold/recount_runs.py``).
    """
    if not has_archived_events(transaction, environment, customer):
        return False
    scope = (environment, feature, customer)
    transaction.run(REQUEUE, as_of, as_of, *scope, customer)
    if transaction.one(IS_QUEUED, *scope) is None:
        together = limits.RECOUNTS_TOGETHER_MAX
        transaction.insert(INSERT_RECOUNT, *scope, reason, together, as_of, now)
    return True


def has_archived_events(transaction: Transaction, environment: str, customer: str) -> bool:
    """Whether anything of a customer, or of ``EVERYONE``, is in the archive."""
    if customer == EVERYONE:
        return transaction.one(ARCHIVED_ANYONE, environment) is not None
    return transaction.one(ARCHIVED_CUSTOMER, environment, customer) is not None
