"""Publish what a source holds: fit it to the version in force, and say what of it did not fit."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from services.registry.aliases import bare_alias
from services.registry.importers.imported import PRICING, Imported, ImportedModel, Note
from services.registry.library import Library
from services.registry.publish import Publication, publish_version
from services.registry.request import PublishRequest
from shared.clock import Clock
from shared.contracts.registry import Model, Provider, Snapshot
from shared.event_log.port import EventLog
from shared.postgres import Database

_CACHED: Final = "dollars_per_million_tokens_cached_input"
_CACHE_READ: Final = "dollars_per_million_tokens_cache_read"
_NOT_OF_A_NAMESAKE: Final = frozenset(("display_name", "description"))


class Fitted(NamedTuple):
    """The entries as they are to be published, by key, and what did not fit."""

    models: dict[str, Model]
    providers: dict[str, Provider]
    notes: list[Note]


async def publish_import(
    imported: Imported,
    request: PublishRequest,
    *,
    database: Database,
    event_log: EventLog,
    library: Library,
    clock: Clock,
) -> tuple[Publication, list[Note]]:
    """Publish the models of a source.

    Args:
        imported: what the source holds, with one model or more.
        request: how to publish it; its own models are not read.
        database: where the versions are.
        event_log: where the new version is announced.
        library: of this process.
        clock: says when now is.

    Returns:
        What `publish_version` says, and every note: the source's own, and what did not fit to the version
        that this one builds on.

    Raises:
        InvalidFieldError: something needs `confirm`.
        UnavailableError: the database is away.
    """
    notes = list(imported.notes)

    def adapt(request: PublishRequest, base: Snapshot | None) -> PublishRequest:
        fitted = fit(imported, base, keep_others=request.mode == "merge")
        notes.extend(fitted.notes)
        return request._replace(
            models=fitted.models, paths={key: key for key in fitted.models}, providers=fitted.providers
        )

    publication = await publish_version(
        request,
        published_by=None,
        database=database,
        event_log=event_log,
        library=library,
        clock=clock,
        adapt=adapt,
    )
    return publication, notes


def fit(imported: Imported, base: Snapshot | None, *, keep_others: bool) -> Fitted:
    """Put a source's entries upon those of a version.

    An entry that is there keeps what the source does not speak of. A model that is there as another one's
    alias renews that one, since records of this name are priced by it. An alias that is taken is left out.

    Args:
        imported: what the source holds.
        base: the version to build on.
        keep_others: whether the version's models stay. Without, the source's entries are the whole registry.
    """
    kept = base.models if base is not None and keep_others else {}
    notes: list[Note] = []
    entries = _find_places(imported.models, kept, notes)
    models = {key: _renew(kept[key], entry) if key in kept else entry.model for key, entry in entries.items()}
    known = base.providers if base is not None else {}
    return Fitted(
        models=_settle_aliases(models, entries, kept, notes),
        providers={name: _complete(known.get(name), each) for name, each in imported.providers.items()},
        notes=notes,
    )


def _find_places(
    imported: Mapping[str, ImportedModel], kept: Mapping[str, Model], notes: list[Note]
) -> dict[str, ImportedModel]:
    """The entries by the key that each is to stand at, or to renew."""
    places: dict[str, ImportedModel] = {}
    entries: dict[str, ImportedModel] = {}
    for key, entry in imported.items():
        aliases: list[str] = []
        for alias in entry.model.model_aliases:
            namesake = f"{entry.model.provider}:{bare_alias(entry.model.provider, alias)}"
            if (
                entry.said >= PRICING
                and namesake in kept
                and namesake not in imported
                and namesake not in places
            ):
                notes.append(Note(key, "alias", "is a model of its own here: it gets the same prices", alias))
                places[namesake] = _with_aliases(entry, [])._replace(said=PRICING)
            else:
                aliases.append(alias)
        entries[key] = _with_aliases(entry, aliases)
    owners = {
        (model.provider, bare_alias(model.provider, alias)): key
        for key, model in sorted(kept.items(), reverse=True)
        for alias in model.model_aliases
    }
    for key, entry in entries.items():
        owner = None if key in kept else owners.get((entry.model.provider, entry.model.model_name))
        if owner is None or owner in imported:
            places[key] = entry
        elif owner in places:
            notes.append(Note(key, "model", "left out: it is an alias of a model that another renews", owner))
        else:
            notes.append(Note(key, "model_name", "is an alias here: it renews the model that has it", owner))
            places[owner] = entry._replace(said=entry.said - _NOT_OF_A_NAMESAKE)
    return places


def _with_aliases(entry: ImportedModel, aliases: list[str]) -> ImportedModel:
    return entry._replace(model=msgspec.structs.replace(entry.model, model_aliases=aliases))


def _renew(old: Model, entry: ImportedModel) -> Model:
    new = {name: getattr(entry.model, name) for name in entry.said}
    if entry.said >= PRICING:
        if (
            getattr(old, _CACHED) is None
            and getattr(old, _CACHE_READ) is not None
            and new[_CACHE_READ] is None
        ):
            # One price under two names: it stays under the one it has.
            new[_CACHE_READ], new[_CACHED] = new[_CACHED], None
        if bool(entry.model.supports_long_context_pricing) != bool(old.supports_long_context_pricing):
            new["supports_long_context_pricing"] = bool(entry.model.supports_long_context_pricing)
    return msgspec.structs.replace(old, **new)


def _settle_aliases(
    models: Mapping[str, Model],
    entries: Mapping[str, ImportedModel],
    kept: Mapping[str, Model],
    notes: list[Note],
) -> dict[str, Model]:
    """Add each entry's aliases to it, those apart that are a model's name or another one's alias already."""
    every = {**kept, **models}
    names = {(model.provider, model.model_name): key for key, model in every.items()}
    owners = {
        (model.provider, bare_alias(model.provider, alias)): key
        for key, model in every.items()
        if key in kept
        for alias in model.model_aliases
        if alias in kept[key].model_aliases
    }
    settled: dict[str, Model] = {}
    for key, model in models.items():
        known = kept[key].model_aliases if key in kept else []
        aliases = [alias for alias in model.model_aliases if alias in known]
        for alias in entries[key].model.model_aliases:
            claim = (model.provider, bare_alias(model.provider, alias))
            if alias in known or names.get(claim) == key:
                continue
            if claim in names:
                notes.append(Note(key, "alias", "is a model's own name", alias))
            elif claim in owners:
                if owners[claim] != key:
                    notes.append(
                        Note(key, "alias", "is another model's already", f"{alias}: {owners[claim]}")
                    )
            else:
                owners[claim] = key
                aliases.append(alias)
        settled[key] = msgspec.structs.replace(model, model_aliases=aliases)
    return settled


def _complete(known: Provider | None, imported: Provider) -> Provider:
    """What is known of a provider, and where nothing is, what the source says."""
    if known is None:
        return imported
    return Provider(
        name=known.name,
        base_url=known.base_url or imported.base_url,
        models_endpoint=known.models_endpoint or imported.models_endpoint,
    )
