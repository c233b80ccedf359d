"""Every setting: its name, default, unit, bounds and meaning, and how it is read.

A setting ``inbox_max_bytes`` is the flag ``--inbox-max-bytes`` and the environment variable
``TALLYSTICK_INBOX_MAX_BYTES``; the flag wins, then the variable, then the default. Settings are
data: what is built from them is joined in ``app.py``. ``docs/settings.md`` has one row for each; a
test compares it with this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from tallystick import limits
from tallystick.clock import Instant, format_instant, parse_instant
from tallystick.errors import OperatorError

ENVIRONMENT_PREFIX: Final = "TALLYSTICK_"

ClockStart: TypeAlias = "Instant | Literal['now'] | None"
"""Where the test clock starts; ``now`` continues where it stood, None is the machine's clock."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def _text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("must not be empty")
    return text


def _folder(text: str) -> Path:
    return Path(_text(text))


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return text.lower()


def _api_key(text: str) -> str:
    if len(text) < limits.API_KEY_CHARS_MIN or not text.isascii() or not text.isprintable():
        raise ValueError(f"must be {limits.API_KEY_CHARS_MIN} or more printable ASCII characters")
    return text


def _postgres_url(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a URL like postgresql://USER:PASSWORD@HOST/DATABASE")
    return text


def _clock_start(text: str) -> ClockStart:
    if text.lower() in ("now", "1", "true"):
        return "now"
    start = parse_instant(text)
    if start is None or start < 0:
        raise ValueError(
            "must be 'now' or an RFC 3339 instant like 2026-01-31T12:00:00Z, not before 1970"
        )
    return start


@dataclass(frozen=True)
class Setting:
    """What is known about one setting besides its value."""

    name: str
    default: Any
    meaning: str
    """One line: what it governs, and its unit."""
    parse: Callable[[str], Any]
    secret: bool = False
    """Never a flag (other users of the machine see command lines), never printed."""
    bare: str | None = None
    """What the flag means when it is given without a value; None: it needs one."""

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    def read(self, text: str, source: str) -> Any:
        """The value of ``text``; raises ``OperatorError`` naming the flag and the variable."""
        try:
            return self.parse(text)
        except ValueError as error:
            names = self.variable if self.secret else f"{self.flag} ({self.variable})"
            shown = "" if self.secret else f", not {text!r}"
            raise OperatorError(f"{names}: {error}{shown}; read from the {source}") from None


def _about(
    parse: Callable[[str], Any], meaning: str, *, secret: bool = False, bare: str | None = None
) -> Mapping[str, Any]:
    return {"parse": parse, "meaning": meaning, "secret": secret, "bare": bare}


_COUNT = _whole(1, 64)
_MIB = _whole(64, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process; of every process of one server the same."""

    data_dir: Path = field(
        default=Path("data"),
        metadata=_about(_folder, "Folder of everything durable; made when it is missing."),
    )
    host: str = field(
        default="127.0.0.1",
        metadata=_about(_text, "Address to listen on; 0.0.0.0 is every IPv4 one."),
    )
    port: int = field(
        default=8080,
        metadata=_about(_whole(0, 65_535), "TCP port to listen on; 0 picks a free one."),
    )
    workers: int = field(
        default=1,
        metadata=_about(
            _COUNT, "API processes; a worker and a process for queries run beside them."
        ),
    )
    dedupe_window_days: int = field(
        default=limits.DEDUPE_WINDOW_DAYS_DEFAULT,
        metadata=_about(
            _whole(limits.DEDUPE_WINDOW_DAYS_MIN, 3_650),
            "Days for which an idempotency key is remembered, at least.",
        ),
    )
    inbox_max_bytes: int = field(
        default=limits.INBOX_BYTES_MAX,
        metadata=_about(
            _whole(1, 10**15), "Bytes of accepted but not yet counted events; beyond it 429."
        ),
    )
    event_future_hours: int = field(
        default=limits.FUTURE_SECONDS_MAX // 3600,
        metadata=_about(
            _whole(0, 87_600), "Hours that a timestamp may be ahead of the clock; beyond it 400."
        ),
    )
    entity_calls_per_minute: int = field(
        default=limits.ENTITY_CALLS_PER_MINUTE,
        metadata=_about(
            _whole(0, 1_000_000),
            "Changes of one subscription, or of one customer's subscriptions, in any minute; "
            "beyond it 429. 0 is no limit.",
        ),
    )
    database_url: str | None = field(
        default=None,
        repr=False,
        metadata=_about(
            _postgres_url,
            "State and inbox in PostgreSQL, as `postgresql://USER:PASSWORD@HOST/DATABASE`; without "
            "it in the data folder.",
            secret=True,
        ),
    )
    test_clock: ClockStart = field(
        default=None,
        metadata=_about(
            _clock_start,
            "A clock that stands still: `now` or an RFC 3339 instant to start from. For tests.",
            bare="now",
        ),
    )
    api_key: str | None = field(
        default=None,
        repr=False,
        metadata=_about(
            _api_key,
            "The first server key of environment `default`; without it one is generated.",
            secret=True,
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_about(_level, "Least severity written to stderr: debug, info, warning or error."),
    )
    worker_threads: int = field(
        default=1,
        metadata=_about(
            _COUNT, "Threads that each of the worker's two engines counts or merges with."
        ),
    )
    worker_memory_mib: int = field(
        default=768,
        metadata=_about(
            _MIB,
            "MiB of the worker's engines before they spill to disk: two thirds to count with, "
            "one to merge with.",
        ),
    )
    import_cores: int = field(
        default=1,
        metadata=_about(
            _COUNT,
            "Cores that an import uses while the API is busy; a second one when it is idle.",
        ),
    )
    query_memory_mib: int = field(
        default=limits.QUERY_MEMORY_MIB_MAX,
        metadata=_about(_MIB, "MiB that history queries may use."),
    )

    @classmethod
    def read(cls, flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
        """Settings from ``flags`` (by setting name; None is absent), then ``environment``.

        An empty variable counts as absent. Raises ``OperatorError`` for the first bad value.
        """
        values: dict[str, Any] = {}
        for setting in SETTINGS:
            flag = flags.get(setting.name)
            variable = environment.get(setting.variable, "")
            if flag is not None:
                values[setting.name] = setting.read(flag, "command line")
            elif variable:
                values[setting.name] = setting.read(variable, "environment")
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """The variables from which a child process reads these settings, the key left out."""
        found: dict[str, str] = {}
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            if setting.secret or value is None:
                continue
            is_instant = setting.name == "test_clock" and value != "now"
            found[setting.variable] = format_instant(value) if is_instant else str(value)
        return found


SETTINGS: Final = tuple(
    Setting(name=each.name, default=each.default, **each.metadata) for each in fields(Settings)
)
