"""From a meter to one SQL select over the relation ``events``.

Owns: what filters and fields mean (DESIGN 4.7). Promises: no text of a user is in the SQL, only in
its parameters; a row comes out for each event that counts, and for no other. Leaves to others:
placing in periods (``aggregate``), which events there are, which meters are valid
(``core.meters``).

A meter becomes two layers. The inner one reads the fields that the meter uses, once each, as text
(``t0``, ``t1``…) and, where a number is compared or measured, as a number (``n0``…). The outer one
filters and measures. Numbers are DECIMAL(38, 9), which holds 29 digits before the point; the few
that do not fit are compared by order of magnitude and digits (``numerals``), never as floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from tallystick import limits
from tallystick.core.meters import (
    EVENT_NAME,
    OURS_PREFIX,
    Aggregation,
    Condition,
    Filter,
    Meter,
    dimension_of,
    event_names,
    values_of,
)
from tallystick.core.numbers import parse_number
from tallystick.metering import numerals
from tallystick.metering.sql import ALL, ANY, NOTHING, Sql, one_of, param

OUTPUT: Final = "environment, customer, resource, event_time, number, text"
"""The columns of ``CompiledMeter.sql``; number and text are NULL where the function uses none."""

_NO_NUMBER: Final = "CAST(NULL AS DECIMAL(38, 9))"

SUMS: Final = ("first_us", "last_us", "count", "sum", "minimum", "maximum")
"""What ``sums_of`` tells of each meter, customer and resource: when the first and the last match
happened (microseconds), how many there are, and of their numbers what ``OUTPUT`` has."""

_GROUP_METERS_MAX: Final = 24
"""Meters that share a reading; DuckDB takes with the cube of their number to plan more of them."""

_NAMES_SPELLED_MAX: Final = 16
"""Event names told one by one, by which DuckDB passes over parts of archive files."""

_COLUMNS: Final = {EVENT_NAME: "event_name", "customerId": "customer", "resourceId": "resource"}
_COMPARISONS: Final = {
    "GREATER_THAN": ">",
    "GREATER_THAN_OR_EQUAL": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_OR_EQUAL": "<=",
}
_TEXT_FUNCTIONS: Final = {
    "CONTAINS": "contains",
    "STARTS_WITH": "starts_with",
    "ENDS_WITH": "ends_with",
}
_LARGEST: Final = f"{limits.QUANTITY_MAGNITUDE_MAX - 1}.999999999"


@dataclass(frozen=True, slots=True)
class CompiledMeter:
    """A meter as SQL.

    ``sql`` selects ``OUTPUT`` from ``events`` (resource '' for the customer itself); ``params`` go
    to its placeholders in order. ``event_names`` are those it can match, None being any.
    """

    meter: Meter
    sql: str
    params: tuple[Any, ...]
    event_names: frozenset[str] | None


Numbered: TypeAlias = tuple[int, CompiledMeter]


@lru_cache(maxsize=limits.METERS_COMPILED_MAX)
def compile_meter(meter: Meter) -> CompiledMeter:
    """The SQL of a meter that ``check_meter`` passed."""
    names = event_names(meter)
    fields = _Fields.of([meter])
    select = _select(meter, fields, fields.inner("events", names))
    return CompiledMeter(meter, select.text, select.params, names)


def union_of(compiled: Sequence[Numbered], relation: str = "events") -> tuple[str, list[Any]]:
    """One select of (meter_no, environment, customer, resource, event_time, number, text).

    Each meter comes with its number. Meters that take the same event names share the reading of
    fields: a field is then read once however many meters use it. ``relation`` is SQL of this
    package, never of a user.
    """
    return _joined(_union, compiled, relation)


def sums_of(compiled: Sequence[Numbered], relation: str = "events") -> tuple[str, list[Any]]:
    """One select of meter_no, customer, resource and ``SUMS``: what the rows of ``union_of`` add up
    to, without a row for what has none. The relation is of one environment.

    Meters with the same filters share a pass as well: three over the same events then cost little
    more than one (docs/decisions/0022).
    """
    return _joined(_sums, compiled, relation)


def _joined(
    make: Callable[[_Fields, Sequence[Numbered]], Sql], compiled: Sequence[Numbered], relation: str
) -> tuple[str, list[Any]]:
    """The selects of groups of meters that take the same event names, over fields read once.

    MATERIALIZED, because DuckDB would otherwise push filters below the inner layer and read fields
    twice. ``compile_meter`` does without: a history may be too long to keep.
    """
    groups: dict[frozenset[str] | None, list[Numbered]] = {}
    for number, one in compiled:
        groups.setdefault(one.event_names, []).append((number, one))
    selects = []
    for names, members in groups.items():
        for first in range(0, len(members), _GROUP_METERS_MAX):
            group = members[first : first + _GROUP_METERS_MAX]
            fields = _Fields.of([one.meter for _, one in group])
            inner = fields.inner(relation, names)
            selects.append(
                "SELECT * FROM (WITH fields AS MATERIALIZED " + inner + make(fields, group) + ")"
            )
    union = Sql(" UNION ALL ").join(selects)
    return union.text, list(union.params)


def _union(fields: _Fields, members: Sequence[Numbered]) -> Sql:
    """The matches of meters."""
    return " " + Sql(" UNION ALL ").join(
        Sql(f"SELECT CAST({number:d} AS INTEGER) AS meter_no, {OUTPUT} FROM (")
        + _select(one.meter, fields, Sql("fields"))
        + ")"
        for number, one in members
    )


def _sums(fields: _Fields, members: Sequence[Numbered]) -> Sql:
    """What the matches of meters add up to: in one pass each of those that share their filters, all
    others match by match, which DuckDB plans sooner."""
    by_filters: dict[tuple[Filter, ...], list[Numbered]] = {}
    for number, one in members:
        by_filters.setdefault(one.meter.filters, []).append((number, one))
    shared = [sharing for sharing in by_filters.values() if len(sharing) > 1]
    alone = [sharing[0] for sharing in by_filters.values() if len(sharing) == 1]
    tables, selects = Sql(""), []
    for place, sharing in enumerate(shared):
        table, select = _shared(f"added{place}", sharing, fields)
        tables += ", " + table
        selects.append(select)
    if alone:
        selects.append(_alone(alone, fields))
    return tables + " " + Sql(" UNION ALL ").join(selects)


def _alone(members: Sequence[Numbered], fields: _Fields) -> Sql:
    added = (
        "min(epoch_us(event_time))", "max(epoch_us(event_time))", "count(*)", "sum(number)",
        "min(number)", "max(number)",
    )  # fmt: skip
    columns = ", ".join(f"{one} AS {name}" for one, name in zip(added, SUMS, strict=True))
    matches = "(" + _union(fields, members) + ")"
    return (
        f"SELECT meter_no, customer, resource, {columns} FROM "
        + matches
        + " GROUP BY meter_no, customer, resource"
    )


def _shared(table: str, members: Sequence[Numbered], fields: _Fields) -> tuple[Sql, Sql]:
    """A table of what each customer's and resource's matches add up to, and a select of it all."""
    matched = _matched(members[0][1].meter.filters, fields)
    measures = [_measure(one.meter.aggregation, fields) for _, one in members]
    places = {one: place for place, one in enumerate(dict.fromkeys(measures))}
    selects = []
    for (number, _), measure in zip(members, measures, strict=True):
        place = places[measure]
        columns = ", ".join(f"{name}{place} AS {name}" for name in SUMS)
        selects.append(
            f"SELECT CAST({number:d} AS INTEGER) AS meter_no, customer, resource, {columns} "
            f"FROM {table} WHERE count{place} > 0"
        )
    made = f"{table} AS MATERIALIZED (" + _added(places, matched) + ")"
    return made, Sql(" UNION ALL ".join(selects))


def _added(measures: Iterable[_Measure], matched: Sql) -> Sql:
    """The columns ``SUMS`` of each measure, with its place as suffix, by customer and resource.

    What a measure does not count is NULL to it: DuckDB adds that up several times as fast as with a
    FILTER for every sum.
    """
    columns, sums = [], []
    for place, measure in enumerate(measures):
        at, number = f"at{place}", f"number{place}"
        columns.append(f"CASE WHEN {measure.counted} THEN epoch_us(event_time) END AS {at}")
        added = [f"min({at})", f"max({at})", f"count({at})"]
        if measure.number == _NO_NUMBER:
            added += [_NO_NUMBER] * 3
        else:
            columns.append(f"CASE WHEN {measure.counted} THEN {measure.number} END AS {number}")
            added += [f"sum({number})", f"min({number})", f"max({number})"]
        sums += [f"{one} AS {name}{place}" for one, name in zip(added, SUMS, strict=True)]
    read = f"SELECT customer, coalesce(resource, '') AS resource, {', '.join(columns)}"
    return (
        Sql(f"SELECT customer, resource, {', '.join(sums)} FROM ({read} FROM fields WHERE ")
        + matched
        + ") GROUP BY customer, resource"
    )


def _select(meter: Meter, fields: _Fields, source: Sql) -> Sql:
    """The outer layer: the events of ``source`` that count, and what of them."""
    number, text, counted = _measure(meter.aggregation, fields)
    matched = _matched(meter.filters, fields)
    columns = f"environment, customer, coalesce(resource, '') AS resource, event_time, {number} AS number, {text} AS text"  # noqa: E501
    return Sql(f"SELECT {columns} FROM ") + source + " AS read WHERE " + matched + f" AND {counted}"


class _Measure(NamedTuple):
    """What a function takes of an event, and which events have it."""

    number: str
    text: str
    counted: str


def _measure(aggregation: Aggregation, fields: _Fields) -> _Measure:
    number, text = _NO_NUMBER, "CAST(NULL AS VARCHAR)"
    if aggregation.function == "COUNT" or aggregation.field is None:
        return _Measure(number, text, "true")
    if aggregation.function == "UNIQUE":
        column = fields.text(aggregation.field)
        return _Measure(number, column, f"{column} IS NOT NULL")
    column = fields.number(aggregation.field)
    return _Measure(column, text, f"{column} BETWEEN -{_LARGEST} AND {_LARGEST}")


def _matched(filters: Iterable[Filter], fields: _Fields) -> Sql:
    """Whether one of these filters passes."""
    return "(" + ANY.join(_filter(one, fields) for one in filters) + ")"


def _filter(one: Filter, fields: _Fields) -> Sql:
    return "(" + ALL.join(_condition(condition, fields) for condition in one.conditions) + ")"


def _condition(condition: Condition, fields: _Fields) -> Sql:
    """Whether a condition holds; NULL, which does not match, where the field is missing."""
    text = fields.text(condition.field)
    operation, values = condition.operation, values_of(condition)
    if operation == "IS_NULL":
        return Sql(f"{text} IS NULL")
    if operation == "IS_NOT_NULL":
        return Sql(f"{text} IS NOT NULL")
    if operation in _TEXT_FUNCTIONS:
        return Sql(f"{_TEXT_FUNCTIONS[operation]}({text}, ") + param(values[0]) + ")"
    if operation in _COMPARISONS:
        return _ordered(condition.field, _COMPARISONS[operation], values[0], fields)
    equal = _equal(condition.field, values, fields)
    if operation == "NOT_EQUALS":
        return Sql(f"({text} IS NOT NULL AND NOT coalesce(") + equal + ", false))"
    return equal


def _equal(field: str, values: Sequence[str], fields: _Fields) -> Sql:
    """Whether a field equals any of the values: numbers as numbers, others as text."""
    text = fields.text(field)
    numbers = [number for number in map(parse_number, values) if number is not None]
    words = [value for value in values if parse_number(value) is None]
    near = [number for number in numbers if numerals.fits(number)]
    far = [number for number in numbers if not numerals.fits(number)]
    ways = []
    if words:
        ways.append(one_of(text, words))
    if near:
        ways.append(numerals.one_of_near(fields.number(field), near))
    if far:
        ways.append(numerals.one_of_far(text, far))
    return "(" + ANY.join(ways) + ")"


def _ordered(field: str, operator: str, value: str, fields: _Fields) -> Sql:
    """How a field stands to a value: as numbers when both are, else as text."""
    text, number = fields.text(field), parse_number(value)
    as_text = Sql(f"{text} {operator} ") + param(value)
    if number is None:
        return as_text
    column = fields.number(field)
    if numerals.fits(number):
        near = Sql(f"{column} {operator} ") + numerals.literal(number)
        far = Sql(numerals.beyond_stands(text, operator))
    else:
        near = Sql("true" if (number < 0) == (operator[0] == ">") else "false")
        far = numerals.compared(text, operator, number)
    return (
        Sql(f"CASE WHEN {column} IS NOT NULL THEN ") + near
        + f" WHEN {numerals.is_number(text)} THEN " + far + " ELSE " + as_text + " END"
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields that some meters use, and the columns of the inner layer that hold them."""

    dimensions: tuple[str, ...]
    numeric: tuple[str, ...]

    @classmethod
    def of(cls, meters: Iterable[Meter]) -> _Fields:
        used: dict[str, None] = {}
        numeric: dict[str, None] = {}
        for meter in meters:
            for field, as_number in _uses(meter):
                used[field] = None
                if as_number:
                    numeric[field] = None
        named = (dimension_of(field) for field in used)
        dimensions = dict.fromkeys(name for name in named if name is not None)
        return cls(tuple(dimensions), tuple(numeric))

    def text(self, field: str) -> str:
        """The column of a field's text."""
        dimension = dimension_of(field)
        if dimension is None:
            return _COLUMNS[field]
        return f"t{self.dimensions.index(dimension)}"

    def number(self, field: str) -> str:
        """The column of a field's number; NULL there when it is none, or does not fit."""
        column = self.text(field)
        return f"n_{column}"

    def inner(self, relation: str, names: frozenset[str] | None) -> Sql:
        """The inner layer in parentheses: the events of these names with the fields as columns."""
        columns = "environment, customer, resource, event_time, event_name"
        texts = [f"dims[{place + 1}] AS t{place}" for place in range(len(self.dimensions))]
        numbers = dict.fromkeys(map(self.text, self.numeric))
        read = Sql(f"SELECT {columns}")
        if self.dimensions:
            pointers = [pointer(name) for name in self.dimensions]
            read += Sql(", json_extract_string(dimensions, ") + param(pointers) + ") AS dims"
        read += Sql(f" FROM {relation} WHERE ") + _named(names)
        named = Sql(f"SELECT {', '.join([columns, *texts])} FROM (") + read + ")"
        parsed = "".join(f", {numerals.number(text)} AS n_{text}" for text in numbers)
        return Sql(f"(SELECT *{parsed} FROM (") + named + "))"


def _uses(meter: Meter) -> Iterable[tuple[str, bool]]:
    """The fields of a meter, each with whether it is needed as a number."""
    for one in meter.filters:
        for condition in one.conditions:
            compared = condition.operation not in _TEXT_FUNCTIONS
            numbers = map(parse_number, values_of(condition))
            yield condition.field, compared and any(number is not None for number in numbers)
    field = meter.aggregation.field
    if field is not None and meter.aggregation.function != "COUNT":
        yield field, meter.aggregation.function != "UNIQUE"


def _named(names: frozenset[str] | None) -> Sql:
    """Events of these names; never the product's own records."""
    if names is None:
        return Sql(f"NOT starts_with(event_name, '{OURS_PREFIX}')")
    allowed = sorted(name for name in names if not name.startswith(OURS_PREFIX))
    if not allowed:
        return NOTHING
    if len(allowed) > _NAMES_SPELLED_MAX:
        return one_of("event_name", allowed)
    return "event_name IN (" + Sql(", ").join(map(param, allowed)) + ")"


def pointer(dimension: str) -> str:
    """The JSON pointer to a dimension, which DuckDB takes for any name."""
    return "/" + dimension.replace("~", "~0").replace("/", "~1")
