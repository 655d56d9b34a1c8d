"""Number, sign and store receipts, within the transaction of whoever issues them."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple
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
from shared.postgres import Connection
from shared.proofs.canonical import CanonicalError
from shared.proofs.receipt import sign_payload
from shared.proofs.signing import SigningKey
from shared.proofs.tlog.hashing import hash_leaf

SIGNED_AT_ONCE = 32
"""Receipts signed before others on the event loop get their turn: one to two milliseconds."""

_NONCE_BYTES = 16
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
    leaves: list[Leaf] = []
    refused: list[Refused] = []
    events: list[Record] = []

    async def sign_all() -> AsyncIterator[ReceiptRow]:
        for index, draft in enumerate(drafts, start=1):
            number = sequences[draft.account_id] + 1
            try:
                row = _sign(draft, number, signer.key, issue)
            except CanonicalError as error:
                refused.append(Refused(draft, str(error)))
            else:
                sequences[draft.account_id] = number
                rows.append(row)
                leaves.append(Leaf(hash_leaf(row.payload), row.account_id, row.receipt_id))
                events.append(_announce(row, draft))
                yield row
            if index % SIGNED_AT_ONCE == 0:
                await asyncio.sleep(0)

    await insert_receipts(connection, sign_all())
    if rows:
        await update_sequences(connection, {row.account_id: sequences[row.account_id] for row in rows})
        announcing = asyncio.create_task(event_log.append(RECEIPTS_ISSUED, events))
        try:
            # Last of all: every issuer waits for the log, so it is held no longer than need be.
            await log.append(connection, leaves)
        finally:
            await announcing
    return rows, refused


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
            nonce=os.urandom(_NONCE_BYTES),
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
