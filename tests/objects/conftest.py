"""The buckets that the tests of objects run against, and what imports from them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.objects.front import Front
from tests.objects.running import Place
from tests.objects.scenes import (
    CloudScene,
    FolderScene,
    NotStarted,
    Scene,
    gcs_front,
    s3_front,
)

_FRONTS = {"s3": s3_front, "gs": gcs_front}
_prefixes = itertools.count(1)

FrontOf = Callable[[str], Front]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Place(tmp_path / "data") as made:
        yield made


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def front_of() -> Iterator[FrontOf]:
    """The proxy of a scheme; its server is started when the first test asks for it."""
    started: dict[str, Front] = {}
    with ExitStack() as stack:

        def of(scheme: str) -> Front:
            if scheme not in started:
                started[scheme] = stack.enter_context(_FRONTS[scheme]())
            return started[scheme]

        yield of


def cloud_scene(scheme: str, front_of: FrontOf) -> CloudScene:
    """A prefix of its own in a bucket; a loud skip where there is no server, a failure under CI."""
    try:
        front = front_of(scheme)
    except NotStarted as reason:
        if os.environ.get("CI"):
            pytest.fail(f"the server of {scheme}:// could not be started: {reason}")
        pytest.skip(f"the server of {scheme}:// could not be started: {reason}")
    return CloudScene(scheme, front, f"exports/test-{next(_prefixes)}")


@pytest.fixture(params=["s3", "gs", "file"])
def scene(request: pytest.FixtureRequest, front_of: FrontOf, tmp_path: Path) -> Scene:
    """Each kind of bucket, empty."""
    if request.param == "file":
        root = tmp_path / "exports é#%20"
        root.mkdir()
        return FolderScene(root)
    return cloud_scene(request.param, front_of)


@pytest.fixture(params=["s3", "gs"])
def cloud(request: pytest.FixtureRequest, front_of: FrontOf) -> CloudScene:
    """Each kind of bucket behind a network, empty."""
    return cloud_scene(request.param, front_of)


@pytest.fixture
def folder(tmp_path: Path) -> FolderScene:
    """A folder, empty."""
    root = tmp_path / "exports"
    root.mkdir()
    return FolderScene(root)


@pytest.fixture
def s3(front_of: FrontOf) -> CloudScene:
    """A prefix of S3, empty."""
    return cloud_scene("s3", front_of)


@pytest.fixture
def gcs(front_of: FrontOf) -> CloudScene:
    """A prefix of GCS, empty."""
    return cloud_scene("gs", front_of)
