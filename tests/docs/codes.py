"""The error codes of the code: of each class, and of each place that raises one by another name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

from tallystick import errors
from tallystick.errors import OperatorError, TallystickError
from tallystick.fold.owner import LostOwnership
from tallystick.objects import errors as object_errors
from tests.tidy.source import Module, calls, modules

NO_ANSWER: Final = "no answer"


class Code(NamedTuple):
    """A code and the status it is answered with."""

    name: str
    status: str


def all_codes() -> set[Code]:
    """Every code that something in the product raises."""
    raised = {code for module in modules() for code in _raised(module)}
    return raised | {Code(kind.default_code, _status(kind)) for kind in classes().values()}


def classes() -> dict[str, type[TallystickError]]:
    """Every class of error by its name."""
    found: dict[str, type[TallystickError]] = {LostOwnership.__name__: LostOwnership}
    for name, value in [*vars(errors).items(), *vars(object_errors).items()]:
        if isinstance(value, type) and issubclass(value, TallystickError):
            found[name] = value
    return found


def _status(kind: type[TallystickError]) -> str:
    return str(kind.status) if is_answered(kind) else NO_ANSWER


def is_answered(kind: type[TallystickError]) -> bool:
    """Whether a request may end with it; else it is told to a person, or noted of an object."""
    return not issubclass(kind, OperatorError | object_errors.ObjectError)


def _raised(module: Module) -> Iterator[Code]:
    texts = _texts(module)
    for name, call in calls(module):
        kind = classes().get(name)
        for keyword in call.keywords if kind is not None else ():
            if keyword.arg == "code":
                assert kind is not None
                yield Code(_text(keyword.value, texts), _status(kind))


def _text(node: ast.expr, texts: dict[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return texts[ast.unparse(node)]


def _texts(module: Module) -> dict[str, str]:
    """The constants of a module that are texts."""
    return {
        target.id: node.value.value
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
