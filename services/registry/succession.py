"""How entries pass from one version to the next: what the registry keeps of them by itself."""

from collections.abc import Mapping
from datetime import UTC, datetime, time

import msgspec

from shared.contracts.registry import Model, Prices, Provider


def succeed(
    before: Mapping[str, Model], after: Mapping[str, Model], *, effective_from: datetime, at: datetime
) -> dict[str, Model]:
    """The models of a new version, with their dates in order.

    A model in which nothing changed is the very one of the version before, `updated_at` included, so that the
    same content again gives an equal result. A retired model without `inactive_from` gets one: the day it was
    deprecated if that is past, else the instant from which the new version holds.

    Args:
        before: the models of the version before.
        after: the models as they were published.
        effective_from: when the new version comes into force.
        at: when the new version is made.
    """
    return {
        key: _succeed_one(before.get(key), model, effective_from=effective_from, at=at)
        for key, model in after.items()
    }


def _succeed_one(before: Model | None, after: Model, *, effective_from: datetime, at: datetime) -> Model:
    after = msgspec.structs.replace(
        after,
        # A tier without any price is no tier: a difference between versions could not tell the two apart.
        service_tiers={tier: prices for tier, prices in after.service_tiers.items() if prices != Prices()},
        inactive_from=_inactive_from(before, after, effective_from),
        created_at=at if before is None else before.created_at,
        updated_at=at if before is None else before.updated_at,
    )
    if before is None:
        return after
    return before if after == before else msgspec.structs.replace(after, updated_at=at)


def _inactive_from(before: Model | None, after: Model, effective_from: datetime) -> datetime | None:
    given = after.inactive_from
    if after.is_active:
        # Back in service: a retirement that is past is over, one that is still to come stays announced.
        return given if given is not None and given > effective_from else None
    if given is not None:
        return given
    if before is not None and not before.is_active:
        return before.inactive_from
    if after.deprecated_date is not None:
        return min(datetime.combine(after.deprecated_date, time(), UTC), effective_from)
    return effective_from


def describe_providers(models: Mapping[str, Model], known: Mapping[str, Provider]) -> dict[str, Provider]:
    """An entry for each provider that has models; one that nobody described has only its name."""
    names = {model.provider for model in models.values()}
    return {name: known.get(name) or Provider(name=name) for name in sorted(names)}
