"""The OpenAPI 3.1 document, made of the routes and of the types they read and answer.

Nothing is described twice: what a route says is its ``Route``, what a type is comes from msgspec,
and what a field means from ``words.py``, one sentence for one name wherever it occurs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

import msgspec

import tallystick
from tallystick.api.http import QueryParam, Route
from tallystick.api.words import PATH_WORDS, TAGS, WORDS

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = """
Usage metering and entitlement enforcement, wire-compatible with Stigg's REST API.

Send an API key in the header `X-API-KEY`. A *server* key may do everything in its environment, a
*client* key may only read entitlements and the catalog. Bodies and answers are JSON; an answer is
`{"data": …}`, a list has `pagination` beside it, an error is `{"message", "code"}`. Times are RFC
3339 in UTC, quantities are exact decimals. Unknown query parameters are ignored, unknown body
fields are refused.
""".strip()

_ERROR: Final[Json] = {
    "type": "object",
    "title": "Error",
    "description": "What went wrong, and what to do.",
    "properties": {
        "message": {"type": "string"},
        "code": {"type": "string"},
    },
    "required": ["message", "code"],
}
_SECURITY: Final[list[Json]] = [{"apiKey": []}, {"bearer": []}]
_PAGINATION: Final[Json] = {
    "type": "object",
    "title": "Pagination",
    "description": "The cursors of the neighbouring pages; null where there is none.",
    "properties": {
        "next": {"type": ["string", "null"]},
        "prev": {"type": ["string", "null"]},
    },
    "required": ["next", "prev"],
}
_ERRORS_OF_ALL: Final = {
    "400": "The request is wrong; the message says where.",
    "401": "The API key is missing, unknown or revoked.",
    "403": "The API key may not do this.",
    "404": "What the path or the body names does not exist.",
    "409": "It contradicts what is stored, an id that exists already for one.",
    "413": "The body is too large.",
    "429": "Too much waits already, or one subscription was changed too often; nothing was stored. "
    "Repeat after `Retry-After` seconds.",
    "503": "The store cannot take it now; nothing was stored. Repeat after `Retry-After` seconds.",
}


def openapi(routes: Iterable[Route]) -> Json:
    """The document that describes ``routes``."""
    routes = tuple(routes)
    schemas, components = _schemas(routes)
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    used = {route.tag for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallystick",
            "version": tallystick.__version__,
            "summary": "Self-hosted usage metering and entitlement enforcement.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": _SECURITY,
        "tags": [{"name": tag, "description": text} for tag, text in TAGS.items() if tag in used],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {
                **components,
                "Error": _described(_ERROR),
                "Pagination": _described(_PAGINATION),
            },
        },
    }


def _schemas(routes: tuple[Route, ...]) -> tuple[dict[Any, Json], Json]:
    """The schema of every type that routes name, and the components these refer to."""
    kinds = list(
        dict.fromkeys(
            kind for route in routes for kind in (route.body, route.reply) if kind is not None
        )
    )
    found, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    schemas = dict(zip(kinds, map(_described, found), strict=True))
    return schemas, {name: _described(schema) for name, schema in sorted(components.items())}


def _described(schema: Any) -> Any:
    """A schema with a title and a description for each property that has none."""
    if isinstance(schema, list):
        return [_described(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        # msgspec describes how it would write a Decimal; we write a number.
        return {
            **{key: value for key, value in schema.items() if key != "format"},
            "type": "number",
        }
    result = {key: _described(value) for key, value in schema.items()}
    if {"type": "number"} in result.get("anyOf", ()):
        result["anyOf"] = [each for each in result["anyOf"] if each != {"type": "integer"}]
        if len(result["anyOf"]) == 1:
            result |= result.pop("anyOf")[0]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        result["properties"] = {
            name: _worded(name, _described(each)) for name, each in properties.items()
        }
    return result


def _worded(name: str, schema: Json) -> Json:
    words = {"title": _title(name), "description": WORDS.get(name, "")}
    return {**{key: text for key, text in words.items() if text}, **schema}


def _title(name: str) -> str:
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced[:1].upper() + spaced[1:]


def _operation(route: Route, schemas: Mapping[Any, Json]) -> Json:
    operation: Json = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": route.description,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *map(_query_parameter, route.query)],
        "responses": {str(route.status): _success(route, schemas), **_errors(route)},
    }
    if route.access == "public":
        operation["security"] = []
    elif route.access == "optional":
        operation["security"] = [{}, *_SECURITY]
    if route.body is not None:
        content = {"application/json": {"schema": schemas[route.body]}}
        operation["requestBody"] = {
            "description": "What to do." if route.method != "POST" else "What to add.",
            "required": True,
            "content": content,
        }
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path)
    return route.method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


def _path_parameters(route: Route) -> list[Json]:
    segments = route.path.split("/")
    return [
        {
            "name": segment[1:-1],
            "in": "path",
            "required": True,
            "description": PATH_WORDS.get((before, segment), f"Which of the {before}."),
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
        for before, segment in pairwise(segments)
        if segment.startswith("{")
    ]


def _query_parameter(param: QueryParam) -> Json:
    schema = dict(param.schema)
    described = {
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.description,
        "schema": schema,
    }
    if schema.get("type") == "array":
        described |= {"style": "form", "explode": False}
    return described


def _success(route: Route, schemas: Mapping[Any, Json]) -> Json:
    schema = {"type": "object"} if route.reply is None else schemas[route.reply]
    if not route.media_type.startswith("application/json"):
        schema = {"type": "string"}
    elif route.page:
        schema = _object({"data": {"type": "array", "items": schema}, "pagination": _PAGES})
    elif route.envelope:
        schema = _object({"data": schema})
    media_type = route.media_type.partition(";")[0]
    return {"description": route.summary + ".", "content": {media_type: {"schema": schema}}}


_PAGES: Final[Json] = {"$ref": _REF.format(name="Pagination")}


def _object(properties: Json) -> Json:
    worded = {name: _worded(name, schema) for name, schema in properties.items()}
    return {"type": "object", "properties": worded, "required": list(properties)}


def _errors(route: Route) -> Json:
    if route.access == "public":
        return {}
    without = set() if route.body is not None else {"409", "413"}
    if route.access == "optional":
        without = _ERRORS_OF_ALL.keys() - {"401"}
    content = {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}}
    return {
        status: {"description": text, "content": content}
        for status, text in _ERRORS_OF_ALL.items()
        if status not in without
    }
