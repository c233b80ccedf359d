"""The SQL store: where everything durable is a row, or an immutable file named by a row."""

from tallystick.store.contract import Begun, Rewrite, Row, Store, Transaction, Value

__all__ = ["Begun", "Rewrite", "Row", "Store", "Transaction", "Value"]
