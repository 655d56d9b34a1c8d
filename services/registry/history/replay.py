"""Replay the public registry's history into the versions that this one would have had.

A version combines the newest publish of each provider. Publishes of different providers within `ONE_ROUND`
of the first are one round, and one version, made at the round's last moment; a second publish of the same
provider always begins a new one.
"""

import gzip
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Final, NamedTuple

import msgspec

from services.registry.entries import read_entry
from services.registry.fields import decode_json
from services.registry.succession import describe_providers, succeed
from shared.contracts.registry import Model, Provider, Snapshot
from shared.pricing.versions import VersionKey, next_version

ONE_ROUND: Final = timedelta(minutes=10)

PROVIDERS: Final = {
    "anthropic": Provider(
        name="Anthropic", base_url="https://api.anthropic.com/v1", models_endpoint="/models"
    ),
    "google": Provider(
        name="Google",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        models_endpoint="/models",
    ),
    "openai": Provider(name="OpenAI", base_url="https://api.openai.com/v1", models_endpoint="/models"),
}


class Publish(NamedTuple):
    """All models of one provider as they were published at one moment."""

    at: datetime
    provider: str
    models: dict[str, Model]


class Moment(NamedTuple):
    """A version of the whole registry, the key that its name says, and when each provider in it published."""

    key: VersionKey
    snapshot: Snapshot
    published_at: dict[str, datetime]


def replay_history() -> list[Moment]:
    """Every version of the history, oldest first; the same at every call."""
    moments: list[Moment] = []
    newest: dict[str, dict[str, Model]] = {}
    models: dict[str, Model] = {}
    key: VersionKey | None = None
    packed = files("services.registry.history").joinpath("publishes.jsonl.gz").read_bytes()
    for group in group_publishes(list(read_publishes(packed))):
        at = group[-1].at
        newest |= {publish.provider: publish.models for publish in group}
        combined = {name: model for entries in newest.values() for name, model in entries.items()}
        models = succeed(models, combined, effective_from=at, at=at)
        key = next_version(key, at.date())
        snapshot = Snapshot(
            version=key.name(),
            generated_at=at,
            effective_from=at,
            models=models,
            providers=describe_providers(models, PROVIDERS),
        )
        moments.append(Moment(key, snapshot, {publish.provider: publish.at for publish in group}))
    return moments


def group_publishes(publishes: list[Publish]) -> Iterator[list[Publish]]:
    """Put the publishes of one round together; they come in time order."""
    group: list[Publish] = []
    for publish in publishes:
        if group and (
            publish.at - group[0].at > ONE_ROUND or publish.provider in {each.provider for each in group}
        ):
            yield group
            group = []
        group.append(publish)
    if group:
        yield group


def read_publishes(packed: bytes) -> Iterator[Publish]:
    """Every publish of every provider in time order, with all its models; see `compact` for the form."""
    raw: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Model]] = {}
    for line in gzip.decompress(packed).splitlines():
        publish = decode_json(line)
        provider = publish["provider"]
        entries = dict(models.get(provider, {}))
        for name in publish["removed"]:
            entries.pop(f"{provider}:{name}")
            raw.pop(f"{provider}:{name}")
        for name, changed in publish["models"].items():
            key = f"{provider}:{name}"
            raw[key] = {**raw.get(key, {}), **changed, "provider": provider, "model_name": name}
            entries[key] = _read(raw[key], key)
        models[provider] = entries
        yield Publish(msgspec.convert(publish["at"], datetime), provider, entries)


def _read(entry: dict[str, Any], key: str) -> Model:
    model, faults = read_entry(entry, key)
    if model is None:
        raise ValueError(f"the packaged history is damaged: {faults}")
    return model
