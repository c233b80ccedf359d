"""The ledger of promise 4, as the fold writes it: what was counted and what was a repetition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tallystick.store import Transaction

ADD_TOTALS = """
INSERT INTO totals (environment, counted, duplicates) VALUES (?, ?, ?)
ON CONFLICT (environment) DO UPDATE SET
    counted = totals.counted + excluded.counted,
    duplicates = totals.duplicates + excluded.duplicates
"""

REMEMBER_CUSTOMER = """
INSERT INTO archived_customers (environment, customer) VALUES (?, ?) ON CONFLICT DO NOTHING
"""


def write_totals(
    transaction: Transaction, counted: Mapping[str, int], duplicates: Mapping[str, int]
) -> None:
    """Add a step's events per environment."""
    for environment in sorted({*counted, *duplicates}):
        transaction.run(
            ADD_TOTALS, environment, counted.get(environment, 0), duplicates.get(environment, 0)
        )


def remember_customers(transaction: Transaction, customers: Iterable[tuple[str, str]]) -> None:
    """Note (environment, customer) pairs that have archived events from now on."""
    transaction.run_many(REMEMBER_CUSTOMER, customers)
