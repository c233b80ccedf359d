"""What is known of an object before it is read, and what a look at a bucket found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tallystick.clock import Instant


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as it was listed.

    ``key`` is relative to the URL of the bucket. ``version`` is another whenever the content is:
    an entity tag, or what a file system knows of a file. ``size`` is in bytes as stored.
    """

    key: str
    version: str
    size: int
    modified_at: Instant


Step: TypeAlias = Literal["list", "read", "write"]
"""``write`` is tried of a place for rejects."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that ``check`` tried: ``message`` says what came of it and what to do.

    ``permission`` is the one to grant, where that is what is missing.
    """

    step: Step
    good: bool
    message: str
    permission: str | None = None


Refused: TypeAlias = Callable[[str, str], None]
"""Is told of each name that is not read, and why: ``(name, reason)``."""


def ignore(_name: str, _reason: str) -> None:
    """Tell nobody of refused names."""
