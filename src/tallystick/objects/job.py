"""What a run asks for: where to look, what to read, and how.

Owns: the settings of a source, as stored and as a person gives them; secrets go in and never out.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick import limits
from tallystick.errors import BadInput
from tallystick.objects.access import Access, access_of
from tallystick.objects.records import DIMENSIONS, FIELDS, FLATTENED, Columns
from tallystick.objects.schedule import Schedule, schedule_of

_SECRETS: Final = ("keyId", "secret", "sessionToken")


@dataclass(frozen=True, slots=True)
class Job:
    """How objects of one place are read.

    ``pattern`` is a shell pattern that a key must match ('' is any); ``reject_share_max`` the share
    of bad records beyond which an object is stopped.
    """

    url: str
    access: Access
    columns: Columns
    pattern: str = ""
    reject_share_max: float = limits.REJECT_SHARE_MAX
    rejects_url: str | None = None
    schedule: Schedule | None = None
    given: dict[str, Any] = field(default_factory=dict, repr=False)
    """As a person gave it, and as it is stored."""

    def wants(self, key: str) -> bool:
        """Whether a key matches the pattern."""
        return not self.pattern or fnmatch.fnmatchcase(key, self.pattern)

    def shown(self) -> dict[str, Any]:
        """As it is shown: what is secret is told to be set, and no more."""
        told = dict(self.given)
        access = told.get("access")
        if isinstance(access, dict):
            told["access"] = {
                name: "(set)" if name in _SECRETS else value for name, value in access.items()
            }
        return told


def job_of(given: dict[str, Any]) -> Job:
    """The job that JSON says; raises ``BadInput`` naming the field."""
    url = given.get("url")
    if not isinstance(url, str) or not url:
        raise BadInput("url: is required")
    schedule = given.get("schedule")
    return Job(
        url=url,
        access=access_of(given.get("access")),
        columns=_columns(given.get("columns") or {}),
        pattern=_text(given, "pattern"),
        reject_share_max=_share(given.get("rejectShareMax")),
        rejects_url=_text(given, "rejectsUrl") or None,
        schedule=None if schedule is None else schedule_of(schedule),
        given=given,
    )


def _columns(renamed: Any) -> Columns:
    if not isinstance(renamed, dict):
        raise BadInput('columns: must be an object like {"customerId": "account_id"}')
    for ours, theirs in renamed.items():
        if ours not in (*FIELDS, DIMENSIONS) and not ours.startswith(FLATTENED):
            raise BadInput(
                f"columns.{ours}: no field; fields are {', '.join((*FIELDS, DIMENSIONS))} and "
                f"{FLATTENED}<name>"
            )
        if not isinstance(theirs, str) or not theirs:
            raise BadInput(f"columns.{ours}: must be the name of a column")
    if len(set(renamed.values())) < len(renamed):
        raise BadInput("columns: two fields have the same column")
    return Columns(renamed)


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadInput(f"{name}: must be a text")
    return value


def _share(value: Any) -> float:
    if value is None:
        return limits.REJECT_SHARE_MAX
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadInput("rejectShareMax: must be a number from 0 to 1")
    return float(value)
