"""What is different between two registry versions, on the wire."""

from datetime import datetime
from typing import Any, Literal

import msgspec

ChangeType = Literal[
    "model.added",
    "model.removed",
    "model.deprecated",
    "model.reactivated",
    "model.changed",
    "price.changed",
    "capability.changed",
    "limit.changed",
]
ProviderChangeType = Literal["provider.added", "provider.removed", "provider.changed"]


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one model.

    `model.deprecated` tells both that a model was retired (`field` is `is_active`) and that its retirement
    was announced (`field` is `deprecated_date`). `model.changed` is any other field: names, aliases, dates.

    Attributes:
        model: the model's key.
        field: absent where a whole model came or went.
        old: the value before. Of a whole model: its entry in a full difference, absent elsewhere.
        new: the value after; likewise.
    """

    type: ChangeType
    model: str
    field: str | None = None
    old: Any = msgspec.UNSET
    new: Any = msgspec.UNSET


class ProviderChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one provider's entry, with the same fields; a whole entry is always told."""

    type: ProviderChangeType
    provider: str
    field: str | None = None
    old: Any = msgspec.UNSET
    new: Any = msgspec.UNSET


class VersionChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What one version changed.

    Attributes:
        effective_from: from when it holds, which may be before or long after it was made.
        base: the version that it was built on and that the changes are against: the one in force when this
            one was to come into force, as far as was known when it was made. Null for the first of all.
    """

    version: str
    generated_at: datetime
    effective_from: datetime
    base: str | None
    changes: list[Change]
    provider_changes: list[ProviderChange]


class ChangelogPage(msgspec.Struct, frozen=True):
    """`GET /registry/changelog`: versions with their changes, newest first.

    Attributes:
        next: where there are more, the version to ask for as `before`.
    """

    versions: list[VersionChanges]
    next: str | None


class Difference(msgspec.Struct, frozen=True, kw_only=True, rename={"old": "from", "new": "to"}):
    """`GET /registry/diff`: everything that makes one version out of another.

    Whole entries are told with their content. Only the dates that the registry keeps by itself, `created_at`
    and `updated_at`, are no difference.
    """

    old: str
    new: str
    changes: list[Change]
    provider_changes: list[ProviderChange]
