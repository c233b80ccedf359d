"""A mergeable part of an aggregate.

The law, and the test: folding a list of events equals merging the folds of its pieces, wherever
it is cut and in whatever order the pieces come.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Literal

import msgspec

Function = Literal["COUNT", "UNIQUE", "SUM", "MIN", "MAX", "AVG"]

ZERO = Decimal(0)
# ROUND_HALF_UP of this library rounds half away from zero. 80 digits hold any sum we can meet.
CONTEXT = Context(prec=80, rounding=ROUND_HALF_UP)
_NINE_PLACES = Decimal("1e-9")


class Part(msgspec.Struct, frozen=True):
    """What some events add up to.

    ``count`` counts events, of UNIQUE the values not seen before; ``sum`` is exact; ``minimum`` and
    ``maximum`` are None when there was no number.
    """

    count: int = 0
    sum: Decimal = ZERO
    minimum: Decimal | None = None
    maximum: Decimal | None = None

    def merge(self, other: Part) -> Part:
        """Both parts together."""
        return Part(
            self.count + other.count,
            CONTEXT.add(self.sum, other.sum),
            _extreme(min, self.minimum, other.minimum),
            _extreme(max, self.maximum, other.maximum),
        )

    def value(self, function: Function) -> Decimal:
        """The aggregate; AVG rounds half away from zero to 9 decimals; nothing is 0."""
        match function:
            case "COUNT" | "UNIQUE":
                return Decimal(self.count)
            case "SUM":
                return self.sum
            case "MIN":
                return self.minimum if self.minimum is not None else ZERO
            case "MAX":
                return self.maximum if self.maximum is not None else ZERO
            case "AVG":
                if self.count == 0:
                    return ZERO
                mean = CONTEXT.divide(self.sum, Decimal(self.count))
                return mean.quantize(_NINE_PLACES, context=CONTEXT)


def _extreme(
    choose: Callable[[Decimal, Decimal], Decimal], a: Decimal | None, b: Decimal | None
) -> Decimal | None:
    if a is None:
        return b
    return a if b is None else choose(a, b)
