"""Telling everyone else what a change of the configuration touched.

Owns: the rows of ``changes``, by which caches of rules drop just what is stale, and the queue of
recounts. Both are written in the transaction of the change itself.
"""

from __future__ import annotations

from tallystick import ids
from tallystick.clock import Instant
from tallystick.store import Transaction

EVERYONE = ""
"""In the place of a customer: all of the environment."""

NOT_BEGUN = -1
"""The position of a recount that has read nothing yet."""

INSERT_CHANGE = """
INSERT INTO changes (environment, customer, made_at, token, what) VALUES (?, ?, ?, ?, ?)
"""

ARCHIVED_ANYONE = "SELECT 1 FROM archived_customers WHERE environment = ? LIMIT 1"

ARCHIVED_CUSTOMER = "SELECT 1 FROM archived_customers WHERE environment = ? AND customer = ?"

# An identical recount that has not begun obeys this change too, once it begins.
JOIN_RECOUNT = """
UPDATE recounts SET start_seq = (SELECT COALESCE(MAX(seq), 0) FROM changes)
WHERE environment = ? AND feature = ? AND customer = ? AND finished_at IS NULL AND position = ?
"""

INSERT_RECOUNT = """
INSERT INTO recounts (environment, feature, customer, reason, start_seq, position, file, row_next,
                      as_of, queued_at)
VALUES (?, ?, ?, ?, (SELECT COALESCE(MAX(seq), 0) FROM changes), ?, NULL, 0, ?, ?)
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
    """Ask for a recount of one event-fed feature ('' is all) of one customer ('' is everyone).

    Call it after ``record_change``. ``as_of`` is how fresh the standing values are. False when
    nothing of its scope is archived: then there is nothing to count anew.
    """
    if not has_archived_events(transaction, environment, customer):
        return False
    scope = (environment, feature, customer)
    if transaction.run(JOIN_RECOUNT, *scope, NOT_BEGUN) == 0:
        transaction.insert(INSERT_RECOUNT, *scope, reason, NOT_BEGUN, as_of, now)
    return True


def has_archived_events(transaction: Transaction, environment: str, customer: str) -> bool:
    """Whether anything of a customer, or of ``EVERYONE``, is in the archive."""
    if customer == EVERYONE:
        return transaction.one(ARCHIVED_ANYONE, environment) is not None
    return transaction.one(ARCHIVED_CUSTOMER, environment, customer) is not None
