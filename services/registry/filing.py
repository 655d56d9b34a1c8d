"""Work out what a version changed, and keep it beside the version."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from services.registry.changes import list_changes, list_provider_changes
from services.registry.history.replay import replay_history
from services.registry.snapshot import decode_snapshot, show_model
from services.registry.store import (
    Filing,
    find_body,
    insert_changes,
    list_bases,
    list_versions,
    lock_publishing,
)
from shared.contracts.registry import Snapshot, VersionListing
from shared.postgres import Connection, Database
from shared.pricing.versions import Timeline, parse_version

_encoder: Final = msgspec.json.Encoder()


def find_base(earlier: Sequence[VersionListing], effective_from: datetime, at: datetime) -> str | None:
    """The version that a new one builds on: what would be in force when the new one comes into force itself,
    or now if that is past. None where there is none yet.

    Args:
        earlier: the versions before it.
        effective_from: when the new version comes into force.
        at: when it is made.
    """
    base = Timeline(earlier).find_in_force(max(at, effective_from))
    return None if base is None else base.version


def make_filing(
    base: Snapshot | None, snapshot: Snapshot, published_at: Mapping[str, datetime] | None = None
) -> Filing:
    """What a version changed against its base.

    Args:
        base: None for the first version of all.
        snapshot: the version.
        published_at: when a provider's models were published, where that was before the version was made.
    """
    before = {} if base is None else base.models
    changes = list_changes(before, snapshot.models)
    of_providers = list_provider_changes({} if base is None else base.providers, snapshot.providers)
    keys = dict.fromkeys(change.model for change in changes)
    models = snapshot.models
    return Filing(
        key=parse_version(snapshot.version),
        base=None if base is None else base.version,
        changes=_encoder.encode({"changes": changes, "provider_changes": of_providers}),
        books={
            provider: (published_at or {}).get(provider, snapshot.generated_at)
            for provider in sorted({key.partition(":")[0] for key in keys})
        },
        entries={key: _encoder.encode(show_model(models[key])) if key in models else None for key in keys},
    )


async def file_missing(connection: Connection) -> int:
    """Work out every version that was stored without its changes, under `lock_publishing`; say how many.

    Programs of an earlier release store versions so, and the seed does.
    """
    _, missing = await list_bases(connection)
    if not missing:
        return 0
    listings = await list_versions(connection)
    history = {moment.snapshot.version: moment for moment in replay_history()}
    at_hand: dict[str, Snapshot] = {}

    async def read(version: str) -> Snapshot:
        if version not in at_hand:
            body = await find_body(connection, version)
            if body is None:
                raise LookupError(f"version {version} is listed and not there")
            if len(at_hand) > 1:
                del at_hand[next(iter(at_hand))]
            at_hand[version] = decode_snapshot(body)
        return at_hand[version]

    for place, listing in enumerate(listings):
        if listing.version not in missing:
            continue
        base = find_base(listings[:place], listing.effective_from, listing.generated_at)
        moment = history.get(listing.version)
        is_history = moment is not None and moment.snapshot.generated_at == listing.generated_at
        filing = make_filing(
            None if base is None else await read(base),
            await read(listing.version),
            moment.published_at if moment is not None and is_history else None,
        )
        await insert_changes(connection, filing)
    return len(missing)


async def ensure_filed(database: Database) -> int:
    """Work out what is missing, in a transaction of its own.

    Raises:
        UnavailableError: the database is away.
    """
    async with database.transaction() as connection:
        await lock_publishing(connection)
        return await file_missing(connection)
