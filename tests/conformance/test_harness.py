"""The suite's own footing: both clients, their pages, and what strictness refuses."""

from __future__ import annotations

from typing import Any

import pytest
from stigg import APIResponseValidationError, AuthenticationError

from tests.conformance.driving import Clients, Site


def test_both_clients_call_and_walk_pages(stigg: Any) -> None:
    for number in range(5):
        stigg.v1.features.create_feature(
            id=f"feature-{number}", display_name="F", feature_type="BOOLEAN"
        )
    walked = [one.id for one in stigg.v1.features.list_features(limit=2)]
    assert sorted(walked) == [f"feature-{number}" for number in range(5)]
    assert stigg.v1.features.retrieve_feature("feature-3").data.display_name == "F"


def test_errors_are_the_sdk_s(clients: Clients) -> None:
    with pytest.raises(AuthenticationError):
        clients.of("server-nobody-has-this").v1.features.retrieve_feature("x")


def test_strictness_refuses_what_is_no_stigg(clients: Clients, site: Site, key: str) -> None:
    # /health answers JSON, which is no feature.
    wrong = clients.of(key, base_url=f"{site.url}/health?")
    with pytest.raises(APIResponseValidationError):
        wrong.v1.features.retrieve_feature("x")
