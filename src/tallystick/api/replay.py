"""``Idempotency-Key``: the same request sent again gets the same answer.

Owns: the table ``replies``. The answer is kept in the transaction that did the work, so both exist
or neither; an error is not kept, because nothing was done. A key is one environment's and lasts
``limits.REPLAY_HOURS``. Events and usage items carry keys of their own besides (DESIGN 4).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, cast

from tallystick import limits
from tallystick.api.answers import JSON, Answer, answer
from tallystick.api.http import Handler, Request, Route
from tallystick.clock import HOUR
from tallystick.errors import BadInput
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

KEY_HEADER: Final = b"idempotency-key"

FIND = "SELECT request, status, body FROM replies WHERE environment = ? AND key = ?"
KEEP = """
INSERT INTO replies (environment, key, request, status, body, made_at) VALUES (?, ?, ?, ?, ?, ?)
"""
EXPIRE = "DELETE FROM replies WHERE made_at < ?"


def answer_once(
    services: Services, route: Route, request: Request, raw_path: bytes, transaction: Transaction
) -> Answer:
    """Do the work of a keyed request, or answer as the first time.

    Raises ``BadInput`` for a key that is too long or was used for another request.
    """
    now = services.clock.now()
    transaction.run(EXPIRE, now - limits.REPLAY_HOURS * HOUR)
    key, digest = _key_of(request), _digest_of(request, raw_path)
    kept = transaction.one(FIND, request.environment, key)
    if kept is not None:
        return _again(digest, *cast("tuple[bytes, int, bytes]", kept))
    reply = cast("Handler", route.handler)(services, transaction, request)
    answered = answer(reply, route.status)
    kept_now = (request.environment, key, digest, answered.status, answered.body, now)
    transaction.run(KEEP, *kept_now)
    return answered


def _again(digest: bytes, first_digest: bytes, status: int, body: bytes) -> Answer:
    if digest != first_digest:
        raise BadInput("Idempotency-Key: was used for another request within 24 hours")
    length = (b"content-length", b"%d" % len(body))
    return Answer(status, [JSON, length, (b"idempotency-replayed", b"true")], body)


def _key_of(request: Request) -> str:
    key = request.headers[KEY_HEADER].decode("latin-1")
    if not 1 <= len(key) <= limits.ID_CHARS_MAX:
        raise BadInput(f"Idempotency-Key: must have 1 to {limits.ID_CHARS_MAX} characters")
    return key


def _digest_of(request: Request, raw_path: bytes) -> bytes:
    return hashlib.sha256(b"%s %s\n" % (request.method.encode(), raw_path) + request.body).digest()
