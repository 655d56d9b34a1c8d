"""Models and prices."""

import re
from collections.abc import Iterable
from typing import Final

from llmring.api.calls import Known, names
from llmring.api.documents import FOR_EVER
from llmring.api.exceptions import APINotFoundError, APIValidationError, FieldError
from llmring.api.exchange import Flow
from llmring.api.models.registry import CAPABILITIES, Model, Registry

_VERSION: Final = re.compile(r"\d{4}\.\d\d\.\d\d(\.\d{1,6})?", re.ASCII)


def get_registry(
    known: Known,
    *,
    version: str | None = None,
    providers: str | Iterable[str] | None = None,
    capabilities: str | Iterable[str] | None = None,
) -> Flow[Registry]:
    """The model registry, from the cache while that is fresh.

    Args:
        known: of the service.
        version: one version, which never changes; by default the one that the service was pinned to, or the
            one in force now.
        providers: only models of these.
        capabilities: only models with all of these.

    Raises:
        APIValidationError: it is no version's name, or a capability is not known.
        APINotFoundError: there is no such version.
    """
    wanted = names(capabilities)
    if unknown := [each for each in wanted if each not in CAPABILITIES]:
        raise _wrong("capabilities", f"{', '.join(unknown)}: known are {', '.join(sorted(CAPABILITIES))}")
    registry = yield from _whole(known, version or known.settings.registry_version)
    chosen = {each.casefold() for each in names(providers)}
    if not chosen and not wanted:
        return registry
    fields = [CAPABILITIES[each] for each in wanted]
    models = {
        key: model
        for key, model in registry.models.items()
        if (not chosen or model.provider.casefold() in chosen)
        and all(getattr(model, field) for field in fields)
    }
    return Registry(
        version=registry.version,
        generated_at=registry.generated_at,
        effective_from=registry.effective_from,
        models=models,
        providers={
            name: provider
            for name, provider in registry.providers.items()
            if not chosen or name.casefold() in chosen
        },
    )


def list_models(
    known: Known,
    *,
    provider: str | None = None,
    providers: str | Iterable[str] | None = None,
    capabilities: str | Iterable[str] | None = None,
    version: str | None = None,
    active: bool | None = None,
) -> Flow[list[Model]]:
    """The models of the registry.

    Args:
        known: of the service.
        provider: only models of this one.
        providers: likewise, of several.
        capabilities: only models with all of these.
        version: as for `get_registry`.
        active: True leaves out the retired ones, False gives them alone.

    Raises:
        APIValidationError: as for `get_registry`.
    """
    chosen = names(provider) + names(providers)
    registry = yield from get_registry(known, version=version, providers=chosen, capabilities=capabilities)
    return [model for model in registry.models.values() if active is None or model.is_active is active]


def get_model(known: Known, name: str, *, version: str | None = None) -> Flow[Model]:
    """One model, by its key `provider:model`, by `provider/model`, or by its name alone where that is enough.

    A name is compared with case, an alias is as good as a name, and the provider is compared without case. A
    name of several providers is the one of an active model, if there is one such.

    Raises:
        APINotFoundError: there is no such model, or several.
    """
    registry = yield from _whole(known, version or known.settings.registry_version)
    found = [model for model in registry.models.values() if _is_named(model, name)]
    if not found:
        found = [model for model in registry.models.values() if _is_named(model, name, by_alias=True)]
    if len(found) > 1:
        found = [model for model in found if model.is_active] or found
    if len(found) != 1:
        why = "several models have the name" if found else "the registry has no model"
        also = f": {', '.join(model.key for model in found)}" if found else ""
        raise APINotFoundError(f"{why} {name!r}{also}")
    return found[0]


def _whole(known: Known, version: str | None) -> Flow[Registry]:
    if version is None:
        ttl_s = known.settings.registry_ttl_s
        return (yield from known.documents.get("registry", "/registry.json", Registry, ttl_s))
    if not _VERSION.fullmatch(version):
        raise _wrong("version", "Expected YYYY.MM.DD or YYYY.MM.DD.n")
    path = f"/registry/v/{version}/registry.json"
    return (yield from known.documents.get(f"registry-{version}", path, Registry, FOR_EVER))


def _is_named(model: Model, name: str, *, by_alias: bool = False) -> bool:
    for own in model.model_aliases if by_alias else [model.model_name]:
        if name == own:
            return True
        start = name[: -len(own)] if own and name.endswith(own) else ""
        if start[-1:] in (":", "/") and start[:-1].casefold() == model.provider.casefold():
            return True
    return False


def _wrong(field: str, message: str) -> APIValidationError:
    return APIValidationError(f"{field}: {message}", errors=[FieldError(field, message)])
