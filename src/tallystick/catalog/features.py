"""Features: what plans grant, and how their usage is measured.

Owns: the rows of ``features``, and what feeds a feature's counters: events if it has a meter,
reports if it is metered without one, nothing otherwise. A feature with usage cannot switch between
the two. Creating or changing a meter queues a recount, because meters hold for the past too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, cast

import msgspec
from msgspec import UNSET

from tallystick.catalog import in_use
from tallystick.catalog.changes import EVERYONE, queue_recount, record_change
from tallystick.catalog.pages import Cursor, Listed
from tallystick.catalog.rows import Body, decode, encode, given, shown
from tallystick.catalog.shapes.features import CreateFeature, UpdateFeature
from tallystick.clock import Instant
from tallystick.core.meters import Meter, check_meter
from tallystick.errors import BadInput, Conflict, NotFound
from tallystick.store import Row, Transaction

SELECT_FEATURE = """
SELECT id, created_at, updated_at, body, fed_by FROM features WHERE environment = ? AND id = ?
"""

SELECT_FEATURES = """
SELECT id, created_at, updated_at, body, fed_by FROM features WHERE environment = ?
"""

INSERT_FEATURE = """
INSERT INTO features (environment, id, body, fed_by, generation, created_at, updated_at)
VALUES (?, ?, ?, ?, 0, ?, ?)
"""

UPDATE_FEATURE = """
UPDATE features SET body = ?, fed_by = ?, updated_at = ? WHERE environment = ? AND id = ?
"""

# The generation of a feature's counters that stand, and the smallest that any later recount makes.
GENERATIONS = """
SELECT generation, 1 + coalesce((SELECT max(generation) FROM recount_runs), 0)
FROM features WHERE environment = ? AND id = ?
"""

# Whether anything was ever counted for a feature.
COUNTED = "SELECT 1 FROM counters WHERE environment = ? AND feature = ? LIMIT 1"
WAITING = "SELECT 1 FROM reports_waiting WHERE environment = ? AND feature = ? LIMIT 1"

FedBy = Literal["nothing", "reports", "events"]
_METERED = ("INCREMENTAL", "FLUCTUATING")


@dataclass(frozen=True, slots=True)
class FeatureFilter:
    """Which features a list names; empty means any."""

    id: str | None = None
    feature_types: set[str] = field(default_factory=set)
    meter_types: set[str] = field(default_factory=set)
    statuses: set[str] = field(default_factory=set)

    def holds(self, data: Body) -> bool:
        """Whether a feature is named."""
        return (
            self.id in (None, data["id"])
            and (not self.feature_types or data["featureType"] in self.feature_types)
            and (not self.meter_types or data["meterType"] in self.meter_types)
            and (not self.statuses or data["featureStatus"] in self.statuses)
        )


def create(
    transaction: Transaction,
    environment: str,
    request: CreateFeature,
    as_of: Instant,
    now: Instant,
) -> Body:
    """Store a new feature. ``as_of`` is how fresh the counters are (for its recount).

    Raises ``Conflict`` when the id is taken and ``BadInput`` when the meter does not fit.
    """
    if transaction.one(SELECT_FEATURE, environment, request.id) is not None:
        raise Conflict(f"id: a feature {request.id!r} exists already")
    body = given(request, "id") | {
        "metadata": {} if request.metadata is UNSET else request.metadata,
        "meterType": _meter_type(request),
    }
    _check(body)
    fed_by = fed_by_of(body)
    transaction.run(INSERT_FEATURE, environment, request.id, encode(body), fed_by, now, now)
    record_change(transaction, environment, EVERYONE, now, f"feature:{request.id}")
    if fed_by == "events":
        queue_recount(transaction, environment, request.id, EVERYONE, "new meter", as_of, now)
    return answer(transaction, environment, request.id)


def update(
    transaction: Transaction,
    environment: str,
    feature: str,
    request: UpdateFeature,
    as_of: Instant,
    now: Instant,
) -> Body:
    """Change what the request states; a changed meter queues a recount."""
    before = stored(transaction, environment, feature)
    body = before | given(request)
    _check(body)
    _check_change(transaction, environment, feature, before, body, now)
    fed_by = fed_by_of(body)
    if fed_by != fed_by_of(before) and _has_usage(transaction, environment, feature):
        raise BadInput(
            f"meter: feature {feature!r} has usage, so it cannot switch between reported usage "
            f"and events; create another feature"
        )
    _write(transaction, environment, feature, body, now)
    changed = fed_by == "events" and _meter(body) != _meter(before)
    scope = (environment, feature, EVERYONE)
    if changed and queue_recount(transaction, *scope, "changed meter", as_of, now):
        _let_stand(transaction, environment, feature, body, before, now)
    return answer(transaction, environment, feature)


def _let_stand(
    transaction: Transaction, environment: str, feature: str, body: Body, before: Body, now: Instant
) -> None:
    """Remember how the counters that stand until the recount were counted: they are shown so.

    Counters of generations below the recount's are the old ones. A meter that changes again before
    its recount ended leaves standing what stood.
    """
    row = transaction.one(GENERATIONS, environment, feature)
    generation, next_generation = cast("tuple[int, int]", row)
    stood = before.get("standing")
    old = _meter(before)
    if stood is not None and generation < stood["below"]:
        function = stood["function"]
    elif old is not None:
        function = old.aggregation.function
    else:
        return
    body["standing"] = {"below": next_generation, "function": function}
    _write(transaction, environment, feature, body, now)


def set_archived(
    transaction: Transaction, environment: str, feature: str, archived: bool, now: Instant
) -> Body:
    """Archive or unarchive; an archived feature can be granted by nothing. Raises ``BadInput`` for
    one that something grants."""
    body = stored(transaction, environment, feature)
    if archived:
        in_use.require_feature_free(transaction, environment, feature, now)
    body["featureStatus"] = "SUSPENDED" if archived else "ACTIVE"
    _write(transaction, environment, feature, body, now)
    return answer(transaction, environment, feature)


def stored(transaction: Transaction, environment: str, feature: str) -> Body:
    """What was configured; raises ``NotFound``."""
    return decode(cast("str", _row(transaction, environment, feature)[3]))


def answer(transaction: Transaction, environment: str, feature: str) -> Body:
    """A feature as callers see it; raises ``NotFound``."""
    return _answer(_row(transaction, environment, feature))


def listed(transaction: Transaction, environment: str, wanted: FeatureFilter) -> Iterator[Listed]:
    """The features of an environment that a filter names."""
    for row in transaction.all(SELECT_FEATURES, environment):
        data = _answer(row)
        if wanted.holds(data):
            yield Listed(Cursor(cast("int", row[1]), data["id"]), data)


def fed_by_of(body: Body) -> FedBy:
    """What feeds the counters of a feature."""
    if body.get("meter") is not None:
        return "events"
    return "reports" if body["meterType"] in _METERED else "nothing"


def _meter(body: Body) -> Meter | None:
    return msgspec.convert(body.get("meter"), Meter | None)


def _meter_type(request: CreateFeature) -> str:
    if request.meter_type is not UNSET:
        return request.meter_type
    has_meter = isinstance(request.meter, Meter)
    return "INCREMENTAL" if has_meter and request.feature_type == "NUMBER" else "None"


def _check(body: Body) -> None:
    """Raises ``BadInput`` when the parts of a feature contradict each other."""
    metered = body["meterType"] in _METERED
    meter = _meter(body)
    if meter is not None:
        if body["featureType"] != "NUMBER" or not metered:
            raise BadInput(
                "meter: only a NUMBER feature with meterType INCREMENTAL or FLUCTUATING has one",
                code="MeterMustBeAssociatedToMeteredFeature",
            )
        check_meter(meter)
    if metered and body["featureType"] != "NUMBER":
        raise BadInput(
            f"meterType: a {body['featureType']} feature is not metered",
            code="MeteringNotAvailableForFeatureType",
        )
    if body.get("unitTransformation") is not None and not metered:
        raise BadInput("unitTransformation: only a metered feature has units to transform")
    _check_values(body)


def _check_values(body: Body) -> None:
    """Raises ``BadInput`` unless a feature has values if, and only if, it is an ENUM."""
    values = _values(body)
    if len(values) != len(set(values)):
        raise BadInput("enumConfiguration: a value occurs twice")
    if body["featureType"] == "ENUM" and not values:
        raise BadInput("enumConfiguration: an ENUM feature needs at least one value")
    if body["featureType"] != "ENUM" and values:
        raise BadInput(f"enumConfiguration: a {body['featureType']} feature has no values")


def _values(body: Body) -> list[str]:
    return [item["value"] for item in body.get("enumConfiguration") or ()]


def _check_change(
    transaction: Transaction, environment: str, feature: str, before: Body, body: Body, now: Instant
) -> None:
    """Raises ``BadInput`` for a change that would give what somebody has another meaning."""
    if body.get("unitTransformation") != before.get("unitTransformation"):
        by = in_use.granted_by(transaction, environment, feature, now)
        if by is not None:
            raise BadInput(
                f"unitTransformation: feature {feature!r} is granted by {by}",
                code="CannotUpdateUnitTransformationError",
            )
    gone = set(_values(before)) - set(_values(body))
    used = gone & in_use.values_granted(transaction, environment, feature, now) if gone else set()
    if used:
        raise BadInput(
            f"enumConfiguration: value {min(used)!r} of feature {feature!r} is granted; "
            f"remove it there first"
        )


def _has_usage(transaction: Transaction, environment: str, feature: str) -> bool:
    return (
        transaction.one(COUNTED, environment, feature) is not None
        or transaction.one(WAITING, environment, feature) is not None
    )


def _write(
    transaction: Transaction, environment: str, feature: str, body: Body, now: Instant
) -> None:
    values = (encode(body), fed_by_of(body), now)
    transaction.run(UPDATE_FEATURE, *values, environment, feature)
    record_change(transaction, environment, EVERYONE, now, f"feature:{feature}")


def _row(transaction: Transaction, environment: str, feature: str) -> Row:
    row = transaction.one(SELECT_FEATURE, environment, feature)
    if row is None:
        raise NotFound(f"no feature {feature!r}", code="FeatureNotFound")
    return row


def _answer(row: Row) -> Body:
    feature, created_at, updated_at, text, _ = cast("tuple[str, int, int, str, str]", row)
    body = decode(text)
    return {
        "id": feature,
        "displayName": body["displayName"],
        "description": body.get("description"),
        "featureType": body["featureType"],
        "featureStatus": body["featureStatus"],
        "meterType": body["meterType"],
        "meter": body.get("meter"),
        "enumConfiguration": body.get("enumConfiguration"),
        "unitTransformation": body.get("unitTransformation"),
        "featureUnits": body.get("featureUnits"),
        "featureUnitsPlural": body.get("featureUnitsPlural"),
        "metadata": body["metadata"],
        "createdAt": shown(created_at),
        "updatedAt": shown(updated_at),
    }
