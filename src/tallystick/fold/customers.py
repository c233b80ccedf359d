"""Which customers a worker has met: of whom the store notes once that they have archived events.

Owns: the table ``met`` of one connection, beside the events, so that what is fetched of a step are
the customers that are new. Promises: nobody is taken for met before the transaction that noted it;
memory is bounded by forgetting everyone, who are then noted again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import duckdb
import numpy as np

CREATE: Final = "CREATE OR REPLACE TEMP TABLE met (environment VARCHAR, customer VARCHAR)"

# (environment, customer) of ``events`` that are not met.
NEW: Final = """
SELECT * FROM (SELECT DISTINCT environment, customer FROM events)
ANTI JOIN met USING (environment, customer)
"""

MEET: Final = "INSERT INTO met SELECT environment, customer FROM met_now"

KNOWN_CUSTOMERS_MAX: Final = 200_000


class Customers:
    """The customers of one worker's events. Used by the thread that folds."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._count = 0
        connection.execute(CREATE)

    def new(self) -> set[tuple[str, str]]:
        """The (environment, customer) pairs of ``events`` that this worker has not met."""
        return set(self._connection.execute(NEW).fetchall())

    def meet(self, customers: Collection[tuple[str, str]]) -> None:
        """From now on these are met: it is durable that they have events."""
        if not customers:
            return
        if self._count + len(customers) > KNOWN_CUSTOMERS_MAX:
            self._connection.execute(CREATE)
            self._count = 0
        columns = np.array(list(customers), dtype=object).T
        self._connection.register("met_now", {"environment": columns[0], "customer": columns[1]})
        self._connection.execute(MEET)
        self._connection.unregister("met_now")
        self._count += len(customers)
