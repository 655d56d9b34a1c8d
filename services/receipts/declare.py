"""A receipt for usage that a client declares, and that this deployment did not record itself."""

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from services.receipts.append import Draft, append_receipts
from services.receipts.log import ReceiptLog
from services.receipts.payload import usage_facts
from services.receipts.signer import Signer
from services.receipts.store.receipts import ReceiptRow, find_receipt
from services.receipts.store.sequences import lock_sequences
from shared.clock import Clock
from shared.contracts.keys import Principal
from shared.contracts.receipts import DECLARED
from shared.contracts.usage import UsageLog, UsageLogged
from shared.errors import InvalidFieldError
from shared.event_log.port import EventLog
from shared.ids import uuid7
from shared.intake.parse import check_metadata, parse_cost, parse_idempotency_key, parse_log, parse_timestamp
from shared.intake.usage import build_usage, digest_of, tokens_of
from shared.postgres import Database
from shared.pricebook.pricebook import Pricebook
from shared.pricing.cards import STANDARD
from shared.telemetry.metrics import RECEIPTS_ISSUED

_KEYED_RECEIPTS: Final = UUID("b6a1e0c4-52f7-5b0e-8a3d-7f1c9e6d2a40")
_declared: Final = RECEIPTS_ISSUED.labels(DECLARED)


class Declared(NamedTuple):
    """A declared receipt, and whether an earlier request with the same idempotency key had it issued."""

    row: ReceiptRow
    replayed: bool


class Declarations:
    """Issues `declared` receipts.

    Args:
        database: of the schema `receipts`.
        event_log: takes `receipts.issued`.
        signer: signs.
        log: the Merkle log of all receipts.
        pricebook: prices what comes without a cost.
        clock: for `issued_at` and `received_at`.
        max_skew: how far ahead a declared time may be.
    """

    def __init__(
        self,
        *,
        database: Database,
        event_log: EventLog,
        signer: Signer,
        log: ReceiptLog,
        pricebook: Pricebook,
        clock: Clock,
        max_skew: timedelta,
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._signer = signer
        self._log = log
        self._pricebook = pricebook
        self._clock = clock
        self._max_skew = max_skew

    async def declare_receipt(
        self, principal: Principal, body: bytes, idempotency_key: bytes | None
    ) -> Declared:
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
        receipt_id = uuid7() if key is None else uuid5(_KEYED_RECEIPTS, f"{account_id}:{key}")
        digest = None if key is None else digest_of(log)
        draft = Draft(
            account_id=account_id,
            kind=DECLARED,
            log_id=None,
            occurred_at=usage.occurred_at,
            facts={**usage_facts(usage, registry_digest), "log_id": None, "provider": usage.provider or None},
            receipt_id=receipt_id,
            request_sha256=digest,
        )
        async with self._database.transaction() as connection:
            sequences = await lock_sequences(connection, [account_id])
            if digest is not None:
                # Under the account's lock: of two requests with one key, the second finds the other's.
                earlier = await find_receipt(connection, account_id, receipt_id)
                if earlier is not None:
                    if earlier.request_sha256 != digest:
                        raise InvalidFieldError.of("Idempotency-Key", "was used before with another body")
                    return Declared(earlier, replayed=True)
            [row], _ = await append_receipts(
                connection,
                [draft],
                sequences=sequences,
                signer=self._signer,
                log=self._log,
                event_log=self._event_log,
                issued_at=self._clock.now(),
            )
        _declared.inc()
        return Declared(row, replayed=False)

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
