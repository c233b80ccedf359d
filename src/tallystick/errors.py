"""The error tree, grouped by what the caller does next.

::

    TallystickError
    ├── RequestError              fix the request
    │   ├── BadInput              400
    │   ├── Unauthenticated       401
    │   ├── Forbidden             403
    │   ├── NotFound              404
    │   ├── MethodNotAllowed      405
    │   ├── Conflict              409
    │   ├── PayloadTooLarge       413
    │   └── NotSupported          501
    ├── TryLater                  repeat the same request
    │   ├── TooManyRequests       429, with Retry-After
    │   ├── Unavailable           503, with Retry-After
    │   └── TimedOut              504
    ├── OutcomeUnknown            503: it may be stored; repeat it with its idempotency key
    ├── OperatorError             start-up and commands: one clear line, exit code 2
    └── DamagedData               what was stored cannot be what was written

Every error has a status, a PascalCase code (Stigg's names where it has one) and a sentence for the
person who reads it. ``docs/errors.md`` has a paragraph on each code; a test compares the two.
"""

from __future__ import annotations

from typing import ClassVar


class TallystickError(Exception):
    """Base of everything this package raises on purpose.

    ``message`` says what was wrong, where, and what to do; ``code`` is for programs.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "UnexpectedError"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class RequestError(TallystickError):
    """The request cannot succeed as it is: change it."""

    status = 400
    default_code = "BadUserInput"


class BadInput(RequestError):
    """A value is missing, malformed or out of range."""


class Unauthenticated(RequestError):
    """No key, an unknown key or a revoked one."""

    status = 401
    default_code = "Unauthenticated"


class Forbidden(RequestError):
    """The key is known and may not do this."""

    status = 403
    default_code = "AccessDeniedError"


class NotFound(RequestError):
    """What the path or body names does not exist in the key's environment."""

    status = 404
    default_code = "NotFound"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not; ``allowed`` goes into the ``Allow`` header."""

    status = 405
    default_code = "MethodNotAllowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class Conflict(RequestError):
    """The request contradicts what is stored, an id that exists already for one."""

    status = 409
    default_code = "DuplicatedEntityNotAllowed"


class PayloadTooLarge(RequestError):
    """The body is over its limit."""

    status = 413
    default_code = "PayloadTooLarge"


class NotSupported(RequestError):
    """Part of Stigg's API that this product does not have."""

    status = 501
    default_code = "NotImplemented"


class TryLater(TallystickError):
    """Nothing was stored; the same request may succeed after ``retry_after_seconds``."""

    status = 503
    default_code = "Unavailable"

    def __init__(
        self, message: str, *, retry_after_seconds: int = 1, code: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class TooManyRequests(TryLater):
    """A limit on work that waits was reached; refused before anything was stored."""

    status = 429
    default_code = "RateLimitExceeded"


class Unavailable(TryLater):
    """The store could not take it: disk full, locked, or gone."""


class TimedOut(TryLater):
    """What was waited for did not happen within the time the caller gave."""

    status = 504
    default_code = "Timeout"


class OutcomeUnknown(TallystickError):
    """A commit was not answered, and nobody could be asked in time: it may be stored or not. What
    carries an idempotency key may be repeated; a worker ends and begins anew with what is."""

    status = 503
    default_code = "OutcomeUnknown"


class OperatorError(TallystickError):
    """A command or a start-up cannot go on; told in one line, exit code 2."""

    default_code = "OperatorError"


class DamagedData(TallystickError):
    """Stored data contradicts itself; never repaired silently."""

    default_code = "DamagedData"
