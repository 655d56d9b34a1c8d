"""Number, sign and store receipts, within the transaction of whoever issues them."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Self
from uuid import UUID

import msgspec

from services.receipts.log import Leaf, ReceiptLog
from services.receipts.payload import Facts, add_issue
from services.receipts.signer import Signer
from services.receipts.store.receipts import ReceiptRow, insert_receipts
from services.receipts.store.sequences import update_sequences
from shared.clock import rfc3339
from shared.contracts.receipts import ReceiptIssued, ReceiptKind
from shared.contracts.topics import RECEIPTS_ISSUED
from shared.event_log.port import EventLog, Record
from shared.ids import random_16_bytes
from shared.postgres import Connection
from shared.proofs.canonical import CanonicalError
from shared.proofs.receipt import sign_payload
from shared.proofs.signing import SigningKey
from shared.proofs.tlog.hashing import hash_leaf

SIGNED_AT_ONCE = 32
"""Receipts signed before others on the event loop get their turn: one to two milliseconds."""

STORED_AT_ONCE = 128
"""Receipts stored by one statement: while Postgres does that, the next ones are signed."""

_event_encoder = msgspec.json.Encoder()


class Draft(NamedTuple):
    """A receipt that is still without number and signature.

    Attributes:
        headers: travel with the event, such as the trace context.
        revision: of the record: 0 as it was accepted, 1 with the cost that was found later.
        supersedes: the receipt of the same record that this one replaces; stands in the facts as well.
    """

    account_id: UUID
    kind: ReceiptKind
    log_id: UUID | None
    occurred_at: datetime
    facts: Facts
    receipt_id: UUID
    request_sha256: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    revision: int = 0
    supersedes: UUID | None = None


class _Issue(NamedTuple):
    """The instant of issue, and the same as it stands in payloads."""

    at: datetime
    text: str


class Refused(NamedTuple):
    """A draft that has no canonical form, and why. It took no number."""

    draft: Draft
    reason: str


async def append_receipts(
    connection: Connection,
    drafts: Sequence[Draft],
    *,
    sequences: dict[UUID, int],
    signer: Signer,
    log: ReceiptLog,
    event_log: EventLog,
    issued_at: datetime,
) -> tuple[list[ReceiptRow], list[Refused]]:
    """Issue one receipt for each draft, in order, and announce them.

    The events are appended before the caller commits: a crash in between repeats events, and never loses
    one.

    Args:
        connection: of a transaction in which the accounts' sequences are locked.
        drafts: known to have no receipt yet.
        sequences: the last number of each account, as `lock_sequences` gave it.
        signer: signs them.
        log: gets them as its next leaves.
        event_log: takes `receipts.issued`.
        issued_at: now.

    Raises:
        UnavailableError: the database or the event log is away, or the key may sign no longer.
    """
    await signer.require_right_to_sign(connection, issued_at)
    issue = _Issue(issued_at, rfc3339(issued_at))
    rows: list[ReceiptRow] = []
    refused: list[Refused] = []
    events: list[Record] = []
    async with _Storing(connection) as storing:
        for index, draft in enumerate(drafts, start=1):
            number = sequences[draft.account_id] + 1
            try:
                row = _sign(draft, number, signer.key, issue)
            except CanonicalError as error:
                refused.append(Refused(draft, str(error)))
            else:
                sequences[draft.account_id] = number
                rows.append(row)
                events.append(_announce(row, draft))
            if index % SIGNED_AT_ONCE == 0:
                await asyncio.sleep(0)
            if index % STORED_AT_ONCE == 0 or index == len(drafts):
                await storing.store(rows)
    if rows:
        await update_sequences(connection, sequences)
        announcing = asyncio.create_task(event_log.append(RECEIPTS_ISSUED, events))
        try:
            # Last of all: every issuer waits for the log, so it is held no longer than need be.
            await log.append(
                connection, [Leaf(hash_leaf(row.payload), row.account_id, row.receipt_id) for row in rows]
            )
        finally:
            await announcing
    return rows, refused


class _Storing:
    """Stores receipts while the next ones are being signed, one statement at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stored = 0
        self._under_way: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._under_way is not None:
            await self._under_way

    async def store(self, rows: Sequence[ReceiptRow]) -> None:
        """Begin to store what was added to the rows since the last call, once that is stored."""
        if self._under_way is not None:
            await self._under_way
            self._under_way = None
        added = rows[self._stored :]
        self._stored = len(rows)
        if added:
            self._under_way = asyncio.create_task(insert_receipts(self._connection, added))
            await asyncio.sleep(0)


def _sign(draft: Draft, number: int, key: SigningKey, issue: _Issue) -> ReceiptRow:
    receipt_id = draft.receipt_id
    payload, signature = sign_payload(
        add_issue(
            draft.facts,
            kind=draft.kind,
            receipt_id=receipt_id,
            account_sequence=number,
            key_id=key.key_id,
            issued_at=issue.text,
            nonce=random_16_bytes(),
        ),
        key,
    )
    return ReceiptRow(
        account_id=draft.account_id,
        receipt_id=receipt_id,
        account_sequence=number,
        kind=draft.kind,
        log_id=draft.log_id,
        occurred_at=draft.occurred_at,
        issued_at=issue.at,
        key_id=key.key_id,
        payload=payload,
        signature=signature,
        request_sha256=draft.request_sha256,
        revision=draft.revision,
    )


def _announce(row: ReceiptRow, draft: Draft) -> Record:
    event = ReceiptIssued(
        receipt_id=row.receipt_id,
        account_id=row.account_id,
        kind=row.kind,
        log_id=row.log_id,
        account_sequence=row.account_sequence,
        key_id=row.key_id,
        payload_sha256=hashlib.sha256(row.payload).hexdigest(),
        issued_at=row.issued_at,
        supersedes=draft.supersedes,
    )
    return Record(str(row.account_id).encode(), _event_encoder.encode(event), draft.headers)
