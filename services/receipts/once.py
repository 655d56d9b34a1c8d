"""A receipt that is issued on request: with an idempotency key once, however often it is asked for."""

from typing import Final, NamedTuple
from uuid import UUID, uuid5

from services.receipts.append import Draft, append_receipts
from services.receipts.log import ReceiptLog
from services.receipts.signer import Signer
from services.receipts.store.receipts import ReceiptRow, find_receipt
from services.receipts.store.sequences import lock_sequences
from shared.clock import Clock
from shared.errors import InvalidFieldError
from shared.event_log.port import EventLog
from shared.ids import uuid7
from shared.postgres import Connection, Database
from shared.telemetry.metrics import RECEIPTS_ISSUED

_KEYED_RECEIPTS: Final = UUID("b6a1e0c4-52f7-5b0e-8a3d-7f1c9e6d2a40")


class OnRequest(NamedTuple):
    """The receipt, and whether an earlier request with the same idempotency key had it issued."""

    row: ReceiptRow
    replayed: bool


def name_receipt(account_id: UUID, idempotency_key: str | None) -> UUID:
    """The name of the receipt that a key stands for; without a key, a new one."""
    return uuid7() if idempotency_key is None else uuid5(_KEYED_RECEIPTS, f"{account_id}:{idempotency_key}")


class Desk:
    """Issues single receipts.

    Args:
        database: of the schema `receipts`.
        event_log: takes `receipts.issued`.
        signer: signs.
        log: the Merkle log of all receipts.
        clock: for `issued_at`.
    """

    def __init__(
        self, *, database: Database, event_log: EventLog, signer: Signer, log: ReceiptLog, clock: Clock
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._signer = signer
        self._log = log
        self._clock = clock

    async def issue(self, draft: Draft) -> OnRequest:
        """Issue a receipt, unless there is one of this name already.

        Args:
            draft: with its name, and with the digest of the request where it came with an idempotency key.

        Raises:
            InvalidFieldError: the key came before with another body.
            UnavailableError: a dependency is away, and nothing was issued.
        """
        async with self._database.transaction() as connection:
            sequences = await lock_sequences(connection, [draft.account_id])
            # Under the account's lock: of two requests with one key, the second finds the other's.
            earlier = await self._find_earlier(connection, draft)
            if earlier is not None:
                return OnRequest(earlier, replayed=True)
            [row], _ = await append_receipts(
                connection,
                [draft],
                sequences=sequences,
                signer=self._signer,
                log=self._log,
                event_log=self._event_log,
                issued_at=self._clock.now(),
            )
        RECEIPTS_ISSUED.labels(draft.kind).inc()
        return OnRequest(row, replayed=False)

    async def _find_earlier(self, connection: Connection, draft: Draft) -> ReceiptRow | None:
        if draft.request_sha256 is None:
            return None
        earlier = await find_receipt(connection, draft.account_id, draft.receipt_id)
        if earlier is not None and earlier.request_sha256 != draft.request_sha256:
            raise InvalidFieldError.of("Idempotency-Key", "was used before with another body")
        return earlier
