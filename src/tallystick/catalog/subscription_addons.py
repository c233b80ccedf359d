"""The add-ons of a subscription: which it may have, and the history of those it had.

Owns: ``addonHistory`` and ``addonMigrations`` in the body of a subscription. An add-on is taken in
its newest published version and keeps it until it is published for everyone or migrated; one that
the subscription has already may have been archived since. What add-ons grant is
``core/packages``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tallystick.catalog import packages
from tallystick.catalog.rows import Body
from tallystick.catalog.shapes.subscriptions import Addon
from tallystick.catalog.subscription_rows import Subscription
from tallystick.clock import Instant
from tallystick.errors import BadInput
from tallystick.store import Transaction


def held(found: Subscription, at: int) -> list[Body]:
    """The add-ons that a subscription has at an instant: ``{id, quantity, version}``."""
    since = max(at, found.start)
    history = found.body.get("addonHistory", ())
    return next((entry["addons"] for entry in reversed(history) if entry["at"] <= since), [])


def shown(found: Subscription, at: int) -> list[Body]:
    """The same, as callers see them."""
    return [{"id": one["id"], "quantity": one["quantity"]} for one in held(found, at)]


def with_addons(
    transaction: Transaction,
    environment: str,
    found: Subscription,
    listed: Sequence[Addon],
    at: Instant,
) -> Subscription:
    """The subscription with these add-ons, and no others, from an instant on.

    What was to come later gives way. Raises ``NotFound`` and ``BadInput``: an add-on that is
    unknown, occurs twice, is archived or was never published, does not go with the plan, needs
    another beside it, or is taken more often than it may be.
    """
    before = {one["id"]: one for one in held(found, at)}
    versions = {}
    for place, one in enumerate(listed):
        field = f"addons[{place}]"
        if one.id in versions:
            raise BadInput(
                f"{field}.id: {one.id!r} occurs twice", code="DuplicateAddonProvisionedError"
            )
        version = _version(transaction, environment, one.id, before.get(one.id))
        _check_quantity(f"{field}.quantity", one, version)
        versions[one.id] = version
    _check_fit(transaction, environment, found, versions)
    _check_needs(versions)
    addons = [
        {"id": one.id, "quantity": one.quantity, "version": versions[one.id].number}
        for one in listed
    ]
    history = [entry for entry in found.body.get("addonHistory", ()) if entry["at"] < at]
    entry = {"at": at, "addons": addons}
    return replace(found, body=found.body | {"addonHistory": [*history, entry]})


def migrated(
    transaction: Transaction, environment: str, found: Subscription, at: Instant
) -> Subscription:
    """The subscription with the newest published version of each add-on it has at an instant.

    One that was archived stays as it is.
    """
    moves = {
        (move["addon"], move["version"]): move["at"]
        for move in found.body.get("addonMigrations", ())
    }
    for one in held(found, at):
        package = packages.find(transaction, environment, "addon", one["id"])
        if package.published is not None and package.published.number > one["version"]:
            key = (one["id"], package.published.number)
            moves[key] = min(at, moves.get(key, at))
    if not moves:
        return found
    kept = [{"addon": addon, "version": number, "at": on} for (addon, number), on in moves.items()]
    return replace(found, body=found.body | {"addonMigrations": kept})


def _version(
    transaction: Transaction, environment: str, addon: str, before: Body | None
) -> packages.Version:
    """The version that the subscription has, or gets."""
    if before is None:
        return packages.subscribable(transaction, environment, "addon", addon)
    package = packages.find(transaction, environment, "addon", addon)
    return next(one for one in package.versions if one.number == before["version"])


def _check_quantity(field: str, wanted: Addon, version: packages.Version) -> None:
    most = version.body.get("maxQuantity")
    if most is not None and wanted.quantity > most:
        raise BadInput(
            f"{field}: add-on {wanted.id!r} may be taken {most} times at most",
            code="AddonQuantityExceedsLimitError",
        )


def _check_fit(
    transaction: Transaction,
    environment: str,
    found: Subscription,
    versions: dict[str, packages.Version],
) -> None:
    """Every add-on is of the plan's product and, where the plan names some, one of those."""
    if not versions:
        return
    plan = packages.find(transaction, environment, "plan", found.plan)
    pinned = next(one for one in plan.versions if one.number == found.version)
    compatible = pinned.body.get("compatibleAddonIds")
    for addon, version in versions.items():
        if version.product != found.product or (compatible and addon not in compatible):
            raise BadInput(
                f"addons: {addon!r} does not go with plan {found.plan!r}",
                code="IncompatibleSubscriptionAddon",
            )


def _check_needs(versions: dict[str, packages.Version]) -> None:
    for addon, version in versions.items():
        missing = set(version.body.get("dependencies") or ()) - versions.keys()
        if missing:
            raise BadInput(
                f"addons: {addon!r} needs {min(missing)!r} beside it",
                code="AddonDependencyMissingError",
            )
