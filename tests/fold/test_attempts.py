"""The record of attempts, between the death of a worker and what it died of."""

from __future__ import annotations

from pathlib import Path

from tallystick.clock import Instant
from tallystick.fold.attempts import Attempts
from tallystick.inbox.inbox import InboxRequest


def test_what_a_death_suspects_is_told_until_it_is_folded(tmp_path: Path) -> None:
    """So long the small steps follow each other without waiting for company."""
    attempts = Attempts(tmp_path / "attempt")
    assert not attempts.suspects_after(0)
    attempts.begin(1, 3)
    requests = [InboxRequest(number, "default", Instant(0), 1, b"{}") for number in (1, 2, 3)]
    assert attempts.cut(requests) == requests[:1]
    told = [attempts.suspects_after(position) for position in (0, 1, 2, 3)]
    assert told == [True, True, True, False]
