"""A discarded request: gone for good, never counted, and still in the books."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick import failpoints
from tallystick.errors import Unavailable
from tallystick.fold.quarantine import Quarantined, ask_retry, discard, list_quarantined
from tests.archive.building import DEFAULT, at
from tests.simulation.world import Crash
from tests.verify.counted import Counted

BAD = {"timestamp": "no time"}


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    """acme on a plan that counts calls."""
    built = Counted(tmp_path / "data")
    built.configured.feature("calls", function="COUNT")
    built.configured.customer()
    built.configured.plan("plan", "MONTH", "calls")
    built.configured.subscription("plan", at("2026-01-01"))
    yield built
    failpoints.arm(None)
    built.close()


def listed(counted: Counted) -> list[Quarantined]:
    """What is set aside."""
    with counted.state.reading() as transaction:
        return list_quarantined(transaction)


def books(counted: Counted) -> tuple[int, int, int, int, int]:
    """Accepted, waiting, counted, quarantined and discarded, which verification finds equal."""
    report = counted.verify()
    assert report.equal, "\n".join(report.lines())
    found = counted.verified(DEFAULT)
    return found.accepted, found.waiting, found.counted, found.quarantined, found.discarded


def retry(counted: Counted) -> int:
    return ask_retry(counted.state, counted.inbox, counted.inbox_store, None)


def once(point: str, action: Callable[[], object]) -> Callable[[str], None]:
    """Do it the first time that the point is reached."""
    left = [action]

    def armed(reached: str) -> None:
        if reached == point and left:
            left.pop()()

    return armed


def test_a_discarded_request_is_gone_and_stays_in_the_books(counted: Counted) -> None:
    counted.accept({"idempotencyKey": "1"})
    counted.accept({"idempotencyKey": "2", **BAD}, {"idempotencyKey": "3"})
    counted.accept({"idempotencyKey": "4", **BAD})
    counted.count()
    assert books(counted) == (4, 0, 1, 3, 0)
    poison, other = listed(counted)
    assert discard(counted.state, poison.id) == poison
    assert listed(counted) == [other]
    assert books(counted) == (4, 0, 1, 1, 2)
    assert discard(counted.state, poison.id) is None, "it is gone"
    assert books(counted) == (4, 0, 1, 1, 2)


def test_its_events_sent_again_are_new(counted: Counted) -> None:
    counted.accept({"idempotencyKey": "1", **BAD})
    counted.count()
    (poison,) = listed(counted)
    discard(counted.state, poison.id)
    counted.accept({"idempotencyKey": "1"})
    counted.count()
    assert books(counted) == (2, 0, 1, 0, 1)


def test_a_retry_that_waits_is_passed_over(counted: Counted) -> None:
    counted.accept({"idempotencyKey": "1"})
    failpoints.arm(once("fold.request/1", lambda: 1 // 0))
    counted.count()
    (poison,) = listed(counted)
    assert retry(counted) == 1
    discard(counted.state, poison.id)
    assert books(counted) == (1, 0, 0, 0, 1)
    counted.count()
    assert books(counted) == (1, 0, 0, 0, 1)


def test_one_that_is_discarded_while_it_is_counted_is_not_counted(counted: Counted) -> None:
    counted.accept({"idempotencyKey": "1"})
    failpoints.arm(once("fold.request/1", lambda: 1 // 0))
    counted.count()
    (poison,) = listed(counted)
    retry(counted)
    counted.accept({"idempotencyKey": "2"})
    failpoints.arm(once("fold.before_files", lambda: discard(counted.state, poison.id)))
    with pytest.raises(Unavailable):
        counted.count()
    counted.count()
    assert books(counted) == (2, 0, 1, 0, 1)


def test_a_crash_while_it_is_discarded_discards_nothing(counted: Counted) -> None:
    counted.accept({"idempotencyKey": "1", **BAD})
    counted.count()
    (poison,) = listed(counted)

    def crash() -> None:
        raise Crash

    failpoints.arm(once("quarantine.before_discard", crash))
    with pytest.raises(Crash):
        discard(counted.state, poison.id)
    assert listed(counted) == [poison]
    assert books(counted) == (1, 0, 0, 1, 0)
