"""What goes over the wire: replies and errors as status, headers and bytes.

Promises: every answer of an operation is JSON, an error is always ``{"message", "code"}``, and an
error nobody foresaw tells a trace id and nothing else; what happened is in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from tallystick import ids
from tallystick.api.http import Page, Raw, Reply
from tallystick.errors import MethodNotAllowed, RequestError, TallystickError, TryLater

log = logging.getLogger(__name__)

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
encode: Final = _ENCODER.encode
"""JSON as we answer it: decimals are numbers."""

Header = tuple[bytes, bytes]
JSON: Final[Header] = (b"content-type", b"application/json")


class Answer(NamedTuple):
    """One HTTP response."""

    status: int
    headers: list[Header]
    body: bytes


def answer(reply: Reply, status: int) -> Answer:
    """The response of a reply; ``status`` unless it states its own."""
    data = reply.data
    content_type = JSON
    if isinstance(data, Raw):
        body = data.content
        content_type = (b"content-type", data.media_type.encode())
    elif isinstance(data, Page):
        pagination = {"next": data.next, "prev": data.prev}
        body = encode({"data": data.items, "pagination": pagination})
    else:
        body = b'{"data":' + encode(data) + b"}"
    return _answer(reply.status or status, body, content_type, reply.headers)


def error_answer(error: TallystickError) -> Answer:
    """The response of an error raised on purpose."""
    headers = {}
    if isinstance(error, TryLater):
        headers["retry-after"] = str(error.retry_after_seconds)
    elif isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    elif not isinstance(error, RequestError):
        return _unforeseen(error, error.code)
    body = encode({"message": error.message, "code": error.code})
    return _answer(error.status, body, JSON, headers)


def unexpected_answer(error: Exception) -> Answer:
    """The response of an error that nobody foresaw."""
    return _unforeseen(error, TallystickError.default_code)


def _unforeseen(error: Exception, code: str) -> Answer:
    trace_id = ids.new_id()
    log.error("trace %s: the request failed", trace_id, exc_info=error)
    message = f"the server failed; its log says why, under trace id {trace_id}"
    body = encode({"message": message, "code": code})
    return _answer(500, body, JSON, {"x-trace-id": trace_id})


def _answer(status: int, body: bytes, content_type: Header, more: Mapping[str, str]) -> Answer:
    headers = [content_type, (b"content-length", b"%d" % len(body))]
    headers += [_encoded(*header) for header in more.items()]
    return Answer(status, headers, body)


@lru_cache(maxsize=64)
def _encoded(name: str, value: str) -> Header:
    return name.lower().encode(), value.encode()
