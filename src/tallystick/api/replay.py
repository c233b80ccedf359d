"""``Idempotency-Key``: the same request sent again gets the same answer.

Owns: the table ``replies`` of either store. The answer is kept in the transaction that did the
work, so both exist or neither: in state.db, or in inbox.db for events. An error is not kept,
because nothing was done. A key is one operation's (environment, method and path) and lasts
``limits.REPLAY_HOURS``. Who sends the same at the same moment, to whichever process, waits: writers
are serialised, so the second finds the reply of the first. Events and usage items carry keys of
their own besides (DESIGN 4).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, cast

import msgspec

from tallystick import limits
from tallystick.api.answers import Answer, Header, answer
from tallystick.api.http import Request, Route
from tallystick.clock import HOUR
from tallystick.errors import BadInput
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

KEY_HEADER: Final = b"idempotency-key"

_HEADERS: Final = msgspec.json.Decoder(list[tuple[str, str]]).decode

FIND = """
SELECT request, status, headers, body FROM replies
WHERE environment = ? AND method = ? AND path = ? AND key = ? AND made_at >= ?
"""
# A reply that has expired and is not gone yet (``archive/garbage.py``) is taken over.
KEEP = """
INSERT INTO replies (environment, method, path, key, request, status, headers, body, made_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (environment, method, path, key) DO UPDATE
SET request = excluded.request, status = excluded.status, headers = excluded.headers,
    body = excluded.body, made_at = excluded.made_at
"""


def answer_once(
    services: Services, route: Route, request: Request, raw_path: bytes, transaction: Transaction
) -> Answer:
    """Do the work of a keyed request, or answer as the first time.

    Raises ``BadInput`` for a key that is too long or was used for another request.
    """
    now = services.clock.now()
    scope = (request.environment, request.method, raw_path.decode("latin-1"), _key_of(request))
    digest = hashlib.sha256(request.body).digest()
    kept = transaction.one(FIND, *scope, now - limits.REPLAY_HOURS * HOUR)
    if kept is not None:
        return _again(digest, *cast("tuple[bytes, int, str, bytes]", kept))
    answered = answer(route.write(services, transaction, request), route.status)
    headers = _headers_text(answered.headers)
    transaction.run(KEEP, *scope, digest, answered.status, headers, answered.body, now)
    return answered


def _again(digest: bytes, first_digest: bytes, status: int, headers: str, body: bytes) -> Answer:
    if digest != first_digest:
        raise BadInput("Idempotency-Key: was used for another request within 24 hours")
    told = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _HEADERS(headers)]
    return Answer(status, [*told, (b"idempotency-replayed", b"true")], body)


def _headers_text(headers: list[Header]) -> str:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return msgspec.json.encode(pairs).decode()


def _key_of(request: Request) -> str:
    key = request.headers[KEY_HEADER].decode("latin-1")
    if not 1 <= len(key) <= limits.ID_CHARS_MAX:
        raise BadInput(f"Idempotency-Key: must have 1 to {limits.ID_CHARS_MAX} characters")
    return key
