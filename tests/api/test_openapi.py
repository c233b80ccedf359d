"""The OpenAPI document and the page made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tallystick.api import docs_page
from tallystick.api.metrics import SharedCounts
from tallystick.api.openapi import openapi
from tallystick.api.routes import all_routes, openapi_text
from tallystick.api.words import PATH_WORDS, TAGS, WORDS
from tests.api.door import Door

ROUTES = all_routes(SharedCounts(Path(), ""))
DOCUMENT = openapi(ROUTES)
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
KEPT = Path(__file__).parents[2] / "docs" / "openapi.json"


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from parts(each)


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for part in parts(DOCUMENT):
        found = part.get("properties")
        if isinstance(found, dict) and part.get("type") == "object":
            yield from found.items()


def test_the_kept_document_is_what_the_routes_say() -> None:
    told = "run: python -m tallystick.api.routes > docs/openapi.json"
    assert KEPT.read_text() == openapi_text(), told


def test_every_operation_is_described_once() -> None:
    assert len(OPERATIONS) == len(ROUTES)
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    for _, path, operation in OPERATIONS:
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"][0] in TAGS, path


def test_every_parameter_and_property_is_described() -> None:
    for _, path, operation in OPERATIONS:
        for parameter in operation["parameters"]:
            assert parameter["description"], (path, parameter["name"])
        in_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
    undescribed = {name for name, schema in properties() if not schema.get("description")}
    assert undescribed == set(), "say what they mean in api/words.py"


def test_no_word_is_left_over() -> None:
    assert set(WORDS) - {name for name, _ in properties()} == set()
    used = {
        (before, segment)
        for _, path, _ in OPERATIONS
        for before, segment in zip(path.split("/"), path.split("/")[1:], strict=False)
    }
    assert set(PATH_WORDS) - used == set()


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for part in parts(DOCUMENT):
        if "$ref" in part:
            assert part["$ref"].removeprefix("#/components/schemas/") in schemas


def test_every_type_has_a_name_of_its_own() -> None:
    # msgspec puts the module in front of names that occur twice.
    assert [name for name in DOCUMENT["components"]["schemas"] if "." in name] == []


def test_quantities_are_numbers() -> None:
    assert not any(part.get("format") == "decimal" for part in parts(DOCUMENT))


def test_public_operations_ask_for_no_key() -> None:
    public = {path for _, path, operation in OPERATIONS if operation.get("security") == []}
    assert public == {"/health", "/ready", "/openapi.json", "/docs"}


def test_a_key_is_optional_for_metrics() -> None:
    (security,) = [each["security"] for _, path, each in OPERATIONS if path == "/metrics"]
    assert security == [{}, {"apiKey": []}, {"bearer": []}]


def test_it_is_served(door: Door) -> None:
    answered = door.get("/openapi.json", key=None)
    assert (answered.status, answered.json) == (200, DOCUMENT)


class _Page(HTMLParser):
    """Asserts that tags close in order, and collects ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self._open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "onclick")
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def close(self) -> None:
        super().close()
        assert self._open == []


def test_the_page_shows_every_operation_and_needs_nothing_else(door: Door) -> None:
    answered = door.get("/docs", key=None)
    assert answered.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answered.headers["content-security-policy"]
    text = answered.body.decode()
    page = _Page()
    page.feed(text)
    page.close()
    for _, path, operation in OPERATIONS:
        assert operation["operationId"] in page.ids, path
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)
    assert {link for link in page.links if not link.startswith("#")} == {"/openapi.json"}
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize("text", ["<b>", "a & b", '"quoted"'])
def test_the_page_escapes(text: str) -> None:
    document = {**DOCUMENT, "info": {**DOCUMENT["info"], "title": text, "description": text}}
    shown = docs_page.render(document)
    assert "<b>" not in re.sub(r"<b class=[^>]*>", "", shown) or text != "<b>"
    assert text == '"quoted"' or text not in shown
