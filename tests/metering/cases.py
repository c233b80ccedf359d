"""One table of what meters make of events, for every evaluator to run.

A case is an event as it is sent, a meter, and what comes out: whether it counts, the number that
SUM, MIN, MAX and AVG take, the text that UNIQUE takes. Values are written as JSON, so that a
literal is just the one that is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from tallystick.core.meters import Aggregation, Condition, Filter, Meter, Operation
from tallystick.core.parts import Function

ABSENT = "absent"
"""In the place of a value: the event has other dimensions."""
NO_DIMENSIONS = "no dimensions"


@dataclass(frozen=True)
class Sent:
    """An event as it is sent; ``dimensions`` is JSON."""

    dimensions: str = "{}"
    name: str = "call"
    customer: str = "acme"
    resource: str | None = None

    def body(self, key: str, timestamp: str) -> bytes:
        """The request that sends it."""
        fields = {
            "customerId": self.customer,
            "eventName": self.name,
            "idempotencyKey": key,
            "timestamp": timestamp,
        }
        if self.resource is not None:
            fields["resourceId"] = self.resource
        text = json.dumps(fields, ensure_ascii=False)
        dimensions = (
            "" if self.dimensions == NO_DIMENSIONS else f', "dimensions": {self.dimensions}'
        )
        return f'{{"events": [{text[:-1]}{dimensions}}}]}}'.encode()


@dataclass(frozen=True)
class Case:
    """What must come out: None when the event does not count, else (number, text)."""

    sent: Sent
    meter: Meter
    result: tuple[Decimal | None, str | None] | None

    def __str__(self) -> str:
        sent = ", ".join(f"{k}={v}" for k, v in vars(self.sent).items() if v is not None)
        conditions = " or ".join(
            " and ".join(
                f"{c.field} {c.operation} {c.value if c.values is None else list(c.values)}"
                for c in one.conditions
            )
            for one in self.meter.filters
        )
        aggregation = self.meter.aggregation
        return f"{sent} | {conditions} | {aggregation.function} {aggregation.field or ''}"


COUNTS = (None, None)


def meter(
    *filters: tuple[Condition, ...], function: Function = "COUNT", field: str | None = None
) -> Meter:
    """A meter of alternatives, each a tuple of conditions."""
    return Meter(tuple(Filter(conditions) for conditions in filters), Aggregation(function, field))


def condition(field: str, operation: Operation, value: str | list[str] | None) -> Condition:
    """A condition; a list is for IN."""
    if isinstance(value, list):
        return Condition(field, operation, values=tuple(value))
    return Condition(field, operation, value)


def sent_x(value: str) -> Sent:
    """An event whose dimension ``x`` is this JSON."""
    if value == ABSENT:
        return Sent('{"y": 1}')
    return Sent(NO_DIMENSIONS if value == NO_DIMENSIONS else f'{{"x": {value}}}')


# (value of x as JSON, operation, what it is compared with, whether it matches)
COMPARED: list[tuple[str, Operation, str | list[str] | None, bool]] = [
    # numbers are compared as numbers, however they are written
    ("1", "EQUALS", "1", True),
    ("1", "EQUALS", "1.0", True),
    ("1", "EQUALS", "1e0", True),
    ("1.0", "EQUALS", "1", True),
    ("1e0", "EQUALS", "1", True),
    ("10e-1", "EQUALS", "1", True),
    ("1.50", "EQUALS", "1.5", True),
    ("100", "EQUALS", "1E2", True),
    ("100", "EQUALS", "1e+2", True),
    ("1", "EQUALS", "2", False),
    ("1", "EQUALS", "-1", False),
    ("-0", "EQUALS", "0", True),
    ("0", "EQUALS", "-0", True),
    ("-0.0", "EQUALS", "0", True),
    ('"-0"', "EQUALS", "0", True),
    ("0", "EQUALS", "0e99", True),
    ("0.1", "EQUALS", "0.1", True),
    ("0.30000000000000004", "EQUALS", "0.3", True),  # rounds to nine decimals
    ("0.300000001", "EQUALS", "0.3", False),
    ("1.0000000005", "EQUALS", "1.000000001", True),
    ("1e-10", "EQUALS", "0", True),
    ("-5e-10", "EQUALS", "-0.000000001", True),
    # a string that is, whole, a number counts as its number
    ('"1"', "EQUALS", "1", True),
    ('"1.0"', "EQUALS", "1", True),
    ('"1e0"', "EQUALS", "1", True),
    ('"1000000e-6"', "EQUALS", "1", True),
    ('" 1"', "EQUALS", "1", False),
    ('"1 "', "EQUALS", "1", False),
    ('"+1"', "EQUALS", "1", False),
    ('"01"', "EQUALS", "1", False),
    ('"1."', "EQUALS", "1", False),
    ('".5"', "EQUALS", "0.5", False),
    ('"1_000"', "EQUALS", "1000", False),
    ('"1,000"', "EQUALS", "1000", False),
    ('"0x10"', "EQUALS", "16", False),
    ('"1e"', "EQUALS", "1", False),
    ('"١"', "EQUALS", "1", False),  # an Arabic-Indic one
    ('"1\\n"', "EQUALS", "1", False),
    ('"NaN"', "EQUALS", "NaN", True),  # text
    ('"Infinity"', "GREATER_THAN", "5", True),  # text, and I is after 5
    ("1", "EQUALS", "+1", False),  # the condition is text here, and '1' is not '+1'
    ("1", "EQUALS", " 1", False),
    ("1", "EQUALS", "01", False),
    # text is compared as text, case-sensitively
    ('"eu"', "EQUALS", "eu", True),
    ('"eu"', "EQUALS", "EU", False),
    ('"eu"', "EQUALS", "eu ", False),
    ('"eu"', "EQUALS", "e", False),
    ('""', "EQUALS", "", True),
    ('""', "EQUALS", "0", False),
    ('"é"', "EQUALS", "é", True),
    ('"e\\u0301"', "EQUALS", "é", False),  # not normalised
    ('"\\u00e9"', "EQUALS", "é", True),
    ('"😀"', "EQUALS", "😀", True),
    ('"\\ud83d\\ude00"', "EQUALS", "😀", True),
    ('"it\'s"', "EQUALS", "it's", True),
    ('"a\\"b"', "EQUALS", 'a"b', True),
    ('"a\\\\b"', "EQUALS", "a\\b", True),
    ('"a\\nb"', "EQUALS", "a\nb", True),
    ('"\' OR 1=1 --"', "EQUALS", "' OR 1=1 --", True),
    ('"eu"', "EQUALS", "' OR '1'='1", False),
    ('"eu"', "EQUALS", "eu'); DROP TABLE events; --", False),
    ('"?"', "EQUALS", "?", True),
    ('"$1"', "EQUALS", "$1", True),
    ('"{}"', "EQUALS", "{}", True),
    ('"null"', "EQUALS", "null", True),
    ('"[1]"', "EQUALS", "[1]", True),
    # booleans are their names, and no numbers
    ("true", "EQUALS", "true", True),
    ("false", "EQUALS", "false", True),
    ("true", "EQUALS", "True", False),
    ("true", "EQUALS", "1", False),
    ("false", "EQUALS", "0", False),
    ('"true"', "EQUALS", "true", True),
    ("true", "GREATER_THAN", "0", True),  # as text, t is after 0
    # long ids and sizes keep every digit
    ("12345678901234567890", "EQUALS", "12345678901234567890", True),
    ("12345678901234567890", "EQUALS", "12345678901234567891", False),
    ("12345678901234567890", "LESS_THAN", "12345678901234567891", True),
    ('"12345678901234567890"', "EQUALS", "12345678901234567890", True),
    ("9223372036854775808", "GREATER_THAN", "9223372036854775807", True),
    ("18446744073709551616", "EQUALS", "18446744073709551616", True),
    ("123456789012345678901234567890", "EQUALS", "123456789012345678901234567890", True),
    ("123456789012345678901234567890", "EQUALS", "123456789012345678901234567891", False),
    ('"123456789012345678901234567890"', "EQUALS", "123456789012345678901234567890", True),
    ("123456789012345678901234567890", "LESS_THAN", "123456789012345678901234567891", True),
    ("123456789012345678901234567890", "EQUALS", "1.2345678901234567890123456789e29", True),
    ("123456789012345678901234567890", "GREATER_THAN", "5", True),
    ("-123456789012345678901234567890", "LESS_THAN", "5", True),
    ("-123456789012345678901234567890", "GREATER_THAN", "5", False),
    ("5", "LESS_THAN", "123456789012345678901234567890", True),
    ("5", "LESS_THAN", "-123456789012345678901234567890", False),
    ("5", "GREATER_THAN", "-123456789012345678901234567890", True),
    ("5", "EQUALS", "123456789012345678901234567890", False),
    ("5", "NOT_EQUALS", "123456789012345678901234567890", True),
    ("1" + "0" * 50, "EQUALS", "1e50", True),
    ("1e50", "EQUALS", "1" + "0" * 50, True),
    ("1e400", "EQUALS", "1e400", True),
    ("1e400", "EQUALS", "10e399", True),
    ("1e400", "EQUALS", "1e401", False),
    ('"10e399"', "EQUALS", "1e400", True),
    ("1e400", "GREATER_THAN", "1e399", True),
    ("9e400", "GREATER_THAN", "1e401", False),
    ("-1e400", "LESS_THAN", "-1e399", True),
    ("-1e400", "LESS_THAN", "1e399", True),
    ("-1e400", "GREATER_THAN", "1e399", False),
    ("1e400", "GREATER_THAN", "-1e401", True),
    ("1e400", "NOT_EQUALS", "1e400", False),
    ("-1e400", "EQUALS", "1e400", False),
    ("1e-400", "EQUALS", "0", True),
    ('"1e-99999999999"', "EQUALS", "0", True),
    ('"1e99999999999"', "GREATER_THAN", "5", True),
    ('"' + "1" * 60 + 'e-59"', "GREATER_THAN", "1.1", True),
    ('"1' + "0" * 60 + 'e-60"', "EQUALS", "1", True),
    # order
    ("10", "GREATER_THAN", "9", True),
    ('"10"', "GREATER_THAN", "9", True),
    ("9", "GREATER_THAN", "10", False),
    ("10", "GREATER_THAN", "10", False),
    ("10", "GREATER_THAN_OR_EQUAL", "10", True),
    ("10", "GREATER_THAN_OR_EQUAL", "10.0", True),
    ("9.999999999", "GREATER_THAN_OR_EQUAL", "10", False),
    ("10", "LESS_THAN", "10", False),
    ("10", "LESS_THAN_OR_EQUAL", "10", True),
    ("-5", "LESS_THAN", "-4", True),
    ("-5", "LESS_THAN", "3", True),
    ("0.1", "LESS_THAN", "0.2", True),
    ("1e3", "GREATER_THAN", "999", True),
    ('"b"', "GREATER_THAN", "a", True),
    ('"B"', "GREATER_THAN", "a", False),  # upper case is before lower case
    ('"10"', "GREATER_THAN", "a", False),
    ('"v10"', "GREATER_THAN", "v9", False),  # text
    ('"b"', "LESS_THAN_OR_EQUAL", "b", True),
    ('"a"', "GREATER_THAN", "", True),
    ('""', "LESS_THAN", "a", True),
    ('"z"', "LESS_THAN", "é", True),  # by code point
    ("5", "LESS_THAN", "abc", True),  # one side is text: as text
    ('"abc"', "GREATER_THAN", "5", True),
    ('"abc"', "LESS_THAN", "1e400", False),
    ('"2026-01-02"', "GREATER_THAN", "2026-01-01", True),
    ('"2026-01-02"', "GREATER_THAN", "2025", True),
    # NOT_EQUALS
    ("1", "NOT_EQUALS", "2", True),
    ("1", "NOT_EQUALS", "1.0", False),
    ('"eu"', "NOT_EQUALS", "us", True),
    ('"eu"', "NOT_EQUALS", "eu", False),
    ('"eu"', "NOT_EQUALS", "1", True),
    ("1", "NOT_EQUALS", "eu", True),
    ('""', "NOT_EQUALS", "eu", True),
    # IN
    ('"eu"', "IN", ["us", "eu"], True),
    ('"eu"', "IN", ["us", "uk"], False),
    ("1", "IN", ["eu", "1.0"], True),
    ('"1.0"', "IN", ["1"], True),
    ('"eu"', "IN", ["1", "eu", "1e400"], True),
    ("1e400", "IN", ["1", "eu", "1e400"], True),
    ("1", "IN", ["1e400"], False),
    ('"a,b"', "IN", ["a", "b"], False),
    ('"a,b"', "IN", ["a,b"], True),
    ('""', "IN", [""], True),
    # text operators take text; a number is written canonically
    ('"gpt-4-turbo"', "CONTAINS", "4-t", True),
    ('"gpt-4-turbo"', "CONTAINS", "GPT", False),
    ('"gpt-4-turbo"', "CONTAINS", "", True),
    ('"100%"', "CONTAINS", "%", True),
    ('"100"', "CONTAINS", "%", False),
    ('"a_b"', "CONTAINS", "_", True),
    ('"ab"', "CONTAINS", "_", False),
    ('"a.b"', "CONTAINS", ".", True),
    ('"ab"', "CONTAINS", ".", False),
    ('"ab"', "CONTAINS", ".*", False),
    ('"a\\\\b"', "CONTAINS", "\\", True),
    ('"x😀y"', "CONTAINS", "😀", True),
    ("1.50", "CONTAINS", ".5", True),
    ("1.50", "CONTAINS", ".50", False),
    ('"1.50"', "CONTAINS", ".50", True),
    ("1e3", "CONTAINS", "e", False),
    ("1e3", "EQUALS", "1000", True),
    ("true", "CONTAINS", "ru", True),
    ('"gpt-4"', "STARTS_WITH", "gpt", True),
    ('"gpt-4"', "STARTS_WITH", "4", False),
    ('"gpt-4"', "STARTS_WITH", "", True),
    ('"gpt-4"', "STARTS_WITH", "g%", False),
    ('"gpt-4"', "STARTS_WITH", "_pt", False),
    ("42", "STARTS_WITH", "4", True),
    ("42.0", "STARTS_WITH", "42.", False),
    ('"report.pdf"', "ENDS_WITH", ".pdf", True),
    ('"report.pdf"', "ENDS_WITH", ".PDF", False),
    ('"report.pdf"', "ENDS_WITH", "%pdf", False),
    ('"report.pdf"', "ENDS_WITH", "_pdf", False),
    ("42", "ENDS_WITH", "2", True),
    ("1e21", "ENDS_WITH", "000", True),
    ("1e400", "STARTS_WITH", "1E+400", True),
    ("1e-7", "STARTS_WITH", "0.0000001", True),
    # missing and null match nothing but IS_NULL
    ('"a"', "IS_NULL", None, False),
    ('"a"', "IS_NOT_NULL", None, True),
    ('""', "IS_NULL", None, False),
    ('""', "IS_NOT_NULL", None, True),
    ("0", "IS_NOT_NULL", None, True),
    ("false", "IS_NULL", None, False),
    ('"null"', "IS_NULL", None, False),
    ("null", "IS_NULL", None, True),
    ("null", "IS_NOT_NULL", None, False),
    ("null", "EQUALS", "null", False),
    ("null", "EQUALS", "", False),
    ("null", "NOT_EQUALS", "a", False),
    (ABSENT, "IS_NULL", None, True),
    (ABSENT, "IS_NOT_NULL", None, False),
    (ABSENT, "EQUALS", "", False),
    (ABSENT, "NOT_EQUALS", "a", False),
    (ABSENT, "NOT_EQUALS", "1", False),
    (ABSENT, "NOT_EQUALS", "1e400", False),
    (ABSENT, "LESS_THAN", "1", False),
    (ABSENT, "GREATER_THAN", "", False),
    (ABSENT, "GREATER_THAN", "1e400", False),
    (ABSENT, "CONTAINS", "", False),
    (ABSENT, "STARTS_WITH", "", False),
    (ABSENT, "ENDS_WITH", "", False),
    (ABSENT, "IN", ["", "1"], False),
    (NO_DIMENSIONS, "IS_NULL", None, True),
    (NO_DIMENSIONS, "NOT_EQUALS", "a", False),
]

# (value of x as JSON, the number of it that counts, or None when it is skipped)
NUMBERS: list[tuple[str, str | None]] = [
    ("5", "5"),
    ("-5", "-5"),
    ("0", "0"),
    ("-0", "0"),
    ("0.1", "0.1"),
    ("1.5e3", "1500"),
    ('"5"', "5"),
    ('"5.25"', "5.25"),
    ('"1e2"', "100"),
    ('"1' + "0" * 60 + 'e-60"', "1"),
    ("0.123456789", "0.123456789"),
    ("0.1234567894", "0.123456789"),
    ("0.1234567895", "0.123456790"),
    ("-0.1234567895", "-0.123456790"),
    ("0.12345678949999999999999999999", "0.123456789"),
    ("5e-10", "0.000000001"),
    ("-5e-10", "-0.000000001"),
    ("4e-10", "0"),
    ("1e-400", "0"),
    ('"1e-99999999999"', "0"),
    ('"-1e-99999999999"', "0"),
    ("999999999999999999", "999999999999999999"),
    ("999999999999999999.999999999", "999999999999999999.999999999"),
    ("999999999999999999.9999999999", None),  # rounds to 10**18
    ("1000000000000000000", None),
    ("-1000000000000000000", None),
    ("-999999999999999999.999999999", "-999999999999999999.999999999"),
    ("1e18", None),
    ("9223372036854775807", None),
    ("12345678901234567890", None),
    ("123456789012345678901234567890", None),
    ("1e400", None),
    ('"1e400"', None),
    ("9007199254740993", "9007199254740993"),  # not a double
    ("0.1e1", "1"),
    ("123456789.123456789", "123456789.123456789"),
    ("true", None),
    ("false", None),
    ("null", None),
    (ABSENT, None),
    (NO_DIMENSIONS, None),
    ('""', None),
    ('"five"', None),
    ('" 5"', None),
    ('"5 "', None),
    ('"+5"', None),
    ('"05"', None),
    ('"5."', None),
    ('".5"', None),
    ('"5_0"', None),
    ('"1,5"', None),
    ('"0x5"', None),
    ('"NaN"', None),
    ('"Infinity"', None),
    ('"5€"', None),
    ('"--5"', None),
]

# (value of x as JSON, the text that UNIQUE sees, or None when it is ignored)
TEXTS: list[tuple[str, str | None]] = [
    ("1", "1"),
    ("1.0", "1"),
    ("1e0", "1"),
    ("1.00e+0", "1"),
    ('"1"', "1"),
    ('"1.0"', "1.0"),
    ('"1e0"', "1e0"),
    ("-0", "0"),
    ("-0.0", "0"),
    ('"-0"', "-0"),
    ("1.50", "1.5"),
    ("0.1", "0.1"),
    ("100", "100"),
    ("1e2", "100"),
    ("1e20", "100000000000000000000"),
    ("1e21", "1000000000000000000000"),
    ("12345678901234567890", "12345678901234567890"),
    ("-9223372036854775809", "-9223372036854775809"),
    ("123456789012345678901234567890", "123456789012345678901234567890"),
    ("0.1234567890123456789012345", "0.1234567890123456789012345"),
    ("0.00001", "0.00001"),
    ("1e-7", "0.0000001"),
    ("123456789012345.5", "123456789012345.5"),
    ("1234567890123456.5", "1234567890123456.5"),
    ("1e400", "1E+400"),
    ("10e399", "1E+400"),
    ("-1.50e400", "-1.5E+400"),
    ("1e-400", "1E-400"),
    ("9" * 50, "9." + "9" * 49 + "E+49"),
    ('"eu"', "eu"),
    ('"EU"', "EU"),
    ('""', ""),
    ('" "', " "),
    ('"😀"', "😀"),
    ('"a\\"b"', 'a"b'),
    ('"line\\nbreak"', "line\nbreak"),
    ("true", "true"),
    ("false", "false"),
    ("null", None),
    ('"null"', "null"),
    (ABSENT, None),
    (NO_DIMENSIONS, None),
]

# (name of a dimension, the field that addresses it)
NAMES: list[tuple[str, str]] = [
    ("tokens", "tokens"),
    ("tokens", "dimensions.tokens"),
    ("eventName", "dimensions.eventName"),
    ("customerId", "dimensions.customerId"),
    ("resourceId", "dimensions.resourceId"),
    ("dimensions.x", "dimensions.dimensions.x"),
    ("a.b", "a.b"),
    ("a.b", "dimensions.a.b"),
    ("a/b", "a/b"),
    ("/", "/"),
    ("a~b", "a~b"),
    ("a~1b", "a~1b"),
    ("~0", "~0"),
    ('a"b', 'a"b'),
    ("it's", "it's"),
    ("a b", "a b"),
    ("a\\b", "a\\b"),
    ("*", "*"),
    ("#", "#"),
    ("0", "0"),
    ("-1", "-1"),
    ("[0]", "[0]"),
    ("$", "$"),
    ("$.x", "$.x"),
    ("?", "?"),
    ("é", "é"),
    ("😀", "😀"),
    ("x'); DROP TABLE events; --", "x'); DROP TABLE events; --"),
    ("t0", "t0"),
    ("environment", "environment"),
    ("EventName", "EventName"),
    ("timestamp", "timestamp"),
]


def _reserved() -> Iterator[Case]:
    """Fields of the event itself, and dimensions that share their names."""
    rows: list[tuple[Sent, Condition, bool]] = [
        (Sent(), condition("eventName", "EQUALS", "call"), True),
        (Sent(), condition("eventName", "EQUALS", "Call"), False),
        (Sent(), condition("eventName", "NOT_EQUALS", "other"), True),
        (Sent(), condition("eventName", "STARTS_WITH", "ca"), True),
        (Sent(), condition("eventName", "STARTS_WITH", "c%"), False),
        (Sent(), condition("eventName", "IN", ["a", "call"]), True),
        (Sent(), condition("eventName", "IN", ["a", "b"]), False),
        (Sent(), condition("eventName", "IS_NULL", None), False),
        (Sent(), condition("eventName", "EQUALS", "$usage.reported"), False),
        (Sent(), condition("eventName", "IN", ["$usage.reported", "call"]), True),
        (Sent(name="1.0"), condition("eventName", "EQUALS", "1"), True),
        (Sent(name="it's?"), condition("eventName", "EQUALS", "it's?"), True),
        (Sent(name="x"), condition("eventName", "EQUALS", "x' OR ''='"), False),
        (Sent('{"eventName": "b"}'), condition("eventName", "EQUALS", "b"), False),
        (Sent('{"eventName": "b"}'), condition("dimensions.eventName", "EQUALS", "b"), True),
        (Sent(), condition("dimensions.eventName", "EQUALS", "call"), False),
        (Sent(), condition("customerId", "EQUALS", "acme"), True),
        (Sent(), condition("customerId", "EQUALS", "Acme"), False),
        (Sent(customer="7"), condition("customerId", "GREATER_THAN", "6.5"), True),
        (Sent(customer="org|u@x.io"), condition("customerId", "ENDS_WITH", "@x.io"), True),
        (Sent('{"customerId": "z"}'), condition("customerId", "EQUALS", "z"), False),
        (Sent('{"customerId": "z"}'), condition("dimensions.customerId", "EQUALS", "z"), True),
        (Sent(resource="r1"), condition("resourceId", "EQUALS", "r1"), True),
        (Sent(resource="r1"), condition("resourceId", "IS_NOT_NULL", None), True),
        (Sent(), condition("resourceId", "IS_NULL", None), True),
        (Sent(), condition("resourceId", "NOT_EQUALS", "r1"), False),
        (Sent(), condition("resourceId", "EQUALS", ""), False),
        (Sent('{"resourceId": "r"}'), condition("resourceId", "IS_NULL", None), True),
        (Sent('{"timestamp": "t"}'), condition("timestamp", "EQUALS", "t"), True),
        (Sent('{"X": 1}'), condition("x", "EQUALS", "1"), False),  # names are case-sensitive too
    ]
    for sent, one, matches in rows:
        yield Case(sent, meter((one,)), COUNTS if matches else None)
    for sent, field, text in [
        (Sent(), "customerId", "acme"),
        (Sent(), "eventName", "call"),
        (Sent(resource="r1"), "resourceId", "r1"),
        (Sent(), "resourceId", None),
    ]:
        result = None if text is None else (None, text)
        yield Case(sent, meter((CALLED,), function="UNIQUE", field=field), result)
    sold = meter((CALLED,), function="SUM", field="customerId")
    yield Case(Sent(customer="12.5"), sold, (Decimal("12.5"), None))


def _combined() -> Iterator[Case]:
    """An event counts when one filter has all its conditions."""
    eu, big = condition("region", "EQUALS", "eu"), condition("size", "GREATER_THAN", "10")
    other = condition("eventName", "EQUALS", "other")
    rows: list[tuple[str, tuple[tuple[Condition, ...], ...], bool]] = [
        ('{"region": "eu", "size": 11}', ((CALLED, eu, big),), True),
        ('{"region": "eu", "size": 10}', ((CALLED, eu, big),), False),
        ('{"region": "eu"}', ((CALLED, eu, big),), False),
        ('{"region": "eu"}', ((CALLED, eu), (CALLED, big)), True),
        ('{"size": 11}', ((CALLED, eu), (CALLED, big)), True),
        ('{"size": 9}', ((CALLED, eu), (CALLED, big)), False),
        ('{"region": "eu"}', ((other,), (CALLED, eu)), True),
        ('{"region": "us"}', ((other,), (CALLED, eu)), False),
        ('{"region": "eu"}', ((CALLED, other),), False),
        ('{"region": "eu"}', ((eu,), (other,)), True),
        ('{"size": 11}', ((big, condition("size", "LESS_THAN", "20")),), True),
        ('{"size": 21}', ((big, condition("size", "LESS_THAN", "20")),), False),
        ('{"size": "11"}', ((big, condition("size", "STARTS_WITH", "1")),), True),
    ]
    for dimensions, filters, matches in rows:
        yield Case(Sent(dimensions), meter(*filters), COUNTS if matches else None)
    yield Case(Sent("null"), meter((condition("x", "IS_NULL", None),)), COUNTS)
    yield Case(Sent("{}"), meter((condition("x", "IS_NULL", None),)), COUNTS)
    both = meter((eu,), (big,), function="SUM", field="size")
    yield Case(Sent('{"region": "eu", "size": 12}'), both, (Decimal(12), None))  # once, not twice
    yield Case(Sent('{"region": "eu", "size": "x"}'), both, None)


CALLED = condition("eventName", "EQUALS", "call")


def _all() -> Iterator[Case]:
    for value, operation, other, matches in COMPARED:
        one = meter((CALLED, condition("x", operation, other)))
        yield Case(sent_x(value), one, COUNTS if matches else None)
    for value, number in NUMBERS:
        result = None if number is None else (Decimal(number), None)
        yield Case(sent_x(value), meter((CALLED,), function="SUM", field="x"), result)
    for value, text in TEXTS:
        seen = None if text is None else (None, text)
        yield Case(sent_x(value), meter((CALLED,), function="UNIQUE", field="x"), seen)
    for name, field in NAMES:
        dimensions = json.dumps({name: "found", "other": "no"}, ensure_ascii=False)
        unique = meter((condition(field, "EQUALS", "found"),), function="UNIQUE", field=field)
        yield Case(Sent(dimensions), unique, (None, "found"))
    yield from _reserved()
    yield from _combined()


CASES = tuple(_all())
