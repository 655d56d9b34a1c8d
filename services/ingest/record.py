"""The rater's use case: a slice of accepted records becomes rows, rollups and `usage.rated`, exactly once.

One transaction holds the position, the rows and the rollups. Only rows that were not there before reach the
rollups and the next topic, so a record that is delivered, or was appended, more than once counts once.
"""

import asyncio
import logging
from datetime import UTC, datetime

import msgspec

from services.ingest.rollup import roll_up
from services.ingest.store.logs import insert_logs
from services.ingest.store.rollups import add_latencies, add_sums
from services.ingest.watermark import Watermark
from shared.clock import Clock
from shared.contracts.topics import USAGE_LOGGED, USAGE_RATED
from shared.contracts.usage import UsageLogged, UsageRated
from shared.errors import NotFoundError
from shared.event_log.dead_letter import dead_letter
from shared.event_log.port import EventLog, Record, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.intake.usage import cost_lines, count_tokens
from shared.money import parse_number, plain
from shared.postgres import Database
from shared.pricebook.pricebook import Pricebook

RATER = "rater"
_YIELD_EVERY = 50
_LARGEST = 2**53  # beyond any count that the API lets in, and far from the end of a bigint

_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(UsageLogged)
_encoder = msgspec.json.Encoder()


class PoisonError(Exception):
    """A record that can never be processed; the text says why."""


class Recorder:
    """Stores slices of `usage.logged`."""

    def __init__(
        self,
        *,
        database: Database,
        event_log: EventLog,
        positions: PostgresPositions,
        pricebook: Pricebook,
        watermark: Watermark,
        clock: Clock,
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._positions = positions
        self._pricebook = pricebook
        self._watermark = watermark
        self._clock = clock

    async def record(self, accepted: Slice) -> None:
        """Store one slice of one partition and move the position past it.

        Raises:
            FencedError: another rater has stored it; nothing was stored now.
            UnavailableError: a dependency is away; nothing was stored.
        """
        events: list[UsageLogged] = []
        sources: dict[object, StoredRecord] = {}
        for number, stored in enumerate(accepted.records):
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # in embedded mode requests are answered by the same loop
            try:
                event = await self._price_again(_read(stored))
            except PoisonError as poison:
                _log.error("a record of %s cannot be processed: %s", USAGE_LOGGED, poison)
                await dead_letter(self._event_log, stored, str(poison))
            else:
                events.append(event)
                sources.setdefault(event.log_id, stored)
        async with self._database.transaction() as connection:
            await self._positions.advance(
                connection,
                RATER,
                USAGE_LOGGED,
                accepted.partition,
                expected=accepted.expected,
                next_offset=accepted.next_offset,
            )
            new = await insert_logs(connection, events)
            fresh: list[UsageLogged] = []
            for event in events:
                if event.log_id in new:
                    new.discard(event.log_id)
                    fresh.append(event)
            rollup = roll_up(fresh)
            await add_sums(connection, rollup.sums)
            await add_latencies(connection, rollup.latencies)
            # Before the commit: if it fails, the slice comes again and is published again, which the next
            # consumer passes over. After it, a crash in between would lose the event.
            await self._publish(fresh, sources)
        self._watermark.applied(accepted.partition, accepted.next_offset)

    async def _publish(self, fresh: list[UsageLogged], sources: dict[object, StoredRecord]) -> None:
        if not fresh:
            return
        rated_at = self._clock.now()
        await self._event_log.append(
            USAGE_RATED,
            [
                Record(
                    str(event.account_id).encode(),
                    _encoder.encode(_rated(event, rated_at)),
                    sources[event.log_id].headers,
                )
                for event in fresh
            ],
        )

    async def _price_again(self, event: UsageLogged) -> UsageLogged:
        """The event with the cost that its pinned version gives: as a rule, the cost it came with."""
        try:
            edition = (
                await self._pricebook.in_force(event.occurred_at)
                if event.registry_version is None
                else await self._pricebook.edition(event.registry_version)
            )
        except NotFoundError:
            raise PoisonError(f"there is no registry version {event.registry_version}") from None
        key, quote = edition.quote(event.provider, event.model, count_tokens(event), event.service_tier)
        calculated = None if quote.cost is None else plain(quote.cost)
        given = event.client_cost
        ours = {
            "model_key": key,
            "calculated_cost": calculated,
            "calculated_status": quote.status,
            "cost": calculated if given is None else given,
            "cost_status": quote.status if given is None else "client",
            "registry_version": edition.version,
        }
        theirs = {name: getattr(event, name) for name in ours}
        if theirs == ours:
            return event
        _log.error("record %s came with %s, but has %s", event.log_id, theirs, ours)
        return msgspec.structs.replace(event, **ours, cost_breakdown=cost_lines(quote))


def _read(stored: StoredRecord) -> UsageLogged:
    """Decode a record and check what only a foreign producer could have got wrong."""
    if not stored.value:
        raise PoisonError("it has no value")
    try:
        event = _decoder.decode(stored.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PoisonError(f"it cannot be decoded: {error}") from None
    if event.v != 1:
        raise PoisonError(f"its version is {event.v}")
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str) and "\0" in value:
            raise PoisonError(f"{name} contains NUL")
        if isinstance(value, int) and not 0 <= value <= _LARGEST:
            raise PoisonError(f"{name} is out of range")
    try:
        if event.client_cost is not None:
            event.client_cost = plain(parse_number(event.client_cost))
        # Rollups take their buckets from the clock face, so it must be that of UTC.
        event.occurred_at = event.occurred_at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PoisonError(f"client_cost or occurred_at {error}") from None
    if event.client_cost is not None and event.client_cost.startswith("-"):
        raise PoisonError("client_cost is negative")
    return event


def _rated(event: UsageLogged, rated_at: datetime) -> UsageRated:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return UsageRated(**fields, rated_at=rated_at)
