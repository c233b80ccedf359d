"""The SQL store: where everything durable is a row, or an immutable file named by a row."""

from tallystick.store.contract import Begun, Row, Store, Transaction, Value

__all__ = ["Begun", "Row", "Store", "Transaction", "Value"]
