"""The price of an accepted record once more, from the registry version that was pinned at acceptance."""

from collections.abc import Callable

import msgspec

from services.ingest.poison import PoisonError
from shared.contracts.usage import UsageLogged
from shared.errors import NotFoundError
from shared.intake.usage import cost_lines, count_tokens
from shared.money import parse_number, plain
from shared.pricebook.pricebook import Pricebook

OnUnknownVersion = Callable[[str], None]
"""Told of a version that this deployment does not have. Then the record's own word is taken."""


async def reprice(
    event: UsageLogged, pricebook: Pricebook, on_unknown: OnUnknownVersion | None = None
) -> UsageLogged:
    """The event with the cost that its pinned version gives: as a rule, the very event that was given.

    Args:
        event: as it was accepted.
        pricebook: the registry versions.
        on_unknown: for rebuilds and checks, where a record must not be lost: its caller was told the cost in
            the event. None: a record whose version is unknown is poison.

    Raises:
        PoisonError: there is no such version, or the event's own amounts cannot be stored. Or it tells of a
            cost that was found later, and there is none.
        UnavailableError: the registry is away.
    """
    if event.repriced_at is None:
        return await _price(event, pricebook, on_unknown)
    if event.registry_version is None or event.client_cost is not None:
        raise PoisonError("its cost was found later, and not by a registry version")
    priced = await _price(event, pricebook, on_unknown)
    if priced.cost is None:
        raise PoisonError(f"its cost was found later, and registry version {event.registry_version} has none")
    return priced


async def _price(
    event: UsageLogged, pricebook: Pricebook, on_unknown: OnUnknownVersion | None
) -> UsageLogged:
    try:
        edition = (
            await pricebook.in_force(event.occurred_at)
            if event.registry_version is None
            else await pricebook.edition(event.registry_version)
        )
    except NotFoundError:
        version = str(event.registry_version)
        if on_unknown is None:
            raise PoisonError(f"there is no registry version {version}") from None
        on_unknown(version)
        return _checked(event)
    key, quote = edition.quote(event.provider, event.model, count_tokens(event), event.service_tier)
    calculated = None if quote.cost is None else plain(quote.cost)
    given = event.client_cost
    ours = {
        "model_key": key,
        "calculated_cost": calculated,
        "calculated_status": quote.status,
        "cost": calculated if given is None else given,
        "cost_status": quote.status if given is None else "client",
        "registry_version": edition.version,
    }
    theirs = {name: getattr(event, name) for name in ours}
    if theirs == ours:
        return event
    return msgspec.structs.replace(event, **ours, cost_breakdown=cost_lines(quote))


def _checked(event: UsageLogged) -> UsageLogged:
    """The event as it is, if its amounts can be stored."""
    try:
        for amount in (event.cost, event.calculated_cost):
            if amount is not None:
                parse_number(amount)
    except ValueError as error:
        version = event.registry_version
        raise PoisonError(f"there is no registry version {version}, and a cost {error}") from None
    return event
