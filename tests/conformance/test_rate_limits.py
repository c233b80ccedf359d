"""K05: so many changes of one subscription in a minute, whichever process is asked."""

from __future__ import annotations

from typing import Any

import pytest
from stigg import RateLimitError

from tests.proof.selling import customer, monthly, plan, reported


def test_the_31st_change_of_a_subscription_in_a_minute(stigg: Any) -> None:
    plan(stigg, "plan", monthly(reported(stigg, "seats")))
    for name in ("one", "other"):
        customer(stigg, name, "plan")
    one, other = (
        stigg.v1.subscriptions.list(customer_id=name).data[0].id for name in ("one", "other")
    )
    for number in range(30):
        stigg.v1.subscriptions.update(one, metadata={"number": str(number)})
    with pytest.raises(RateLimitError) as refused:
        stigg.v1.subscriptions.update(one, metadata={"number": "30"})
    assert refused.value.body["code"] == "RateLimitExceeded"  # type: ignore[index]
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    assert stigg.v1.subscriptions.retrieve(one).data.metadata == {"number": "29"}
    assert stigg.v1.subscriptions.update(other, metadata={"number": "0"}).data.id == other
