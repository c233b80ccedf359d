"""Settings: where they are read from, what is refused, and that their documentation is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tallystick import limits
from tallystick.clock import Instant
from tallystick.errors import OperatorError
from tallystick.settings import SETTINGS, Settings

DOCUMENT = Path(__file__).parents[1] / "docs" / "settings.md"


def read(flags: dict[str, str | None] | None = None, **variables: str) -> Settings:
    return Settings.read(flags or {}, variables)


def test_a_flag_wins_over_the_environment_which_wins_over_the_default() -> None:
    assert read().port == 8080
    assert read(TALLYSTICK_PORT="9000").port == 9000
    assert read({"port": "9001"}, TALLYSTICK_PORT="9000").port == 9001


def test_an_empty_variable_is_absent() -> None:
    assert read(TALLYSTICK_PORT="").port == 8080


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "８０"),
        ("port", "1_000"),
        ("port", " 80"),
        ("workers", "0"),
        ("workers", "two"),
        ("dedupe_window_days", str(limits.DEDUPE_WINDOW_DAYS_MIN - 1)),
        ("inbox_max_bytes", "0"),
        ("data_dir", ""),
        ("test_clock", "yesterday"),
        ("test_clock", "1969-12-31T23:59:59Z"),
        ("log_level", "loud"),
    ],
)
def test_a_bad_value_is_refused_with_the_names_of_flag_and_variable(name: str, text: str) -> None:
    setting = next(each for each in SETTINGS if each.name == name)
    with pytest.raises(OperatorError) as refused:
        read({name: text})
    assert setting.flag in refused.value.message
    assert setting.variable in refused.value.message


def test_a_short_key_is_refused_without_being_shown() -> None:
    with pytest.raises(OperatorError) as refused:
        read(TALLYSTICK_API_KEY="secret-but-sho")
    assert "TALLYSTICK_API_KEY" in refused.value.message
    assert "secret" not in refused.value.message
    assert "x" * 16 not in repr(read(TALLYSTICK_API_KEY="x" * 16))


def test_the_test_clock_starts_now_or_at_an_instant() -> None:
    assert read().test_clock is None
    assert read({"test_clock": "now"}).test_clock == "now"
    assert read({"test_clock": "1970-01-01T00:00:01Z"}).test_clock == Instant(1_000_000)


@pytest.mark.parametrize("clock", ["now", "2026-01-31T12:00:00.000001Z"])
def test_children_read_the_same_settings(clock: str) -> None:
    settings = read(
        {"data_dir": "here", "host": "::1", "workers": "3", "test_clock": clock},
        TALLYSTICK_LOG_LEVEL="debug",
    )
    assert Settings.read({}, settings.to_environment()) == settings


def test_children_do_not_get_the_key_in_their_environment_twice() -> None:
    assert "TALLYSTICK_API_KEY" not in read(TALLYSTICK_API_KEY="x" * 16).to_environment()


def test_the_document_says_what_the_code_does() -> None:
    documented = re.findall(r"^\| (.+) \| (`TALLYSTICK_.+`) \| (.+) \| (.+) \|$",
                            DOCUMENT.read_text(), re.MULTILINE)  # fmt: skip
    expected = [
        (
            "none" if setting.secret else f"`{setting.flag}`",
            f"`{setting.variable}`",
            "none" if setting.default is None else f"`{setting.default}`",
            setting.meaning,
        )
        for setting in SETTINGS
    ]
    assert documented == expected
