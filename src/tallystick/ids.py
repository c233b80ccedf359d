"""Random identifiers come in through this door only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

_HEX_DIGITS = 32
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def new_id() -> str:
    """A random UUID (version 4), as Stigg's own ids look."""
    return next(new_ids(1))


def new_ids(count: int) -> Iterator[str]:
    """So many of them. The system is asked for randomness once, and ``uuid.UUID`` not at all: each
    would take longer than everything else a report does with its id."""
    pool = os.urandom(_HEX_DIGITS // 2 * count).hex()
    for place in range(0, len(pool), _HEX_DIGITS):
        hex_ = pool[place : place + _HEX_DIGITS]
        yield (
            f"{hex_[:8]}-{hex_[8:12]}-4{hex_[13:16]}-{_VARIANT[hex_[16]]}{hex_[17:20]}-{hex_[20:]}"
        )


def new_api_key(kind: str) -> str:
    """A fresh key, ``server-…`` or ``client-…``, with 192 bits of randomness."""
    return f"{kind}-{secrets.token_hex(24)}"


def new_token() -> int:
    """63 random bits."""
    return secrets.randbits(63)
