"""The interface of every source: the entries that it gives, and what of it found no place."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from services.registry.entries import read_entry, read_provider_entry
from services.registry.fields import UnfitError, read_provider
from shared.contracts.registry import PRICE_FIELDS, Model, Provider
from shared.errors import Fault

PRICING: Final = frozenset(
    (
        *PRICE_FIELDS,
        "long_context_steps",
        "long_context_threshold_tokens",
        "long_context_pricing",
        "service_tiers",
    )
)
"""The fields that hold together: a source that prices a model says all of them, the null ones too."""


MIXED_OUTPUT: Final = (
    "prices images in the output apart, which a record does not tell from text: no price here"
)
OTHER_UNIT: Final = "is 0, since the call is billed by what a record does not count: no price here"
NO_PRICE: Final = "has no price of what a record counts"


class Note(NamedTuple):
    """Something of the source that was not taken over.

    Attributes:
        subject: what it was said of: a model's key, or a provider's name.
        field: the source's own name of it.
        reason: why it has no place here; the same words for the same reason, so that notes can be counted.
        detail: what it said, where that is short.
    """

    subject: str
    field: str
    reason: str
    detail: str = ""


class ImportedModel(NamedTuple):
    """One entry, which the registry would take.

    Attributes:
        model: the entry; what the source does not say is as if nobody had ever said it.
        said: the fields that the source speaks for. In an entry that is there already, these are replaced, by
            null as well, and the others stay.
    """

    model: Model
    said: frozenset[str]


class Imported(NamedTuple):
    """What a source holds: entries by key in its own order, providers by name, and the rest in notes."""

    models: dict[str, ImportedModel]
    providers: dict[str, Provider]
    notes: list[Note]


class Collector:
    """Takes raw entries through the same door as a publish, and notes those that do not fit."""

    def __init__(self) -> None:
        self._models: dict[str, ImportedModel] = {}
        self._providers: dict[str, Provider] = {}
        self._notes: list[Note] = []

    def note(self, subject: str, field: str, reason: str, detail: object = "") -> None:
        """Note what was not taken over."""
        self._notes.append(Note(subject, field, reason, str(detail)))

    def add_model(
        self, raw: Mapping[str, Any], subject: str, said: Iterable[str] | None = None
    ) -> Model | None:
        """Read an entry as a publish would; one that has faults or comes twice is left out, with a note.

        Args:
            raw: the entry, in the form of a publish.
            subject: how the source calls it.
            said: the fields that the source speaks for, besides those in `raw`; None for all there are.
        """
        model, faults = read_entry(raw, subject)
        if model is None:
            self._leave_out(subject, faults)
            return None
        key = f"{model.provider}:{model.model_name}"
        if key in self._models:
            self.note(subject, "model", "left out: its key is there already", key)
            return None
        fields = Model.__struct_fields__ if said is None else {*said, *raw} - {"model_aliases"}
        self._models[key] = ImportedModel(model, frozenset(fields) & _FIELDS)
        return model

    def add_provider(self, name: str, raw: Mapping[str, Any]) -> None:
        """Read a provider's entry; one that has faults is left out, with a note."""
        try:
            read_provider(name)
        except UnfitError as error:
            self.note(name, "provider", f"left out: its name {error}")
            return
        provider, faults = read_provider_entry(name, raw)
        if provider is None:
            self._leave_out(name, faults)
        else:
            self._providers[name] = provider

    def collect(self) -> Imported:
        """All of it."""
        return Imported(self._models, self._providers, self._notes)

    def _leave_out(self, subject: str, faults: list[Fault]) -> None:
        told = "; ".join(f"{fault.field.rpartition('.')[2]} {fault.message}" for fault in faults)
        self.note(subject, "model", "left out: the registry would refuse it", told)


_FIELDS: Final = frozenset(Model.__struct_fields__) - {"provider", "model_name", "created_at", "updated_at"}
