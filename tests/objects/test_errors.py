"""What goes wrong with buckets and objects: a code each, grouped by what the caller does next."""

from __future__ import annotations

import pytest

from tallystick.errors import RequestError, TallystickError, TryLater
from tallystick.objects import errors

CODES: dict[type[TallystickError], tuple[str, type[TallystickError]]] = {
    errors.SourceRefused: ("BucketRefused", RequestError),
    errors.AccessDenied: ("BucketAccessDenied", RequestError),
    errors.BucketNotFound: ("BucketNotFound", RequestError),
    errors.MissingExtra: ("ExtraNotInstalled", RequestError),
    errors.BucketUnavailable: ("BucketUnavailable", TryLater),
    errors.ObjectError: ("ObjectUnreadable", errors.ObjectError),
    errors.ObjectChanged: ("ObjectChanged", errors.ObjectError),
    errors.ObjectGone: ("ObjectGone", errors.ObjectError),
    errors.ObjectRefused: ("ObjectRefused", errors.ObjectError),
    errors.DamagedObject: ("DamagedObject", errors.ObjectError),
}


@pytest.mark.parametrize("kind", CODES)
def test_an_error_has_its_code_and_its_group(kind: type[TallystickError]) -> None:
    code, group = CODES[kind]
    made = kind("what happened, and what to do")
    assert made.code == code
    assert made.message.startswith("what happened, and what to do")
    assert isinstance(made, group)


def test_every_error_of_objects_is_among_them() -> None:
    kinds = {
        found
        for found in vars(errors).values()
        if isinstance(found, type) and found.__module__ == errors.__name__
    }
    assert kinds == CODES.keys()
