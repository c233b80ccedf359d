"""A server that reads real buckets: on a schedule, at once, again, and beside what the API gets."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.objects.conftest import FrontOf, cloud_scene
from tests.objects.feeding import (
    NOW,
    Tenant,
    as_csv,
    events,
    flat_jsonl,
    jsonl,
    parquet,
    put_every_format,
)
from tests.objects.scenes import KEY_ID, SECRET, CloudScene, Scene
from tests.serving import Server, command

BAD_LINE = b'{"customerId": "acme", "eventName": "completion"}\n'

_numbers = itertools.count(1)
_hours = itertools.count(21 * 24)


def later() -> str:
    """The next hour of the test clock, which only moves forward."""
    days, hour = divmod(next(_hours), 24)
    return f"2026-{1 + days // 28:02}-{1 + days % 28:02}T{hour:02}:00:01Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "data"
    with Server(folder, f"--test-clock={NOW}") as started:
        yield started


@pytest.fixture
def tenant(server: Server) -> Tenant:
    """An environment of its own."""
    return Tenant(server, f"tenant-{next(_numbers)}")


def by_key(run: Any) -> dict[str, Any]:
    return {each["key"].rpartition("/")[2]: each for each in run["objects"]}


def tallystick(tenant: Tenant, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command on the tenant's environment, beside its server."""
    return command(
        *arguments, "--environment", tenant.environment, "--data-dir", str(tenant.server.folder),
        **more,
    )  # fmt: skip


# --- what the conformance cases say (J01, J04, J05) ---------------------------------------------


def test_every_format_in_every_bucket_counts_what_the_sdk_counts(
    tenant: Tenant, scene: Scene
) -> None:
    put_every_format(scene)
    source = tenant.add(scene)
    assert tenant.data(f"/{source}/check", {})["good"] is True
    run = tenant.scheduled(source, later())
    assert (run["state"], run["counted"], run["duplicates"], run["rejected"]) == (
        "succeeded", 60, 0, 0,
    )  # fmt: skip
    tenant.report(events(0, 60, "globex"))
    assert tenant.totals("acme") == tenant.totals("globex") == {
        "calls": 60, "tokens": 10 * sum(range(60)), "regions": 7,
    }  # fmt: skip
    regions = {f"region-{number}": 10.0 * sum(range(number, 60, 7)) for number in range(7)}
    assert tenant.history("tokens", "acme") == tenant.history("tokens", "globex") == regions
    states = {key: each["state"] for key, each in by_key(run).items()}
    assert states.pop("upload.tmp") == "ignored"
    assert set(states.values()) == {"done"}
    assert len(states) == 6


def test_a_bad_line_stops_nothing_and_is_told(tenant: Tenant, s3: CloudScene) -> None:
    s3.put("a.jsonl", flat_jsonl(events(0, 5)) + BAD_LINE + jsonl(events(5, 9)))
    run = tenant.run(tenant.add(s3))
    assert (run["state"], run["counted"], run["rejected"]) == ("partial", 9, 1)
    assert run["reasons"] == {"idempotencyKey: is required": 1}
    (file,) = Path(run["rejects"]).iterdir()
    assert json.loads(file.read_bytes()) == {
        "object": "a.jsonl", "line": 6, "field": "idempotencyKey", "reason": "is required",
    }  # fmt: skip


def test_only_what_ends_in_a_format_is_read(tenant: Tenant, gcs: CloudScene) -> None:
    gcs.put("rows.parquet", parquet(events(0, 5)))
    gcs.put("upload.tmp", jsonl(events(5, 9)))
    source = tenant.add(gcs)
    for run in (tenant.run(source), tenant.run(source)):
        assert by_key(run)["upload.tmp"]["state"] == "ignored", "each run shows it"
        assert run["ignored"] == 1
    assert tenant.totals()["calls"] == 5


# --- exactly once --------------------------------------------------------------------------------


def test_what_was_delivered_before_changes_no_total(tenant: Tenant, s3: CloudScene) -> None:
    tenant.report(events(0, 4))
    s3.put("first.jsonl", jsonl(events(0, 10)))
    source = tenant.add(s3)
    run = tenant.run(source)
    assert (run["counted"], run["duplicates"]) == (6, 4), "the API had some already"
    counted = tenant.totals()
    assert counted["calls"] == 10
    assert tenant.run(source)["objects"] == [], "a version is read once"

    s3.put("copied.jsonl", jsonl(events(0, 10)))
    s3.put("as-table.csv", as_csv(events(2, 8)))
    s3.delete("first.jsonl")
    s3.put("renamed.jsonl", jsonl(events(0, 10)))
    run = tenant.run(source)
    assert (run["counted"], run["duplicates"]) == (0, 26)
    tenant.report(events(0, 10))
    assert tenant.totals() == counted

    s3.put("renamed.jsonl", jsonl(events(0, 12)))
    run = tenant.run(source)
    assert (run["counted"], run["duplicates"]) == (2, 10), "only what is new in it"
    assert tenant.totals()["calls"] == 12


# --- what people do ------------------------------------------------------------------------------


def test_check_names_the_permission_that_is_missing(tenant: Tenant, s3: CloudScene) -> None:
    s3.put("a.jsonl", jsonl(events(0, 1)))
    source = tenant.add(s3)
    with s3.front.failing(403, code="AccessDenied"):
        checked = tenant.data(f"/{source}/check", {})
        told = tallystick(tenant, "sources", "check", source)
        failed = tenant.run(source)
    assert checked["good"] is False
    assert checked["findings"][0]["permission"] == "s3:ListBucket"
    assert (told.returncode, "s3:ListBucket" in told.stdout) == (1, True)
    assert (failed["state"], "s3:ListBucket" in failed["reason"]) == ("failed", True)
    assert tenant.run(source)["state"] == "succeeded"


def test_a_paused_source_is_left_alone_until_it_is_resumed(tenant: Tenant, s3: CloudScene) -> None:
    s3.put("a.jsonl", jsonl(events(0, 5)))
    source, other = tenant.add(s3), tenant.add(s3, pattern="none")
    assert tenant.data(f"/{source}/pause", {})["nextRunAt"] is None
    assert tenant.ask(f"/{source}/run", {})[1]["code"] == "SourceIsPaused"
    tenant.scheduled(other, later())
    assert tenant.data(f"/{source}/runs") == []
    assert tenant.data(f"/{source}/resume", {})["paused"] is False
    assert tenant.scheduled(source, later())["counted"] == 5
    assert tenant.data(f"/{source}", method="DELETE")["id"] == source
    assert tenant.ask(f"/{source}")[1]["code"] == "SourceNotFound"
    assert tenant.totals()["calls"] == 5, "what came of it stays counted"


def test_an_object_is_read_again_after_its_columns_were_named(
    tenant: Tenant, s3: CloudScene
) -> None:
    s3.put("export.csv", as_csv(events(0, 5), {"customerId": "account_id"}))
    source = tenant.add(s3)
    run = tenant.run(source)
    failed = run["objects"][0]
    assert (run["state"], failed["state"]) == ("partial", "failed")
    assert "customerId" in failed["reason"]
    tenant.data(f"/{source}", {"columns": {"customerId": "account_id"}}, method="PATCH")
    asked = tenant.data(f"/{source}/objects/{failed['id']}/retry", {})["runId"]
    retried = tenant.ended(source, asked)
    assert (retried["state"], retried["cause"], retried["counted"]) == ("succeeded", "retry", 5)
    assert tenant.ask(f"/{source}/objects/{failed['id']}/retry", {})[0] == 400, "it is done"


def test_an_object_with_too_many_bad_records_waits_for_a_person(
    tenant: Tenant, s3: CloudScene
) -> None:
    s3.put("a.jsonl", jsonl(events(0, 20)) + 120 * BAD_LINE)
    source = tenant.add(s3)
    stopped = tenant.run(source)["objects"][0]
    assert stopped["state"] == "stopped"
    assert "rejectShareMax" in stopped["reason"]
    tenant.data(f"/{source}", {"rejectShareMax": 1}, method="PATCH")
    told = tallystick(tenant, "sources", "retry", source, str(stopped["id"]), "--wait", "--json")
    run = json.loads(told.stdout)
    assert (told.returncode, run["state"], run["duplicates"]) == (1, "partial", 20)
    assert (run["objects"][0]["state"], run["objects"][0]["rejected"]) == ("done", 120)
    assert tenant.totals()["calls"] == 20
    verified = command("verify", "--data-dir", str(tenant.server.folder))
    assert verified.returncode == 0, verified.stdout


def test_files_are_imported_beside_a_server(tenant: Tenant, tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    exports.mkdir()
    (exports / "a.csv").write_bytes(as_csv(events(0, 8)))
    tried = tallystick(tenant, "import", str(exports), "--dry-run", "--json")
    assert (tried.returncode, json.loads(tried.stdout)["good"]) == (0, 8)
    assert tenant.totals()["calls"] == 0
    told = tallystick(tenant, "import", str(exports), "--json")
    assert (told.returncode, json.loads(told.stdout)["counted"]) == (0, 8)
    assert tenant.totals()["calls"] == 8
    (exports / "b.jsonl").write_bytes(BAD_LINE + jsonl(events(8, 9)))
    again = tallystick(tenant, "import", f"file://{exports}")
    assert again.returncode == 1
    assert "1 counted, 8 duplicates, 1 rejected" in again.stdout
    assert again.stderr == "", "no bar where nobody looks"


def test_environments_read_the_same_bucket_and_share_nothing(
    server: Server, front_of: FrontOf
) -> None:
    scene = cloud_scene("s3", front_of)
    scene.put("a.jsonl", jsonl(events(0, 5)))
    one, other = (Tenant(server, f"shared-{number}") for number in (1, 2))
    source = one.add(scene)
    run = one.run(source)
    assert (run["counted"], one.totals()["calls"], other.totals()["calls"]) == (5, 5, 0)
    for path in ("", "/runs", f"/runs/{run['id']}"):
        assert other.ask(f"/{source}{path}")[1]["code"] == "SourceNotFound"
    assert other.run(other.add(scene))["counted"] == 5, "its keys are its own"


def test_secrets_go_in_and_never_out(tenant: Tenant, s3: CloudScene) -> None:
    s3.put("a.jsonl", jsonl(events(0, 1)))
    source = tenant.add(s3)
    variables = {"THE_ID": KEY_ID, "THE_SECRET": SECRET, "THE_TOKEN": "token-" + SECRET}
    with_token = tallystick(
        tenant, "sources", "add", s3.url, "--endpoint", s3.front.url, "--region", "us-east-1",
        "--key-id-variable", "THE_ID", "--secret-variable", "THE_SECRET",
        "--session-token-variable", "THE_TOKEN", "--json", **variables,
    )  # fmt: skip
    assert json.loads(with_token.stdout)["access"]["secret"] == "(set)"
    outs = [with_token.stdout, with_token.stderr]
    with s3.front.failing(403, code="SignatureDoesNotMatch"):
        outs += [str(tenant.run(source)), str(tenant.ask(f"/{source}/check", {}))]
        for verb in ("show", "check"):
            told = tallystick(tenant, "sources", verb, source)
            outs += [told.stdout, told.stderr]
    bad = {"url": s3.url, "access": {"keyId": KEY_ID, "secret": SECRET, "secrets": SECRET}}
    outs += [str(tenant.ask("", bad)), str(tenant.ask("")), str(tenant.ask(f"/{source}"))]
    outs += [str(tenant.ask(f"/{source}/runs")), tenant.server.errors.read_text()]
    assert [out for out in outs if SECRET in out or KEY_ID in out] == []
