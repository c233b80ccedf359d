"""Durable files: written, fsynced with their folder, and only then named by a transaction.

A test traces these calls and asserts the order (docs/decisions/ has the reason: DuckDB's COPY does
not fsync).
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> int:
    """Make a written file and its folder entry survive loss of power; returns its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    sync_folder(path.parent)
    return size


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder survive loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
