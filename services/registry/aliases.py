"""Aliases must point to one model each: no alias claimed twice, none that is a model's own name."""

from collections import defaultdict
from collections.abc import Mapping

from shared.contracts.registry import Model
from shared.errors import Fault
from shared.pricing.names import strip_provider


def find_alias_faults(
    before: Mapping[str, Model], after: Mapping[str, Model], paths: Mapping[str, str]
) -> list[Fault]:
    """Name every claim that a publish makes and that contradicts another claim or a key.

    Claims that the version before makes already are let pass: real history holds some, and resolving names
    has an order for them. A publish cannot add to them.

    Args:
        before: the models of the version before.
        after: the models as they would be.
        paths: how to name the published ones among them in a fault, by key.
    """
    claims: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, model in after.items():
        for alias in model.model_aliases:
            claims[model.provider, bare_alias(model.provider, alias)].append(key)
    faults: list[Fault] = []
    for key, path in paths.items():
        model = after[key]
        old = before.get(key)
        known = old.model_aliases if old is not None else ()
        for alias in model.model_aliases:
            if alias in known:
                continue
            bare = bare_alias(model.provider, alias)
            others = [other for other in claims[model.provider, bare] if other != key]
            if f"{model.provider}:{bare}" in after:
                faults.append(Fault(f"{path}.model_aliases", f"'{alias}' is a model's own name"))
            elif others or claims[model.provider, bare].count(key) > 1:
                owners = ", ".join(others) or key
                faults.append(Fault(f"{path}.model_aliases", f"'{alias}' is an alias of {owners} already"))
        if old is None:
            faults += [
                Fault(f"{path}.model_name", f"'{model.model_name}' is an alias of {owner} already")
                for owner in claims.get((model.provider, model.model_name), ())
                if owner != key and owner not in paths
            ]
    return faults


def bare_alias(provider: str, alias: str) -> str:
    """An alias without its provider's prefix: both stand for the same claim."""
    return strip_provider(provider, alias) or alias
