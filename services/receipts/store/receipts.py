"""Issued receipts: written once, found by id, by log and by time."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.contracts.receipts import ReceiptKind
from shared.postgres import Connection


class ReceiptRow(NamedTuple):
    """One row of `receipts`. `payload` is the text that was signed, byte for byte.

    Of one record the receipt with the highest `revision` holds.
    """

    account_id: UUID
    receipt_id: UUID
    account_sequence: int
    kind: ReceiptKind
    log_id: UUID | None
    occurred_at: datetime
    issued_at: datetime
    key_id: str
    payload: bytes
    signature: bytes
    request_sha256: bytes | None
    revision: int = 0


class Newest(NamedTuple):
    """The newest receipt of a record."""

    revision: int
    receipt_id: UUID


class Place(NamedTuple):
    """Where a receipt stands in its account's list."""

    occurred_at: datetime
    account_sequence: int


async def insert_receipts(connection: Connection, rows: Iterable[ReceiptRow]) -> None:
    """Write receipts that were found to be new under the accounts' locks: a double is an error here."""
    await connection.copy_records_to_table(
        "receipts", schema_name="receipts", columns=ReceiptRow._fields, records=rows
    )


LIST_NEWEST: Final = """
SELECT r.account_id, r.log_id, r.revision, r.receipt_id
FROM unnest($1::uuid[], $2::uuid[]) AS asked (account_id, log_id)
JOIN receipts.receipts r
  ON r.account_id = asked.account_id AND r.log_id = asked.log_id
ORDER BY r.revision
"""


async def list_newest(
    connection: Connection, logs: Collection[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], Newest]:
    """The newest receipt of those of these records (account id, log id) that have one."""
    rows = await connection.fetch(
        LIST_NEWEST, [account_id for account_id, _ in logs], [log_id for _, log_id in logs]
    )
    return {(row[0], row[1]): Newest(row[2], row[3]) for row in rows}


FIND_RECEIPT: Final = """
SELECT account_id, receipt_id, account_sequence, kind, log_id, occurred_at, issued_at, key_id,
       payload, signature, request_sha256, revision
FROM receipts.receipts WHERE account_id = $1 AND receipt_id = $2
"""


async def find_receipt(connection: Connection, account_id: UUID, receipt_id: UUID) -> ReceiptRow | None:
    """The account's receipt of that id, or None."""
    row = await connection.fetchrow(FIND_RECEIPT, account_id, receipt_id)
    return None if row is None else _receipt(row)


LIST_RECORDED: Final = """
SELECT account_id, receipt_id, account_sequence, kind, log_id, occurred_at, issued_at, key_id,
       payload, signature, request_sha256, revision
FROM receipts.receipts WHERE account_id = $1 AND log_id = $2 ORDER BY revision DESC
"""


async def list_recorded(connection: Connection, account_id: UUID, log_id: UUID) -> list[ReceiptRow]:
    """The receipts of one of the account's usage records, the one that holds first."""
    return [_receipt(row) for row in await connection.fetch(LIST_RECORDED, account_id, log_id)]


LIST_SUPERSEDED: Final = """
SELECT old.receipt_id, new.receipt_id
FROM unnest($2::uuid[]) AS asked (receipt_id)
JOIN receipts.receipts old ON old.account_id = $1 AND old.receipt_id = asked.receipt_id
JOIN receipts.receipts new
  ON new.account_id = $1 AND new.log_id = old.log_id AND new.revision = old.revision + 1
"""


async def list_superseded(
    connection: Connection, account_id: UUID, receipt_ids: Collection[UUID]
) -> dict[UUID, UUID]:
    """Which of the account's receipts were replaced, and by which."""
    rows = await connection.fetch(LIST_SUPERSEDED, account_id, list(receipt_ids))
    return {row[0]: row[1] for row in rows}


LIST_RECEIPTS: Final = """
SELECT account_id, receipt_id, account_sequence, kind, log_id, occurred_at, issued_at, key_id,
       payload, signature, request_sha256, revision
FROM receipts.receipts
WHERE account_id = $1 AND occurred_at >= $2 AND (occurred_at, account_sequence) < ($3, $4)
ORDER BY occurred_at DESC, account_sequence DESC
LIMIT $5
"""


async def list_receipts(
    connection: Connection, account_id: UUID, *, start_at: datetime, before: Place, limit: int
) -> list[ReceiptRow]:
    """The account's receipts from `start_at` on and before a place, newest usage first."""
    rows = await connection.fetch(LIST_RECEIPTS, account_id, start_at, *before, limit)
    return [_receipt(row) for row in rows]


def _receipt(row: Any) -> ReceiptRow:  # noqa: ANN401 - a row's columns may be of any type
    return ReceiptRow(*row.values())
