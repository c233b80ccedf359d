"""The lock on a data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallystick.errors import OperatorError
from tallystick.folder import DataFolder
from tallystick.process.owner import OwnerLock


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


def test_one_owner_at_a_time_and_the_other_is_told_who_it_is(folder: DataFolder) -> None:
    lock = OwnerLock.take(folder)
    with pytest.raises(OperatorError, match=rf"process {os.getpid()}\)"):
        OwnerLock.take(folder, wait_seconds=0)
    lock.release()
    OwnerLock.take(folder, wait_seconds=0).release()


def test_a_copy_of_the_lock_keeps_it_when_the_owner_lets_go(folder: DataFolder) -> None:
    lock = OwnerLock.take(folder)
    child = os.dup(lock.descriptor)
    lock.release()
    with pytest.raises(OperatorError):
        OwnerLock.take(folder, wait_seconds=0)
    os.close(child)
    OwnerLock.take(folder, wait_seconds=0).release()
