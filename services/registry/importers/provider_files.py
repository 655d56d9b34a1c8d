"""Provider files: the form in which the public registry publishes, and `registry export --provider` writes.

`{"provider", "version", "updated_at", "models"}`, with the models by key or as a list. An entry is whole:
what it does not say is not so.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from services.registry.fields import READERS
from services.registry.importers.imported import Collector, Imported
from services.registry.importers.json_file import UnreadableError, list_files, read_json

KNOWN: Final = frozenset(
    (*READERS, "service_tiers", "long_context_steps", "context_window_tokens", "created_at", "updated_at")
)
_OF_THE_FILE: Final = frozenset(("provider", "version", "updated_at", "models"))


class _File(NamedTuple):
    path: Path
    provider: str
    version: int
    updated_at: str
    raw: Mapping[str, Any]


def read_provider_files(paths: Iterable[Path]) -> Imported:
    """Read files, or every `*.json` in folders. Of several files of one provider the newest is taken.

    The newest is that of the highest `version`, and of the same, that of the latest `updated_at`.

    Raises:
        UnreadableError: a file is not there, is no JSON, or not of this form.
    """
    collector = Collector()
    newest: dict[str, _File] = {}
    for file in sorted(map(_read_file, list_files(paths)), key=lambda each: (each.version, each.updated_at)):
        if file.provider in newest:
            older = newest[file.provider]
            collector.note(file.provider, "version", "is older than another file's", older.path)
        newest[file.provider] = file
    for file in newest.values():
        _read_models(file, collector)
    return collector.collect()


def _read_file(path: Path) -> _File:
    raw = read_json(path)
    if not isinstance(raw, Mapping) or not isinstance(raw.get("models"), Mapping | list):
        raise UnreadableError(f"{path}: is no provider file: it has no models")
    version, updated_at = raw.get("version"), raw.get("updated_at")
    provider = raw.get("provider") or _first_provider(raw["models"])
    return _File(
        path=path,
        provider=str(provider),
        version=version if isinstance(version, int) else 0,
        updated_at=str(updated_at or ""),
        raw=raw,
    )


def _first_provider(models: Mapping[str, Any] | list[Any]) -> object:
    entries = list(models.values()) if isinstance(models, Mapping) else models
    return next((each.get("provider") for each in entries if isinstance(each, Mapping)), "")


def _read_models(file: _File, collector: Collector) -> None:
    for name in sorted(file.raw.keys() - _OF_THE_FILE):
        collector.note(file.provider, name, "has no field in a version")
    models = file.raw["models"]
    named = models.items() if isinstance(models, Mapping) else ((None, entry) for entry in models)
    for key, entry in named:
        if not isinstance(entry, Mapping):
            collector.note(str(key or file.provider), "model", "left out: it is no object")
            continue
        raw = {"provider": file.provider, **entry}
        subject = f"{raw['provider']}:{raw.get('model_name')}"
        if key not in (None, subject):
            collector.note(subject, "model", "left out: it stands under a key other than its own", key)
            continue
        if collector.add_model(raw, subject) is not None:
            for name in sorted(raw.keys() - KNOWN):
                collector.note(subject, name, "has no field in a model", raw[name])
