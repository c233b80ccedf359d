"""``tallystick keys``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallystick import access
from tallystick.app import open_state
from tallystick.cli.main import main
from tallystick.settings import Settings


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return ["--data-dir", str(tmp_path)]


def create(capsys: pytest.CaptureFixture[str], flags: list[str], *more: str) -> str:
    assert main(["keys", "create", "--environment", "acme", *more, *flags]) == 0
    return capsys.readouterr().out


def test_the_key_is_alone_on_the_last_line(
    capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    key = create(capsys, flags, "--kind", "client").splitlines()[-1]
    assert key.startswith("client-")
    assert len(key.split()) == 1


def test_json_has_key_environment_and_kind(
    capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    made = json.loads(create(capsys, flags, "--json"))
    assert (made["environment"], made["kind"]) == ("acme", "server")
    assert set(made) == {"key", "environment", "kind"}


def test_a_key_allows_what_it_was_made_for_until_it_is_revoked(
    capsys: pytest.CaptureFixture[str], flags: list[str], tmp_path: Path
) -> None:
    key = create(capsys, flags).splitlines()[-1]
    state = open_state(Settings(data_dir=tmp_path))
    with state.reading() as tx:
        assert access.find_access(tx, key) == access.Access("acme", "server")
        assert access.find_access(tx, key + "x") is None
    assert main(["keys", "list", "--json", *flags]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert main(["keys", "revoke", listed[0]["id"], *flags]) == 0
    with state.reading() as tx:
        assert access.find_access(tx, key) is None
    state.close()


def test_the_key_itself_is_not_kept(
    capsys: pytest.CaptureFixture[str], flags: list[str], tmp_path: Path
) -> None:
    key = create(capsys, flags).splitlines()[-1]
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.encode() not in stored


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 101])
def test_a_bad_environment_name_is_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], name: str
) -> None:
    assert main(["keys", "create", f"--environment={name}", *flags]) == 2
    assert "--environment" in capsys.readouterr().err


def test_revoking_an_unknown_key_is_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    create(capsys, flags)
    assert main(["keys", "revoke", "unknown", *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1
