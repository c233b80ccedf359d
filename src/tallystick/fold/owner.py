"""What the owner of a data folder holds while it folds: its epoch, and names for its files.

Every transaction of the fold, of merges and of recounts asserts the epoch, so a former owner that
wakes up cannot commit; file names carry it, so only files of older epochs are garbage.
"""

from __future__ import annotations

import itertools
from typing import Final, cast

from tallystick.errors import OperatorError
from tallystick.store import Store, Transaction

PARTITION: Final = 0

READ_PARTITION = "SELECT epoch, position FROM partitions WHERE partition = ?"
TAKE_EPOCH = "UPDATE partitions SET epoch = epoch + 1 WHERE partition = ?"
MOVE_POSITION = "UPDATE partitions SET position = ? WHERE partition = ?"


class LostOwnership(OperatorError):
    """Another process owns this data folder now; this one must end."""

    default_code = "LostOwnership"


class Owner:
    """An epoch, and file names unique within it. Safe to use from several threads."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._counter = itertools.count(1)

    @classmethod
    def take(cls, store: Store) -> Owner:
        """Begin a new epoch. The caller holds the folder's lock."""
        with store.writing() as transaction:
            transaction.run(TAKE_EPOCH, PARTITION)
            epoch, _ = read_partition(transaction)
        return cls(epoch)

    def file_name(self, folder: str, kind: str, extension: str) -> str:
        """A name relative to the data folder that no other file has."""
        return f"{folder}/{kind}-{self.epoch:08d}-{next(self._counter):010d}.{extension}"

    def confirm(self, transaction: Transaction) -> int:
        """Assert that this is still the owner; returns the folded position.

        Raises ``LostOwnership`` when another epoch has begun.
        """
        epoch, position = read_partition(transaction)
        if epoch != self.epoch:
            raise LostOwnership(
                f"another worker owns this data folder since epoch {epoch}; "
                f"this one was {self.epoch}"
            )
        return position


def read_partition(transaction: Transaction) -> tuple[int, int]:
    """(epoch, folded position)."""
    row = transaction.one(READ_PARTITION, PARTITION)
    return cast("tuple[int, int]", row)


def move_position(transaction: Transaction, position: int) -> None:
    """Everything up to ``position`` is folded once this commits."""
    transaction.run(MOVE_POSITION, position, PARTITION)
