"""A publish request, read from its JSON with every fault in it at once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple

from services.registry.entries import read_entry, read_provider_entry
from services.registry.fields import UnfitError, decode_json, read_flag, read_instant, read_provider
from shared.contracts.registry import Model, Provider
from shared.errors import Fault, InvalidFieldError

MAX_MODELS: Final = 20_000
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2999
Mode = Literal["replace", "merge"]


class PublishRequest(NamedTuple):
    """What is to be published.

    Attributes:
        mode: `merge` (the default) replaces the entries named and keeps the others; `replace` keeps no other.
        models: those without faults, by `provider:model_name`.
        paths: how to name each of them in a fault.
        effective_from: when it comes into force; None is at once.
        confirm: publish even what looks like a mistake.
        dry_run: only say what would change.
        faults: what is wrong with the request in itself. Nothing is published where there are any.
    """

    mode: Mode
    models: dict[str, Model]
    paths: dict[str, str]
    providers: dict[str, Provider]
    effective_from: datetime | None
    confirm: bool
    dry_run: bool
    faults: list[Fault]


def read_request(body: bytes) -> PublishRequest:
    """Read a request. Its faults are in the answer, to be told with those that the current version brings.

    Raises:
        MalformedRequestError: the body is not JSON.
        InvalidFieldError: the body is not an object, or a number in it is of absurd length.
    """
    raw = decode_json(body)
    if not isinstance(raw, Mapping):
        raise InvalidFieldError.of("body", "must be an object with 'models'")
    return read_decoded_request(raw)


def read_decoded_request(raw: Mapping[str, object]) -> PublishRequest:
    """Read a request that `decode_json` has decoded; its faults are in the answer."""
    faults: list[Fault] = []
    models, paths = _read_models(raw.get("models"), faults)
    return PublishRequest(
        mode=_read_mode(raw.get("mode"), faults),
        models=models,
        paths=paths,
        providers=_read_providers(raw.get("providers"), faults),
        effective_from=_read_effective_from(raw.get("effective_from"), faults),
        confirm=_read_switch(raw, "confirm", faults),
        dry_run=_read_switch(raw, "dry_run", faults),
        faults=faults,
    )


def _read_models(raw: object, faults: list[Fault]) -> tuple[dict[str, Model], dict[str, str]]:
    # A list, as the contract has it; or an object by key, as `GET /registry` serves them.
    if isinstance(raw, Mapping):
        named = [(f"models.{key}", entry, key) for key, entry in raw.items()]
    elif isinstance(raw, list):
        named = [(f"models[{index}]", entry, None) for index, entry in enumerate(raw)]
    else:
        faults.append(Fault("models", "must be a list of models"))
        return {}, {}
    if not 1 <= len(named) <= MAX_MODELS:
        faults.append(Fault("models", f"must hold 1 to {MAX_MODELS} models"))
        return {}, {}
    models: dict[str, Model] = {}
    paths: dict[str, str] = {}
    for path, entry, given_key in named:
        model, found = read_entry(entry, path)
        faults += found
        if model is None:
            continue
        key = f"{model.provider}:{model.model_name}"
        if given_key not in (None, key):
            faults.append(Fault(path, f"stands under a key other than its own, {key}"))
        elif key in models:
            faults.append(Fault(path, f"is {key} again, which is also at {paths[key]}"))
        else:
            models[key] = model
            paths[key] = path
    return models, paths


def _read_mode(raw: object, faults: list[Fault]) -> Mode:
    if raw == "replace":
        return "replace"
    if raw not in (None, "merge"):
        faults.append(Fault("mode", "must be 'replace' or 'merge'"))
    return "merge"


def _read_providers(raw: object, faults: list[Fault]) -> dict[str, Provider]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        faults.append(
            Fault("providers", "must be an object: provider name to {name, base_url, models_endpoint}")
        )
        return {}
    providers: dict[str, Provider] = {}
    for name, entry in raw.items():
        try:
            read_provider(name)
        except UnfitError as error:
            faults.append(Fault(f"providers.{name}", str(error)))
            continue
        provider, found = read_provider_entry(name, entry)
        faults += found
        if provider is not None:
            providers[name] = provider
    return providers


def read_effective_from(raw: object) -> datetime | None:
    """When a version is to come into force; None is at once.

    Raises:
        UnfitError: it is no instant, or beyond all that is of use.
    """
    instant = read_instant(raw)
    # The database's own range ends with two instants that mean for ever.
    if instant is not None and not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise UnfitError(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    return instant


def _read_effective_from(raw: object, faults: list[Fault]) -> datetime | None:
    try:
        return read_effective_from(raw)
    except UnfitError as error:
        faults.append(Fault("effective_from", str(error)))
        return None


def _read_switch(raw: Mapping[str, object], name: str, faults: list[Fault]) -> bool:
    try:
        return read_flag(raw.get(name)) or False
    except UnfitError as error:
        faults.append(Fault(name, str(error)))
        return False
