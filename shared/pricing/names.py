"""From the names that a record carries to the one registry key they stand for."""

from collections.abc import Mapping

from shared.contracts.registry import Model


def fold_provider(provider: str) -> str:
    """A provider's name as it is compared: without the case of ASCII letters, and of no others.

    The same as `lower(... COLLATE "C")` in Postgres, so that rows and rollups agree on every name.
    """
    if provider.isascii():
        return provider.lower()
    return "".join(letter.lower() if letter.isascii() else letter for letter in provider)


class NameIndex:
    """Resolves the provider and model of a record against one snapshot.

    The order is the contract's, and there is no other way to match: exact key, declared alias, provider
    prefix stripped (and then again exact key, declared alias). The provider is compared without case, the
    model's name with it: real registries list names that differ in case alone, at different prices.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._keys: dict[tuple[str, str], str] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        # In the order of the keys, so that an alias that older data claims twice always means the same model.
        for key, model in sorted(models.items()):
            provider = fold_provider(model.provider)
            self._keys.setdefault((provider, model.model_name), key)
            for alias in model.model_aliases:
                self._aliases.setdefault((provider, alias), key)

    def find_key(self, provider: str, model: str) -> str | None:
        """The key of the entry that these names stand for, or None. Never a guess by similarity."""
        provider = fold_provider(provider)
        name = (provider, model)
        key = self._keys.get(name) or self._aliases.get(name)
        if key is not None:
            return key
        stripped = strip_provider(provider, model)
        if stripped is None:
            return None
        name = (provider, stripped)
        return self._keys.get(name) or self._aliases.get(name)


def strip_provider(provider: str, model: str) -> str | None:
    """The model's name without the prefix `provider:` or `provider/`, or None where it has no such prefix."""
    end = len(provider)
    if len(model) > end + 1 and model[end] in ":/" and fold_provider(model[:end]) == fold_provider(provider):
        return model[end + 1 :]
    return None


def split_name(model: str) -> tuple[str, str] | None:
    """Read `provider:model` or `provider/model` as both names, for a record that names no provider.

    The first separator of the two kinds parts them. None where there is none, or nothing on one side of it.
    """
    places = [place for place in (model.find(":"), model.find("/")) if place >= 0]
    if not places:
        return None
    provider, name = model[: min(places)], model[min(places) + 1 :]
    return (provider, name) if provider and name else None
