"""``/openapi.json`` and ``/docs``: the document, and the same as a page for people.

The page is one file without scripts and without anything from elsewhere, so it works on a machine
that reaches no other; it follows the reader's light or dark setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from tallystick.api.answers import encode
from tallystick.api.http import Raw, Reply, Request, Route
from tallystick.store import Transaction

if TYPE_CHECKING:
    from tallystick.app import Services

Json = Mapping[str, Any]

_DEPTH_MAX: Final = 6
_HTML: Final = "text/html; charset=utf-8"
# The page needs its own style and nothing else; whatever else a browser finds, it may not use.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def routes(describe: Callable[[], Json]) -> tuple[Route, ...]:
    """The routes that show the document; ``describe`` is asked for it once, when it is needed."""

    @cache
    def document() -> bytes:
        return encode(describe())

    @cache
    def page() -> bytes:
        return render(describe()).encode()

    def show_document(services: Services, transaction: Transaction, request: Request) -> Reply:
        """The document."""
        return Reply(Raw(document()))

    def show_page(services: Services, transaction: Transaction, request: Request) -> Reply:
        """The page."""
        return Reply(Raw(page(), _HTML), headers=_HEADERS)

    return (
        Route(
            method="GET",
            path="/openapi.json",
            handler=show_document,
            summary="The OpenAPI document",
            description="What all operations take and answer, for programs.",
            tag="Operations",
            access="public",
            envelope=False,
        ),
        Route(
            method="GET",
            path="/docs",
            handler=show_page,
            summary="The documentation",
            description="What all operations take and answer, for people.",
            tag="Operations",
            access="public",
            envelope=False,
            media_type=_HTML,
        ),
    )


def render(document: Json) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    style = resources.files("tallystick.api").joinpath("docs.css").read_text()
    groups = [(tag, list(_operations(document, tag["name"]))) for tag in document["tags"]]
    schemas = document["components"]["schemas"]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{style}</style></head><body>"
        f'<nav><a class="brand" href="#top">{escape(info["title"])}</a>{_menu(groups)}</nav>'
        f'<main id="top"><header><h1>{escape(info["title"])} API '
        f"<small>{escape(info['version'])}</small></h1><p class=lead>{escape(info['summary'])}</p>"
        f"{_paragraphs(info['description'])}"
        f'<p><a href="/openapi.json">openapi.json</a></p></header>'
        f"{''.join(_group(tag, operations, schemas) for tag, operations in groups)}"
        f"</main></body></html>"
    )


def _operations(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    """(method, path, operation) of a group."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method, path, operation


def _menu(groups: list[tuple[Json, list[tuple[str, str, Json]]]]) -> str:
    parts = []
    for tag, operations in groups:
        links = "".join(
            f'<li><a href="#{operation["operationId"]}"><b class="{method}">{method}</b>'
            f"{escape(operation['summary'])}</a></li>"
            for method, _, operation in operations
        )
        parts.append(f"<h2>{escape(tag['name'])}</h2><ul>{links}</ul>")
    return "".join(parts)


def _group(tag: Json, operations: list[tuple[str, str, Json]], schemas: Json) -> str:
    shown = "".join(_operation(*operation, schemas) for operation in operations)
    name, description = escape(tag["name"]), _inline(tag["description"])
    return f"<section class=group><h2>{name}</h2><p>{description}</p>{shown}</section>"


def _operation(method: str, path: str, operation: Json, schemas: Json) -> str:
    body = operation.get("requestBody")
    parts = [
        f'<article id="{operation["operationId"]}"><h3>{escape(operation["summary"])}</h3>'
        f'<p class=path><b class="{method}">{method}</b><code>{_path(path)}</code></p>'
        f"{_paragraphs(operation['description'])}",
        _parameters(operation["parameters"]),
    ]
    if body is not None:
        parts.append(f"<h4>Body</h4>{_content(body, schemas)}")
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            parts.append(f"<h4>Answer <code>{status}</code></h4>{_answered(response, schemas)}")
    parts.append(_errors(operation["responses"]))
    return "".join(parts) + "</article>"


def _path(path: str) -> str:
    return re.sub(r"(\{[^}]*\})", r"<i>\1</i>", escape(path))


def _parameters(parameters: list[Json]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        _field(param["name"], param["schema"], param["description"], param["required"], "", {})
        for param in parameters
    )
    return f"<h4>Parameters</h4><ul class=fields>{rows}</ul>"


def _answered(response: Json, schemas: Json) -> str:
    """What is answered; which fields are always there is of no interest to a reader."""
    return f"<div class=answer>{_content(response, schemas)}</div>"


def _content(holder: Json, schemas: Json) -> str:
    ((media_type, content),) = holder["content"].items()
    fields = _fields(content["schema"], schemas, 0)
    return fields or f"<p class=none><code>{escape(media_type)}</code></p>"


def _errors(responses: Json) -> str:
    rows = "".join(
        f"<li><code>{status}</code> {_inline(response['description'])}</li>"
        for status, response in responses.items()
        if not status.startswith("2")
    )
    return f"<details><summary>Errors</summary><ul class=errors>{rows}</ul></details>" * bool(rows)


def _fields(schema: Json, schemas: Json, depth: int) -> str:
    """The properties of an object, of the items of a list, or of what a reference names."""
    found = _object_of(schema, schemas)
    if found is None or depth > _DEPTH_MAX:
        return ""
    required = found.get("required", ())
    rows = []
    opened = depth == 0 and len(found["properties"]) <= 2  # an envelope
    for name, each in found["properties"].items():
        inner = _fields(each, schemas, depth + 1)
        needed = name in required
        text = each.get("description", "")
        rows.append(_field(name, each, text, needed, inner, schemas, opened=opened))
    return f"<ul class=fields>{''.join(rows)}</ul>" * bool(rows)


def _field(
    name: str,
    schema: Json,
    description: str,
    required: bool,
    inner: str,
    schemas: Json,
    *,
    opened: bool = False,
) -> str:
    kind = _kind(schema, schemas)
    needed = "<em>required</em>" if required else ""
    head = f"<code>{escape(name)}</code><span>{escape(kind)}</span>{needed}"
    text = f"<p>{_inline(description)}</p>" if description else ""
    if inner:
        return (
            f"<li><details{' open' * opened}><summary>{head}</summary>{text}{inner}</details></li>"
        )
    return f"<li><div>{head}</div>{text}</li>"


def _object_of(schema: Json, schemas: Json) -> Json | None:
    """The object schema that ``schema`` is, lists, or refers to."""
    if "$ref" in schema:
        return _object_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "properties" in schema:
        return schema
    for inner in (schema.get("items"), *schema.get("anyOf", ())):
        if isinstance(inner, Mapping):
            found = _object_of(inner, schemas)
            if found is not None:
                return found
    return None


def _kind(schema: Json, schemas: Json) -> str:
    """What a value is, in words: "list of string", "integer or null"."""
    if "$ref" in schema:
        return _kind(schemas.get(schema["$ref"].rpartition("/")[2], {"type": "object"}), schemas)
    if "enum" in schema:
        return " | ".join("null" if value is None else str(value) for value in schema["enum"])
    if "anyOf" in schema:
        kinds = dict.fromkeys(_kind(each, schemas) for each in schema["anyOf"])
        return " or ".join(kinds)
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}), schemas)}"
    if isinstance(kind, list):
        return " or ".join(kind)
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n"))


def _inline(text: str) -> str:
    """Backticks and asterisks of Markdown; nothing else of it is used."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", marked)
