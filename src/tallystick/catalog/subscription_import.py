"""Subscriptions in bulk, and subscriptions that are only tried out.

Both are ``subscriptions.provision``: the same rules, the same errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from msgspec import UNSET, structs

from tallystick.catalog import subscriptions
from tallystick.catalog.shapes.subscription_moves import ImportedSubscription
from tallystick.catalog.shapes.subscriptions import ProvisionSubscription
from tallystick.catalog.subscription_rows import SELECT_SUBSCRIPTION, Subscription
from tallystick.clock import Instant
from tallystick.errors import BadInput, RequestError
from tallystick.store import Transaction


def bring_in(
    transaction: Transaction,
    environment: str,
    items: Sequence[ImportedSubscription],
    now: Instant,
) -> list[Subscription]:
    """Make the subscriptions that do not exist yet, in their order; all or none.

    One whose id exists is left as it is, so an import may be repeated. Raises what ``provision``
    raises, with the place of the item before it.
    """
    made = []
    for place, item in enumerate(items):
        if transaction.one(SELECT_SUBSCRIPTION, environment, item.id) is not None:
            continue
        try:
            request = _request(item)
            made.append(subscriptions.provision(transaction, environment, request, now))
        except RequestError as error:
            where = f"subscriptions[{place}]: {error.message}"
            raise type(error)(where, code=error.code) from error
    return made


def try_out(
    transaction: Transaction, environment: str, request: ProvisionSubscription, now: Instant
) -> Subscription:
    """The subscription that ``provision`` would make; nothing is stored."""
    with suppress(_Undone), transaction.part():
        made = subscriptions.provision(transaction, environment, request, now)
        raise _Undone
    return made


class _Undone(Exception):
    """Undoes what was tried."""


def _request(item: ImportedSubscription) -> ProvisionSubscription:
    stated = {name: getattr(item, name) for name in item.__struct_fields__}
    end = stated.pop("end_date")
    if end is not UNSET and end is not None:
        if item.start_date is UNSET:
            raise BadInput("endDate: needs a startDate")
        stated["cancellation_date"] = end
    return structs.replace(
        ProvisionSubscription(customer_id=item.customer_id, plan_id=item.plan_id), **stated
    )
