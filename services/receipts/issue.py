"""One receipt for each rated usage record, exactly one, whatever is delivered twice.

A record whose cost was found later is rated once more, and gets one more receipt, which names the first one.
"""

import asyncio
from collections import Counter
from typing import Final
from uuid import UUID

import msgspec

from services.receipts.append import Draft, append_receipts
from services.receipts.log import ReceiptLog
from services.receipts.payload import usage_facts
from services.receipts.signer import Signer
from services.receipts.store.receipts import Newest, list_newest
from services.receipts.store.sequences import lock_sequences
from shared.clock import Clock
from shared.contracts.receipts import RECORDED, SUPERSEDING, ReceiptKind
from shared.contracts.usage import EARLIEST_AT, LATEST_AT, UsageRated
from shared.event_log.dead_letter import PASSES_ON_BYTES, Poison, dead_letter, size_of
from shared.event_log.port import EventLog, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.ids import uuid7
from shared.postgres import Connection, Database
from shared.telemetry.metrics import RECEIPTS_ISSUED

GROUP: Final = "issuer"
EVENT_VERSION: Final = 1
LATE: Final = 1
"""The revision of a record whose cost was found later. As it was accepted it is 0."""

READ_AT_ONCE: Final = 64
"""Records read before others on the event loop get their turn: about one millisecond."""

Revision = tuple[UUID, UUID, int]
"""Account and log id, and which state of the record."""

_decoder = msgspec.json.Decoder(UsageRated)


class Issuer:
    """Turns slices of `usage.rated` into receipts.

    Args:
        database: of the schema `receipts`.
        event_log: takes `receipts.issued` and `usage.dead`.
        positions: fences each slice, so that it is applied once whoever delivers it.
        signer: signs.
        log: the Merkle log of all receipts.
        clock: for `issued_at`.
    """

    def __init__(
        self,
        *,
        database: Database,
        event_log: EventLog,
        positions: PostgresPositions,
        signer: Signer,
        log: ReceiptLog,
        clock: Clock,
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._positions = positions
        self._signer = signer
        self._log = log
        self._clock = clock

    async def issue_receipts(self, taken: Slice) -> None:
        """Receipt a slice: position, numbers, receipts and counters in one transaction.

        Records that cannot be read go to the dead-letter topic and hold nobody up.

        Raises:
            FencedError: another member has applied this slice.
            UnavailableError: the database or the event log is away; nothing was issued.
        """
        drafts, poison = await _read(taken)
        async with self._database.transaction() as connection:
            await self._positions.advance_past(connection, GROUP, taken)
            issued, refused = await self._issue(connection, drafts)
            await dead_letter(self._event_log, poison + refused)
        for kind, count in Counter(issued).items():
            RECEIPTS_ISSUED.labels(kind).inc(count)

    async def _issue(
        self, connection: Connection, drafts: dict[Revision, tuple[Draft, StoredRecord]]
    ) -> tuple[list[ReceiptKind], list[Poison]]:
        """The kinds of the receipts that were issued, and the records that can have none."""
        if not drafts:
            return [], []
        sequences = await lock_sequences(connection, {account_id for account_id, _, _ in drafts})
        # Asked under the accounts' locks, so that the answer still holds when the receipts are inserted.
        newest = await list_newest(connection, [(account_id, log_id) for account_id, log_id, _ in drafts])
        fresh = _find_fresh(drafts, newest)
        if not fresh:
            return [], []
        rows, refused = await append_receipts(
            connection,
            fresh,
            sequences=sequences,
            signer=self._signer,
            log=self._log,
            event_log=self._event_log,
            issued_at=self._clock.now(),
        )
        return [row.kind for row in rows], [
            Poison(drafts[draft.account_id, draft.log_id, draft.revision][1], reason)
            for draft, reason in refused
            if draft.log_id is not None
        ]


def _find_fresh(
    drafts: dict[Revision, tuple[Draft, StoredRecord]], newest: dict[tuple[UUID, UUID], Newest]
) -> list[Draft]:
    """Those that have no receipt yet, each with the name of the one that it supersedes."""
    if not newest and not any(draft.revision for draft, _ in drafts.values()):
        return [draft for draft, _ in drafts.values()]  # nearly always
    fresh: list[Draft] = []
    for (account_id, log_id, revision), (draft, _) in drafts.items():
        before = newest.get((account_id, log_id))
        if before is None or before.revision < revision:
            newest[account_id, log_id] = Newest(revision, draft.receipt_id)
            fresh.append(_supersede(draft, before))
    return fresh


def _supersede(draft: Draft, before: Newest | None) -> Draft:
    """The draft, and where the cost was found later, the name of the receipt that it supersedes."""
    if draft.revision == 0:
        return draft
    supersedes = None if before is None else before.receipt_id
    facts = {**draft.facts, "supersedes": None if supersedes is None else str(supersedes)}
    kind = draft.kind if supersedes is None else SUPERSEDING
    return draft._replace(kind=kind, facts=facts, supersedes=supersedes)


async def _read(taken: Slice) -> tuple[dict[Revision, tuple[Draft, StoredRecord]], list[Poison]]:
    """The slice's records by account, log and revision, each once, and those that cannot be read."""
    drafts: dict[Revision, tuple[Draft, StoredRecord]] = {}
    poison: list[Poison] = []
    for number, record in enumerate(taken.records):
        if number % READ_AT_ONCE == READ_AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            usage = _decoder.decode(record.value or b"")
            draft = _draft(usage, record)
            drafts.setdefault((usage.account_id, usage.log_id, draft.revision), (draft, record))
        except (ValueError, OverflowError, RecursionError) as error:  # msgspec's and CanonicalError included
            poison.append(Poison(record, f"{type(error).__name__}: {error}"))
    return drafts, poison


def _draft(usage: UsageRated, record: StoredRecord) -> Draft:
    if size_of(record) > PASSES_ON_BYTES:
        raise ValueError(f"it has {size_of(record)} bytes; {PASSES_ON_BYTES} can be passed on")
    if usage.v != EVENT_VERSION:
        raise ValueError(f"version {usage.v} is not known")
    if usage.occurred_at.tzinfo is None or usage.received_at.tzinfo is None:
        raise ValueError("an instant is without a zone")
    if not EARLIEST_AT <= usage.occurred_at <= LATEST_AT:
        raise ValueError("occurred_at cannot be stored")
    return Draft(
        account_id=usage.account_id,
        kind=RECORDED,
        log_id=usage.log_id,
        occurred_at=usage.occurred_at,
        facts=usage_facts(usage, usage.registry_digest),
        receipt_id=uuid7(),
        headers=record.headers,
        revision=0 if usage.repriced_at is None else LATE,
    )
