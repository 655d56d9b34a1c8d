"""What in a registry version is news to who wants to be told of models and prices."""

from typing import Final, get_args

from shared.contracts.changes import FieldChange, NewsType, RegistryNews, VersionChanges

_TYPES: Final[tuple[NewsType, ...]] = get_args(NewsType)


def list_news(told: VersionChanges) -> list[RegistryNews]:
    """One piece of news for each model and type, in the order of the changes; values pass as they are.

    A model whose price moves in five fields is one `price.changed` with five changes. What nobody can
    register for, such as a removed model or a changed limit, is no news.
    """
    fields: dict[tuple[NewsType, str], list[FieldChange]] = {}
    for change in told.changes:
        for kind in _TYPES:
            if change.type == kind:
                found = fields.setdefault((kind, change.model), [])
                if change.field is not None:
                    found.append(FieldChange(change.field, change.old, change.new))
    return [
        RegistryNews(
            id=f"{kind}/{told.version}/{model}",
            type=kind,
            version=told.version,
            effective_from=told.effective_from,
            provider=model.partition(":")[0],
            model=model,
            changes=changes,
        )
        for (kind, model), changes in fields.items()
    ]
