"""The rater's use case: a slice of accepted records becomes rows, rollups and `usage.rated`, exactly once.

One transaction holds the position, the rows, the rollups, what idempotency keys stand for and what budgets
have spent. Only rows that were not there before reach the rollups, the budgets and the next topic, so a
record that is delivered, or was appended, more than once counts once. An event with the log id of another
body is set aside in `usage.dead`.

A cost that was found later comes as the same record with `repriced_at`. It counts where the row has no cost.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from services.ingest.apply_late_costs import apply_late_costs
from services.ingest.content_key import is_keyed_by_content
from services.ingest.count_budgets import announce_crossings, count_budgets
from services.ingest.poison import PoisonError, read_event
from services.ingest.reprice import OnUnknownVersion, reprice
from services.ingest.rollup import roll_up
from services.ingest.store.claims import Claim, follow_records, list_claims
from services.ingest.store.logs import RecordKey, insert_logs
from services.ingest.store.months import add_to_months
from services.ingest.store.retention import is_before, list_horizons, take_back_deleted
from services.ingest.store.rollups import add_latencies, add_sums, delete_empty
from services.ingest.watermark import Watermark
from shared.clock import Clock
from shared.contracts.topics import USAGE_LOGGED, USAGE_RATED
from shared.contracts.usage import UsageLogged, UsageRated
from shared.errors import NotFoundError
from shared.event_log.dead_letter import Poison, dead_letter
from shared.event_log.port import EventLog, Record, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.postgres import Connection, Database
from shared.pricebook.pricebook import Pricebook
from shared.telemetry.metrics import RECORDS_RATED, RECORDS_REPRICED, RECORDS_UNPRICED

RATER = "rater"
_YIELD_EVERY = 50

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Priced(NamedTuple):
    """A record that was read and priced again.

    Attributes:
        event: as it is recorded.
        value: the same in JSON: what the record's caller was, or will be, answered by.
        source: what it was read from.
    """

    event: UsageLogged
    value: bytes
    source: StoredRecord

    @property
    def key(self) -> RecordKey:
        """What it is known by."""
        return self.event.account_id, self.event.log_id


class Recorder:
    """Stores slices of `usage.logged`.

    Args:
        database: where the rows go.
        event_log: where `usage.rated` and `usage.dead` go.
        positions: in the same database.
        pricebook: the registry versions.
        watermark: told of what was applied, where reads wait in this process; None where they do not.
        clock: for `rated_at`.
        follow_records: make idempotency keys stand for what was recorded. False where they always do: where
            nothing is accepted without the database (see `Claims`).
        on_unknown_version: see `reprice`.
    """

    def __init__(
        self,
        *,
        database: Database,
        event_log: EventLog,
        positions: PostgresPositions,
        pricebook: Pricebook,
        watermark: Watermark | None,
        clock: Clock,
        follow_records: bool,
        on_unknown_version: OnUnknownVersion | None = None,
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._positions = positions
        self._pricebook = pricebook
        self._watermark = watermark
        self._clock = clock
        self._follow_records = follow_records
        self._on_unknown_version = on_unknown_version

    async def record(self, accepted: Slice) -> None:
        """Store one slice of one partition and move the position past it.

        Raises:
            FencedError: another rater has stored it; nothing was stored now.
            UnavailableError: a dependency is away; nothing was stored.
        """
        priced, poison = await self._price_all(accepted.records)
        async with self._database.transaction() as connection:
            await self._positions.advance_past(connection, RATER, accepted)
            first = [each for each in priced if each.event.repriced_at is None]
            late = [each for each in priced if each.event.repriced_at is not None]
            new = await insert_logs(connection, [each.event for each in first])
            new -= await self._take_back_deleted(connection, [each.event for each in first], new)
            fresh: list[Priced] = []
            repeated: list[Priced] = []
            for each in first:
                (fresh if each.key in new else repeated).append(each)
                new.discard(each.key)
            costs = await apply_late_costs(connection, [each.event for each in late])
            fresh_or_late = [*fresh, *(late[place] for place in (*costs.inserted, *costs.before))]
            added = [each.event for each in (*fresh, *(late[place] for place in costs.inserted))]
            await add_to_months(connection, added)
            await self._add_up(fresh_or_late, list(costs.before.values()), connection)
            if self._follow_records:
                await follow_records(connection, _claims_of(fresh))
            poison += await self._find_contradictions(connection, repeated)
            for place in costs.foreign:
                poison.append(Poison(late[place].source, "it states other facts than its record"))
            # Before the commit: if it fails, the slice comes again and is published again, which the next
            # consumer passes over. After it, a crash in between would lose the event.
            await self._set_aside(poison)
            await self._publish(fresh_or_late)
            crossed = await count_budgets(
                connection, added, [late[place].event for place in costs.before], self._clock.now()
            )
            await announce_crossings(self._event_log, crossed)
        if self._watermark is not None:
            self._watermark.applied(accepted.partition, accepted.next_offset)
        _count([each.event for each in fresh])
        RECORDS_REPRICED.inc(len(costs.before))

    async def _take_back_deleted(
        self, connection: Connection, events: Sequence[UsageLogged], new: set[RecordKey]
    ) -> set[RecordKey]:
        """Take out what retention had deleted before it came once more; which records these were.

        After the insert, so that what is being deleted at this moment is seen as well.
        """
        horizons = await list_horizons(connection, {event.account_id for event in events})
        keys = {
            (event.account_id, event.log_id)
            for event in events
            if event.body_digest is not None and is_before(event, horizons)
        } & new
        return await take_back_deleted(connection, list(keys)) if keys else set()

    async def _add_up(
        self, counted: Sequence[Priced], unpriced: Sequence[UsageLogged], connection: Connection
    ) -> None:
        rollup = roll_up((each.event for each in counted), unpriced)
        await add_sums(connection, rollup.sums)
        await add_latencies(connection, rollup.latencies)
        await delete_empty(connection, rollup.left)

    async def _price_all(self, records: Sequence[StoredRecord]) -> tuple[list[Priced], list[Poison]]:
        """Read records and price them again; also those that can never be processed."""
        priced: list[Priced] = []
        poison: list[Poison] = []
        for number, stored in enumerate(records):
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # in embedded mode requests are answered by the same loop
            try:
                value, event = read_event(stored)
                event_again = await reprice(event, self._pricebook, self._on_unknown_version)
            except PoisonError as error:
                poison.append(Poison(stored, str(error)))
            else:
                if event_again is not event:
                    _log.error("record %s came with another price than its version gives", event.log_id)
                    value = _encoder.encode(event_again)
                priced.append(Priced(event_again, value, stored))
        return priced, poison

    async def _set_aside(self, poison: Sequence[Poison]) -> None:
        for _, reason in poison:
            _log.error("a record of %s cannot be processed: %s", USAGE_LOGGED, reason)
        await dead_letter(self._event_log, poison)

    async def _find_contradictions(self, connection: Connection, repeated: Sequence[Priced]) -> list[Poison]:
        """Of records whose row is there already, those that are not the row's own.

        As a rule a repeated record is the same one, delivered or appended again. One with another body was
        acknowledged in a double fault, and somebody has to look at it.
        """
        poison: list[Poison] = []
        keyed = [each for each in repeated if each.event.body_digest is not None]
        claims = await list_claims(connection, {each.key for each in keyed})
        for each in keyed:
            digest, value = claims.get(each.key, (each.event.body_digest, each.value))
            if digest != each.event.body_digest:
                poison.append(Poison(each.source, "its idempotency key stands for another body"))
            elif value not in (each.value, b""):
                _log.warning("record %s was answered in two ways; the first one stands", each.event.log_id)
        return poison

    async def _find_digests(self, versions: Iterable[str | None]) -> dict[str | None, str | None]:
        """The digests of registry versions that were just priced from; None for one that is not here."""
        digests: dict[str | None, str | None] = {None: None}
        for version in versions:
            if version is not None:
                try:
                    digests[version] = (await self._pricebook.edition(version)).digest
                except NotFoundError:
                    digests[version] = None
        return digests

    async def _publish(self, fresh: Sequence[Priced]) -> None:
        if not fresh:
            return
        rated_at = self._clock.now()
        digests = await self._find_digests({each.event.registry_version for each in fresh})
        await self._event_log.append(
            USAGE_RATED,
            [
                Record(
                    str(each.event.account_id).encode(),
                    _encoder.encode(_rated(each.event, rated_at, digests[each.event.registry_version])),
                    each.source.headers,
                )
                for each in fresh
            ],
        )


def _count(rated: list[UsageLogged]) -> None:
    RECORDS_RATED.inc(len(rated))
    for status, count in Counter(event.cost_status for event in rated if event.cost is None).items():
        RECORDS_UNPRICED.labels(status).inc(count)


def _claims_of(fresh: Sequence[Priced]) -> list[Claim]:
    return [
        Claim(
            *each.key,
            each.event.body_digest,
            b"" if is_keyed_by_content(each.event) else each.value,
            each.event.received_at,
        )
        for each in fresh
        if each.event.body_digest is not None
    ]


def _rated(event: UsageLogged, rated_at: datetime, registry_digest: str | None) -> UsageRated:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return UsageRated(**fields, rated_at=rated_at, registry_digest=registry_digest)
