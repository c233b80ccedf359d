"""Every public method of the installed SDK, and the operation that it calls.

The methods are called with made-up arguments against a transport that notes what would go over the
wire, so nothing is read from the SDK's source.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

import httpx
from stigg import AsyncStigg, Stigg
from stigg._resource import AsyncAPIResource, SyncAPIResource

_PLUMBING = {"with_raw_response", "with_streaming_response"}


class Operation(NamedTuple):
    """What goes over the wire; segments of the path that are arguments read ``x``."""

    method: str
    path: str


class _Noted(Exception):
    """The request was noted; there is nothing to answer."""


def sync_operations() -> dict[str, Operation]:
    """By name, as in ``v1.customers.retrieve``."""
    noted: list[Operation] = []
    with httpx.Client(transport=httpx.MockTransport(_noting(noted))) as http:
        client = Stigg(api_key="x" * 20, base_url="http://x", max_retries=0, http_client=http)
        return {
            name: _operation(noted, lambda call=call: _call(call))  # type: ignore[misc]
            for name, call in _methods(client, SyncAPIResource)
        }


def async_operations() -> dict[str, Operation]:
    """The same of the asynchronous client."""
    return asyncio.run(_async_operations())


async def _async_operations() -> dict[str, Operation]:
    noted: list[Operation] = []
    found = {}
    async with httpx.AsyncClient(transport=httpx.MockTransport(_noting(noted))) as http:
        client = AsyncStigg(api_key="x" * 20, base_url="http://x", max_retries=0, http_client=http)
        for name, call in _methods(client, AsyncAPIResource):
            noted.clear()
            with suppress(Exception):
                await _call(call)
            (found[name],) = noted
    return found


def _noting(noted: list[Operation]) -> Callable[[httpx.Request], httpx.Response]:
    def note(request: httpx.Request) -> httpx.Response:
        noted.append(Operation(request.method, request.url.raw_path.decode().partition("?")[0]))
        raise _Noted

    return note


def _operation(noted: list[Operation], call: Callable[[], object]) -> Operation:
    noted.clear()
    with suppress(Exception):
        call()
    (operation,) = noted
    return operation


def _methods(client: Any, resource: type, path: str = "") -> Iterator[tuple[str, Any]]:
    """The public methods of the client's resources, and of theirs."""
    for name, member in inspect.getmembers_static(type(client)):
        if name.startswith("_") or name in _PLUMBING:
            continue
        if isinstance(member, cached_property | property):
            inner = getattr(client, name)
            if isinstance(inner, resource):
                yield from _methods(inner, resource, f"{path}{name}.")
        elif path and inspect.isfunction(member):
            yield path + name, getattr(client, name)


def _call(method: Callable[..., Any]) -> Any:
    """Call a method with something for each argument that it needs."""
    needed = {
        name: [] if "Iterable" in str(parameter.annotation) else "x"
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return method(**needed)
