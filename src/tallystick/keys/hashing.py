"""The hash that stands for a key.

Owns: a named, specified function, the same in Python and in SQL, so that what one version of the
product wrote another finds again. Leaves to others: which fields make a key.

``tallystick-key-1``: the MD5 digest of netstrings (each field as its length in UTF-8 bytes, a
colon, the field), the first of them the function's own name. The lengths keep ("ab", "c") and
("a", "bc") apart. The digest is read as one little-endian number of 128 bits, because that is how
DuckDB's ``md5_number`` reads it; ``hi`` is its upper half and ``lo`` its lower.

MD5, because DuckDB has it and it is the fastest it has with 128 bits. It does not withstand someone
who searches for two texts of one hash; all such a person gains is that their own second event
counts as a repetition of their first, which sending the same key twice achieves as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

KEY_TAG: Final = "tallystick-key-1"

_TAGGED: Final = f"{len(KEY_TAG)}:{KEY_TAG}".encode()
_HALF_BITS: Final = 64
_HALF_MASK: Final = (1 << _HALF_BITS) - 1


def key_hash(*fields: str) -> bytes:
    """The 16 bytes of the digest: the reference the SQL is tested against."""
    netstrings = "".join([f"{len(field)}:{field}" for field in fields])
    if not netstrings.isascii():  # then lengths in bytes are others
        netstrings = "".join([f"{len(field.encode())}:{field}" for field in fields])
    return hashlib.md5(_TAGGED + netstrings.encode(), usedforsecurity=False).digest()


def key_hash_sql(columns: Sequence[str]) -> tuple[str, str]:
    """DuckDB expressions for ``hi`` and ``lo`` (UBIGINT) of the VARCHAR columns.

    ``columns`` are expressions of this package, never user text. None may be NULL: DuckDB's
    ``concat`` leaves a NULL out, so that the fields after it would move up. The two expressions
    share one digest when they stand in one SELECT (measured: 0.4 µs for both).
    """
    fields = ", ".join(f"strlen({column}), ':', {column}" for column in columns)
    number = f"md5_number(concat('{len(KEY_TAG)}:{KEY_TAG}', {fields}))"
    return (
        f"CAST({number} >> {_HALF_BITS} AS UBIGINT)",
        f"CAST({number} & CAST({_HALF_MASK} AS UHUGEINT) AS UBIGINT)",
    )
