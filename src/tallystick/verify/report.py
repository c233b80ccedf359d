"""What a verification found, for people and for programs.

Owns: the shape of ``tallystick verify --json`` (DESIGN 7). ``differences`` holds the first ones;
how many there are is told beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tallystick import limits


@dataclass(frozen=True, slots=True)
class Difference:
    """Two things that should be equal and are not. ``what`` says of what, for people."""

    what: str
    expected: str
    found: str


@dataclass(slots=True)
class EnvironmentReport:
    """The ledger of one environment, and what contradicts it.

    ``discarded`` were quarantined until the operator let them go. ``unchecked_counters`` await a
    recount: their old values stand until it ends.
    """

    environment: str
    accepted: int = 0
    waiting: int = 0
    counted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    discarded: int = 0
    rejected: int = 0
    counters: int = 0
    unchecked_counters: int = 0
    difference_count: int = 0
    differences: list[Difference] = field(default_factory=list)

    def expect(self, what: str, expected: object, found: object) -> None:
        """Note a difference unless both are equal."""
        if expected == found:
            return
        self.difference_count += 1
        if len(self.differences) < limits.DIFFERENCES_LISTED_MAX:
            self.differences.append(Difference(what, str(expected), str(found)))


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Every environment, by name."""

    environments: tuple[EnvironmentReport, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing contradicts anything."""
        return not any(each.difference_count for each in self.environments)

    def as_json(self) -> dict[str, Any]:
        """The document for programs."""
        return {
            "equal": self.equal,
            "environments": [_environment_json(each) for each in self.environments],
        }

    def lines(self) -> Iterator[str]:
        """The same for people."""
        for each in self.environments:
            yield (
                f"{each.environment}: accepted {each.accepted} = waiting {each.waiting} + "
                f"counted {each.counted} + duplicates {each.duplicates} + "
                f"quarantined {each.quarantined} + discarded {each.discarded} + "
                f"rejected {each.rejected}; "
                f"{each.counters} counters recounted"
            )
            if each.unchecked_counters:
                yield f"  {each.unchecked_counters} counters await a recount and were left out"
            for difference in each.differences:
                yield (
                    f"  DIFFERS: {difference.what}: expected {difference.expected}, "
                    f"found {difference.found}"
                )
            if each.difference_count > len(each.differences):
                yield f"  … and {each.difference_count - len(each.differences)} more"
        yield "equal" if self.equal else "NOT EQUAL"


def _environment_json(each: EnvironmentReport) -> dict[str, Any]:
    return {
        "environment": each.environment,
        "accepted": each.accepted,
        "waiting": each.waiting,
        "counted": each.counted,
        "duplicates": each.duplicates,
        "quarantined": each.quarantined,
        "discarded": each.discarded,
        "rejected": each.rejected,
        "counters": each.counters,
        "uncheckedCounters": each.unchecked_counters,
        "differenceCount": each.difference_count,
        "differences": [
            {"what": one.what, "expected": one.expected, "found": one.found}
            for one in each.differences
        ],
    }
