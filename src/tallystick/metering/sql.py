"""SQL text that carries its parameters, so that the two never come out of step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL; each ``?`` in ``text`` has its value in ``params``, in order."""

    text: str
    params: tuple[Any, ...] = ()

    def __add__(self, other: Sql | str) -> Sql:
        if isinstance(other, str):
            return Sql(self.text + other, self.params)
        return Sql(self.text + other.text, self.params + other.params)

    def __radd__(self, other: str) -> Sql:
        return Sql(other + self.text, self.params)

    def join(self, pieces: Iterable[Sql]) -> Sql:
        """The pieces with this between them."""
        listed = list(pieces)
        text = self.text.join(piece.text for piece in listed)
        return Sql(text, tuple(value for piece in listed for value in piece.params))


def param(value: Any) -> Sql:
    """A placeholder with its value."""
    return Sql("?", (value,))


def one_of(column: str, values: Sequence[str], kind: str = "VARCHAR") -> Sql:
    """Whether a column, of a type ``kind``, is one of these values; NULL where it is NULL.

    Several are one parameter: an expression for each takes DuckDB more than a second to plan when
    there are some thousands, and each row the longer the more there are.
    """
    if len(values) == 1:
        return Sql(f"{column} = CAST(") + param(values[0]) + f" AS {kind})"
    return Sql("list_contains(CAST(") + param(list(values)) + f" AS {kind}[]), {column})"


ANY: Final = Sql(" OR ")
ALL: Final = Sql(" AND ")
NOTHING: Final = Sql("false")
