"""Accept usage records: check, price, claim the idempotency key, hold against the quota, append, answer.

An answer is given only after the event log's durable acknowledgement. The price is pinned here: the rater
recomputes it from the registry version that is written into the event.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import compress
from uuid import UUID

import msgspec

from services.ingest.claim import Claims
from services.ingest.content_key import key_of_content
from services.ingest.outcome import Accepted, Prepared, is_own, outcome_of
from services.ingest.quota import Quotas
from services.ingest.quota_counter import Item
from services.ingest.store.claims import Claim, Settled
from services.ingest.watermark import Watermark
from shared.clock import Clock
from shared.contracts.keys import Principal
from shared.contracts.topics import USAGE_LOGGED
from shared.contracts.usage import MAX_LOG_BODY_BYTES
from shared.errors import LLMRingError, TooLargeError, UnavailableError
from shared.event_log.port import EventLog, Headers
from shared.event_log.traces import append_traced
from shared.ids import keyed_log_id, uuid7
from shared.intake.parse import (
    check_metadata,
    parse_batch,
    parse_cost,
    parse_idempotency_key,
    parse_log,
    parse_timestamp,
)
from shared.intake.usage import build_usage, digest_of, tokens_of
from shared.pricebook.pricebook import Pricebook
from shared.pricing.cards import STANDARD

_YIELD_EVERY = 100
_event_encoder = msgspec.json.Encoder()


class Acceptance:
    """Takes in records of usage.

    Args:
        event_log: where records become durable.
        pricebook: the registry versions, by the time they came into force.
        claims: what idempotency keys stand for.
        quotas: what accounts may record in a month.
        watermark: told of each record, so that its caller can read it.
        clock: for `received_at`, and for `occurred_at` where the record has no time of its own.
        max_skew: how far ahead a record's own time may be.
    """

    def __init__(
        self,
        *,
        event_log: EventLog,
        pricebook: Pricebook,
        claims: Claims,
        quotas: Quotas,
        watermark: Watermark,
        clock: Clock,
        max_skew: timedelta,
    ) -> None:
        self._event_log = event_log
        self._pricebook = pricebook
        self._claims = claims
        self._quotas = quotas
        self._watermark = watermark
        self._clock = clock
        self._max_skew = max_skew

    async def accept(
        self, principal: Principal, body: bytes, idempotency_key: bytes | None, headers: Headers
    ) -> Accepted:
        """Accept one record.

        Args:
            principal: whose record it is.
            body: the request's JSON.
            idempotency_key: the request header of that name.
            headers: what travels with the event, such as the trace context.

        Raises:
            MalformedRequestError, InvalidFieldError, TooLargeError: nothing was recorded.
            ConflictError: the key is in flight with another body.
            QuotaExceededError: the account has used up its month.
            UnavailableError: the event log is away; with an idempotency key a retry is safe.
        """
        prepared = await self._prepare(principal, body, idempotency_key, self._clock.now())
        [outcome] = await self._record(principal, [prepared], headers)
        if isinstance(outcome, LLMRingError):
            raise outcome
        return outcome

    async def accept_batch(
        self, principal: Principal, body: bytes, headers: Headers
    ) -> list[Accepted | LLMRingError]:
        """Accept up to a thousand records, each on its own: what came of each, in their order.

        Raises:
            MalformedRequestError, InvalidFieldError: the batch as a whole cannot be read.
            UnavailableError: the event log is away, nothing of the batch was acknowledged.
        """
        return await self._accept_each(principal, parse_batch(body), headers)

    async def accept_lines(
        self, principal: Principal, lines: Sequence[bytes], headers: Headers
    ) -> list[Accepted | LLMRingError]:
        """Accept records of an import, each on its own: what came of each, in their order.

        A record without an idempotency key gets one from its content, so that a line which comes again is
        the same record.

        Raises:
            UnavailableError: the event log is away, nothing of these lines was acknowledged.
        """
        return await self._accept_each(principal, lines, headers, keyed_by_content=True)

    async def _accept_each(
        self,
        principal: Principal,
        items: Sequence[bytes | msgspec.Raw],
        headers: Headers,
        *,
        keyed_by_content: bool = False,
    ) -> list[Accepted | LLMRingError]:
        now = self._clock.now()
        outcomes: list[Accepted | LLMRingError | None] = []
        prepared: list[Prepared] = []
        for number, item in enumerate(items):
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # others are answered by the same loop
            try:
                if isinstance(item, bytes) and len(item) > MAX_LOG_BODY_BYTES:
                    raise TooLargeError(f"A record is larger than {MAX_LOG_BODY_BYTES} bytes.")
                prepared.append(
                    await self._prepare(principal, item, None, now, keyed_by_content=keyed_by_content)
                )
                outcomes.append(None)
            except UnavailableError:
                raise  # of the registry: no record can be priced now
            except LLMRingError as error:
                outcomes.append(_without_trace(error))
        recorded = iter(await self._record(principal, prepared, headers))
        return [next(recorded) if outcome is None else outcome for outcome in outcomes]

    async def _prepare(
        self,
        principal: Principal,
        body: bytes | msgspec.Raw,
        idempotency_key: bytes | None,
        now: datetime,
        *,
        keyed_by_content: bool = False,
    ) -> Prepared:
        log = parse_log(body)
        key = parse_idempotency_key(idempotency_key, log)
        check_metadata(log)
        occurred_at = parse_timestamp(log, now=now, max_skew=self._max_skew)
        client_cost = parse_cost(log)
        tokens = tokens_of(log, billed_by_us=client_cost is None)
        edition = self._pricebook.find_in_force(occurred_at) or await self._pricebook.in_force(occurred_at)
        tier = log.service_tier or STANDARD
        model_key, quote = edition.quote(log.provider or "", log.model, tokens, tier)
        digest = None if key is None and not keyed_by_content else digest_of(log, occurred_at)
        of_content = None if digest is None else key_of_content(digest)
        key = key or of_content
        event = build_usage(
            principal,
            log,
            log_id=uuid7() if key is None else keyed_log_id(principal.account_id, key),
            occurred_at=occurred_at,
            received_at=now,
            idempotency_key=key,
            body_digest=digest,
            client_cost=client_cost,
            model_key=model_key,
            quote=quote,
            registry_version=edition.version,
        )
        value = _event_encoder.encode(event)
        if digest is None:
            return Prepared(event, value, None)
        kept = b"" if key == of_content else value
        return Prepared(event, value, Claim(principal.account_id, event.log_id, digest, kept, now))

    async def _record(
        self, principal: Principal, prepared: Sequence[Prepared], headers: Headers
    ) -> list[Accepted | LLMRingError]:
        """Make records durable: what came of each, in their order."""
        claims: dict[int, Claim] = {}  # the first of each key, by log id
        own: dict[int, bytes] = {}
        for each in prepared:
            number = each.event.log_id.int
            if each.claim is not None and number not in claims:
                claims[number], own[number] = each.claim, each.value
        values = [each.value for each in prepared if each.claim is None]
        unkeyed: list[Item] = [None] * len(values)
        if not claims:
            passed = await self._append(principal, unkeyed, values, headers)
            return [
                Accepted(each.event, replayed=False) if each_passed else self._refusal(principal)
                for each, each_passed in zip(prepared, passed, strict=True)
            ]
        async with self._claims.hold(list(claims.values())) as found:
            settled = dict(zip(claims, found, strict=True))
            owed = [  # in their own order, in which a quota lets them pass
                (number, each.event or own[number])
                for number, each in settled.items()
                if isinstance(each, Settled) and not each.stored
            ]
            items = unkeyed + [claims[number].log_id for number, _ in owed]
            passed = await self._append(principal, items, values + [event for _, event in owed], headers)
            refused = {
                number for (number, _), each in zip(owed, passed[len(values) :], strict=True) if not each
            }
            await self._release(
                [claims[number] for number in refused if is_own(settled[number], claims[number])]
            )
        unkeyed_passed = iter(passed)
        outcomes: list[Accepted | LLMRingError] = []
        for each in prepared:
            if each.claim is None:
                accepted = Accepted(each.event, replayed=False)
                outcomes.append(accepted if next(unkeyed_passed) else self._refusal(principal))
                continue
            number = each.event.log_id.int
            outcome = outcome_of(each, settled[number], again=claims[number] is not each.claim)
            if number in refused and isinstance(outcome, Accepted):
                outcome = self._refusal(principal)
            outcomes.append(outcome)
        return outcomes

    async def _release(self, refused: Sequence[Claim]) -> None:
        """Nothing of a record stays that was refused: neither its key nor its content."""
        if refused:
            await self._claims.release(refused)

    def _refusal(self, principal: Principal) -> LLMRingError:
        return self._quotas.refusal(principal.logs_per_month or 0)

    async def _append(
        self, principal: Principal, items: Sequence[Item], values: Sequence[bytes], headers: Headers
    ) -> Sequence[bool]:
        """Append what the account's quota lets pass; for each record whether it did.

        Args:
            principal: whose they are.
            items: the log id of each that has an idempotency key.
            values: their events.
            headers: that travel with them.
        """
        if principal.logs_per_month is None:
            await self._store(principal.account_id, values, headers)
            return [True] * len(values)
        charge = await self._quotas.charge(principal.account_id, principal.logs_per_month, items)
        try:
            passing = list(compress(values, charge.passed))
            await self._store(principal.account_id, passing, headers)
        except LLMRingError:
            await self._quotas.give_back(charge, list(compress(items, charge.passed)))
            raise
        return charge.passed

    async def _store(self, account_id: UUID, values: Sequence[bytes], headers: Headers) -> None:
        if not values:
            return
        key = str(account_id).encode()
        positions = await append_traced(self._event_log, USAGE_LOGGED, key, values, headers)
        await self._watermark.accepted(account_id, positions[-1])


def _without_trace(error: LLMRingError) -> LLMRingError:
    """An error that is kept: its trace would keep all that was there when it was raised, itself included."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
