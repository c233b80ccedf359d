"""Random identifiers come in through this door only."""

from __future__ import annotations

import secrets
import uuid


def new_id() -> str:
    """A random UUID (version 4), as Stigg's own ids look."""
    return str(uuid.uuid4())


def new_api_key(kind: str) -> str:
    """A fresh key, ``server-…`` or ``client-…``, with 192 bits of randomness."""
    return f"{kind}-{secrets.token_hex(24)}"


def new_token() -> int:
    """63 random bits."""
    return secrets.randbits(63)
