"""A receipt for usage that a client declares, and that this deployment did not record itself."""

from datetime import timedelta

from services.receipts.append import Draft
from services.receipts.once import Desk, OnRequest, name_receipt
from services.receipts.payload import usage_facts
from shared.clock import Clock
from shared.contracts.keys import Principal
from shared.contracts.receipts import DECLARED
from shared.contracts.usage import UsageLog, UsageLogged
from shared.ids import uuid7
from shared.intake.parse import check_metadata, parse_cost, parse_idempotency_key, parse_log, parse_timestamp
from shared.intake.usage import build_usage, digest_of, tokens_of
from shared.pricebook.pricebook import Pricebook
from shared.pricing.cards import STANDARD


class Declarations:
    """Issues `declared` receipts.

    Args:
        desk: issues them.
        pricebook: prices what comes without a cost.
        clock: for `received_at`.
        max_skew: how far ahead a declared time may be.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        pricebook: Pricebook,
        clock: Clock,
        max_skew: timedelta,
    ) -> None:
        self._desk = desk
        self._pricebook = pricebook
        self._clock = clock
        self._max_skew = max_skew

    async def declare_receipt(
        self, principal: Principal, body: bytes, idempotency_key: bytes | None
    ) -> OnRequest:
        """Issue a receipt for usage details, with the fields and bounds of a usage record.

        The provider may be left out; then only a cost that is given can stand in the receipt.

        Args:
            principal: whose receipt it is.
            body: the request's JSON.
            idempotency_key: the request header of that name; the same key and body is one receipt for ever.

        Raises:
            MalformedRequestError, InvalidFieldError, TooLargeError: nothing was issued. Also where the key
                came before with another body.
            UnavailableError: a dependency is away, and nothing was issued.
        """
        log = parse_log(body, provider_required=False)
        key = parse_idempotency_key(idempotency_key, log)
        usage, registry_digest = await self._appraise(principal, log, key)
        account_id = principal.account_id
        draft = Draft(
            account_id=account_id,
            kind=DECLARED,
            log_id=None,
            occurred_at=usage.occurred_at,
            facts={**usage_facts(usage, registry_digest), "log_id": None, "provider": usage.provider or None},
            receipt_id=name_receipt(account_id, key),
            request_sha256=None if key is None else digest_of(log),
        )
        return await self._desk.issue(draft)

    async def _appraise(
        self, principal: Principal, log: UsageLog, key: str | None
    ) -> tuple[UsageLogged, str]:
        """What was declared, priced, and the digest of the registry version that priced it."""
        check_metadata(log)
        now = self._clock.now()
        occurred_at = parse_timestamp(log, now=now, max_skew=self._max_skew)
        client_cost = parse_cost(log)
        tokens = tokens_of(log, billed_by_us=client_cost is None)
        edition = await self._pricebook.in_force(occurred_at)
        model_key, quote = edition.quote(log.provider or "", log.model, tokens, log.service_tier or STANDARD)
        usage = build_usage(
            principal,
            log,
            log_id=uuid7(),  # there is no record: the receipt states null
            occurred_at=occurred_at,
            received_at=now,
            idempotency_key=key,
            client_cost=client_cost,
            model_key=model_key,
            quote=quote,
            registry_version=edition.version,
        )
        return usage, edition.digest
