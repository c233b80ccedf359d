"""``docs/errors.md`` has a paragraph on every code, with its status, and on no other."""

from __future__ import annotations

import re
from typing import get_args

import httpx
import pytest
from stigg import APIStatusError, Stigg

from tallystick.core.entitlements import Reason
from tests.docs.codes import Code, all_codes, classes, is_answered
from tests.tidy.source import ROOT

DOCUMENT = (ROOT / "docs" / "errors.md").read_text()
OF_CUSTOMERS = {
    "CustomerNotFound", "CustomerIsArchived", "FeatureNotFound", "CustomerResourceNotFound",
    "NoActiveSubscription",
}  # fmt: skip


def documented() -> set[Code]:
    found = re.findall(r"^### `(\w+)` · (\d{3}|no answer)$", DOCUMENT, re.MULTILINE)
    return {Code(name, status) for name, status in found}


def test_every_code_has_a_paragraph_and_every_paragraph_a_code() -> None:
    assert documented() == all_codes()


def test_each_heading_is_followed_by_its_paragraph() -> None:
    bodies = re.split(r"^### .+$", DOCUMENT, flags=re.MULTILINE)[1:]
    assert [body for body in bodies if len(body.split()) < 10] == []


@pytest.mark.parametrize(
    ("status", "exception", "repeats"),
    re.findall(r"^\| (\d{3}) \|.*\| `(\w+)` \| (no|yes)[^|]* \|$", DOCUMENT, re.MULTILINE),
)
def test_the_sdk_raises_what_the_table_says(status: str, exception: str, repeats: str) -> None:
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        body = {"message": "no", "code": "No"}
        return httpx.Response(int(status), json=body, headers={"retry-after-ms": "1"})

    transport = httpx.Client(transport=httpx.MockTransport(answer))
    stigg = Stigg(api_key="x", base_url="http://here", http_client=transport, max_retries=1)
    with pytest.raises(APIStatusError) as raised:
        stigg.v1.events.report(events=[])
    assert type(raised.value).__name__ == exception
    assert (asked > 1) == (repeats == "yes")


def test_every_status_is_in_the_table() -> None:
    rows = set(re.findall(r"^\| (\d{3}) \|", DOCUMENT, re.MULTILINE))
    answered = {str(kind.status) for kind in classes().values() if is_answered(kind)}
    assert rows == answered


def test_every_reason_of_a_denial_is_in_its_table() -> None:
    table = DOCUMENT.partition("## Reasons of a denial")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == OF_CUSTOMERS | set(
        get_args(Reason)
    )
