"""Query parameters that only the catalog's lists take."""

from __future__ import annotations

from collections.abc import Collection

from tallystick.api.http import QueryString
from tallystick.errors import BadInput


def one_of(query: QueryString, name: str, known: Collection[str]) -> set[str]:
    """The values of a filter, empty when it is absent; raises ``BadInput`` for an unknown one."""
    values = set(query.list(name))
    for value in values.difference(known):
        raise BadInput(f"{name}: {value[:50]!r} is none of {', '.join(known)}")
    return values
