"""Which operation a method and a path mean."""

from __future__ import annotations

import pytest

from tallystick.api.router import Router
from tallystick.errors import BadInput, MethodNotAllowed, NotFound

ROUTER = Router(
    [
        ("GET", "/customers", "list"),
        ("POST", "/customers", "create"),
        ("POST", "/customers/import", "import"),
        ("GET", "/customers/{id}", "get"),
        ("DELETE", "/customers/{id}", "delete"),
        ("GET", "/customers/{id}/entitlements/check", "check"),
        ("GET", "/usage/{customerId}/history/{featureId}", "history"),
    ]
)


@pytest.mark.parametrize(
    ("what", "args", "method", "path"),
    [
        ("list", {}, "GET", "/customers"),
        ("create", {}, "POST", "/customers"),
        ("get", {"id": "a"}, "GET", "/customers/a"),
        ("get", {"id": "a"}, "HEAD", "/customers/a"),
        ("import", {}, "POST", "/customers/import"),
        ("get", {"id": "import"}, "GET", "/customers/import"),
        ("check", {"id": "import"}, "GET", "/customers/import/entitlements/check"),
        ("get", {"id": "f/1"}, "GET", "/customers/f%2F1"),
        ("get", {"id": "c u|s@x"}, "GET", "/customers/c%20u%7Cs@x"),
        ("get", {"id": "a+b"}, "GET", "/customers/a+b"),
        ("get", {"id": "é"}, "GET", "/customers/%C3%a9"),
        ("get", {"id": ".."}, "GET", "/customers/.."),
        ("get", {"id": "a" * 255}, "GET", "/customers/" + "a" * 255),
        ("list", {}, "GET", "/%63ustomers"),
        ("history", {"customerId": "c", "featureId": "f"}, "GET", "/usage/c/history/f"),
    ],
)
def test_finds(what: str, args: dict[str, str], method: str, path: str) -> None:
    assert (what, args) == ROUTER.find(method, path.encode())


@pytest.mark.parametrize(
    "path", ["", "/", "/nope", "/customers/", "/customers//", "/customers/a/", "//customers", "*"]
)
def test_elsewhere_is_nothing(path: str) -> None:
    with pytest.raises(NotFound):
        ROUTER.find("GET", path.encode())


@pytest.mark.parametrize(
    ("allowed", "method", "path"),
    [
        (("GET", "POST"), "PATCH", "/customers"),
        (("DELETE", "GET"), "POST", "/customers/a"),
        (("DELETE", "GET", "POST"), "PUT", "/customers/import"),
        (("GET",), "OPTIONS", "/customers/a/entitlements/check"),
    ],
)
def test_a_wrong_method_names_the_right_ones(
    allowed: tuple[str, ...], method: str, path: str
) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        ROUTER.find(method, path.encode())
    assert allowed == caught.value.allowed


@pytest.mark.parametrize(
    "path",
    [
        b"/customers/%",
        b"/customers/%4",
        b"/customers/%zz",
        b"/customers/%ff",
        b"/customers/%00",
        b"/customers/\xff",
        b"/customers/" + b"a" * 256,
    ],
)
def test_a_path_that_is_no_text_is_refused(path: bytes) -> None:
    with pytest.raises(BadInput):
        ROUTER.find("GET", path)
