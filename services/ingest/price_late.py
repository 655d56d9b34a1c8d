"""Find costs that were unknown when records were accepted, and have the rater put them where there are none.

Nothing is written here but events: the record once more, in `usage.logged`, with its cost and `repriced_at`.
The rater sets a cost where the row has none, in the transaction that moves the sums and its position. So it
does no harm to run twice, several times at once, or to break off in the middle.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from services.ingest.cursor import decode_cursor, encode_cursor
from services.ingest.presence import Presence
from services.ingest.selection import UnpricedQuery
from services.ingest.store.unpriced import Place, list_unpriced
from services.ingest.watermark import Watermark
from shared.clock import Clock
from shared.contracts.topics import USAGE_LOGGED
from shared.contracts.usage import UsageLogged
from shared.errors import InvalidFieldError, NotFoundError
from shared.event_log.port import EventLog, Headers, Record
from shared.intake.usage import cost_lines, count_tokens
from shared.money import EXACT, ZERO, plain
from shared.postgres import Database
from shared.pricebook.edition import Edition
from shared.pricebook.pricebook import Pricebook
from shared.pricing.versions import parse_version

_APPENDED_AT_ONCE: Final = 200
_YIELD_EVERY: Final = 50
_encoder = msgspec.json.Encoder()


class Tally:
    """What was found, over one part of a range or several.

    Attributes:
        examined: records without a cost that were looked at.
        records: those that get one, by model key and registry version.
        costs: their sums, in dollars.
        unpriced: those that stay as they are, by provider, model and reason.
    """

    def __init__(self) -> None:
        self.examined = 0
        self.records: Counter[tuple[str, str]] = Counter()
        self.costs: dict[tuple[str, str], Decimal] = {}
        self.unpriced: Counter[tuple[str, str, str]] = Counter()

    @property
    def priced(self) -> int:
        """How many records get a cost."""
        return self.records.total()

    @property
    def cost(self) -> Decimal:
        """What they cost together, in dollars."""
        total = ZERO
        for cost in self.costs.values():
            total = EXACT.add(total, cost)
        return total

    def add(self, model_key: str, version: str, cost: Decimal) -> None:
        """Count a record that gets a cost."""
        self.records[model_key, version] += 1
        self.costs[model_key, version] = EXACT.add(self.costs.get((model_key, version), ZERO), cost)


class Part(NamedTuple):
    """One part of a range is done.

    Attributes:
        following: where the next part begins; None: that was the last one.
        ends: what the rater has to come to, per partition, until the costs are in force.
    """

    following: Place | None
    ends: dict[int, int]


class LatePricing:
    """Prices records that have no cost.

    Args:
        database: of the schema `usage`, which is only read.
        presence: of that database.
        event_log: takes `usage.logged`.
        pricebook: the registry versions.
        clock: for `repriced_at`.
        watermark: told of each record, so that reads of its account wait for it; None where none wait here.
    """

    def __init__(
        self,
        *,
        database: Database,
        presence: Presence,
        event_log: EventLog,
        pricebook: Pricebook,
        clock: Clock,
        watermark: Watermark | None,
    ) -> None:
        self._database = database
        self._presence = presence
        self._event_log = event_log
        self._pricebook = pricebook
        self._clock = clock
        self._watermark = watermark

    async def price_part(
        self,
        query: UnpricedQuery,
        tally: Tally,
        *,
        version: str | None,
        dry_run: bool,
        after: Place | None,
        limit: int,
        headers: Headers = (),
    ) -> Part:
        """Look at the next records of a range, and have those priced that can be.

        Args:
            query: the range.
            tally: added to.
            version: prices them all. None: the version in force at the record's own time, and where that has
                no price, the one in force now.
            dry_run: only count.
            after: where the part before has ended.
            limit: the most records of this part.
            headers: travel with the events.

        Raises:
            InvalidFieldError: there is no such version.
            UnavailableError: a dependency is away. What was appended until then counts; ask again.
        """
        await self._pricebook.refresh()
        chosen = None if version is None else await self._get_edition(version)
        now = self._clock.now()
        found = await self._presence.ask(lambda: self._find(query, after, limit))
        priced: list[UsageLogged] = []
        for number, event in enumerate(found):
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # others are answered by the same loop
            tally.examined += 1
            late = await self._price(event, chosen, now, tally)
            if late is not None:
                priced.append(late)
        ends = {} if dry_run else await self._append(priced, headers)
        following = None
        if len(found) == limit:
            last = found[-1]
            following = Place(last.occurred_at, last.account_id, last.log_id)
        return Part(following, ends)

    async def _find(self, query: UnpricedQuery, after: Place | None, limit: int) -> list[UsageLogged]:
        async with self._database.connection() as connection:
            return await list_unpriced(connection, query, after=after, limit=limit)

    async def _get_edition(self, version: str) -> Edition:
        try:
            parse_version(version)
            return await self._pricebook.edition(version)
        except ValueError as error:
            raise InvalidFieldError.of("registry_version", str(error)) from None
        except NotFoundError:
            raise InvalidFieldError.of("registry_version", "is not in the registry") from None

    async def _price(
        self, event: UsageLogged, chosen: Edition | None, now: datetime, tally: Tally
    ) -> UsageLogged | None:
        tokens = count_tokens(event)
        reason = event.cost_status
        async for edition in self._list_editions(event, chosen, now):
            key, quote = edition.quote(event.provider, event.model, tokens, event.service_tier)
            if key is not None and quote.cost is not None:
                cost = plain(quote.cost)
                tally.add(key, edition.version, quote.cost)
                return msgspec.structs.replace(
                    event,
                    model_key=key,
                    calculated_cost=cost,
                    calculated_status=quote.status,
                    cost=cost,
                    cost_status=quote.status,
                    registry_version=edition.version,
                    cost_breakdown=cost_lines(quote),
                    repriced_at=now,
                )
            reason = quote.status
        tally.unpriced[event.provider, event.model, reason] += 1
        return None

    async def _list_editions(
        self, event: UsageLogged, chosen: Edition | None, now: datetime
    ) -> AsyncIterator[Edition]:
        if chosen is not None:
            yield chosen
            return
        own = await self._pricebook.in_force(event.occurred_at)
        yield own
        current = await self._pricebook.in_force(now)
        if current.version != own.version:
            yield current

    async def _append(self, priced: Sequence[UsageLogged], headers: Headers) -> dict[int, int]:
        ends: dict[int, int] = {}
        for start in range(0, len(priced), _APPENDED_AT_ONCE):
            some = priced[start : start + _APPENDED_AT_ONCE]
            records = [Record(str(e.account_id).encode(), _encoder.encode(e), headers) for e in some]
            positions = await self._event_log.append(USAGE_LOGGED, records)
            for event, position in zip(some, positions, strict=True):
                ends[position.partition] = max(ends.get(position.partition, 0), position.offset + 1)
                if self._watermark is not None:
                    await self._watermark.accepted(event.account_id, position)
        return ends


def write_cursor(place: Place) -> str:
    """A place as callers hand it back."""
    return encode_cursor(place.occurred_at, (place.account_id, place.log_id))


def read_cursor(cursor: str) -> Place:
    """The place that a cursor stands for.

    Raises:
        InvalidFieldError: it is not one of ours.
    """
    occurred_at, (account_id, log_id) = decode_cursor(cursor, 2)
    return Place(occurred_at, account_id, log_id)
