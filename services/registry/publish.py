"""Publish a version: read, check against the version before, store; all or nothing, one publish at a time."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.registry.aliases import find_alias_faults
from services.registry.announce import announce_versions
from services.registry.changes import list_price_moves
from services.registry.filing import Told, file_missing, find_base, make_filing, tell_changes
from services.registry.library import Library
from services.registry.request import PublishRequest
from services.registry.snapshot import decode_snapshot, digest_of, encode_snapshot
from services.registry.store import (
    NewVersion,
    find_body,
    insert_changes,
    insert_versions,
    list_versions,
    lock_publishing,
)
from services.registry.succession import describe_providers, succeed
from shared.clock import Clock, rfc3339
from shared.contracts.changes import Change, ProviderChange
from shared.contracts.registry import Snapshot, VersionListing
from shared.errors import Fault, InvalidFieldError, UnavailableError
from shared.event_log.port import EventLog
from shared.money import EXACT, plain
from shared.postgres import Database
from shared.pricing.versions import Timeline, VersionKey, next_version, parse_version

MAX_FAULTS_TOLD: Final = 200
LEAP: Final = Decimal(10)
"""A price that moves by more than this factor needs `confirm`."""

ALL_BUT: Final = 10
"""A `replace` that removes more than one model in so many needs `confirm`."""

_log = logging.getLogger(__name__)


class Doubt(msgspec.Struct, frozen=True):
    """Something that is published only with `confirm`, and why."""

    field: str
    message: str


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What a publish did, or would do.

    Attributes:
        version: the new version; where nothing changed, the one that says so already; in a dry run, the name
            that it would get today.
        published: False in a dry run and where nothing changed.
        changes: against the version that it builds on.
        needs_confirm: in a dry run, what would be refused without `confirm`.
    """

    version: str
    effective_from: str
    published: bool
    dry_run: bool
    changes: list[Change]
    provider_changes: list[ProviderChange]
    needs_confirm: list[Doubt] = []


class _Draft(NamedTuple):
    """The next version, not yet stored.

    Attributes:
        base: what it builds on; None for the first version of all.
        faults: why it cannot be published.
        doubts: why it is published only with `confirm`.
    """

    key: VersionKey
    snapshot: Snapshot
    base: Snapshot | None
    told: Told
    faults: list[Fault]
    doubts: list[Fault]

    @property
    def adds_nothing(self) -> bool:
        """Whether the base says all this already, and from no later instant on."""
        return (
            self.base is not None
            and self.base.models == self.snapshot.models
            and self.base.providers == self.snapshot.providers
            and self.base.effective_from <= self.snapshot.effective_from
        )


Adapt = Callable[[PublishRequest, Snapshot | None], PublishRequest]


async def publish_version(
    request: PublishRequest,
    *,
    published_by: UUID | None,
    database: Database,
    event_log: EventLog,
    library: Library,
    clock: Clock,
    adapt: Adapt | None = None,
) -> Publication:
    """Publish, unless it is a dry run or changes nothing.

    A publish builds on the version in force when it comes into force itself, or now if that is past: `merge`
    keeps that version's other models, and the changes are those against it. Publishes wait for each other, so
    two at once give two versions, the second upon the first.

    Args:
        request: what is to be published.
        published_by: the account that publishes; None for the deployment's own command line.
        database: where the versions are.
        event_log: where the new version is announced.
        library: of this process, which is to know the new version at once.
        clock: says when now is.
        adapt: makes the request fit to the version that it builds on, None where it is the first.

    Raises:
        InvalidFieldError: a field is wrong, or something needs `confirm`; every fault is named.
        UnavailableError: the database is away. Publishing again is safe: the same content is stored once.
    """
    async with database.transaction() as connection:
        await lock_publishing(connection)
        listings = await list_versions(connection)
        now = clock.now().astimezone(UTC)
        base_version = find_base(listings, request.effective_from or now, now)
        base_body = await find_body(connection, base_version) if base_version is not None else None
        # Thousands of models take their time, which is not the readers'.
        draft = await asyncio.to_thread(_make_draft, request, listings, base_body, now, adapt)
        faults = draft.faults if request.confirm or request.dry_run else draft.faults + draft.doubts
        if faults:
            raise _refusal(faults)
        published = not (request.dry_run or draft.adds_nothing)
        if published:
            body = await asyncio.to_thread(encode_snapshot, draft.snapshot, draft.base, base_body or b"")
            filing = await asyncio.to_thread(make_filing, draft.base, draft.snapshot, draft.told)
            await file_missing(connection)  # providers' numbers follow the order of versions
            await insert_versions(connection, [new_version(draft.key, draft.snapshot, body, published_by)])
            await insert_changes(connection, filing)
    if published:
        await _tell(database, event_log, library, clock)
    said_by = draft.base if draft.adds_nothing and draft.base is not None else draft.snapshot
    return Publication(
        version=said_by.version,
        effective_from=rfc3339(said_by.effective_from),
        published=published,
        dry_run=request.dry_run,
        changes=draft.told.changes,
        provider_changes=draft.told.provider_changes,
        needs_confirm=[Doubt(*doubt) for doubt in draft.doubts] if request.dry_run else [],
    )


def new_version(key: VersionKey, snapshot: Snapshot, body: bytes, published_by: UUID | None) -> NewVersion:
    """A snapshot as it is stored: its bytes and their digest."""
    listing = VersionListing(
        version=snapshot.version,
        generated_at=snapshot.generated_at,
        effective_from=snapshot.effective_from,
        digest=digest_of(body),
        models=len(snapshot.models),
    )
    return NewVersion(key, listing, body, published_by)


def _make_draft(
    request: PublishRequest,
    listings: Sequence[VersionListing],
    base_body: bytes | None,
    now: datetime,
    adapt: Adapt | None,
) -> _Draft:
    base = None if base_body is None else decode_snapshot(base_body)
    if adapt is not None:
        request = adapt(request, base)
    effective_from = request.effective_from or now
    before = base.models if base is not None else {}
    kept = before if request.mode == "merge" else {}
    models = succeed(before, {**kept, **request.models}, effective_from=effective_from, at=now)
    known = {**(base.providers if base is not None else {}), **request.providers}
    key = next_version(parse_version(listings[-1].version) if listings else None, now.date())
    snapshot = Snapshot(
        version=key.name(),
        generated_at=now,
        effective_from=effective_from,
        models=models,
        providers=describe_providers(models, known),
    )
    faults = request.faults + find_alias_faults(before, models, request.paths)
    draft = _Draft(key, snapshot, base, tell_changes(base, snapshot), faults, [])
    return draft if draft.adds_nothing else draft._replace(doubts=_find_doubts(request, draft, listings))


def _find_doubts(request: PublishRequest, draft: _Draft, listings: Sequence[VersionListing]) -> list[Fault]:
    before = draft.base.models if draft.base is not None else {}
    timeline = Timeline(listings)
    doubts = [
        Fault(
            f"{path}.{field}", f"moves from {plain(old)} to {plain(new)}; send confirm: true if it is meant"
        )
        for key, path in request.paths.items()
        if key in before
        for field, old, new in list_price_moves(before[key], draft.snapshot.models[key])
        if _is_leap(old, new)
    ]
    removed = before.keys() - draft.snapshot.models.keys()
    if len(removed) * ALL_BUT > len(before):
        doubts.append(
            Fault(
                "mode", f"removes {len(removed)} of {len(before)} models; send confirm: true if it is meant"
            )
        )
    doubts += [
        Fault(
            "effective_from",
            f"version {later.version}, due at {rfc3339(later.effective_from)}, would never come into force; "
            "send confirm: true, and publish it again afterwards",
        )
        for later in listings
        if later.effective_from > max(draft.snapshot.generated_at, draft.snapshot.effective_from)
        and timeline.find_in_force(later.effective_from) is later
    ]
    return doubts


def _is_leap(old: Decimal, new: Decimal) -> bool:
    if old == 0 or new == 0:
        return True
    return new > EXACT.multiply(old, LEAP) or old > EXACT.multiply(new, LEAP)


def _refusal(faults: list[Fault]) -> InvalidFieldError:
    told = faults[:MAX_FAULTS_TOLD]
    if len(faults) > len(told):
        told.append(Fault("models", f"has {len(faults) - len(told)} more faults"))
    return InvalidFieldError.all(told)


async def _tell(database: Database, event_log: EventLog, library: Library, clock: Clock) -> None:
    # The version is committed: a failure from here on must not look like a refusal. The list of versions is
    # read again within a second anyway, and the announcer tells what was not told.
    try:
        await library.refresh()
        await announce_versions(database, event_log, clock)
    except UnavailableError as error:
        _log.warning("published, but not announced yet: %s", error.detail)
